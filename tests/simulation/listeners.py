"""Events in simulated worlds: addresses that are told of them, and what must always be true of them.

An event is in the very commit that makes its change. An address is told of each at least once, in order, whatever becomes of the control plane, unless the journal says that it was given up.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from bannister.domain.deployment.progress import status_of
from bannister.domain.endpoint import Endpoint
from bannister.domain.endpoint_event import GIVEN_UP, HAPPENED, event
from bannister.domain.event_delivery import EventDelivery
from bannister.errors import Unavailable
from bannister.state.store import Entry, Record
from bannister.state.tables import EVENT_DELIVERIES

if TYPE_CHECKING:
    from tests.simulation.world import World

ADDRESSES = ("http://pager/events", "http://board/events")

_STATE, _STAGE = "SageMaker Endpoint State Change", "SageMaker Endpoint Deployment State Change"


class Listeners:
    """Those who are told. A source of randomness of its own: worlds without listeners stay as they were."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(f"listeners of {seed}")
        #: They take everything from now on.
        self.well = False

    async def post(self, world: World, url: str, body: str) -> int:
        """Sometimes nobody answers, and sometimes what was taken is said not to have been."""
        if not world.current_epoch_context:
            raise world.violated("5: one control plane at a time", f"A replaced control plane tells {url}.")
        rng, wrong = self._rng, 0.0 if self.well else 1.0
        await asyncio.sleep(rng.random() * 0.05)
        if rng.random() < 0.15 * wrong:
            raise Unavailable("Nobody answers.")
        world.checker.events.told(url, json.loads(body))
        await asyncio.sleep(rng.random() * 0.05)
        return 503 if rng.random() < 0.1 * wrong else 200


class EventRules:
    """Part of the checker."""

    def __init__(self, world: World) -> None:
        self._world = world
        #: By address: the place in the journal at which it was configured, and what it was told, repetitions once.
        self._since: dict[str, int] = {}
        self._told: dict[str, list[dict[str, Any]]] = {url: [] for url in ADDRESSES}

    def committed(self, written: Sequence[tuple[Endpoint | None, Endpoint | None]], records: Sequence[Record]) -> None:
        """A commit: which endpoints were written, as they were before and as they are now."""
        wanted = [one for before, after in written for one in _wanted(before, after)]
        found = [_short(record.subject, record.body) for record in records if record.kind == HAPPENED]
        if found != wanted:
            raise self._world.violated("21: each change has its event", f"Events are {found}; they should be {wanted}.")
        if self._world.listeners is not None and len(self._since) < len(ADDRESSES):
            self._since = {url: row.position for url, row in self._rows().items()}

    def told(self, url: str, told: dict[str, Any]) -> None:
        """An address was told of an event, perhaps again."""
        late = not self._world.current_epoch_context  # what was on its way when its control plane was replaced
        if self._told[url] and (self._told[url][-1] == told or (late and told in self._told[url])):
            self._world.counts["events told again"] += 1
            return
        self._told[url].append(told)
        self._world.counts["events told"] += 1

    def unsettled(self) -> tuple[str, str] | None:
        """While somebody is still to be told of something."""
        if self._world.listeners is None:
            return None
        last = max((entry.sequence for entry in self._journal(HAPPENED)), default=0)
        for url, row in self._rows().items():
            if row.position < last:
                return "21: events are told", f"{url} was told up to {row.position} of {last}."
        return None

    def settled(self) -> None:
        """At the end everybody was told of everything, in order, but for what the journal says."""
        if self._world.listeners is None:
            return
        settings = self._world.settings
        for url in ADDRESSES:
            given_up = {
                number
                for entry in self._journal(GIVEN_UP)
                if entry.body["address"] == f"{url.rpartition('/')[0]}/…"
                for number in range(entry.body["first"], entry.body["last"] + 1)
            }
            self._world.counts["events given up"] += len(given_up)
            owed = {
                event(one.sequence, one.at, one.body, settings.region, settings.account_id)["id"]: one.sequence
                for one in self._journal(HAPPENED)
                if one.sequence > self._since[url]
            }
            told = [owed.get(one["id"], 0) for one in self._told[url]]
            missed = sorted(set(owed.values()) - set(told) - given_up)
            if told != sorted(set(told)) or missed or 0 in told:
                raise self._world.violated(
                    "21: events are told", f"{url}: not told of {missed}; in this order of {told}."
                )

    def _journal(self, kind: str) -> list[Entry]:
        return [entry for entry in self._world.medium.entries if entry.kind == kind]

    def _rows(self) -> dict[str, EventDelivery]:
        return {
            key: msgspec.json.decode(value, type=EventDelivery)
            for (table, key), (value, _) in self._world.medium.rows.items()
            if table == EVENT_DELIVERIES.name
        }


def _wanted(before: Endpoint | None, after: Endpoint | None) -> list[tuple[str, str, str, bool]]:
    """The events of a change, shortly."""
    told = after or before
    assert told is not None
    status = _status(after)
    found = [(told.name, _STATE, status, False)] if status != _status(before) else []
    if _stage(before) != _stage(after):
        found.append((told.name, _STAGE, status, after is not None and after.deployment is not None))
    return found


def _short(subject: str, body: dict[str, Any]) -> tuple[str, str, str, bool]:
    """The endpoint, the kind, the status, and whether a deployment is told of."""
    detail = body["detail"]
    assert subject == f"endpoint/{detail['EndpointName']}"
    return detail["EndpointName"], body["detail-type"], detail["EndpointStatus"], "PendingDeploymentSummary" in detail


def _status(endpoint: Endpoint | None) -> str:
    return "DELETED" if endpoint is None else re.sub("(?<!^)(?=[A-Z])", "_", status_of(endpoint).value).upper()


def _stage(endpoint: Endpoint | None) -> object:
    if endpoint is None or (endpoint.deployment is None and endpoint.scaling is None):
        return None
    deployment, scaling = endpoint.deployment, endpoint.scaling
    return (deployment.id, deployment.phase, deployment.step) if deployment else (scaling.id, scaling.phase)  # type: ignore[union-attr]
