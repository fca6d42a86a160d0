"""Amazon resource names as SageMaker and CloudWatch spell them."""

from __future__ import annotations

from bannister.errors import Resource

#: How an ARN names a kind: `(service, what stands between the account and the name)`.
_KINDS = {
    Resource.MODEL: ("sagemaker", "model/"),
    Resource.ENDPOINT_CONFIG: ("sagemaker", "endpoint-config/"),
    Resource.ENDPOINT: ("sagemaker", "endpoint/"),
    Resource.EXPERIMENT: ("sagemaker", "inference-experiment/"),
    Resource.DEPLOYMENT: ("sagemaker", "deployment/"),
    Resource.ALARM: ("cloudwatch", "alarm:"),
}


def arn(region: str, account_id: str, kind: Resource, name: str) -> str:
    """The ARN of a resource. SageMaker's have the name in lower case; an alarm's keeps its case."""
    if kind in (Resource.BUCKET, Resource.OBJECT):
        return f"arn:aws:s3:::{name}"
    service, prefix = _KINDS[kind]
    shown = name.lower() if service == "sagemaker" else name
    return f"arn:aws:{service}:{region}:{account_id}:{prefix}{shown}"
