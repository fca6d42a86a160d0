"""What a script does with version 3 of SageMaker's SDK, run by the Python that has it: `sagemaker_sdk3.py FOLDER`. The last line is JSON."""

import json
import os
import sys
import tarfile
from pathlib import Path

import boto3
from botocore.exceptions import ClientError
from sagemaker.core.helper.session_helper import Session, get_execution_role
from sagemaker.core.resources import Endpoint, EndpointConfig, Model, Tag
from sagemaker.core.s3 import S3Downloader, S3Uploader
from sagemaker.core.shapes import Alarm as NamedAlarm
from sagemaker.core.shapes import (
    AutoRollbackConfig,
    BlueGreenUpdatePolicy,
    CapacitySize,
    ContainerDefinition,
    DeploymentConfig,
    DesiredWeightAndCapacity,
    ProductionVariant,
    TrafficRoutingConfig,
)
from sagemaker.core.shapes import Tag as TagShape
from sagemaker.core.training.configs import SourceCode
from sagemaker.serve.model_builder import ModelBuilder

folder = Path(sys.argv[1])


class HereToo(boto3.Session):
    """The SDK gives its STS client AWS's address whatever is configured; this one has it ask where everything else does."""

    def client(self, service_name, *positional, **named):
        if service_name == "sts":
            named["endpoint_url"] = os.environ["AWS_ENDPOINT_URL"]
        return super().client(service_name, *positional, **named)


session = Session(boto_session=HereToo())
role = get_execution_role(session)
bucket = session.default_bucket()

(folder / "inference.py").write_text(
    "import os\n"
    "def model_fn(folder):\n    return os.environ['VERSION']\n"
    "def predict_fn(data, model):\n    return {'version': model, 'x': data['x']}\n"
)
with tarfile.open(folder / "model.tar.gz", "w:gz") as archive:
    archive.add(folder / "inference.py", "code/inference.py")
artifact = session.upload_data(str(folder / "model.tar.gz"), key_prefix="models")


def configuration(name: str) -> EndpointConfig:
    model = Model.create(
        model_name=name,
        primary_container=ContainerDefinition(
            image="bannister/python", model_data_url=artifact, environment={"VERSION": name}
        ),
        execution_role_arn=role,
    )
    return EndpointConfig.create(
        endpoint_config_name=name,
        production_variants=[
            ProductionVariant(
                variant_name="main",
                model_name=model.model_name,
                initial_instance_count=2,
                instance_type="ml.m5.large",
                initial_variant_weight=1.0,
            )
        ],
        tags=[TagShape(key="team", value="a")],
    )


def predict(endpoint: Endpoint) -> dict[str, object]:
    answer = endpoint.invoke(body=json.dumps({"x": 1}), content_type="application/json", accept="application/json")
    return {"variant": answer.invoked_production_variant, **json.loads(answer.body.read())}


one, two = configuration("sdk3-one"), configuration("sdk3-two")
endpoint = Endpoint.create(endpoint_name="sdk3", endpoint_config_name=one)
endpoint.wait_for_status("InService", poll=1, timeout=120)
answers = [predict(endpoint)]

boto3.client("cloudwatch").put_metric_alarm(
    AlarmName="sdk3-errors",
    Namespace="AWS/SageMaker",
    MetricName="Invocation5XXErrors",
    Dimensions=[{"Name": "EndpointName", "Value": "sdk3"}, {"Name": "VariantName", "Value": "main"}],
    Statistic="Average",
    Period=60,
    EvaluationPeriods=1,
    Threshold=0.5,
    ComparisonOperator="GreaterThanThreshold",
    TreatMissingData="notBreaching",
)
endpoint.endpoint_config_name = two.endpoint_config_name
endpoint.update(
    deployment_config=DeploymentConfig(
        blue_green_update_policy=BlueGreenUpdatePolicy(
            traffic_routing_configuration=TrafficRoutingConfig(
                type="CANARY",
                canary_size=CapacitySize(type="INSTANCE_COUNT", value=1),
                wait_interval_in_seconds=1,
            ),
            termination_wait_in_seconds=0,
            maximum_execution_timeout_in_seconds=600,
        ),
        auto_rollback_configuration=AutoRollbackConfig(alarms=[NamedAlarm(alarm_name="sdk3-errors")]),
    )
)
updating = endpoint.endpoint_status
endpoint.wait_for_status("InService", poll=1, timeout=120)
answers.append(predict(endpoint))
settled = Endpoint.get("sdk3")

