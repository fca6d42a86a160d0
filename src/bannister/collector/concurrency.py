"""Publishes how many requests are under way on each instance, once in a while, as a metric like any other.

The proxies are not asked for it: the publisher looks at them all the time for the health of instances, and their answer has it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from bannister.clock import Clock
from bannister.collector.looking import look_repeatedly
from bannister.domain.metric.aggregate import of_values
from bannister.domain.metric.concurrency import INTERVAL_SECONDS, UNIT, identities
from bannister.metrics.store import Datum, MetricStore
from bannister.state.store import State
from bannister.state.tables import GROUPS


class Proxies(Protocol):
    """What is asked of the publisher."""

    def in_flight(self) -> Mapping[str, Mapping[str, int]] | None:
        """By group and `host:port`, requests in flight over all registered proxies as of the last look at them; None: one of them did not answer."""
        ...


class ConcurrencyCollector:
    """For one event loop. While a proxy does not answer nothing is published: a part of the requests would look like fewer."""

    def __init__(self, state: State, proxies: Proxies, metrics: MetricStore, clock: Clock) -> None:
        self._state = state
        self._proxies = proxies
        self._metrics = metrics
        self._clock = clock

    async def run(self) -> None:
        """Until cancelled, or fenced by another process."""
        await look_repeatedly(self.look, INTERVAL_SECONDS, "How many requests are under way")

    async def look(self) -> None:
        """Look at every instance, and publish."""
        now, in_flight = self._clock.now(), self._proxies.in_flight() or {}
        data = [
            Datum(metric, now, of_values(list(map(float, in_flight[row.key].values())), unit=UNIT))
            for row in await self._state.rows(GROUPS)
            if in_flight.get(row.key)
            for metric in identities(row.value.group)
        ]
        if data:
            await self._metrics.put(data)
