"""CreateEndpoint, UpdateEndpoint, UpdateEndpointWeightsAndCapacities, DescribeEndpoint, ListEndpoints, DeleteEndpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from bannister.aws.arn import arn
from bannister.aws.call import Call, Handler
from bannister.aws.members import Members, Tables
from bannister.aws.sagemaker.data_capture import summary_members
from bannister.aws.sagemaker.deployment_config import members_of, policy_of
from bannister.aws.sagemaker.endpoint_config import instance_type_member
from bannister.aws.sagemaker.listing import list_request
from bannister.aws.sagemaker.tags import tags_of
from bannister.domain.deployment.admission import Retention
from bannister.domain.deployment.policy import DeploymentPolicy
from bannister.domain.deployment.progress import (
    VariantProgress,
    VariantStatus,
    blue_progress,
    blue_shadow_progress,
    config_name_of,
    green_progress,
    green_shadow_progress,
    status_of,
)
from bannister.domain.endpoint import Endpoint
from bannister.domain.scaling import Desired
from bannister.errors import Resource
from bannister.operations import endpoints
from bannister.operations.context import Context

MEMBERS: Final[Tables] = {
    "CreateEndpointInput": Members("EndpointName EndpointConfigName DeploymentConfig Tags"),
    "UpdateEndpointInput": Members(
        "EndpointName EndpointConfigName RetainAllVariantProperties ExcludeRetainedVariantProperties DeploymentConfig "
        "RetainDeploymentConfig"
    ),
    "VariantProperty": Members(
        "VariantPropertyType",
        refused={
            "VariantPropertyType=DataCaptureConfig": "data capture is not retained (AWS documents it as not supported)"
        },
    ),
    "DeploymentConfig": Members("BlueGreenUpdatePolicy RollingUpdatePolicy AutoRollbackConfiguration"),
    "BlueGreenUpdatePolicy": Members(
        "TrafficRoutingConfiguration TerminationWaitInSeconds MaximumExecutionTimeoutInSeconds"
    ),
    "TrafficRoutingConfig": Members("Type WaitIntervalInSeconds CanarySize LinearStepSize"),
    "CapacitySize": Members("Type Value"),
    "RollingUpdatePolicy": Members(
        "MaximumBatchSize WaitIntervalInSeconds MaximumExecutionTimeoutInSeconds RollbackMaximumBatchSize"
    ),
    "AutoRollbackConfig": Members("Alarms"),
    "Alarm": Members("AlarmName"),
    "UpdateEndpointWeightsAndCapacitiesInput": Members("EndpointName DesiredWeightsAndCapacities"),
    "DesiredWeightAndCapacity": Members(
        "VariantName DesiredWeight DesiredInstanceCount",
        refused={
            "ServerlessUpdateConfig": "endpoints here are real-time only; give DesiredInstanceCount or DesiredWeight"
        },
    ),
    "DescribeEndpointInput": Members("EndpointName"),
    "ListEndpointsInput": Members(
        "SortBy SortOrder NextToken MaxResults NameContains CreationTimeBefore CreationTimeAfter LastModifiedTimeBefore "
        "LastModifiedTimeAfter StatusEquals"
    ),
    "DeleteEndpointInput": Members("EndpointName"),
}


def handlers(context: Context) -> Mapping[str, Handler]:
    async def create(call: Call) -> dict[str, Any]:
        params = call.params
        endpoint = await endpoints.create_endpoint(
            context, params["EndpointName"], params["EndpointConfigName"], _policy(params), tags_of(params)
        )
        return {"EndpointArn": _arn(call, endpoint.name)}

    async def update(call: Call) -> dict[str, Any]:
        params = call.params
        endpoint = await endpoints.update_endpoint(
            context, params["EndpointName"], params["EndpointConfigName"], _policy(params), _retention(params)
        )
        return {"EndpointArn": _arn(call, endpoint.name)}

    async def rescale(call: Call) -> dict[str, Any]:
        params = call.params
        desired = [_desired(one) for one in params["DesiredWeightsAndCapacities"]]
        endpoint = await endpoints.update_weights_and_capacities(context, params["EndpointName"], desired)
        return {"EndpointArn": _arn(call, endpoint.name)}

    async def describe(call: Call) -> dict[str, Any]:
        endpoint = await endpoints.describe_endpoint(context, call.params["EndpointName"])
        return _description(call, endpoint, context)

    async def list_(call: Call) -> dict[str, Any]:
        page = await endpoints.list_endpoints(context, list_request(call.params))
        return {"Endpoints": [_summary(call, endpoint) for endpoint in page.items], "NextToken": page.token}

    async def delete(call: Call) -> dict[str, Any]:
        await endpoints.delete_endpoint(context, call.params["EndpointName"])
        return {}

    return {
        "CreateEndpoint": create,
        "UpdateEndpoint": update,
        "UpdateEndpointWeightsAndCapacities": rescale,
        "DescribeEndpoint": describe,
        "ListEndpoints": list_,
        "DeleteEndpoint": delete,
    }


def _arn(call: Call, name: str) -> str:
    return arn(call.region, call.account_id, Resource.ENDPOINT, name)


def _policy(params: dict[str, Any]) -> DeploymentPolicy | None:
    config = params.get("DeploymentConfig")
    return policy_of(config) if config is not None else None


def _retention(params: dict[str, Any]) -> Retention:
    excluded = {item["VariantPropertyType"] for item in params.get("ExcludeRetainedVariantProperties", [])}
    return Retention(
        variant_properties=params.get("RetainAllVariantProperties", False),
        except_instance_count="DesiredInstanceCount" in excluded,
        except_weight="DesiredWeight" in excluded,
        policy=params.get("RetainDeploymentConfig", False),
    )


def _desired(item: dict[str, Any]) -> Desired:
    return Desired(item["VariantName"], item.get("DesiredWeight"), item.get("DesiredInstanceCount"))


def _summary(call: Call, endpoint: Endpoint) -> dict[str, Any]:
    return {
        "EndpointName": endpoint.name,
        "EndpointArn": _arn(call, endpoint.name),
        "CreationTime": endpoint.created_at,
        "LastModifiedTime": endpoint.modified_at,
        "EndpointStatus": status_of(endpoint).value,
    }


def _description(call: Call, endpoint: Endpoint, context: Context) -> dict[str, Any]:
    ready = context.ready_instances()
    members = {
        **_summary(call, endpoint),
        "EndpointConfigName": config_name_of(endpoint),
        "ProductionVariants": [_production(one) for one in blue_progress(endpoint, ready)] or None,
        "ShadowProductionVariants": [_production(one) for one in blue_shadow_progress(endpoint, ready)] or None,
        "DataCaptureConfig": summary_members(endpoint, context.delivery_trouble),
        "FailureReason": endpoint.failure_reason,
        "LastDeploymentConfig": members_of(endpoint.last_policy) if endpoint.last_policy is not None else None,
    }
    deployment = endpoint.deployment
    if deployment is not None:
        members["PendingDeploymentSummary"] = {
            "EndpointConfigName": deployment.green.config_name,
            "StartTime": deployment.started_at,
            "ProductionVariants": [_pending(one, context) for one in green_progress(deployment, ready)],
            "ShadowProductionVariants": [_pending(one, context) for one in green_shadow_progress(deployment, ready)]
            or None,
        }
    return members


def _production(progress: VariantProgress) -> dict[str, Any]:
    group = progress.group
    image = group.container.image
    return {
        "VariantName": group.variant,
        "DeployedImages": [{"SpecifiedImage": image, "ResolvedImage": image}],
        "CurrentWeight": progress.current_weight,
        "DesiredWeight": group.weight,
        "CurrentInstanceCount": progress.current_instance_count,
        "DesiredInstanceCount": group.instance_count,
        "VariantStatus": _variant_status(progress),
        "RoutingConfig": {"RoutingStrategy": group.routing.value} if group.routing is not None else None,
    }


def _pending(progress: VariantProgress, context: Context) -> dict[str, Any]:
    waits_for = context.waits_for(progress.group.id)
    if progress.status is VariantStatus.CREATING and waits_for is not None:
        progress = replace(progress, message=f"{progress.message} {waits_for}")
    return {**_production(progress), "InstanceType": instance_type_member(progress.group.instance_type)}


def _variant_status(progress: VariantProgress) -> list[dict[str, Any]] | None:
    if progress.status is None:
        return None
    return [{"Status": progress.status.value, "StatusMessage": progress.message, "StartTime": progress.since}]