endpoint.update_weights_and_capacities(
    [DesiredWeightAndCapacity(variant_name="main", desired_instance_count=1, desired_weight=2.0)]
)
endpoint.wait_for_status("InService", poll=1, timeout=120)
(variant,) = Endpoint.get("sdk3").production_variants

found = {
    "endpoints": [each.endpoint_name for each in Endpoint.get_all(name_contains="sdk3", status_equals="InService")],
    "configurations": sorted(each.endpoint_config_name for each in EndpointConfig.get_all(name_contains="sdk3")),
    "models": sorted(each.model_name for each in Model.get_all(name_contains="sdk3")),
    "tags": [each.value for each in Tag.get_all(resource_arn=two.endpoint_config_arn)],
}

S3Uploader.upload_string_as_file_body("hello", f"s3://{bucket}/text/a.txt", sagemaker_session=session)
listed = S3Downloader.list(f"s3://{bucket}/text", sagemaker_session=session)
text = S3Downloader.read_file(listed[0], sagemaker_session=session)

# ModelBuilder with an image and an artifact; with code of its own it packs the artifact anew.
source = folder / "source"
source.mkdir()
(source / "inference.py").write_text(
    "import os\n"
    "def model_fn(folder):\n    return os.environ['VERSION']\n"
    "def predict_fn(data, model):\n    return {'version': model, 'built': data['x']}\n"
)


def built(name: str, **more: object) -> ModelBuilder:
    builder = ModelBuilder(
        image_uri="bannister/python",
        s3_model_data_url=artifact,
        env_vars={"VERSION": name},
        instance_type="ml.m5.large",
        sagemaker_session=session,
        **more,
    )
    builder.build(model_name=name)
    return builder


plain = built("sdk3-built-plain")
coded = built("sdk3-built-coded", source_code=SourceCode(source_dir=str(source), entry_script="inference.py"))
deployed = plain.deploy(endpoint_name="sdk3-built", initial_instance_count=1, wait=False)
deployed.wait_for_status("InService", poll=1, timeout=120)
built_answers = [predict(deployed)]
following = EndpointConfig.create(
    endpoint_config_name="sdk3-built-coded",
    production_variants=[
        ProductionVariant(
            variant_name="AllTraffic",
            model_name=coded.built_model.model_name,
            initial_instance_count=1,
            instance_type="ml.m5.large",
        )
    ],
)
deployed.endpoint_config_name = following.endpoint_config_name
deployed.update()
deployed.wait_for_status("InService", poll=1, timeout=120)
built_answers.append(predict(deployed))
deployed.delete()
deployed.wait_for_delete(poll=1, timeout=120)
for name in ("sdk3-built", "sdk3-built-coded"):
    EndpointConfig.get(name).delete()
for builder in (plain, coded):
    builder.built_model.delete()

endpoint.delete()
endpoint.wait_for_delete(poll=1, timeout=120)
for name in ("sdk3-one", "sdk3-two"):
    EndpointConfig.get(name).delete()
    Model.get(name).delete()
try:
    Endpoint.get("sdk3")
    gone = ""
except ClientError as error:
    gone = error.response["Error"]["Message"]
print()  # the SDK does not end its own line
print(
    json.dumps(
        {
            **found,
            "role": role,
            "bucket": bucket,
            "answers": answers,
            "built": built_answers,
            "updating": updating,
            "status": settled.endpoint_status,
            "config": settled.endpoint_config_name,
            "alarms": [each.alarm_name for each in settled.last_deployment_config.auto_rollback_configuration.alarms],
            "capacity": [variant.current_instance_count, variant.current_weight],
            "listed": listed,
            "text": text,
            "gone": gone,
            "left": [each.model_name for each in Model.get_all(name_contains="sdk3")],
        }
    )
)
