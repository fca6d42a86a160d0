"""CreateEndpointConfig, DescribeEndpointConfig, ListEndpointConfigs, DeleteEndpointConfig."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from bannister.aws.arn import arn
from bannister.aws.call import Call, Handler
from bannister.aws.members import Members, Tables, as_given
from bannister.aws.sagemaker.data_capture import config_members, data_capture_of
from bannister.aws.sagemaker.listing import list_request
from bannister.aws.sagemaker.tags import tags_of
from bannister.aws.sagemaker.unserved import (
    async_inference_of,
    async_members,
    serverless_members,
    serverless_of,
)
from bannister.domain.endpoint import EndpointConfig, Variant
from bannister.domain.fleet import RoutingStrategy
from bannister.errors import Invalid, Resource, Unsupported
from bannister.operations import endpoint_configs
from bannister.operations.context import Context

#: AWS requires an instance type for real-time variants; here it is described, not billed.
INSTANCE_TYPE_DEFAULT: Final = "ml.m5.large"

_DEVICES: Final = "an instance is a process of this machine"
_ENCRYPTION: Final = "nothing is encrypted with keys of KMS"
_BY_CONTENT: Final = "nothing routes by the content of requests; give LEAST_OUTSTANDING_REQUESTS or RANDOM"
_COMPONENTS: Final = "inference components are not supported"
_NOT_SERVED: Final = "no endpoint can have such a configuration"

MEMBERS: Final[Tables] = {
    "CreateEndpointConfigInput": Members(
        "EndpointConfigName ProductionVariants ShadowProductionVariants DataCaptureConfig Tags",
        ignored={
            "KmsKeyId": _ENCRYPTION,
            "ExecutionRoleArn": "no role is needed for what a model may do",
            "VpcConfig": _DEVICES,
            "EnableNetworkIsolation": _DEVICES,
            "MetricsConfig": "metrics are published by the second",
            "AsyncInferenceConfig": _NOT_SERVED,
        },
        refused={
            "ExplainerConfig": "explainers are not supported",
            "CrossRegionTrafficConfig": "there is one region, and no limit on what comes from another",
        },
    ),
    "MetricsConfig": Members(
        ignored={"MetricPublishFrequencyInSeconds": "metrics are published by the second"},
        refused={
            "EnableEnhancedMetrics": "there are no metrics of each instance",
            "EnableDetailedObservability": "there are no metrics of containers and devices",
        },
    ),
    "ProductionVariant": Members(
        "VariantName ModelName InitialInstanceCount InstanceType InitialVariantWeight ContainerStartupHealthCheckTimeoutInSeconds RoutingConfig",
        ignored={
            "AcceleratorType": _DEVICES,
            "AcceleratorPartitionLayouts": _DEVICES,
            "VolumeSizeInGB": _DEVICES,
            "InferenceAmiVersion": _DEVICES,
            "CapacityReservationConfig": _DEVICES,
            "EnableSSMAccess": _DEVICES,
            "VariantInstanceProvisionTimeoutInSeconds": "an instance is there at once, or not at all",
            "ModelDataDownloadTimeoutInSeconds": "artifacts are on this machine",
            "ServerlessConfig": _NOT_SERVED,
        },
        refused={
            "InstancePools": "instances are of one kind; give InstanceType and InitialInstanceCount",
            "CoreDumpConfig": "no core dumps are written to a bucket",
            "ManagedInstanceScaling": "ManagedInstanceScaling is only supported for inference component endpoints",
        },
    ),
    "ProductionVariantRoutingConfig": Members(
        "RoutingStrategy",
        refused={
            "RoutingStrategy=PREFIX_AWARE": _BY_CONTENT,
            "RoutingStrategy=KV_AWARE": _BY_CONTENT,
            "PrefixAwareRoutingConfig": _BY_CONTENT,
        },
    ),
    "DataCaptureConfig": Members(
        "EnableCapture InitialSamplingPercentage DestinationS3Uri CaptureOptions CaptureContentTypeHeader",
        ignored={"KmsKeyId": _ENCRYPTION},
    ),
    "CaptureOption": Members("CaptureMode"),
    "CaptureContentTypeHeader": Members("CsvContentTypes JsonContentTypes"),
    "DescribeEndpointConfigInput": Members("EndpointConfigName"),
    "ListEndpointConfigsInput": Members(
        "SortBy SortOrder NextToken MaxResults NameContains CreationTimeBefore CreationTimeAfter"
    ),
    "DeleteEndpointConfigInput": Members("EndpointConfigName"),
}
#: Without effect as well, and held by a type of their own.
_HELD: Final = ("AsyncInferenceConfig", "ServerlessConfig")


def handlers(context: Context) -> Mapping[str, Handler]:
    async def create(call: Call) -> dict[str, Any]:
        params = call.params
        variants = [_variant(definition) for definition in params["ProductionVariants"]]
        shadows = [_variant(definition) for definition in params.get("ShadowProductionVariants", [])]
        config = await endpoint_configs.create_endpoint_config(
            context,
            params["EndpointConfigName"],
            variants,
            shadows,
            data_capture_of(params.get("DataCaptureConfig")),
            tags_of(params),
            async_inference_of(params.get("AsyncInferenceConfig")),
            as_given(params, MEMBERS["CreateEndpointConfigInput"], besides=_HELD),
        )
        return {"EndpointConfigArn": _arn(call, config.name)}

    async def describe(call: Call) -> dict[str, Any]:
        config = await endpoint_configs.describe_endpoint_config(context, call.params["EndpointConfigName"])
        return {
            "EndpointConfigName": config.name,
            "EndpointConfigArn": _arn(call, config.name),
            "ProductionVariants": [_members(variant) for variant in config.variants],
            "ShadowProductionVariants": [_members(variant) for variant in config.shadow_variants] or None,
            "DataCaptureConfig": config_members(config.data_capture),
            "AsyncInferenceConfig": async_members(config.async_inference),
            "CreationTime": config.created_at,
            **config.as_given,
        }

    async def list_(call: Call) -> dict[str, Any]:
        page = await endpoint_configs.list_endpoint_configs(context, list_request(call.params))
        return {"EndpointConfigs": [_summary(call, config) for config in page.items], "NextToken": page.token}

    async def delete(call: Call) -> dict[str, Any]:
        await endpoint_configs.delete_endpoint_config(context, call.params["EndpointConfigName"])
        return {}

    return {
        "CreateEndpointConfig": create,
        "DescribeEndpointConfig": describe,
        "ListEndpointConfigs": list_,
        "DeleteEndpointConfig": delete,
    }


def instance_type_member(instance_type: str | None) -> str:
    """AWS has one always; where nobody named one, nothing limits an instance, and this is described."""
    return instance_type or INSTANCE_TYPE_DEFAULT


def _arn(call: Call, name: str) -> str:
    return arn(call.region, call.account_id, Resource.ENDPOINT_CONFIG, name)


def _summary(call: Call, config: EndpointConfig) -> dict[str, Any]:
    return {
        "EndpointConfigName": config.name,
        "EndpointConfigArn": _arn(call, config.name),
        "CreationTime": config.created_at,
    }


def _variant(definition: dict[str, Any]) -> Variant:
    name = definition["VariantName"]
    if "ModelName" not in definition:
        raise Unsupported(f'Variant "{name}" needs a ModelName; {_COMPONENTS}.')
    serverless = serverless_of(definition)
    if serverless is None and "InitialInstanceCount" not in definition:
        raise Invalid(f'Variant "{name}" needs an InitialInstanceCount of 1 or more.')
    routing = definition.get("RoutingConfig")
    return Variant(
        name=name,
        model_name=definition["ModelName"],
        instance_count=definition.get("InitialInstanceCount", 0),
        weight=definition.get("InitialVariantWeight", 1.0),
        instance_type=definition.get("InstanceType"),
        startup_timeout_seconds=definition.get("ContainerStartupHealthCheckTimeoutInSeconds"),
        serverless=serverless,
        routing=RoutingStrategy(routing["RoutingStrategy"]) if routing is not None else None,
        as_given=as_given(definition, MEMBERS["ProductionVariant"], besides=_HELD),
    )


def _members(variant: Variant) -> dict[str, Any]:
    timeout = variant.startup_timeout_seconds
    return {
        "VariantName": variant.name,
        "ModelName": variant.model_name,
        "InitialInstanceCount": variant.instance_count if variant.serverless is None else None,
        "InstanceType": instance_type_member(variant.instance_type) if variant.serverless is None else None,
        "InitialVariantWeight": variant.weight,
        "ContainerStartupHealthCheckTimeoutInSeconds": int(timeout) if timeout is not None else None,
        "RoutingConfig": {"RoutingStrategy": variant.routing.value} if variant.routing is not None else None,
        "ServerlessConfig": serverless_members(variant.serverless),
        **variant.as_given,
    }
