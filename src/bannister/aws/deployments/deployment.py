"""ListDeployments, DescribeDeployment, RollbackDeployment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from bannister.aws.call import Call, Handler
from bannister.domain.alarm.caveats import Caveat
from bannister.domain.alarm.summary import summary
from bannister.domain.deployment.deployment import Deployment
from bannister.domain.deployment.model_warning import KIND, REMEDY, ModelWarning
from bannister.domain.deployment.observation import AlarmObservation
from bannister.domain.deployment.outlook import DeploymentStatus, Waiting, deployment_status, step_states
from bannister.domain.deployment.plan import Step
from bannister.domain.deployment.policy import UNGUARDED_KIND, UNGUARDED_REMEDY, DeploymentPolicy, Unguarded
from bannister.domain.deployment.room import Shortage
from bannister.domain.fleet import Fleet
from bannister.domain.traffic import TRAFFIC_PARTS, Split
from bannister.operations import deployments
from bannister.operations.context import Context
from bannister.operations.deployments import FIGURES_SECONDS, DeploymentView, Figures, GroupView, ShadowView

_PAGE_SIZE_DEFAULT: Final = 20


def handlers(context: Context) -> Mapping[str, Handler]:
    async def list_(call: Call) -> dict[str, Any]:
        params = call.params
        status = params.get("StatusEquals")
        page = await deployments.list_deployments(
            context,
            endpoint=params.get("EndpointName"),
            status=DeploymentStatus(status) if status is not None else None,
            limit=params.get("MaxResults", _PAGE_SIZE_DEFAULT),
            token=params.get("NextToken"),
        )
        return {"Deployments": [_summary(one) for one in page.items], "NextToken": page.token}

    async def describe(call: Call) -> dict[str, Any]:
        params = call.params
        return _description(
            await deployments.describe_deployment(
                context, deployment=params.get("DeploymentId"), endpoint=params.get("EndpointName")
            )
        )

    async def rollback(call: Call) -> dict[str, Any]:
        params = call.params
        stopped = await deployments.rollback_deployment(
            context, params["Reason"], deployment=params.get("DeploymentId"), endpoint=params.get("EndpointName")
        )
        return {
            "DeploymentId": stopped.id,
            "EndpointName": stopped.endpoint,
            "Status": deployment_status(stopped).value,
            "BlueConfigName": _blue_name(stopped),
            "GreenConfigName": stopped.green.config_name,
        }

    return {"ListDeployments": list_, "DescribeDeployment": describe, "RollbackDeployment": rollback}


def _blue_name(deployment: Deployment) -> str | None:
    return deployment.blue.config_name if deployment.blue is not None else None


def _summary(deployment: Deployment) -> dict[str, Any]:
    return {
        "DeploymentId": deployment.id,
        "EndpointName": deployment.endpoint,
        "Status": deployment_status(deployment).value,
        "Phase": deployment.phase.value,
        "BlueConfigName": _blue_name(deployment),
        "GreenConfigName": deployment.green.config_name,
        "StartTime": deployment.started_at,
        "EndTime": deployment.ended_at,
        "Reason": deployment.reason,
    }


def _description(view: DeploymentView) -> dict[str, Any]:
    deployment = view.deployment
    return {
        **_summary(deployment),
        "PhaseSince": deployment.phase_since,
        "DeadlineTime": deployment.deadline_at,
        "EarliestEndTime": view.earliest_end,
        "ObservedTime": view.at,
        "Policy": _policy(deployment.policy),
        "CurrentStep": deployment.step + 1,
        "Steps": _steps(deployment),
        "WaitsFor": _waiting(view.waiting) if view.waiting is not None else None,
        "RollbackRequested": deployment.stop_requested,
        "Blue": _fleet(deployment.blue, view.blue) if deployment.blue is not None else None,
        "Green": _fleet(deployment.green, view.green),
        "Shadow": _shadow(view.shadow) if view.shadow is not None else None,
        "Alarms": [_alarm(alarm) for alarm in view.alarms],
        "Warnings": [
            *_unguarded(deployment.unguarded),
            *_shortage(deployment.shortage),
            *(_model_warning(one) for one in deployment.model_warnings),
            *(_warning(one) for one in deployment.caveats),
        ],
    }


def _policy(policy: DeploymentPolicy) -> dict[str, Any]:
    return {
        "RoutingType": policy.routing.value,
        "StepType": policy.step.type.value if policy.step is not None else None,
        "StepValue": policy.step.value if policy.step is not None else None,
        "RollbackStepType": policy.rollback_step.type.value if policy.rollback_step is not None else None,
        "RollbackStepValue": policy.rollback_step.value if policy.rollback_step is not None else None,
        "WaitSeconds": policy.wait_seconds,
        "TerminationWaitSeconds": policy.termination_wait_seconds,
        "AlarmNames": list(policy.alarms),
    }


def _steps(deployment: Deployment) -> list[dict[str, Any]]:
    states = step_states(deployment)
    return [
        {
            "Number": number,
            "State": state.value,
            "GreenPercent": _green_percent(deployment.green, step.split),
            "BakeSeconds": step.bake_seconds,
            "Variants": _step_variants(step),
        }
        for number, (step, state) in enumerate(zip(deployment.steps, states, strict=True), start=1)
    ]


def _green_percent(green: Fleet, split: Split) -> float:
    return of_all_variants(
        {group.variant: group.weight for group in green.groups},
        {one.variant: _percent(one.green_parts) for one in split.variants},
    )


def of_all_variants(weights: Mapping[str, float], percents: Mapping[str, float]) -> float:
    """Green's percent of the traffic of all variants, from its percent of each: each takes part by its weight."""
    whole = sum(weights.values()) or 1.0
    return round(sum(percents.get(variant, 0.0) * weight / whole for variant, weight in weights.items()), 4)


