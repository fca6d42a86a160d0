"""`GET /metrics` read back by Prometheus' own parsers."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families as plain
from tests.domain.deployment.worlds import deployment, fleet

from bannister.domain.deployment.deployment import Phase
from bannister.domain.deployment.recorder import DECIDED
from bannister.domain.endpoint import Endpoint
from bannister.domain.event_delivery import EventDelivery
from bannister.domain.fleet import Fleet
from bannister.domain.metric.sketch import Sketch
from bannister.domain.metric.summary import Report, Summary
from bannister.domain.routing import Weight
from bannister.operations import totals as totals_module
from bannister.operations.monitoring import Health, Monitoring
from bannister.operations.totals import Totals
from bannister.state.memory import MemoryState
from bannister.state.store import Put, Record
from bannister.state.tables import ENDPOINTS, EVENT_DELIVERIES

GREEN = "e.AllTraffic.v2"
OPEN = "application/openmetrics-text; version=1.0.0"


class Feed:
    def __init__(self, *reports: Report) -> None:
        self.reports = reports

    async def __aiter__(self) -> AsyncIterator[Report]:
        for report in self.reports:
            yield report

    async def acknowledge(self, report: Report) -> None:
        pass


class Clock:
    at = 1000.0

    def now(self) -> float:
        return self.at

    monotonic = now


class Proxies:
    def acknowledged_weights(self, endpoint: str) -> tuple[Weight, ...] | None:
        return (Weight(GREEN, "AllTraffic", 250_000, 250_000),)


def report(sequence: int, group: str = GREEN) -> Report:
    latency = Sketch.of([900, 3_000, 70_000_000])
    summary = Summary(group, "a", 990, 3, errors_5xx=1, model_errors=1, model_latency=latency, overhead_latency=latency)
    return Report("run", sequence, 1.0, 0.0, (summary,))


@pytest.fixture
async def monitoring() -> Monitoring:
    state = MemoryState()
    running = replace(deployment(), phase=Phase.BAKING, step=0)
    quoted = Endpoint("e", 0.0, 0.0, blue=fleet("v1"), deployment=running)
    await state.commit([Put(ENDPOINTS, "e", quoted, 0)])
    for url, failing_since in (("http://a/", None), ("http://b/", 7.0)):
        told = EventDelivery(url, 0, delivered=5, given_up=2, failing_since=failing_since)
        await state.commit([Put(EVENT_DELIVERIES, url, told, 0)])
    totals = Totals(Feed(report(1), report(2), report(2), report(3, "gone")))
    async for _ in totals:
        pass
    made = Monitoring(
        state, totals, Proxies(), lambda: Health(998.5, 7, 2, [True, False], (), 3, 12, {"telemetry": 4}, 6), Clock()
    )
    await made.begin()
    await state.commit(records=[Record(1.0, "endpoint/e", DECIDED, {"event": "stopped"})])
    return made


@pytest.mark.parametrize(("accept", "parse"), [("", plain), (OPEN, open_metrics)], ids=["text", "openmetrics"])
async def test_both_formats_say_the_same(monitoring: Monitoring, accept: str, parse) -> None:
    content_type, text = await monitoring.scrape(accept)
    assert content_type.startswith("application/openmetrics-text" if accept else "text/plain; version=0.0.4")
    found = {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in parse(text.decode())
        for sample in family.samples
    }
    green, blue = ("e", "v2", "AllTraffic"), ("e", "v1", "AllTraffic")  # by the labels' names
    assert found["bannister_invocations_total", *green] == 6  # a report that came twice counts once
    assert found["bannister_invocations_total", *blue] == 0
    assert found["bannister_invocation_5xx_errors_total", *green] == 2
    buckets = {name[3]: value for name, value in found.items() if name[0] == "bannister_model_latency_seconds_bucket"}
    assert (buckets["0.001"], buckets["0.0025"], buckets["0.005"], buckets["60.0"], buckets["+Inf"]) == (2, 2, 4, 4, 6)
    assert found["bannister_model_latency_seconds_count", *green] == 6
    assert found["bannister_model_latency_seconds_sum", *green] == pytest.approx(140.0078)
    assert found["bannister_split_asked_ratio", *green] == pytest.approx(0.1)
    assert found["bannister_split_acknowledged_ratio", *green] == pytest.approx(0.25)
    assert found["bannister_deployments", "baking"] == 1
    assert found["bannister_deployments", "held"] == 0
    assert found["bannister_decisions_total", "stopped"] == 1
    assert found["bannister_evaluation_lag_seconds",] == pytest.approx(1.5)
    assert found["bannister_dropped_records_total",] == 2
    assert found["bannister_missed_reports_total", "telemetry"] == 4
    assert found["bannister_dropped_log_entries_total",] == 6
    assert (found["bannister_faulty_alarms",], found["bannister_skipped_evaluations_total",]) == (3, 12)
    assert (found["bannister_events_delivered_total",], found["bannister_events_given_up_total",]) == (10, 4)
    assert found["bannister_failing_event_webhooks",] == 1
    assert (found["bannister_proxies", "connected"], found["bannister_proxies", "away"]) == (1, 1)
    assert not any("gone" in name for name in found)


async def test_a_counter_never_falls_whatever_becomes_of_its_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    """A configuration deployed anew: two groups of the same labels, then one of them, none, and the other one again."""
    monkeypatch.setattr(totals_module, "GROUPS_MAX", 3)
    state, clock = MemoryState(), Clock()

    def named(group: str) -> Fleet:
        of_v1 = fleet("v1")
        return replace(of_v1, groups=tuple(replace(one, id=group) for one in of_v1.groups))

    sent: list[Report] = []
    totals = Totals(Feed())

    async def hear(*groups: str) -> None:
        for group in groups:
            sent.append(report(len(sent) + 1, group))
            totals._count(sent[-1])

    made = Monitoring(state, totals, Proxies(), lambda: Health(None, 0, 0, [], ()), clock)
    revision = 0

    async def shown(*groups: str) -> float | None:
        nonlocal revision
        clock.at += 2.0
        blue, *green = [named(one) for one in groups] or [fleet("v2")]
        running = replace(deployment(blue=blue), green=green[0], phase=Phase.BAKING) if green else None
        await state.commit([Put(ENDPOINTS, "e", Endpoint("e", 0.0, 0.0, blue=blue, deployment=running), revision)])
        revision = (await state.get(ENDPOINTS, "e")).revision  # type: ignore[union-attr]
        _, text = await made.scrape("")
        values = {
            sample.name: sample.value
            for family in plain(text.decode())
            for sample in family.samples
            if sample.labels.get("endpoint_config") == "v1" and "le" not in sample.labels
        }
        if not values:
            return None
        invocations = values["bannister_invocations_total"]
        assert values["bannister_model_latency_seconds_count"] == invocations
        assert values["bannister_model_latency_seconds_sum"] == pytest.approx(70.0039 * invocations / 3)
        return invocations

    await hear("a", "a", "b")
    assert await shown("a", "b") == 9
    await hear("a", "b")
    assert await shown("b") == 15, "what left since it was last asked for is counted"
    await hear("x", "y", "z")
    assert await shown("b") == 15, "of too many groups this was forgotten"
    await hear("b", "a")
    assert await shown("b") == 18
    assert await shown() is None
    await hear("a", "b")
    assert await shown("b", "a") == 27, "each is counted on, and nothing twice"
    assert await shown("a") == 27
