"""CreateEndpointConfig, DescribeEndpointConfig, ListEndpointConfigs, DeleteEndpointConfig."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from bannister.aws.arn import arn
from bannister.aws.call import Call, Handler
from bannister.aws.sagemaker.data_capture import config_members, data_capture_of
from bannister.aws.sagemaker.listing import list_request
from bannister.aws.sagemaker.tags import tags_of
from bannister.aws.sagemaker.unserved import (
    async_inference_of,
    async_members,
    serverless_members,
    serverless_variant,
)
from bannister.domain.endpoint import EndpointConfig, Variant
from bannister.domain.fleet import RoutingStrategy
from bannister.errors import Invalid, Resource, Unsupported
from bannister.operations import endpoint_configs
from bannister.operations.context import Context

#: AWS requires an instance type for real-time variants; here it is described, not billed.
INSTANCE_TYPE_DEFAULT: Final = "ml.m5.large"

#: Members that would change what is served, and are not supported: saying so beats ignoring them.
_REFUSED: Final = {
    "ExplainerConfig": "explainers are not supported",
}


def handlers(context: Context) -> Mapping[str, Handler]:
    async def create(call: Call) -> dict[str, Any]:
        params = call.params
        for member, why in _REFUSED.items():
            if member in params:
                raise Unsupported(f"{member} cannot be used: {why}.")
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
        raise Unsupported(f'Variant "{name}" needs a ModelName; inference components are not supported.')
    if "ManagedInstanceScaling" in definition:
        raise Invalid("ManagedInstanceScaling is only supported for inference component endpoints.")
    if "ServerlessConfig" in definition:
        return serverless_variant(definition)
    if "InitialInstanceCount" not in definition:
        raise Invalid(f'Variant "{name}" needs an InitialInstanceCount of 1 or more.')
    return Variant(
        name=name,
        model_name=definition["ModelName"],
        instance_count=definition["InitialInstanceCount"],
        weight=definition.get("InitialVariantWeight", 1.0),
        instance_type=definition.get("InstanceType", INSTANCE_TYPE_DEFAULT),
        startup_timeout_seconds=definition.get("ContainerStartupHealthCheckTimeoutInSeconds"),
        routing=_routing(name, definition.get("RoutingConfig")),
    )


def _routing(variant: str, config: dict[str, Any] | None) -> RoutingStrategy | None:
    if config is None:
        return None
    asked = config["RoutingStrategy"]
    if asked not in {one.value for one in RoutingStrategy} or "PrefixAwareRoutingConfig" in config:
        raise Unsupported(
            f'Variant "{variant}" asks for routing by the content of requests ({asked}), which is not supported. '
            f"RoutingStrategy can be {' or '.join(RoutingStrategy)}."
        )
    return RoutingStrategy(asked)


def _members(variant: Variant) -> dict[str, Any]:
    if variant.serverless is not None:
        return serverless_members(variant)
    timeout = variant.startup_timeout_seconds
    return {
        "VariantName": variant.name,
        "ModelName": variant.model_name,
        "InitialInstanceCount": variant.instance_count,
        "InstanceType": variant.instance_type,
        "InitialVariantWeight": variant.weight,
        "ContainerStartupHealthCheckTimeoutInSeconds": int(timeout) if timeout is not None else None,
        "RoutingConfig": {"RoutingStrategy": variant.routing.value} if variant.routing is not None else None,
    }
