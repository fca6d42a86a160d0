"""CreateInferenceExperiment, Describe…, List…, Update…, Start…, Stop… and DeleteInferenceExperiment.

The lists of the request have at most two variants, which ShadowModeConfig tells apart; the order in which they are given means nothing.
`DataStorageConfig` has no sampling: every request and answer is captured, of production and of the shadow.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from bannister.aws.arn import arn
from bannister.aws.call import Call, Handler
from bannister.aws.members import Members, Tables
from bannister.aws.sagemaker.data_capture import check_destination
from bannister.aws.sagemaker.listing import list_request
from bannister.aws.sagemaker.tags import tags_of
from bannister.domain.capture.data_capture import CaptureMode, DataCapture
from bannister.domain.deployment.progress import config_name_of, status_of
from bannister.domain.endpoint import Endpoint
from bannister.domain.experiment.admission import Action
from bannister.domain.experiment.experiment import Experiment, ExperimentVariant, Status
from bannister.domain.experiment.progress import variant_status
from bannister.errors import Invalid, Resource
from bannister.operations import experiments
from bannister.operations.context import Context
from bannister.operations.experiments import ExperimentChange, ExperimentRequest, ExperimentView

#: The only type there is.
SHADOW_MODE: Final = "ShadowMode"

_ENCRYPTION: Final = "nothing is encrypted with keys of KMS"

MEMBERS: Final[Tables] = {
    "CreateInferenceExperimentRequest": Members(
        "Name Type Schedule Description EndpointName ModelVariants DataStorageConfig ShadowModeConfig Tags",
        ignored={"RoleArn": "no role is needed for what an experiment does", "KmsKey": _ENCRYPTION},
    ),
    "InferenceExperimentSchedule": Members("StartTime EndTime"),
    "ModelVariantConfig": Members("ModelName VariantName InfrastructureConfig"),
    "ModelInfrastructureConfig": Members("InfrastructureType RealTimeInferenceConfig"),
    "RealTimeInferenceConfig": Members("InstanceCount InstanceType"),
    "InferenceExperimentDataStorageConfig": Members("Destination ContentType", ignored={"KmsKey": _ENCRYPTION}),
    "ShadowModeConfig": Members("SourceModelVariantName ShadowModelVariants"),
    "ShadowModelVariantConfig": Members("ShadowModelVariantName SamplingPercentage"),
    "DescribeInferenceExperimentRequest": Members("Name"),
    "ListInferenceExperimentsRequest": Members(
        "NameContains Type StatusEquals CreationTimeAfter CreationTimeBefore LastModifiedTimeAfter LastModifiedTimeBefore "
        "SortBy SortOrder NextToken MaxResults"
    ),
    "UpdateInferenceExperimentRequest": Members(
        "Name Schedule Description ModelVariants DataStorageConfig ShadowModeConfig"
    ),
    "StartInferenceExperimentRequest": Members("Name"),
    "StopInferenceExperimentRequest": Members("Name ModelVariantActions DesiredModelVariants DesiredState Reason"),
    "DeleteInferenceExperimentRequest": Members("Name"),
}


def handlers(context: Context) -> Mapping[str, Handler]:
    async def create(call: Call) -> dict[str, Any]:
        return _answer(call, await experiments.create_experiment(context, call.params["Name"], _request(call.params)))

    async def describe(call: Call) -> dict[str, Any]:
        return _description(call, await experiments.describe_experiment(context, call.params["Name"]))

    async def list_(call: Call) -> dict[str, Any]:
        page = await experiments.list_experiments(context, list_request(call.params))
        return {"InferenceExperiments": [_summary(one) for one in page.items], "NextToken": page.token}

    async def update(call: Call) -> dict[str, Any]:
        return _answer(call, await experiments.update_experiment(context, call.params["Name"], _change(call.params)))

    async def start(call: Call) -> dict[str, Any]:
        return _answer(call, await experiments.start_experiment(context, call.params["Name"]))

    async def stop(call: Call) -> dict[str, Any]:
        params = call.params
        experiment = await experiments.stop_experiment(
            context,
            params["Name"],
            {variant: Action(action) for variant, action in params["ModelVariantActions"].items()},
            desired=_variants(params.get("DesiredModelVariants", [])),
            state=Status(params["DesiredState"]) if "DesiredState" in params else None,
            reason=params.get("Reason"),
        )
        return _answer(call, experiment)

    async def delete(call: Call) -> dict[str, Any]:
        name = call.params["Name"]
        await experiments.delete_experiment(context, name)
        return {"InferenceExperimentArn": _arn(call, name)}

    return {
        "CreateInferenceExperiment": create,
        "DescribeInferenceExperiment": describe,
        "ListInferenceExperiments": list_,
        "UpdateInferenceExperiment": update,
        "StartInferenceExperiment": start,
        "StopInferenceExperiment": stop,
        "DeleteInferenceExperiment": delete,
    }


def _arn(call: Call, name: str) -> str:
    return arn(call.region, call.account_id, Resource.EXPERIMENT, name)


def _answer(call: Call, experiment: Experiment) -> dict[str, Any]:
    return {"InferenceExperimentArn": _arn(call, experiment.name)}


# --- from AWS's words to ours -----------------------------------------------------------------------


def _request(params: dict[str, Any]) -> ExperimentRequest:
    mode = params["ShadowModeConfig"]
    (shadow,) = mode["ShadowModelVariants"]
    production_name, shadow_name = mode["SourceModelVariantName"], shadow["ShadowModelVariantName"]
    variants = {one.name: one for one in _variants(params["ModelVariants"])}
    if len(params["ModelVariants"]) != 2 or set(variants) != {production_name, shadow_name}:
        raise Invalid(
            f'ModelVariants must describe the variants of ShadowModeConfig, "{production_name}" and "{shadow_name}", each once.'
        )
    schedule = params.get("Schedule", {})
    return ExperimentRequest(
        endpoint=params["EndpointName"],
        production=variants[production_name],
        shadow=variants[shadow_name],
        sampling_percent=shadow["SamplingPercentage"],
        starts_at=schedule.get("StartTime"),
        ends_at=schedule.get("EndTime"),
        description=params.get("Description"),
        role=params["RoleArn"],
        capture=_capture(params),
        kms_key=params.get("KmsKey"),
        tags=tags_of(params),
    )


def _change(params: dict[str, Any]) -> ExperimentChange:
    schedule, mode = params.get("Schedule", {}), params.get("ShadowModeConfig", {})
    shadow: dict[str, Any] = next(iter(mode.get("ShadowModelVariants", [])), {})
    return ExperimentChange(
        description=params.get("Description"),
        starts_at=schedule.get("StartTime"),
        ends_at=schedule.get("EndTime"),
        production_name=mode.get("SourceModelVariantName"),
        shadow_name=shadow.get("ShadowModelVariantName"),
        sampling_percent=shadow.get("SamplingPercentage"),
        variants=_variants(params["ModelVariants"]) if "ModelVariants" in params else None,
        capture=_capture(params),
    )


def _variants(given: list[dict[str, Any]]) -> tuple[ExperimentVariant, ...]:
    found = []
    for one in given:
        infrastructure = one["InfrastructureConfig"]["RealTimeInferenceConfig"]
        found.append(
            ExperimentVariant(
                one["VariantName"], one["ModelName"], infrastructure["InstanceType"], infrastructure["InstanceCount"]
            )
        )
    return tuple(found)


def _capture(params: dict[str, Any]) -> DataCapture | None:
    storage = params.get("DataStorageConfig")
    if storage is None:
        return None
    destination = storage["Destination"]
    check_destination("DataStorageConfig.Destination", destination)
    content = storage.get("ContentType", {})
    return DataCapture(
        enabled=True,
        sampling_percent=100,
        destination_url=destination,
        modes=(CaptureMode.INPUT, CaptureMode.OUTPUT),
        csv_content_types=tuple(content.get("CsvContentTypes", ())),
        json_content_types=tuple(content.get("JsonContentTypes", ())),
        kms_key_id=storage.get("KmsKey"),
    )


# --- and back ---------------------------------------------------------------------------------------


def _summary(experiment: Experiment) -> dict[str, Any]:
    return {
        "Name": experiment.name,
        "Type": SHADOW_MODE,
        "Schedule": {"StartTime": experiment.starts_at, "EndTime": experiment.ends_at},
        "Status": experiment.status.value,
        "StatusReason": experiment.reason,
        "Description": experiment.description,
        "CreationTime": experiment.created_at,
        "CompletionTime": experiment.completed_at,
        "LastModifiedTime": experiment.modified_at,
        "RoleArn": experiment.role,
    }


def _description(call: Call, view: ExperimentView) -> dict[str, Any]:
    experiment = view.experiment
    return {
        "Arn": _arn(call, experiment.name),
        **_summary(experiment),
        "EndpointMetadata": _endpoint(experiment, view.endpoint),
        "ModelVariants": [
            {**_variant(one), "Status": variant_status(experiment, view.endpoint, one.name).value}
            for one in experiment.variants
        ],
        "DataStorageConfig": _storage(experiment.capture),
        "ShadowModeConfig": {
            "SourceModelVariantName": experiment.production.name,
            "ShadowModelVariants": [
                {
                    "ShadowModelVariantName": experiment.shadow.name,
                    "SamplingPercentage": experiment.sampling_percent,
                }
            ],
        },
        "KmsKey": experiment.kms_key,
    }


def _endpoint(experiment: Experiment, endpoint: Endpoint | None) -> dict[str, Any]:
    members: dict[str, Any] = {"EndpointName": experiment.endpoint}
    if endpoint is not None:
        members["EndpointConfigName"] = config_name_of(endpoint) or None
        members["EndpointStatus"] = status_of(endpoint).value
        members["FailureReason"] = endpoint.failure_reason
    return members


def _variant(variant: ExperimentVariant) -> dict[str, Any]:
    return {
        "ModelName": variant.model_name,
        "VariantName": variant.name,
        "InfrastructureConfig": {
            "InfrastructureType": "RealTimeInference",
            "RealTimeInferenceConfig": {
                "InstanceType": variant.instance_type,
                "InstanceCount": variant.instance_count,
            },
        },
    }


def _storage(capture: DataCapture | None) -> dict[str, Any] | None:
    if capture is None:
        return None
    content = {"CsvContentTypes": capture.csv_content_types, "JsonContentTypes": capture.json_content_types}
    given = {name: list(types) for name, types in content.items() if types}
    return {"Destination": capture.destination_url, "KmsKey": capture.kms_key_id, "ContentType": given or None}
