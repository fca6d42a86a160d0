"""What a script does with version 2 of SageMaker's SDK, run by the Python that has it: `sagemaker_sdk.py FOLDER`. The last line is JSON."""

import json
import sys
import tarfile
from pathlib import Path

import boto3
import sagemaker
from sagemaker.deserializers import JSONDeserializer
from sagemaker.model import Model
from sagemaker.predictor import Predictor
from sagemaker.s3 import S3Downloader, S3Uploader
from sagemaker.serializers import JSONSerializer
from sagemaker.sklearn import SKLearnModel

folder = Path(sys.argv[1])
url = boto3.client("sts").meta.endpoint_url


class HereToo(boto3.Session):
    """The SDK gives its STS client AWS's address whatever is configured; this one has it ask where everything else does."""

    def client(self, service_name, *positional, **named):
        if service_name == "sts":
            named["endpoint_url"] = url
        return super().client(service_name, *positional, **named)


session = sagemaker.Session(boto_session=HereToo())
role = sagemaker.get_execution_role(session)
bucket = session.default_bucket()

(folder / "inference.py").write_text(
    "import os\n"
    "def model_fn(folder):\n    return os.environ['VERSION']\n"
    "def predict_fn(data, model):\n    return {'version': model}\n"
)
with tarfile.open(folder / "model.tar.gz", "w:gz") as archive:
    archive.add(folder / "inference.py", "code/inference.py")
artifact = session.upload_data(str(folder / "model.tar.gz"), key_prefix="models")

models = [
    Model("bannister/python", artifact, role, Predictor, {"VERSION": name}, name, sagemaker_session=session)
    for name in ("sdk-one", "sdk-two")
]
predictor = models[0].deploy(
    2,
    "ml.m5.large",
    JSONSerializer(),
    JSONDeserializer(),
    endpoint_name="sdk",
    tags=[{"Key": "team", "Value": "a"}],
    wait=False,  # it would look every 30 s
)
session.wait_for_endpoint("sdk", poll=1)
answers = [predictor.predict({"x": 1})]

models[1].create(instance_type="ml.m5.large")
session.create_endpoint_config("sdk-two", "sdk-two", 2, "ml.m5.large", tags=[{"Key": "team", "Value": "b"}])
session.sagemaker_client.update_endpoint(
    EndpointName="sdk",
    EndpointConfigName="sdk-two",
    DeploymentConfig={
        "BlueGreenUpdatePolicy": {
            "TrafficRoutingConfiguration": {
                "Type": "CANARY",
                "CanarySize": {"Type": "INSTANCE_COUNT", "Value": 1},
                "WaitIntervalInSeconds": 1,
            }
        }
    },
)
settled = session.wait_for_endpoint("sdk", poll=1)
answers.append(predictor.predict({"x": 1}))

# The SDK makes a configuration like the last one itself, and gives it that one's tags.
predictor.update_endpoint(initial_instance_count=1, instance_type="ml.m5.large", model_name="sdk-one", wait=False)
copied = session.wait_for_endpoint("sdk", poll=1)
answers.append(predictor.predict({"x": 1}))
copy = session.sagemaker_client.describe_endpoint_config(EndpointConfigName=copied["EndpointConfigName"])
tags = [each["Value"] for each in session.list_tags(copy["EndpointConfigArn"])]

S3Uploader.upload_string_as_file_body("hello", f"s3://{bucket}/text/a.txt", sagemaker_session=session)
listed = S3Downloader.list(f"s3://{bucket}/text", sagemaker_session=session)
text = S3Downloader.read_file(listed[0], sagemaker_session=session)

# The code of a scikit-learn model is uploaded as an archive of its own, which the model's Environment names.
with tarfile.open(folder / "word.tar.gz", "w:gz") as archive:
    archive.add(folder / "inference.py", "word.txt")
source = folder / "source"
source.mkdir()
(source / "serve.py").write_text(
    "import os\n"
    "def model_fn(folder):\n    return sorted(os.listdir(folder))\n"
    "def predict_fn(data, model):\n    return model\n"
)
own = SKLearnModel(
    session.upload_data(str(folder / "word.tar.gz"), key_prefix="models"),
    role,
    entry_point="serve.py",
    source_dir=str(source),
    framework_version="1.2-1",
    sagemaker_session=session,
    name="sdk-sklearn",
)
own.deploy(1, "ml.m5.large", endpoint_name="sdk-sklearn", wait=False)
session.wait_for_endpoint("sdk-sklearn", poll=1)
files = Predictor("sdk-sklearn", session, JSONSerializer(), JSONDeserializer()).predict({})
session.delete_endpoint("sdk-sklearn")
own.delete_model()

predictor.delete_endpoint(delete_endpoint_config=True)
session.sagemaker_client.get_waiter("endpoint_deleted").wait(EndpointName="sdk", WaiterConfig={"Delay": 1})
for model in models:
    model.delete_model()
print()  # the SDK does not end its own line
print(
    json.dumps(
        {
            "role": role,
            "bucket": bucket,
            "answers": answers,
            "status": settled["EndpointStatus"],
            "config": settled["EndpointConfigName"],
            "copied": [copied["EndpointStatus"], copy["ProductionVariants"][0]["InitialInstanceCount"]],
            "tags": tags,
            "listed": listed,
            "text": text,
            "files": files,
        }
    )
)
