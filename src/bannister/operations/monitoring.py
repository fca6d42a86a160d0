"""`GET /metrics`: Bannister as a Prometheus server sees it, in the text format or as OpenMetrics.

Every scrape reads the state and the totals at that moment. Groups appear while they are part of an endpoint (in production, being brought in, or a shadow) and only then, so that the
number of series is bounded by what is deployed now; those without a request have no histogram. Rendering happens in a thread, and an answer is given again for
a second, so that many scrapers cost as much as one.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol

from bannister.clock import Clock
from bannister.domain.alarm.alarm import AlarmValue
from bannister.domain.deployment.deployment import ENDED, Phase
from bannister.domain.deployment.machine import Event
from bannister.domain.deployment.recorder import DECIDED
from bannister.domain.endpoint import Endpoint
from bannister.domain.event_delivery import EventDelivery
from bannister.domain.fleet import Group
from bannister.domain.instance import Instance, InstancePhase
from bannister.domain.routing import RoutePlan, Weight, plan_of
from bannister.domain.traffic import TRAFFIC_PARTS
from bannister.operations.totals import BUCKETS, Counters, Labels, Latency, Total, Totals
from bannister.state.store import State
from bannister.state.tables import ALARMS, ENDPOINTS, EVENT_DELIVERIES

if TYPE_CHECKING:
    from prometheus_client.core import Metric

#: An answer is given again for this long.
_FRESH_SECONDS: Final = 1.0
_ENTRIES_AT_ONCE: Final = 1000
_GROUP: Final = ("endpoint", "variant", "endpoint_config")


class Proxies(Protocol):
    """What is asked of the publisher."""

    def acknowledged_weights(self, endpoint: str) -> tuple[Weight, ...] | None: ...


@dataclass(frozen=True, slots=True)
class Health:
    """What the loops say of themselves; numbers of things since start."""

    #: Of telemetry; None: it has not spoken.
    watermark: float | None
    seconds_skipped: int
    records_lost: int
    #: Whether each registered proxy is connected.
    proxies: Sequence[bool]
    instances: Sequence[Instance]
    #: Now.
    alarms_faulty: int = 0
    evaluations_skipped: int = 0
    #: By the process that gave them up before the control plane had them.
    reports_missed: Mapping[str, int] = field(default_factory=dict)
    dropped_entries: int = 0


@dataclass(frozen=True, slots=True)
class _Seen:
    endpoints: tuple[Endpoint, ...]
    alarms: Counter[AlarmValue]
    totals: dict[Labels, list[Total]]
    acknowledged: dict[str, tuple[Weight, ...]]
    plans: dict[str, RoutePlan]
    decisions: dict[str, int]
    health: Health
    now: float
    #: One for each address that is told of events.
    told: tuple[EventDelivery, ...] = ()


class Monitoring:
    """Answers scrapes. For one event loop."""

    def __init__(
        self, state: State, totals: Totals, proxies: Proxies, health: Callable[[], Health], clock: Clock
    ) -> None:
        self._state = state
        self._counters = Counters(totals)
        self._proxies = proxies
        self._health = health
        self._clock = clock
        self._decisions: Counter[str] = Counter()
        #: The journal's position up to which decisions are counted; None: not looked yet.
        self._counted: int | None = None
        #: By content type: when it was made, and the text.
        self._fresh: dict[str, tuple[float, bytes]] = {}
        self._turn = asyncio.Lock()

    async def begin(self) -> None:
        """Decisions count from here on."""
        self._counted = await self._state.sequence()

    async def scrape(self, accept: str) -> tuple[str, bytes]:
        """Content type and text, for what a client accepts.

        Raises:
            Unavailable: The state cannot be read.
        """
        from prometheus_client.exposition import choose_encoder

        encode, content_type = choose_encoder(accept)
        async with self._turn:
            made_at, text = self._fresh.get(content_type, (-_FRESH_SECONDS, b""))
            if self._clock.monotonic() - made_at >= _FRESH_SECONDS:
                seen = await self._look()
                text = await asyncio.to_thread(lambda: encode(_Families(seen)))
                self._fresh[content_type] = (self._clock.monotonic(), text)
        return content_type, text

    async def _look(self) -> _Seen:
        endpoints = tuple([row.value for row in await self._state.rows(ENDPOINTS)])
        alarms = Counter([row.value.state.value for row in await self._state.rows(ALARMS)])
        await self._count_decisions()
        acknowledged = {one.name: self._proxies.acknowledged_weights(one.name) for one in endpoints}
        return _Seen(
            endpoints,
            alarms,
            self._counters.look(_by_labels(endpoints)),
            {name: weights for name, weights in acknowledged.items() if weights is not None},
            {one.name: plan_of(one) for one in endpoints},
            dict(self._decisions),
            self._health(),
            self._clock.now(),
            tuple([row.value for row in await self._state.rows(EVENT_DELIVERIES)]),
        )

    async def _count_decisions(self) -> None:
        if self._counted is None:
            await self.begin()
        until = await self._state.sequence()
        while (self._counted or 0) < until:
            entries = await self._state.journal(after=self._counted or 0, kind=DECIDED, limit=_ENTRIES_AT_ONCE)
            self._decisions.update(str(entry.body.get("event")) for entry in entries)
            self._counted = entries[-1].sequence if len(entries) == _ENTRIES_AT_ONCE else until


class _Families:
    """What a scrape saw, as the library's registry hands it to its encoders."""

    def __init__(self, seen: _Seen) -> None:
        self._seen = seen

    def collect(self) -> Iterable[Metric]:
        yield from _traffic(self._seen)
        yield from _splits(self._seen)
        yield from _own(self._seen)


