"""Deployments, as people look at them and stop them: list, describe, the decisions with their evidence, and a rollback on request.

A running deployment is in its endpoint's row, an ended one in a row of its own. What is shown of a running one is the observation that the deployer
would decide on now; of an ended one, what the decision that settled it was made on.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

import msgspec

from bannister import __version__
from bannister.domain.deployment.deployment import ENDED, Deployment, Phase
from bannister.domain.deployment.machine import Event
from bannister.domain.deployment.observation import AlarmObservation, GroupObservation, Observation
from bannister.domain.deployment.outlook import DeploymentStatus, Waiting, deployment_status, earliest_end, waiting
from bannister.domain.deployment.recorder import DECIDED
from bannister.domain.deployment.wish import wish, wished
from bannister.domain.endpoint import Endpoint
from bannister.domain.fleet import Fleet, Group
from bannister.domain.metric.aggregate import Aggregate, statistic
from bannister.domain.metric.endpoint import group_metric
from bannister.domain.metric.identity import SHADOW_NAMESPACE
from bannister.domain.routing import fed_fleet
from bannister.errors import Conflict, Invalid, NotFound, Resource
from bannister.operations.context import Context
from bannister.operations.continuation import continued
from bannister.operations.listing import Page
from bannister.operations.story import ROLLBACK_REFUSED, ROLLBACK_REQUESTED, journal_refusal, position, story, story_of
from bannister.state.store import Entry, Put, Record, Row
from bannister.state.tables import DEPLOYMENTS, ENDPOINTS

#: Figures are over this long, up to now or to the deployment's end.
FIGURES_SECONDS: Final = 60

#: Each failure means that the deployer decided something in between.
_ATTEMPTS_MAX: Final = 20
#: Decisions after which nothing is judged any more.
_SETTLING: Final = frozenset({Event.STOPPED.value, Event.LAST_STEP_BAKED.value})


@dataclass(frozen=True, slots=True)
class Figures:
    """What callers got from one group over `FIGURES_SECONDS`. Latencies are the model's, in milliseconds; None: no answer."""

    requests: int
    #: Not answered with 2xx.
    errors: int
    p50_milliseconds: float | None
    p99_milliseconds: float | None

    @property
    def error_rate(self) -> float | None:
        return self.errors / self.requests if self.requests else None


@dataclass(frozen=True, slots=True)
class GroupView:
    """One group, what it is seen to be, and what callers got from it."""

    group: Group
    #: None: nothing is known of it any more.
    seen: GroupObservation | None
    figures: Figures


@dataclass(frozen=True, slots=True)
class ShadowView:
    """The shadow that is fed, and what became of its copies over `FIGURES_SECONDS`."""

    group: Group
    copies: int
    #: Copies that were not made because a bound was reached.
    skipped: int
    #: Answers that were compared with production's, and how many of them are the same.
    pairs: int
    agreeing: int


@dataclass(frozen=True, slots=True)
class DeploymentView:
    """Everything there is to see of a deployment."""

    deployment: Deployment
    status: DeploymentStatus
    blue: tuple[GroupView, ...]
    green: tuple[GroupView, ...]
    alarms: tuple[AlarmObservation, ...]
    waiting: Waiting | None
    earliest_end: float | None
    #: When this was true.
    at: float
    #: None: no shadow is fed.
    shadow: ShadowView | None = None


async def list_deployments(
    context: Context,
    *,
    endpoint: str | None = None,
    status: DeploymentStatus | None = None,
    limit: int,
    token: str | None = None,
) -> Page[Deployment]:
    """Running and ended deployments, the newest first."""
    found = [
        one
        for one in await _all(context)
        if (endpoint is None or one.endpoint == endpoint) and (status is None or deployment_status(one) is status)
    ]
    return continued(found, lambda one: f"{one.started_at:020.6f} {one.id}", limit, token, descending=True)


async def describe_deployment(
    context: Context, *, deployment: str | None = None, endpoint: str | None = None
) -> DeploymentView:
    """One deployment by its id, or the newest of an endpoint."""
    one = await _find(context, deployment, endpoint)
    if one.phase in ENDED:
        return await _ended(context, one)
    row = await context.state.get(ENDPOINTS, one.endpoint)
    if row is None or row.value.deployment is None or row.value.deployment.id != one.id:
        return await describe_deployment(context, deployment=one.id)  # it ended while we looked
    return await _running(context, row.value, row.value.deployment)


