"""The flight recorder, read after the flight: every decision of a server's life is taken again from its record."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec

from bannister.domain import scaling
from bannister.domain.alarm.alarm import AlarmRule, MissingData
from bannister.domain.alarm.judgement import breaches
from bannister.domain.deployment.admission import replay_admission
from bannister.domain.deployment.machine import Event
from bannister.domain.deployment.recorder import DECIDED, STARTED, WAITED, disagreements, replay_wait
from bannister.domain.deployment.wish import replay_wish
from bannister.domain.experiment import recorder as experiments
from bannister.evaluator.settlement import TRANSITIONED
from bannister.operations.story import REFUSED, ROLLBACK_REFUSED, ROLLBACK_REQUESTED


def check_decisions(data_dir: Path) -> int:
    """How many decisions there were, after checking that each is the same when it is taken again."""
    journal = entries(data_dir)
    decided = [body for kind, body in journal if kind == DECIDED]
    assert disagreements(decided) == []
    assert experiments.disagreements(body for kind, body in journal if kind == experiments.DECIDED) == []
    check_evidence(journal)
    check_others(journal)
    return len(decided)


def check_evidence(journal: Sequence[tuple[str, dict[str, Any]]]) -> int:
    """What each decision of a deployment says that it saw is what somebody who asks why needs. How many rollbacks by a metric alarm there were.

    A decision that is the same when it is taken again may still tell nothing: which value breached and what share green had are only looked at by people.
    """
    by_hand = {body["reason"] for kind, body in journal if kind == TRANSITIONED and body.get("set_by_request")}
    rollbacks = 0
    for body in (body for kind, body in journal if kind == DECIDED):
        seen = body["observation"]
        if body["event"] == Event.SPLIT_ACKNOWLEDGED:
            for group in (*seen["blue"], *seen["green"]):
                assert group["acknowledged_parts"] == group["asked_parts"], (body["deployment"], group)
            assert sum(group["acknowledged_parts"] for group in (*seen["blue"], *seen["green"])) > 0, body["deployment"]
        assert [alarm["name"] for alarm in seen["alarms"]] == body["before"]["policy"]["alarms"]
        if body["before"]["step"] >= 0:
            for alarm in seen["alarms"]:
                check_alarm(body, alarm)
        if body["event"] == Event.STOPPED:
            for alarm in seen["alarms"]:
                if alarm["rule"] and alarm["tripped_at"] is not None and alarm["tripped_reason"] not in by_hand:
                    check_breach(alarm)
                    rollbacks += 1
    return rollbacks


def check_alarm(body: dict[str, Any], alarm: dict[str, Any]) -> None:
    """The rule is there unless the alarm was deleted, and what its newest evaluation looked at if there was one."""
    if alarm["value"] is None:
        return
    assert (alarm["rule"] is None) != (alarm["composite_rule"] is None), (body["deployment"], alarm)
    if alarm["rule"] is not None and alarm["evaluated_until"] is not None:
        assert len(alarm["datapoints"]) >= alarm["rule"]["evaluation_periods"], (body["deployment"], alarm)


def check_breach(alarm: dict[str, Any]) -> None:
    """A datapoint is on the wrong side of the threshold, or one is missing that counts as if it were."""
    rule = msgspec.convert(alarm["rule"], AlarmRule)
    if rule.missing_data is MissingData.BREACHING and None in alarm["datapoints"]:
        return
    assert any(one is not None and breaches(rule, one["value"]) for one in alarm["datapoints"]), alarm


def check_others(journal: Sequence[tuple[str, dict[str, Any]]]) -> int:
    """The same of what was decided beside the machine: updates and rollbacks accepted or refused, waits, and changes of weights and counts. How many there were."""
    asked = [(kind, body) for kind, body in journal if kind in (STARTED, REFUSED) and "asked" in body]
    for kind, body in asked:
        assert replay_admission(body) == (body["reason"] if kind == REFUSED else None), body
    wishes = [
        (kind, body) for kind, body in journal if kind in (ROLLBACK_REQUESTED, ROLLBACK_REFUSED) and "before" in body
    ]
    for kind, body in wishes:
        assert replay_wish(body) == (body["reason"] if kind == ROLLBACK_REFUSED else None), body
    waits = [body for kind, body in journal if kind == WAITED]
    for body in waits:
        found = replay_wait(body)
        assert found is not None, body
        assert (found.sentence, found.cause) == (body["reason"], body["cause"])
    scaled = [body for kind, body in journal if kind == scaling.SCALED]
    assert scaling.disagreements(scaled) == []
    return len(asked) + len(wishes) + len(waits) + len(scaled)


def entries(data_dir: Path) -> list[tuple[str, dict[str, Any]]]:
    """Kind and body of each entry of the journal, read from a copy: nobody is fenced, nothing is locked."""
    if not (data_dir / "state.db").exists():
        return []
    with tempfile.TemporaryDirectory() as folder:
        for file in data_dir.glob("state.db*"):
            shutil.copy(file, folder)
        with closing(sqlite3.connect(Path(folder) / "state.db")) as state:
            found = state.execute("SELECT kind, body FROM journal ORDER BY sequence").fetchall()
    return [(kind, msgspec.json.decode(body)) for kind, body in found]