def _groups(endpoint: Endpoint) -> Iterator[Group]:
    """Those that are part of it now, each once."""
    fleets = [endpoint.blue, endpoint.deployment.green if endpoint.deployment is not None else None]
    if endpoint.deployment is not None and endpoint.deployment.blue is not None:
        fleets.append(endpoint.deployment.blue)
    found = {group.id: group for fleet in fleets if fleet is not None for group in fleet.all_groups}
    yield from found.values()


def _labels(group: Group) -> Labels:
    return group.endpoint, group.variant, group.config_name


def _by_labels(endpoints: Iterable[Endpoint]) -> dict[Labels, list[str]]:
    """Groups that bear the same names (a configuration deployed anew) are one series."""
    found: dict[Labels, list[str]] = {}
    for endpoint in endpoints:
        for group in _groups(endpoint):
            found.setdefault(_labels(group), []).append(group.id)
    return found


_COUNTERS: Final[Sequence[tuple[str, str, Callable[[Total], int]]]] = (
    ("bannister_invocations", "Requests to a group that ended, whatever came of them.", lambda one: one.invocations),
    ("bannister_invocation_4xx_errors", "Answers of the model with 4xx.", lambda one: one.errors_4xx),
    ("bannister_invocation_5xx_errors", "Answers of the model with 5xx.", lambda one: one.errors_5xx),
    ("bannister_invocation_model_errors", "Requests without a 2xx answer of the model.", lambda one: one.model_errors),
    ("bannister_invocation_retries", "Attempts beyond the first that a proxy made.", lambda one: one.retries),
    ("bannister_late_records", "Requests that arrived after their second was final.", lambda one: one.late),
    ("bannister_shadow_copies_skipped", "Copies for a shadow that were not made.", lambda one: one.skipped),
)
_HISTOGRAMS: Final[Sequence[tuple[str, str, Callable[[Total], Latency]]]] = (
    ("bannister_model_latency_seconds", "What the model took.", lambda one: one.model),
    ("bannister_overhead_latency_seconds", "What was not the model's.", lambda one: one.overhead),
)


def _traffic(seen: _Seen) -> Iterator[Metric]:
    from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily

    for name, text, value in _COUNTERS:
        counter = CounterMetricFamily(name, text, labels=_GROUP)
        for labels, totals in seen.totals.items():
            counter.add_metric(labels, sum(map(value, totals)))
        yield counter
    for name, text, latency in _HISTOGRAMS:
        histogram = HistogramMetricFamily(name, text, labels=_GROUP)
        for labels, totals in seen.totals.items():
            counts = [sum(bucket) for bucket in zip(*(latency(one).buckets for one in totals), strict=True)]
            if any(counts):
                histogram.add_metric(labels, _cumulative(counts), sum(latency(one).sum_seconds for one in totals))
        yield histogram


def _cumulative(counts: Sequence[float]) -> list[tuple[str, float]]:
    bounds = [*(str(bound) for bound in BUCKETS), "+Inf"]
    return [(bound, sum(counts[: index + 1])) for index, bound in enumerate(bounds)]


