"""CreateModel, DescribeModel, ListModels, DeleteModel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bannister.aws.arn import arn
from bannister.aws.call import Call, Handler
from bannister.aws.sagemaker.listing import list_request
from bannister.aws.sagemaker.tags import tags_of
from bannister.domain.model import Container
from bannister.errors import Invalid, Resource, Unsupported
from bannister.operations import models
from bannister.operations.context import Context


def handlers(context: Context) -> Mapping[str, Handler]:
    async def create(call: Call) -> dict[str, Any]:
        params = call.params
        model = await models.create_model(
            context,
            params["ModelName"],
            _container(params),
            execution_role=params.get("ExecutionRoleArn"),
            given_as_list="Containers" in params,
            network_isolation=params.get("EnableNetworkIsolation", False),
            tags=tags_of(params),
        )
        return {"ModelArn": _arn(call, model.name)}

    async def describe(call: Call) -> dict[str, Any]:
        model = await models.describe_model(context, call.params["ModelName"])
        container = _container_members(model.container)
        return {
            "ModelName": model.name,
            "ModelArn": _arn(call, model.name),
            "CreationTime": model.created_at,
            "ExecutionRoleArn": model.execution_role,
            "EnableNetworkIsolation": model.network_isolation,
            **({"Containers": [container]} if model.given_as_list else {"PrimaryContainer": container}),
        }

    async def list_(call: Call) -> dict[str, Any]:
        page = await models.list_models(context, list_request(call.params))
        summaries = [
            {"ModelName": model.name, "ModelArn": _arn(call, model.name), "CreationTime": model.created_at}
            for model in page.items
        ]
        return {"Models": summaries, "NextToken": page.token}

    async def delete(call: Call) -> dict[str, Any]:
        await models.delete_model(context, call.params["ModelName"])
        return {}

    return {"CreateModel": create, "DescribeModel": describe, "ListModels": list_, "DeleteModel": delete}


def _arn(call: Call, name: str) -> str:
    return arn(call.region, call.account_id, Resource.MODEL, name)


def _container(params: dict[str, Any]) -> Container:
    given = [params[name] for name in ("PrimaryContainer", "Containers") if name in params]
    if len(given) != 1:
        raise Invalid("Give exactly one of PrimaryContainer and Containers.")
    if "Containers" in params and len(params["Containers"]) != 1:
        raise Unsupported(
            f"Containers has {len(params['Containers'])} entries; Bannister runs models of exactly one container, "
            "inference pipelines are not supported."
        )
    return _parsed(params["Containers"][0] if "Containers" in params else params["PrimaryContainer"])


def _parsed(definition: dict[str, Any]) -> Container:
    if definition.get("Mode") == "MultiModel":
        raise Unsupported("Mode MultiModel is not supported; create one model per artifact (Mode SingleModel).")
    if "ModelPackageName" in definition:
        raise Unsupported("ModelPackageName is not supported; give Image and ModelDataUrl.")
    if "AdditionalModelDataSources" in definition:
        raise Unsupported(
            "AdditionalModelDataSources is not supported; put everything that is loaded into one artifact."
        )
    if "Image" not in definition:
        raise Invalid("The container definition needs an Image, which says how the model is run.")
    return Container(
        image=definition["Image"],
        artifact_url=_artifact_url(definition),
        environment=dict(definition.get("Environment", {})),
        hostname=definition.get("ContainerHostname"),
    )


def _artifact_url(definition: dict[str, Any]) -> str | None:
    source = definition.get("ModelDataSource", {}).get("S3DataSource")
    if source is None:
        return definition.get("ModelDataUrl")
    if "ModelDataUrl" in definition:
        raise Invalid("Give either ModelDataUrl or ModelDataSource, not both.")
    if source["S3DataType"] != "S3Object" or source["CompressionType"] != "Gzip":
        raise Unsupported("ModelDataSource is supported for S3DataType S3Object with CompressionType Gzip.")
    url: str = source["S3Uri"]
    return url


def _container_members(container: Container) -> dict[str, Any]:
    return {
        "Image": container.image,
        "Mode": "SingleModel",
        "ModelDataUrl": container.artifact_url,
        "Environment": container.environment,
        "ContainerHostname": container.hostname,
    }
