"""ServerlessConfig and AsyncInferenceConfig: what is kept and described, as AWS writes it and as we hold it."""

from __future__ import annotations

from typing import Any, Final

from bannister.domain.unserved import AsyncInference, Notification, Serverless
from bannister.errors import Invalid

#: Members of a variant that has instances.
_OF_INSTANCES: Final = ("InitialInstanceCount", "InstanceType")


def serverless_of(definition: dict[str, Any]) -> Serverless | None:
    """The ServerlessConfig of a variant.

    Raises:
        Invalid: It is to have instances as well.
    """
    if "ServerlessConfig" not in definition:
        return None
    name, config = definition["VariantName"], definition["ServerlessConfig"]
    for member in _OF_INSTANCES:
        if member in definition:
            raise Invalid(f'Variant "{name}" has a ServerlessConfig and {member}; give one or the other.')
    return Serverless(config["MemorySizeInMB"], config["MaxConcurrency"], config.get("ProvisionedConcurrency"))


def serverless_members(config: Serverless | None) -> dict[str, Any] | None:
    if config is None:
        return None
    return {
        "MemorySizeInMB": config.memory_megabytes,
        "MaxConcurrency": config.concurrency_max,
        "ProvisionedConcurrency": config.provisioned_concurrency,
    }


def async_inference_of(config: dict[str, Any] | None) -> AsyncInference | None:
    if config is None:
        return None
    output, client = config["OutputConfig"], config.get("ClientConfig")
    told = output.get("NotificationConfig")
    notification = None
    if told is not None:
        response_in = told.get("IncludeInferenceResponseIn")
        notification = Notification(
            told.get("SuccessTopic"), told.get("ErrorTopic"), tuple(response_in) if response_in is not None else None
        )
    return AsyncInference(
        output_url=output.get("S3OutputPath"),
        failure_url=output.get("S3FailurePath"),
        kms_key=output.get("KmsKeyId"),
        notification=notification,
        concurrency_max=(client or {}).get("MaxConcurrentInvocationsPerInstance"),
        has_client=client is not None,
    )


def async_members(config: AsyncInference | None) -> dict[str, Any] | None:
    if config is None:
        return None
    told = config.notification
    notification = None
    if told is not None:
        notification = {
            "SuccessTopic": told.success_topic,
            "ErrorTopic": told.error_topic,
            "IncludeInferenceResponseIn": told.response_in,
        }
    return {
        "ClientConfig": {"MaxConcurrentInvocationsPerInstance": config.concurrency_max} if config.has_client else None,
        "OutputConfig": {
            "S3OutputPath": config.output_url,
            "S3FailurePath": config.failure_url,
            "KmsKeyId": config.kms_key,
            "NotificationConfig": notification,
        },
    }
