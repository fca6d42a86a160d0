"""botocore's service models: the shapes, constraints and error names of every service that the door speaks.

Loading one reads megabytes of JSON (SageMaker's takes about 0.1 s), so each is loaded on first use and kept. `preload`
lets the control plane do it while it waits for something else. Only the models that come with botocore and our own are used: files in
the user's `~/.aws/models` may add services to a client, but must not change what this server accepts.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import bannister

if TYPE_CHECKING:
    from botocore.model import OperationModel, ServiceModel

#: The start of `X-Amz-Target`, up to the dot, and the service that it selects. Equal to the models' `targetPrefix`, and
#: written down here so that routing a request does not need a model to be loaded.
TARGET_PREFIXES = {
    "SageMaker": "sagemaker",
    "GraniteServiceVersion20100801": "cloudwatch",
    "Logs_20140328": "logs",
    "Bannister_20261123": "bannister",
}

#: The name in a signature's credential scope, and the service meant by a request that names no target.
SIGNING_NAMES = {
    "sagemaker": "sagemaker",
    "monitoring": "cloudwatch",
    "logs": "logs",
    "sts": "sts",
    "iam": "iam",
    "bannister": "bannister",
}

#: The service meant by a form that is not signed, or was signed before signatures named a service: the one that speaks forms.
UNSIGNED_FORMS = "cloudwatch"

#: The model of our own service, where botocore looks for it when `AWS_DATA_PATH` names this folder.
OWN_MODELS = Path(bannister.__file__).parent / "service"


@cache
def service_model(service: str) -> ServiceModel:
    """The model of a service, by its botocore name."""
    from botocore.loaders import Loader  # costs 0.1 s, which nobody should pay to import this module
    from botocore.model import ServiceModel

    loader = Loader(extra_search_paths=[Loader.BUILTIN_DATA_PATH, str(OWN_MODELS)], include_default_search_paths=False)
    return ServiceModel(loader.load_service_model(service, "service-2"), service_name=service)


def operation_model(service: str, operation: str) -> OperationModel | None:
    """One operation of a service; None where the service has no such operation."""
    model = service_model(service)
    return model.operation_model(operation) if operation in model.operation_names else None


def preload() -> None:
    """Load the models of all services that the gateway performs, and S3's. Blocks for about 0.3 s, the import of botocore included."""
    for service in (*SIGNING_NAMES.values(), "s3"):
        service_model(service)
