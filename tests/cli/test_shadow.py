"""`bannister shadow` against the real service, through the command line."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from tests.aws.deployments.serving import context_of, served
from tests.domain.comparison.flights import GROUP, records, tallies
from tests.domain.deployment.worlds import fleet

from bannister.aws import cloudwatch, sagemaker
from bannister.cli.client import Server
from bannister.cli.plots import linear, logarithmic, of_time
from bannister.cli.shadow_page import page, write
from bannister.cli.shadow_report import show
from bannister.cli.words import milliseconds, more_milliseconds
from bannister.clock import SystemClock
from bannister.domain.comparison.record import record_key
from bannister.domain.comparison.report import ComparisonReport
from bannister.domain.endpoint import Endpoint
from bannister.domain.fleet import Shadow
from bannister.metrics.memory import MemoryMetrics
from bannister.metrics.store import GroupDimensions
from bannister.settings import Settings
from bannister.state.memory import MemoryState
from bannister.state.store import Put
from bannister.state.tables import ENDPOINTS, SHADOWS

BANNISTER = Path(sys.executable).with_name("bannister")


@pytest.fixture
async def url(tmp_path: Path) -> AsyncIterator[str]:
    state, metrics = MemoryState(), MemoryMetrics(Settings(tmp_path))
    start = int(SystemClock().now()) - 300
    for record in records(start):
        await state.commit([Put(SHADOWS, record_key(record.group, noise=record.noise), record, 0)])
    await state.commit([Put(ENDPOINTS, "flights", Endpoint("flights", 0.0, 0.0, blue=fleet("flights-2")), 0)])
    await metrics.register(GroupDimensions(GROUP, "flights", "Shadow", "flights-2", 1))
    await metrics.record(ComparisonReport("r", 1, None, None, tuple(tallies(start))))
    with served(context_of(tmp_path, state, metrics)) as address:
        yield address


def run(url: str, *arguments: str, code: int = 0) -> str:
    done = subprocess.run(
        [BANNISTER, "shadow", *arguments, "--endpoint-url", url],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == code, done.stderr
    return done.stdout + done.stderr


def found(url: str) -> dict[str, Any]:
    return Server(url).ask("bannister", "describe_shadow_report", EndpointName="flights")


def drawn(found: dict[str, Any]) -> list[str]:
    console = Console(width=80, force_terminal=True, color_system=None, highlight=False)
    with console.capture() as capture:
        show(console, found)
    return capture.get().splitlines()


def test_the_report_begins_with_the_verdict(url: str) -> None:
    text = run(url, "report", "flights")
    lines = text.splitlines()
    assert lines[0].startswith("flights: v4 beside v2  3 min 2 s until")
    assert lines[2].startswith("v4 agrees with v2 on 78.2 % of 412 pairs (95 % interval 70.4 % to 84.7 %).")
    assert "true → false" in text
    assert "322 of 412 unchanged" in text
    assert "3  no answer of the shadow was seen" in text
    assert "2  shadow: not written, the disk is full" in text
    assert text.count("$.late: true became false") == 10
    assert '{"late": false, "probability": 0.0266, "version": "v4"}' in text
    assert "ignored    nothing" in text


def test_a_text_that_was_cut_within_a_character_spoils_no_page(url: str, tmp_path: Path) -> None:
    report = found(url)
    report["Worst"][0]["Request"]["Text"] = r'{"text": "ok \ud83d"}'
    path = tmp_path / "page.html"
    write(report, path)
    assert r"ok \ud83d" in path.read_text()


def test_differences_are_written_as_times_are() -> None:
    assert [more_milliseconds(one) for one in (1234.5, -0.5, 999.7)] == ["+1.23 s", "-0.5 ms", "+1 s"]
    assert [milliseconds(one) for one in (999.4, 999.7, None)] == ["999 ms", "1 s", "-"]


def test_in_a_pipe_it_is_wrapped_at_80_columns_and_nothing_is_cut_off(url: str) -> None:
    lines = run(url, "report", "flights").splitlines()
    assert max(map(len, lines)) <= 80
    assert " ".join(lines[2:6]).startswith(
        "v4 agrees with v2 on 78.2 % of 412 pairs (95 % interval 70.4 % to 84.7 %). v2 agrees"
    )
    assert '"origin": "EWR"' in " ".join(" ".join(lines).split()), "a body goes on in the next line"


def test_as_json_it_is_the_operations_answer(url: str) -> None:
    document = json.loads(run(url, "report", "flights", "--json", "--config", "flights-2", "--variant", "Shadow"))
    assert document["Agreement"]["Pairs"] == 412
    assert document["Agreement"]["LowerBound"] < document["Agreement"]["Rate"] < document["Agreement"]["UpperBound"]
    assert document["NoiseFloor"]["Rate"] == 1.0
    assert (document["ShadowModelName"], document["ProductionModelName"]) == ("v4", "v2")
    assert document["Labels"][0] == {"Path": "$.late", "Old": "true", "New": "false", "Count": 90}
    assert document["LatencyDifference"][0]["Value"] < 0 < document["LatencyDifference"][-1]["Value"]
    assert len(document["Worst"]) == 10


def test_rules_are_shown_and_changed_one_by_one(url: str) -> None:
    assert "equal within 1e-06 + 0.0001" in run(url, "rules", "flights")
    run(url, "rules", "flights", "--ignore", "$.version", "--ignore", "$.at", "--max", "1", "--no-bodies")
    text = run(url, "rules", "flights", "--rtol", "0.01", "--noise-percent", "5")
    assert "1e-06 + 0.01" in text
    assert "$.version, $.at" in text
    assert "above 1" in text
    assert "measured on 5 % of the requests" in text
    assert "not kept" in text
    assert "ignored    nothing" in run(url, "rules", "flights", "--reset", "--min", "0")
    assert json.loads(run(url, "rules", "flights", "--json"))["Rules"]["NoisePercent"] == 0.0


def test_what_was_compared_by_other_rules_is_told_apart(url: str) -> None:
    one = found(url)
    assert "By other rules" not in "".join(drawn(one))
    at = one["EndTime"]
    old = {**one["Rules"], "AbsoluteTolerance": 0.5, "UnorderedPaths": ["$.a"], "NoisePercent": 3.0}
    one["Rules"] = {**one["Rules"], "IgnoredPaths": ["$.id"]}
    figures = {"StartTime": at, "EndTime": at, "Agreement": {"Pairs": 300, "Agreeing": 0, "Rate": 0.0}, "Rules": old}
    unknown = {**figures, "EndTime": at - timedelta(days=1)}
    del unknown["Rules"]
    one |= {"RulesTime": at, "EarlierPairs": 1300, "Earlier": [unknown, figures]}
    lines = drawn(one)
    place = lines.index("By other rules before  1,300 pairs, which are not counted above")
    assert any(line.startswith("  since      20") for line in lines[:place])
    assert lines[place + 1].startswith("  0 % of 300 pairs, until 20")
    assert lines[place + 2].strip().startswith("numbers equal within 0.5 + 0.0001")
    assert lines[place + 2].rstrip("…").split("production's|")[-1].startswith("; ignored")
    assert lines[place + 4].strip() == "by which rules is not known"
    assert "ignored nothing; unordered $.a</td>" in page(one)
    assert "1,300 pairs" in page(one)


def test_what_is_wrong_is_a_sentence(url: str) -> None:
    assert "does not begin with $" in run(url, "rules", "flights", "--ignore", "x", code=2)
    assert 'Could not find endpoint "nope".' in run(url, "report", "nope", code=2)
    assert 'has no shadow with configuration "x"' in run(url, "report", "flights", "--config", "x", code=2)
    assert "cannot be written" in run(url, "report", "flights", "--html", "/nowhere/x.html", code=2)


def test_it_fits_80_columns_whatever_there_is_to_show(url: str) -> None:
    one = found(url)
    assert max(map(len, drawn(one))) <= 80
    one |= {
        "ShadowModelName": "s" * 60,
        "ProductionModelName": "p" * 60,
        "StructuralDifferences": 3,
        "InvalidOutputs": 9,
    }
    one["Labels"] = [
        {"Path": f"$.{'x' * 90}", "Old": "o" * 64, "New": f"{number}" * 30, "Count": 7} for number in range(30)
    ]
    one["LabelPlaces"] = [{"Path": f"$.{'x' * 90}", "Unchanged": 10, "Changed": 210}]
    one["Worst"][0]["Why"] = "w" * 300
    one["Unpaired"] = [{"Reason": "r" * 200, "Count": 10**9}]
    lines = drawn(one)
    assert max(map(len, lines)) <= 80
    assert any("20 more changes" in line for line in lines)


def test_shares_of_labels_are_of_all_of_them_whether_they_have_a_row_or_not(url: str) -> None:
    one = found(url)
    one["Labels"] = [{"Path": "$.class", "Old": f"{number}", "New": "7", "Count": 10} for number in range(100, 120)]
    one["LabelPlaces"] = [
        {"Path": "$.same", "Unchanged": 3000, "Changed": 0},
        {"Path": "$.class", "Unchanged": 2700, "Changed": 300},
    ]
    one["OtherLabelChanges"] = 105
    lines = [line.strip() for line in drawn(one)]
    at = lines.index("$.class  2,700 of 3,000 unchanged")
    assert lines[at + 1].split() == ["100", "→", "7", "10", "0.3", "%"]
    assert lines[at + 11 : at + 14] == [
        "… and more changes, 200 times",
        "$.same  3,000 of 3,000 unchanged",
        "5 more changes of other labels",
    ]
    assert "2,700 of 3,000 unchanged" in page(one)
    assert "5 more changes of other labels" in page(one)


def test_answers_that_were_not_compared_to_their_end_are_told(url: str) -> None:
    one = found(url) | {"PartlyCompared": 12}
    said = "the ends of answers that are too large or too deep"
    assert any(line.split() == ["12", *said.split()] for line in drawn(one))
    assert said in page(one)


def test_a_shadow_that_gets_no_copies_though_it_should_is_told_of(tmp_path: Path) -> None:
    """In the report, on its page, and where all endpoints are listed."""
    state, blue = MemoryState(), fleet("flights-2")
    shadow = Shadow(replace(blue.groups[0], id="new", variant="Shadow"), 1_000_000)
    endpoint = Endpoint("flights", 0.0, 0.0, blue=replace(blue, shadow=shadow))
    asyncio.run(state.commit([Put(ENDPOINTS, "flights", endpoint, 0)]))
    why = "The proxy makes no copies, because it cannot."
    with served(replace(context_of(tmp_path, state), copies_trouble=lambda: why), sagemaker, cloudwatch) as url:
        one = found(url)
        assert why in " ".join(drawn(one))
        assert why in page(one)
        command = [BANNISTER, "status", "--endpoint-url", url]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert why in " ".join(done.stdout.split())


def test_nothing_compared_yet_is_a_short_report(url: str) -> None:
    one = found(url)
    one["Agreement"] = {"Pairs": 0, "Agreeing": 0, "LowerBound": 0.0, "UpperBound": 1.0, "Confidence": 0.95}
    one |= {"Worst": [], "Unpaired": [], "Captured": [], "Verdict": "No answer yet."}
    assert len(drawn(one)) < 15
    assert "No answer yet." in page(one)


class Elements(HTMLParser):
    """Names, and everything that would be fetched or run."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []
        self.open: list[str] = []
        self.foreign: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        if tag not in ("meta", "rect", "line", "path", "circle", "polyline"):
            self.open.append(tag)
        self.foreign += [name for name, _ in attrs if name in ("src", "href", "xlink:href") or name.startswith("on")]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_and_needs_nothing_from_elsewhere(url: str, tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    assert f"The page is in {file}." in run(url, "report", "flights", "--html", str(file))
    text = file.read_text()
    elements = Elements()
    elements.feed(text)
    assert elements.open == []
    assert elements.foreign == []
    assert "script" not in elements.names
    assert "http" not in text
    assert elements.names.count("svg") == 6
    assert elements.names.count("details") == 10


def test_what_models_answer_is_text_on_the_page(url: str) -> None:
    one = found(url)
    evil = "<script>alert(1)</script>&'\""
    one |= {"ShadowModelName": evil, "Verdict": evil}
    one["LabelPlaces"][0]["Path"] = evil
    one["Labels"][0] |= {"Path": evil, "Old": evil, "New": evil + "!"}
    one["Worst"][0] |= {"Why": evil, "RequestId": evil}
    one["Worst"][0]["Request"] |= {"Text": evil}
    one["Unpaired"][0]["Reason"] = evil
    elements = Elements()
    elements.feed(page(one))
    assert "script" not in elements.names
    assert elements.open == []


@pytest.mark.parametrize("values", [[0.0], [1.0], [-3.0, 5.0], [0.001, 900.0], [5.0, 5.0], [1e-9, 1e9]])
def test_axes_hold_their_values_and_their_ticks(values: list[float]) -> None:
    for axis in (linear(values, ""), logarithmic(values, "")):
        assert all(0 <= axis.place(value) <= 1 for value in [*values, *axis.ticks])
        assert axis.low < axis.high
    assert of_time(182, "", str).ticks == [0, 30, 60, 90, 120, 150, 180] or len(of_time(182, "", str).ticks) <= 8


def test_values_that_are_almost_one_have_an_axis_whose_labels_differ() -> None:
    axis = linear([0.014, 0.01400000000000002], "")
    assert len({axis.write(tick) for tick in axis.ticks}) == len(axis.ticks)


def test_the_line_of_the_agreement_is_broken_where_nothing_was_compared(url: str) -> None:
    one = found(url)
    began = one["Course"][0]["Timestamp"]
    seconds = [0, 10, 20, 50, 60, 100]
    one["Course"] = [{"Timestamp": began + timedelta(seconds=second), "Pairs": 10, "Agreeing": 9} for second in seconds]
    one["CoursePeriodSeconds"] = 10
    one |= {"ProductionLatency": [], "NumericDifference": None}
    text = page(one)
    lines = [points.split('"')[0].split() for points in text.split('<polyline class="curve shadow" points="')[1:]]
    assert [len(line) for line in lines] == [3, 2], "one before the gap, one after it, and a point that stands alone"
    assert text.count('<circle class="dot shadow"') == len(seconds)
