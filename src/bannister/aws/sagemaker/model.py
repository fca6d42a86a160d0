"""CreateModel, DescribeModel, ListModels, DeleteModel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from bannister.aws.arn import arn
from bannister.aws.call import Call, Handler
from bannister.aws.members import Members, Tables, as_given
from bannister.aws.sagemaker.listing import list_request
from bannister.aws.sagemaker.tags import tags_of
from bannister.domain.model import Container
from bannister.errors import Invalid, Resource, Unsupported
from bannister.operations import models
from bannister.operations.context import Context

_NO_NETWORKS: Final = "an instance is a process of this machine"
_PACKAGES: Final = "there are no model packages here; give Image and ModelDataUrl"

MEMBERS: Final[Tables] = {
    "CreateModelInput": Members(
        "ModelName PrimaryContainer Containers Tags",
        ignored={
            "InferenceExecutionConfig": "a model is one container, so there is nothing to put in order",
            "ExecutionRoleArn": "no role is needed for what a model may do",
            "VpcConfig": _NO_NETWORKS,
            "EnableNetworkIsolation": _NO_NETWORKS,
        },
    ),
    "InferenceExecutionConfig": Members(
        ignored={"Mode": "a model is one container, so there is nothing to put in order"},
        refused={"Mode=Direct": "the containers of a model cannot be invoked directly, each model is one container"},
    ),
    "ContainerDefinition": Members(
        "ContainerHostname Image Mode ModelDataUrl ModelDataSource Environment",
        ignored={"ImageConfig": "where an image comes from is the business of this machine's container engine"},
        refused={
            "Mode=MultiModel": "create one model per artifact, with Mode SingleModel",
            "MultiModelConfig": "create one model per artifact",
            "AdditionalModelDataSources": "put everything that is loaded into one artifact",
            "ModelPackageName": _PACKAGES,
            "InferenceSpecificationName": _PACKAGES,
            "ContainerMetricsConfig": "nothing reads metrics from a model's own address",
        },
    ),
    "ModelDataSource": Members("S3DataSource"),
    "S3ModelDataSource": Members(
        "S3Uri S3DataType CompressionType",
        ignored={
            "ModelAccessConfig": "licences are between you and their owner",
            "HubAccessConfig": "there are no hubs here; S3Uri alone says what is loaded",
        },
        refused={
            "S3DataType=S3Prefix": "an artifact is one object, give S3Object with CompressionType Gzip",
            "CompressionType=None": "an artifact is one model.tar.gz, give S3Object with CompressionType Gzip",
            "ManifestS3Uri": "an artifact is one object, without a manifest",
            "ManifestEtag": "an artifact is one object, without a manifest",
            "ETag": "the artifact is not compared with it; put each version under a key of its own",
        },
    ),
    "DescribeModelInput": Members("ModelName"),
    "ListModelsInput": Members(
        "SortBy SortOrder NextToken MaxResults NameContains CreationTimeBefore CreationTimeAfter"
    ),
    "DeleteModelInput": Members("ModelName"),
}


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
            as_given=as_given(
                params, MEMBERS["CreateModelInput"], besides=("ExecutionRoleArn", "EnableNetworkIsolation")
            ),
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
            **model.as_given,
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
    if "Image" not in definition:
        raise Invalid("The container definition needs an Image, which says how the model is run.")
    return Container(
        image=definition["Image"],
        artifact_url=_artifact_url(definition),
        environment=dict(definition.get("Environment", {})),
        hostname=definition.get("ContainerHostname"),
        as_given=as_given(definition, MEMBERS["ContainerDefinition"]) | _source(definition),
    )


def _source(definition: dict[str, Any]) -> dict[str, Any]:
    """Where the artifact is, if it was said in the longer way: described in the same."""
    return {name: given for name, given in definition.items() if name == "ModelDataSource"}


def _artifact_url(definition: dict[str, Any]) -> str | None:
    source = definition.get("ModelDataSource", {}).get("S3DataSource")
    if source is None:
        return definition.get("ModelDataUrl")
    if "ModelDataUrl" in definition:
        raise Invalid("Give either ModelDataUrl or ModelDataSource, not both.")
    url: str = source["S3Uri"]
    return url


def _container_members(container: Container) -> dict[str, Any]:
    return {
        "Image": container.image,
        "Mode": "SingleModel",
        "ModelDataUrl": container.artifact_url if "ModelDataSource" not in container.as_given else None,
        "Environment": container.environment,
        "ContainerHostname": container.hostname,
        **container.as_given,
    }
