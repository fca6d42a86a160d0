"""What is known of what was added: bounded, and never the same again once something was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bannister.domain.metric.aggregate import of_values
from bannister.domain.metric.endpoint import endpoint_identities
from bannister.domain.metric.identity import identity
from bannister.domain.metric.summary import Summary
from bannister.metrics import window as windows
from bannister.metrics.sqlite import SqliteMetrics
from bannister.metrics.store import Datum, GroupDimensions
from bannister.metrics.window import MetricWindow
from bannister.settings import Settings

NOW = 1_795_407_003
INVOCATIONS = identity("AWS/SageMaker", "Invocations", {"EndpointName": "e", "VariantName": "v"})


class StandingClock:
    def now(self) -> float:
        return float(NOW)

    def monotonic(self) -> float:
        return float(NOW)


def put(window: MetricWindow, name: str, at: float) -> None:
    window.put(Datum(identity("Mine", name), at, of_values([1.0])))


def test_metrics_that_come_and_go_do_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows, "ADDITIONS_MAX", 10)
    window = MetricWindow()
    put(window, "first", NOW + 50.0)
    first = window.additions(identity("Mine", "first"))
    for index in range(100):
        put(window, str(index), float(NOW))
        window.forget(NOW + 100.0)
    assert len(window._additions) == 10
    forgotten = window.additions(identity("Mine", "first"))
    assert forgotten != first, "it may have been added to since"
    assert forgotten.newest_at >= NOW + 50, "and data of this time may be there"
    assert window.additions(identity("Mine", "never")).newest_at >= NOW + 50
    put(window, "first", NOW + 50.0)
    assert window.additions(identity("Mine", "first")) not in (first, forgotten)


def test_a_group_that_becomes_readable_is_an_addition() -> None:
    window = MetricWindow()
    window.add([Summary("old", "a:1", NOW, 1)])
    window.register(GroupDimensions("new", "e", "v", "c", 1))
    window.add([Summary("new", "a:1", NOW, 1)])
    before = window.additions(INVOCATIONS)
    window.register(GroupDimensions("old", "e", "v", "c", 1))
    after = window.additions(INVOCATIONS)
    assert after != before
    window.register(GroupDimensions("old", "e", "v", "c", 1))
    assert window.additions(INVOCATIONS) == after


ENDPOINTS = ("e", "f")
CONFIGS = ("c", "d")
GROUPS = [GroupDimensions(f"{e}{c}", e, "v", c, 1) for e in ENDPOINTS for c in CONFIGS]
ASKED = [one for e in ENDPOINTS for c in CONFIGS for one in endpoint_identities(e, "v", c, names=("Invocations",))]
STEPS = st.one_of(
    st.tuples(st.just("register"), st.sampled_from(GROUPS)),
    st.tuples(st.just("forget"), st.sampled_from(GROUPS)),
    st.tuples(st.just("add"), st.sampled_from(GROUPS)),
    st.tuples(st.just("put"), st.sampled_from(ASKED)),
)


@given(st.lists(STEPS, max_size=30), st.integers(1, 6))
def test_what_is_remembered_is_what_would_be_found(steps: list[tuple[str, Any]], additions_max: int) -> None:
    """Two windows with the same history, one of which is asked after every step, say the same at the end."""
    asked, unasked = MetricWindow(), MetricWindow()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(windows, "ADDITIONS_MAX", additions_max)
        for at, (step, what) in enumerate(steps, start=NOW):
            for window in (asked, unasked):
                window.judged_until(at - 3)
                match step:
                    case "register":
                        window.register(what)
                    case "forget" if what in window.groups():
                        window.forget_group(what.group)
                    case "add":
                        window.add([Summary(what.group, "a:1", at - at % 7, 1)])
                    case "put":
                        window.put(Datum(what, float(at), of_values([1.0])))
            for metric in ASKED:
                asked.additions(metric)
        for metric in ASKED:
            assert asked.additions(metric) == unasked.additions(metric)
            assert len(asked._known_additions) <= additions_max


async def test_after_a_start_older_data_may_be_there(tmp_path: Path) -> None:
    """Else an alarm that looks further back than memory would be left alone, though data without a percentile are in its range."""
    store = SqliteMetrics(Settings(data_dir=tmp_path), StandingClock())
    mine = identity("Mine", "Loss")
    await store.put([Datum(mine, NOW - 900.0, of_values([-1.0]))])
    await store.close()
    store = SqliteMetrics(Settings(data_dir=tmp_path), StandingClock())
    assert store.additions(mine).newest_at >= NOW - 900
    await store.close()