async def list_decisions(
    context: Context,
    *,
    deployment: str | None = None,
    endpoint: str | None = None,
    limit: int,
    token: str | None = None,
) -> Page[Entry]:
    """The journal's entries that tell a deployment's story, or all of an endpoint, the oldest first."""
    _exactly_one(deployment, endpoint)
    after = position(token)
    if deployment is not None:
        entries = story_of(context, await _find(context, deployment, None), after)
    else:
        entries = story(context, endpoint or "", after)
    shown: list[Entry] = []
    async for entry in entries:
        if len(shown) == limit:
            return Page(tuple(shown), str(shown[-1].sequence))
        shown.append(entry)
    if not shown and endpoint is not None and token is None and await context.state.get(ENDPOINTS, endpoint) is None:
        raise NotFound(Resource.ENDPOINT, endpoint)
    return Page(tuple(shown), None)


async def rollback_deployment(
    context: Context, reason: str, *, deployment: str | None = None, endpoint: str | None = None
) -> Deployment:
    """Ask a running deployment to roll back; the deployer acts on it at its next turn. Asking again changes nothing.

    Raises:
        NotFound: There is no such deployment or endpoint.
        Invalid: No reason is given; or (ConflictException) it cannot be rolled back any more, or nothing runs.
    """
    _exactly_one(deployment, endpoint)
    if not reason.strip():
        raise Invalid("Reason is blank: say why, for it is what those who ask later will read.")
    for _ in range(_ATTEMPTS_MAX):
        row = await _running_row(context, deployment, endpoint)
        present = row.value.deployment
        if present is None or (deployment is not None and present.id != deployment):
            raise _nothing_to_roll_back(row.value, deployment)
        try:
            asked = wished(present, reason)
        except Invalid as refusal:
            await journal_refusal(context, row.key, ROLLBACK_REFUSED, wish(present, reason, __version__, refusal))
            raise
        if asked == present:
            return present
        record = Record(
            context.clock.now(), f"endpoint/{row.key}", ROLLBACK_REQUESTED, wish(present, reason, __version__)
        )
        try:
            await context.state.commit(
                [Put(ENDPOINTS, row.key, replace(row.value, deployment=asked), row.revision)], [record]
            )
        except Conflict:
            continue  # the deployer was faster: what it decided may have changed the answer
        return asked
    raise Conflict("The deployment changed at every attempt; try again.")


# --- finding them -----------------------------------------------------------------------------------


def _exactly_one(deployment: str | None, endpoint: str | None) -> None:
    if (deployment is None) == (endpoint is None):
        raise Invalid("Give either DeploymentId or EndpointName.")


async def _all(context: Context) -> list[Deployment]:
    running = [row.value.deployment for row in await context.state.rows(ENDPOINTS) if row.value.deployment is not None]
    return running + [row.value for row in await context.state.rows(DEPLOYMENTS)]


async def _find(context: Context, deployment: str | None, endpoint: str | None) -> Deployment:
    _exactly_one(deployment, endpoint)
    if endpoint is not None:
        row = await context.state.get(ENDPOINTS, endpoint)
        if row is not None and row.value.deployment is not None:
            return row.value.deployment
        of_endpoint = [one for one in await _all(context) if one.endpoint == endpoint]
        if not of_endpoint:
            raise _forgotten(endpoint) if row is not None else NotFound(Resource.ENDPOINT, endpoint)
        return max(of_endpoint, key=lambda one: (one.started_at, one.id))
    ended = await context.state.get(DEPLOYMENTS, deployment or "")
    if ended is not None:
        return ended.value
    for one in await _all(context):
        if one.id == deployment:
            return one
    raise NotFound(Resource.DEPLOYMENT, deployment or "")


async def _running_row(context: Context, deployment: str | None, endpoint: str | None) -> Row[Endpoint]:
    if endpoint is None:
        endpoint = (await _find(context, deployment, None)).endpoint
    row = await context.state.get(ENDPOINTS, endpoint)
    if row is None:
        raise NotFound(Resource.ENDPOINT, endpoint)
    return row


def _forgotten(endpoint: str) -> Invalid:
    return Invalid(
        f'Nothing is known any more of a deployment of endpoint "{endpoint}": the last one ended longer ago than history is kept '
        "(history_retention_seconds, past_deployments_max).",
        code="ResourceNotFoundException",
    )


