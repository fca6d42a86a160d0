"""Writing an endpoint down, together with the events that this amounts to: in one commit, so that neither is without the other.

Whoever changes an endpoint's status, deployment or scaling writes its row this way.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bannister.domain.endpoint import Endpoint
from bannister.domain.endpoint_event import HAPPENED, changes
from bannister.state.store import Put, Record, Remove, Row
from bannister.state.tables import ENDPOINTS


@dataclass(frozen=True, slots=True)
class EndpointChange:
    """What to commit; the events come after the journal entry of what led to them."""

    write: Put[Endpoint] | Remove
    events: list[Record]


def endpoint_change(
    row: Row[Endpoint] | None, after: Endpoint, at: float, ready: Mapping[str, int] | None
) -> EndpointChange:
    """The row of an endpoint as it is to be. `row`: as it was read; None: it must not exist yet. `ready`: as for `changes`."""
    revision = row.revision if row is not None else 0
    before = row.value if row is not None else None
    return EndpointChange(Put(ENDPOINTS, after.name, after, revision), _events(before, after, at, ready))


def endpoint_removal(row: Row[Endpoint], at: float) -> EndpointChange:
    """No row any more. Nothing of the endpoint runs."""
    return EndpointChange(Remove(ENDPOINTS, row.key, row.revision), _events(row.value, None, at, {}))


def _events(
    before: Endpoint | None, after: Endpoint | None, at: float, ready: Mapping[str, int] | None
) -> list[Record]:
    told = after if after is not None else before
    if told is None:
        return []
    return [Record(at, f"endpoint/{told.name}", HAPPENED, body) for body in changes(before, after, at, ready)]