def _step_variants(step: Step) -> list[dict[str, Any]]:
    return [
        {
            "VariantName": one.variant,
            "GreenPercent": _percent(one.green_parts),
            "GreenInstances": one.green_instances,
        }
        for one in step.split.variants
    ]


def _waiting(waiting: Waiting) -> dict[str, Any]:
    return {"Sentence": waiting.sentence, "Since": waiting.since, "Until": waiting.until}


def _fleet(fleet: Fleet, groups: Sequence[GroupView]) -> dict[str, Any]:
    seen = [one.seen for one in groups if one.seen is not None]
    acknowledged = [one.acknowledged_parts for one in seen if one.acknowledged_parts is not None]
    return {
        "EndpointConfigName": fleet.config_name,
        "PercentAsked": _percent(sum(one.asked_parts for one in seen)) if seen else None,
        "PercentAcknowledged": _percent(sum(acknowledged)) if acknowledged else None,
        "Variants": [_variant(group) for group in groups],
    }


def _variant(view: GroupView) -> dict[str, Any]:
    group, seen = view.group, view.seen
    members: dict[str, Any] = {
        "VariantName": group.variant,
        "EndpointConfigName": group.config_name,
        "ModelName": group.model_name,
        "Image": group.container.image,
        "InstancesWanted": group.instance_count,
        "Figures": _figures(view.figures),
    }
    if seen is not None:
        parts = seen.acknowledged_parts
        members |= {
            "InstancesReady": seen.ready,
            "InstanceRestarts": seen.restarts,
            "Failure": seen.failure,
            "PercentAsked": _percent(seen.asked_parts),
            "PercentAcknowledged": _percent(parts) if parts is not None else None,
        }
    return members


def _shadow(shadow: ShadowView) -> dict[str, Any]:
    return {
        "VariantName": shadow.group.variant,
        "EndpointConfigName": shadow.group.config_name,
        "WindowSeconds": FIGURES_SECONDS,
        "Copies": shadow.copies,
        "Skipped": shadow.skipped,
        "Pairs": shadow.pairs,
        "Agreeing": shadow.agreeing,
        "AgreementPercent": 100 * shadow.agreeing / shadow.pairs if shadow.pairs else None,
    }


def _figures(figures: Figures) -> dict[str, Any]:
    rate = figures.error_rate
    return {
        "WindowSeconds": FIGURES_SECONDS,
        "Requests": figures.requests,
        "Errors": figures.errors,
        "ErrorPercent": 100 * rate if rate is not None else None,
        "P50Milliseconds": figures.p50_milliseconds,
        "P99Milliseconds": figures.p99_milliseconds,
    }


def _alarm(alarm: AlarmObservation) -> dict[str, Any]:
    points = [point for point in alarm.datapoints if point is not None]
    members: dict[str, Any] = {
        "AlarmName": alarm.name,
        "State": alarm.value.value if alarm.value is not None else "DELETED",
        "Value": points[-1].value if points else None,
        "Datapoints": [
            {"Timestamp": point.start_at, "Value": point.value, "SampleCount": point.samples} for point in points
        ],
        "Reason": alarm.reason or None,
        "EvaluatedUntil": alarm.evaluated_until,
        "TrippedTime": alarm.tripped_at,
    }
    if alarm.composite_rule is not None:
        members["Rule"] = alarm.composite_rule
    if alarm.rule is not None:
        members |= {
            "Rule": summary(alarm.rule),
            "MetricName": alarm.rule.metric.name if alarm.rule.metric is not None else None,
            "Statistic": alarm.rule.statistic or None,
            "ComparisonOperator": alarm.rule.comparison.value,
            "Threshold": alarm.rule.threshold,
        }
    return members


def _warning(caveat: Caveat) -> dict[str, Any]:
    return {
        "AlarmName": caveat.alarm,
        "Kind": caveat.kind.value,
        "Reason": caveat.reason,
        "Remedy": caveat.remedy,
    }


def _unguarded(found: Unguarded | None) -> list[dict[str, Any]]:
    if found is None:
        return []
    return [{"VariantName": found.variant, "Kind": UNGUARDED_KIND, "Reason": str(found), "Remedy": UNGUARDED_REMEDY}]


def _shortage(found: Shortage | None) -> list[dict[str, Any]]:
    return [] if found is None else [{"Kind": found.kind.value, "Reason": found.reason, "Remedy": found.remedy}]


def _model_warning(one: ModelWarning) -> dict[str, Any]:
    return {"VariantName": one.variant, "Kind": KIND, "Reason": str(one), "Remedy": REMEDY}


def _percent(parts: float) -> float:
    return round(100 * parts / TRAFFIC_PARTS, 4)