def _nothing_to_roll_back(endpoint: Endpoint, deployment: str | None) -> Invalid:
    what = (
        f'Deployment "{deployment}" has ended' if deployment is not None else f'No deployment runs on "{endpoint.name}"'
    )
    return Invalid(
        f"{what}, so there is nothing to roll back. To go back to an earlier configuration, call UpdateEndpoint with it.",
        code="ConflictException",
    )


# --- what there is to see ---------------------------------------------------------------------------


async def _running(context: Context, endpoint: Endpoint, deployment: Deployment) -> DeploymentView:
    seen = await context.observe(endpoint, deployment)
    return DeploymentView(
        deployment,
        deployment_status(deployment),
        await _groups(context, deployment.blue, seen.blue, seen.now),
        await _groups(context, deployment.green, seen.green, seen.now),
        seen.alarms,
        waiting(deployment, seen, context.limits),
        earliest_end(deployment, seen),
        seen.now,
        await _shadow(context, fed_fleet(endpoint), seen.now),
    )


async def _ended(context: Context, deployment: Deployment) -> DeploymentView:
    seen = await _settled_on(context, deployment)
    at = deployment.ended_at if deployment.ended_at is not None else context.clock.now()
    return DeploymentView(
        deployment,
        deployment_status(deployment),
        await _groups(context, deployment.blue, (), at),
        await _groups(context, deployment.green, (), at),
        seen.alarms if seen is not None else (),
        None,
        None,
        at,
        await _shadow(context, deployment.green if deployment.phase is Phase.COMPLETED else deployment.blue, at),
    )


async def _settled_on(context: Context, deployment: Deployment) -> Observation | None:
    """What was seen when the deployment's outcome was decided; None: that is not in the journal any more."""
    found: dict[str, Any] | None = None
    async for entry in story_of(context, deployment):
        if entry.kind == DECIDED and entry.body.get("event") in _SETTLING:
            found = entry.body
    if found is None:
        return None
    try:
        return msgspec.convert(found["observation"], Observation)
    except msgspec.ValidationError:
        return None  # written by a version that saw other things


async def _groups(
    context: Context, fleet: Fleet | None, seen: tuple[GroupObservation, ...], until: float
) -> tuple[GroupView, ...]:
    by_group = {one.group: one for one in seen}
    groups = fleet.groups if fleet is not None else ()
    since = fleet.since if fleet is not None else 0.0
    return tuple([GroupView(one, by_group.get(one.id), await _figures(context, one, since, until)) for one in groups])


async def _figures(context: Context, group: Group, since: float, until: float) -> Figures:
    # Before its fleet's time the group was another's.
    start = max(int(until) - FIGURES_SECONDS, int(since))
    seconds = max(1, int(until) - start)

    async def read(name: str) -> Aggregate | None:
        (found,) = await context.metrics.read(group_metric(name, group), start, seconds, 1, group=group.id)
        return found

    errors, latency = await read("InvocationModelErrors"), await read("ModelLatency")
    return Figures(
        requests=int(errors.count) if errors is not None else 0,
        errors=int(errors.sum) if errors is not None else 0,
        p50_milliseconds=_milliseconds(latency, "p50"),
        p99_milliseconds=_milliseconds(latency, "p99"),
    )


async def _shadow(context: Context, fleet: Fleet | None, until: float) -> ShadowView | None:
    if fleet is None or fleet.shadow is None:
        return None
    group = fleet.shadow.group
    start = max(int(until) - FIGURES_SECONDS, int(fleet.since))
    seconds = max(1, int(until) - start)

    async def read(name: str) -> tuple[int, int]:
        """How many data there are, and their sum."""
        metric = replace(group_metric("Invocations", group), namespace=SHADOW_NAMESPACE, name=name)
        (found,) = await context.metrics.read(metric, start, seconds, 1, group=group.id)
        return (int(found.count), round(found.sum)) if found is not None else (0, 0)

    attempts, skipped = await read("Skipped")
    pairs, agreeing = await read("Agreement")
    return ShadowView(group, attempts - skipped, skipped, pairs, agreeing)


def _milliseconds(latency: Aggregate | None, name: str) -> float | None:
    microseconds = statistic(latency, name) if latency is not None else None
    return None if microseconds is None else microseconds / 1000