def _splits(seen: _Seen) -> Iterator[Metric]:
    from prometheus_client.core import GaugeMetricFamily

    asked = GaugeMetricFamily(
        "bannister_split_asked_ratio", "Share of an endpoint's traffic that is wanted.", labels=_GROUP
    )
    acknowledged = GaugeMetricFamily(
        "bannister_split_acknowledged_ratio", "Share that every registered proxy has confirmed.", labels=_GROUP
    )
    for endpoint in seen.endpoints:
        names = {group.id: _labels(group) for group in _groups(endpoint)}
        for family, weights in (
            (asked, seen.plans[endpoint.name].weights),
            (acknowledged, seen.acknowledged.get(endpoint.name, ())),
        ):
            shares: Counter[Labels] = Counter()
            for weight in weights:
                if weight.group in names:
                    shares[names[weight.group]] += weight.parts
            for labels, parts in shares.items():
                family.add_metric(labels, parts / TRAFFIC_PARTS)
    yield asked
    yield acknowledged


def _own(seen: _Seen) -> Iterator[Metric]:
    running = Counter(one.deployment.phase for one in seen.endpoints if one.deployment is not None)
    yield _gauges(
        "bannister_deployments", "Running deployments.", "phase", running, [one for one in Phase if one not in ENDED]
    )
    yield _gauges("bannister_alarms", "Alarms.", "state", seen.alarms, AlarmValue)
    yield _gauges(
        "bannister_instances", "Instances.", "phase", Counter(one.phase for one in seen.health.instances), InstancePhase
    )
    connected = Counter("connected" if one else "away" for one in seen.health.proxies)
    yield _gauges("bannister_proxies", "Registered proxies.", "state", connected, ("connected", "away"))
    yield _counters("bannister_decisions", "Decisions about deployments since start.", "event", seen.decisions)
    yield from _numbers(seen)


def _numbers(seen: _Seen) -> Iterator[Metric]:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    if seen.health.watermark is not None:
        lag = max(seen.now - seen.health.watermark, 0.0)
        yield GaugeMetricFamily(
            "bannister_evaluation_lag_seconds", "How far what alarms were judged on is behind the present.", lag
        )
    yield CounterMetricFamily(
        "bannister_evaluation_skipped_seconds",
        "Seconds that alarms were not evaluated at.",
        seen.health.seconds_skipped,
    )
    yield GaugeMetricFamily(
        "bannister_faulty_alarms",
        "Alarms that cannot be evaluated and are tried again every second.",
        seen.health.alarms_faulty,
    )
    yield CounterMetricFamily(
        "bannister_skipped_evaluations",
        "Evaluations of faulty alarms that were given up.",
        seen.health.evaluations_skipped,
    )
    yield CounterMetricFamily(
        "bannister_dropped_records", "Reports and datapoints that were never stored.", seen.health.records_lost
    )
    missed = CounterMetricFamily(
        "bannister_missed_reports",
        "Reports that a process gave up, because the control plane was away for too long.",
        labels=("source",),
    )
    for source, count in seen.health.reports_missed.items():
        missed.add_metric((source,), count)
    yield missed
    yield CounterMetricFamily(
        "bannister_dropped_log_entries",
        "Entries of the proxy's log that telemetry did not take in time.",
        seen.health.dropped_entries,
    )
    yield CounterMetricFamily(
        "bannister_events_delivered",
        "Events that the configured addresses have taken.",
        sum(one.delivered for one in seen.told),
    )
    yield CounterMetricFamily(
        "bannister_events_given_up",
        "Events that an address will not be told of.",
        sum(one.given_up for one in seen.told),
    )
    yield GaugeMetricFamily(
        "bannister_failing_event_webhooks",
        "Addresses that do not take the events they are told.",
        sum(one.failing_since is not None for one in seen.told),
    )


def _gauges(name: str, text: str, label: str, counts: Counter[Any], values: Iterable[str]) -> Metric:
    from prometheus_client.core import GaugeMetricFamily

    family = GaugeMetricFamily(name, text, labels=(label,))
    for value in values:
        family.add_metric((str(value),), counts.get(value, 0))
    return family


def _counters(name: str, text: str, label: str, counts: dict[str, int]) -> Metric:
    from prometheus_client.core import CounterMetricFamily

    family = CounterMetricFamily(name, text, labels=(label,))
    for event in Event:
        family.add_metric((event.value,), counts.get(event.value, 0))
    return family
