"""What `bannister explain` says of a deployment is whole on 80 columns, and true of creations and rolling updates, too."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from rich.console import Console
from tests.cli.test_screen import NOW, described

from bannister.cli.explain import _decision, _title


def shown(render: Callable[[Console], None]) -> str:
    out = Console(width=80, force_terminal=True, color_system=None, highlight=False)
    with out.capture() as capture:
        render(out)
    lines = capture.get().splitlines()
    assert max(map(len, lines)) <= 80
    return " ".join(" ".join(lines).split())


def decision(**members: Any) -> dict[str, Any]:
    return {"Time": NOW, "Kind": "Decided", "Reason": "So it was.", "Evidence": {}} | members


def test_names_of_versions_and_alarms_are_whole() -> None:
    names = [f"churn-prod-2026-11-28-10-00-00-{number}" for number in (123, 456)]
    found = described() | dict(zip(("BlueConfigName", "GreenConfigName"), names, strict=True))
    found["Policy"]["AlarmNames"] = [f"{name}-errors" for name in names]
    text = shown(lambda out: _title(out, found))
    assert f"flights: {names[0]} → {names[1]}" in text
    assert f"guarded by {names[0]}-errors, {names[1]}-errors" in text


@pytest.mark.parametrize(
    ("evidence", "expected"),
    [
        ({"before": {"blue": {"config_name": "v1"}}}, "rolling back, traffic goes to blue"),
        ({"before": {"blue": None}}, "the creation is given up"),
        ({}, "rolling back, traffic goes to blue"),
    ],
)
def test_what_a_stop_leads_to(evidence: dict[str, Any], expected: str) -> None:
    one = decision(Event="stopped", PhaseAfter="rolling back", Evidence=evidence)
    assert f"stopped: {expected} after 3 s" in shown(lambda out: _decision(out, one, NOW - timedelta(seconds=3), []))


def test_what_was_said_by_who_came_too_late() -> None:
    one = decision(Kind="RollbackRefused", Evidence={"wished": "wrong in Denver"})
    text = shown(lambda out: _decision(out, one, NOW - timedelta(seconds=3), []))
    assert "a person asked to roll back, too late after 3 s" in text
    assert '"wrong in Denver": So it was.' in text


def test_to_what_a_refused_update_was() -> None:
    one = decision(Kind="Refused", Evidence={"to": "n" * 63})
    text = shown(lambda out: _decision(out, one, NOW - timedelta(seconds=3), []))
    assert "another update was refused after 3 s" in text
    assert f"To {'n' * 63}: So it was." in text
