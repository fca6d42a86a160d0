"""What is wrong with the alarms that a deployment names: looks up what the checks need to know."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import msgspec

from bannister.domain.alarm.alarm import Alarm, AlarmRule
from bannister.domain.alarm.cascade import led_to
from bannister.domain.alarm.caveats import UNLOOKED, Caveat, Traffic, Watch, of_deployment, watches
from bannister.domain.deployment.deployment import ENDED, Deployment
from bannister.domain.deployment.recorder import WARNED
from bannister.domain.endpoint import Endpoint
from bannister.domain.metric.aggregate import Aggregate
from bannister.domain.metric.endpoint import variant_of
from bannister.domain.metric.identity import MetricIdentity, identity
from bannister.errors import Conflict, Unavailable
from bannister.operations.context import Context
from bannister.state.store import Put, Record, Row
from bannister.state.tables import ALARMS, ENDPOINTS

log = logging.getLogger(__name__)

#: Today's traffic is that of so many seconds.
TRAFFIC_SECONDS: Final = 60
#: What data users put is seen by the last so many seconds: they may come once a minute or less.
DATA_SECONDS: Final = 3600
#: A composite alarm can lead to thousands of alarms; only so many are looked at, and so many caveats kept, because every step of a deployment writes them again.
ALARMS_MAX: Final = 500
#: Where a deployment is decided on again and again meanwhile, its warnings stay as they are.
_ATTEMPTS_MAX: Final = 5
CAVEATS_MAX: Final = 50


async def with_caveats(context: Context, deployment: Deployment) -> Deployment:
    """The deployment, with what is wrong with the alarms that it names and, of composite alarms, with those that their rules lead to."""
    watch = _watch(deployment)
    found: list[Caveat] = []
    for name, rule in (await _judged(context, deployment))[:ALARMS_MAX]:
        found += of_deployment(name, rule, watch, await traffics_of(context, rule))
    return replace(deployment, caveats=tuple(found[:CAVEATS_MAX]))


async def renew_caveats(context: Context, alarm_name: str) -> None:
    """Say of running deployments that an alarm decides about what is wrong with their alarms now; to be called when that alarm was put.

    It was put, whatever becomes of this: what cannot be written is logged.
    """
    try:
        await _renew_caveats(context, alarm_name)
    except Unavailable as error:
        log.warning("caveats.not_renewed alarm=%s %s", alarm_name, error)


async def _renew_caveats(context: Context, alarm_name: str) -> None:
    for row in await context.state.rows(ENDPOINTS):
        found: Row[Endpoint] | None = row
        for _ in range(_ATTEMPTS_MAX):
            deployment = None if found is None else found.value.deployment
            if found is None or deployment is None or deployment.phase in ENDED:
                break
            if alarm_name not in await _deciding(context, deployment):
                break
            fresh = await with_caveats(context, deployment)
            if fresh.caveats == deployment.caveats:
                break
            body = {
                "deployment": fresh.id,
                "alarm": alarm_name,
                "reason": f'Alarm "{alarm_name}" was put, and {_told(fresh.caveats)}.',
                "caveats": msgspec.to_builtins(fresh.caveats),
            }
            put = Put(ENDPOINTS, found.key, replace(found.value, deployment=fresh), found.revision)
            record = Record(context.clock.now(), f"endpoint/{found.key}", WARNED, body)
            try:
                await context.state.commit([put], [record])
            except Conflict:  # the deployer has decided
                found = await context.state.get(ENDPOINTS, found.key)
            else:
                break


def _told(caveats: Sequence[Caveat]) -> str:
    if not caveats:
        return "nothing is wrong with the alarms any more"
    return "now there is this: " + "; ".join(f"{one.alarm}: {one.kind.value}" for one in caveats)


async def _judged(context: Context, deployment: Deployment) -> list[tuple[str, AlarmRule]]:
    """The metric alarms that decide about a deployment, those that it names first."""
    alarms = await _deciding(context, deployment)
    return [(name, alarm.rule) for name, alarm in alarms.items() if alarm.rule is not None]


async def _deciding(context: Context, deployment: Deployment) -> dict[str, Alarm]:
    """The alarms that a deployment names, and those that they lead to."""
    if not deployment.policy.alarms:
        return {}
    alarms = {row.key: row.value for row in await context.state.rows(ALARMS)}
    return {name: alarms[name] for name in led_to(alarms.get, deployment.policy.alarms) if name in alarms}


def _watch(deployment: Deployment) -> Watch:
    fleets = [fleet for fleet in (deployment.blue, deployment.green) if fleet is not None]
    return Watch(
        deployment.endpoint,
        deployment.blue.config_name if deployment.blue is not None else None,
        deployment.green.config_name,
        tuple(group.variant for group in deployment.green.groups),
        tuple(fleet.shadow.group.variant for fleet in fleets if fleet.shadow is not None),
        tuple(
            (min((one.green_parts for one in step.split.variants), default=0), step.bake_seconds)
            for step in deployment.steps
        ),
    )


async def traffics_of(context: Context, rule: AlarmRule) -> list[Traffic]:
    """What each metric of an alarm has had lately, of both fleets together."""
    return [await _traffic(context, one) for one in watches(rule)]


async def _traffic(context: Context, rule: AlarmRule) -> Traffic:
    assert rule.metric is not None, "of `watches`"
    try:
        if variant_of(rule.metric) is not None:
            found = await _lately(context, _of_both(rule.metric), TRAFFIC_SECONDS)
            return Traffic(found is not None, 0.0 if found is None else found.count / TRAFFIC_SECONDS)
        return await _put(context, rule, rule.metric)
    except Unavailable:
        return UNLOOKED  # a warning less is better than a request that is refused


async def _put(context: Context, rule: AlarmRule, metric: MetricIdentity) -> Traffic:
    """Of a metric that users put."""
    length = max(TRAFFIC_SECONDS, rule.period_seconds)
    newest = await _lately(context, metric, length)
    length_of_all = max(DATA_SECONDS, length)
    all_ = await _lately(context, metric, length_of_all)
    if all_ is None:
        return Traffic(False, 0.0)
    in_unit = rule.unit is None or await _lately(context, metric, length_of_all, unit=rule.unit) is not None
    shown = await _lately(context, metric, length_of_all, shown_to_seconds=rule.period_seconds)
    return Traffic(True, 0.0 if newest is None else newest.count / length, in_unit, shown is not None, all_.unit)


async def _lately(
    context: Context,
    metric: MetricIdentity,
    length: int,
    *,
    unit: str | None = None,
    shown_to_seconds: int | None = None,
) -> Aggregate | None:
    end = math.floor(context.clock.now())
    if variant_of(metric) is None:
        end += 1  # one may put an alarm right after its first data; endpoints' come second by second
    (found,) = await context.metrics.read(metric, end - length, length, 1, unit, shown_to_seconds=shown_to_seconds)
    return found


def _of_both(metric: MetricIdentity) -> MetricIdentity:
    """The metric in which the fleets add up: green's own has no traffic yet."""
    named = variant_of(metric)
    if named is None:
        return metric
    return identity(metric.namespace, metric.name, {"EndpointName": named[0], "VariantName": named[1]})
