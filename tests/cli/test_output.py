"""What callers and models say reaches a terminal as text, never as something that the terminal obeys."""

from __future__ import annotations

import json
from typing import Any

import pytest
from rich.console import Console
from tests.cli.test_screen import NOW, described

from bannister.cli import main
from bannister.cli.events import _one, _Page
from bannister.cli.output import as_json, as_json_line, line, paragraph
from bannister.cli.screen import screen
from bannister.errors import Refused

#: A title, a cleared screen (also as one character), a carriage return, and text that runs the other way.
EVIL = "a\x1b]0;title\x07b\x1b[2Jc\x9b2Jd\re\u202ef\x7f"
SHOWN = "a·]0;title·b·[2Jc·2Jd·e·f·"


def written(terminal: bool, render: Any) -> str:
    console = Console(width=80, force_terminal=terminal, color_system=None, highlight=False)
    with console.capture() as capture:
        render(console)
    return capture.get()


@pytest.mark.parametrize("terminal", [True, False])
@pytest.mark.parametrize(
    "render",
    [
        lambda out: line(out, EVIL),
        lambda out: line(out, "", (EVIL, "dim"), columns=80),
        lambda out: line(out, f"{EVIL} ", EVIL, " ", (EVIL, "dim"), columns=30),
        lambda out: paragraph(out, EVIL.replace("\r", "")),
    ],
    ids=["line", "styled", "wrapped", "paragraph"],
)
def test_control_sequences_are_shown_and_not_sent(terminal: bool, render: Any) -> None:
    text = written(terminal, render)
    assert text.replace("\n", "").isprintable()
    assert SHOWN.replace("·e", "e") in text or SHOWN in text


def test_the_screen_of_watch_sends_none() -> None:
    found = described() | {"EndpointName": EVIL}
    found["Alarms"][0]["AlarmName"] = EVIL
    text = written(False, lambda out: out.print(screen(found, note=EVIL)))
    assert text.replace("\n", "").isprintable()
    assert "a·]0;title" in text


def test_a_document_escapes_them_and_loses_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    document = {"Why": EVIL, "Name": "Zürich \U0001f6eb 日本", EVIL: ["\U000e0001"]}
    as_json(document)
    text = capsys.readouterr().out
    assert text.replace("\n", "").isprintable()
    assert "Zürich \U0001f6eb 日本" in text
    assert json.loads(text) == document
    as_json_line(document)
    text = capsys.readouterr().out
    assert text[:-1].isprintable()
    assert json.loads(text) == document


def test_a_row_of_events_sends_none() -> None:
    detail = {"FailureReason": EVIL, "EndpointConfigName": "c"}
    event = {
        "DetailType": "SageMaker Endpoint State Change",
        "Time": NOW,
        "EndpointName": "e",
        "EndpointStatus": "FAILED",
        "Event": json.dumps({"detail": detail}),
    }
    for terminal in (True, False):
        text = written(terminal, lambda out: _one(_Page(out, None, 8), event, json=False))
        assert text.replace("\n", "").isprintable()
        assert "a·]0;title" in text


def test_an_error_sends_none(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def refuse() -> None:
        raise Refused(f"{EVIL}\nSecond line.")

    monkeypatch.setattr(main, "app", refuse)
    with pytest.raises(SystemExit):
        main.main()
    assert capsys.readouterr().err == f"{SHOWN}\nSecond line.\n"
