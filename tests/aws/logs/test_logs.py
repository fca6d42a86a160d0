"""CloudWatch Logs as boto3 reads it, over the logs of an in-memory machine."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from tests.aws.door import Door, code_and_text, opened

from bannister.aws import logs
from bannister.clock import SystemClock
from bannister.ids import SeededIds
from bannister.instances.host import InstanceRecord
from bannister.instances.memory import MemoryLogs, MemoryMachine
from bannister.metrics.memory import MemoryMetrics
from bannister.objects.memory import MemoryObjects
from bannister.operations import logs as operations
from bannister.operations.context import Context
from bannister.settings import Settings
from bannister.state.memory import MemoryState

GROUP = "/aws/sagemaker/Endpoints/shop"
#: In seconds since the epoch.
BEGAN = 1_795_407_000
ARN = "arn:aws:logs:us-east-1:000000000000:log-group:"


def ms(seconds: float) -> int:
    return round((BEGAN + seconds) * 1000)


class Logs:
    """A machine whose instances print what a test says, and a client that reads it."""

    def __init__(self, machine: MemoryMachine, door: Door) -> None:
        self._machine = machine
        self.door = door
        self.client = door.client("logs")

    def instance(self, name: str, *, endpoint: str = "shop", variant: str = "blue", started: float = 0.0) -> str:
        """One that runs; the name of its stream."""
        number = len(self._machine.remembered.instances)
        record = InstanceRecord(name, "g", number, endpoint, variant, first_started_at=BEGAN + started)
        self._machine.remembered.instances.append(record)
        return f"{variant}/{name}"

    def say(self, name: str, text: str, at: float) -> None:
        self._machine.print(name, text, BEGAN + at)

    def gone(self, name: str) -> None:
        (record,) = [one for one in self._machine.remembered.instances if one.id == name]
        self._machine.remembered.instances.remove(record)
        self._machine.past[name] = record

    def get(self, stream: str, **arguments: Any) -> dict[str, Any]:
        return dict(self.client.get_log_events(logGroupName=GROUP, logStreamName=stream, **arguments))

    def filter(self, **arguments: Any) -> list[str]:
        pages = self.client.get_paginator("filter_log_events").paginate(logGroupName=GROUP, **arguments)
        return [event["message"] for page in pages for event in page["events"]]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Logs]:
    settings, machine = Settings(Path("/nonexistent")), MemoryMachine()
    context = Context(
        state=MemoryState(),
        metrics=MemoryMetrics(settings),
        objects=MemoryObjects(1),
        clock=SystemClock(),
        ids=SeededIds(1),
        settings=settings,
        image_refusal=lambda image: None,
        ready_instances=dict,
        logs=MemoryLogs(machine),
    )
    with opened([logs.service(context)]) as door:
        yield Logs(machine, door)


@pytest.fixture
def world(shared: Logs) -> Logs:
    shared._machine.remembered.instances = []
    shared._machine.past.clear()
    shared._machine.logs.clear()
    return shared


def messages(answer: dict[str, Any]) -> list[str]:
    return [event["message"] for event in answer["events"]]


# --- groups and streams


def test_a_group_for_each_endpoint(world: Logs) -> None:
    for name, endpoint in (("0a", "shop"), ("0b", "shop"), ("0c", "bank"), ("0d", "gone")):
        world.instance(name, endpoint=endpoint, started=ord(name[1]))
        world.say(name, "hello", 200)
    world.gone("0d")
    found = world.client.describe_log_groups()["logGroups"]
    assert [group["logGroupName"].rpartition("/")[2] for group in found] == ["bank", "gone", "shop"]
    assert found[2] == {
        "logGroupName": GROUP,
        "creationTime": ms(ord("a")),
        "metricFilterCount": 0,
        "arn": f"{ARN}{GROUP}:*",
        "logGroupArn": f"{ARN}{GROUP}",
        "storedBytes": 12,
        "logGroupClass": "STANDARD",
    }


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"logGroupNamePrefix": "/aws/sagemaker/Endpoints/b"}, ["bank"]),
        ({"logGroupNamePrefix": "bank"}, []),
        ({"logGroupNamePattern": "Endpoints/s"}, ["shop"]),
        ({"logGroupNamePattern": "endpoints/s"}, []),
        ({"logGroupIdentifiers": [f"{ARN}{GROUP}", "/aws/sagemaker/Endpoints/bank"]}, ["bank", "shop"]),
        ({"logGroupClass": "INFREQUENT_ACCESS"}, []),
        ({"accountIdentifiers": ["123456789012"]}, []),
        ({"accountIdentifiers": ["000000000000"]}, ["bank", "shop"]),
    ],
)
def test_groups_are_chosen(world: Logs, arguments: dict[str, Any], expected: list[str]) -> None:
    world.instance("0a")
    world.instance("0b", endpoint="bank")
    found = world.client.describe_log_groups(**arguments)["logGroups"]
    assert [group["logGroupName"].rpartition("/")[2] for group in found] == expected


def test_groups_and_streams_in_pages(world: Logs) -> None:
    for number in range(7):
        world.instance(f"{number:02}", endpoint="shop" if number < 5 else f"other-{number}")
        world.say(f"{number:02}", "hello", 100 - number)
    groups = world.client.get_paginator("describe_log_groups").paginate(PaginationConfig={"PageSize": 2})
    assert [len(page["logGroups"]) for page in groups] == [2, 1]
    for arguments, expected in (
        ({}, "00 01 02 03 04"),
        ({"descending": True}, "04 03 02 01 00"),
        ({"orderBy": "LastEventTime"}, "04 03 02 01 00"),
        ({"orderBy": "LastEventTime", "descending": True}, "00 01 02 03 04"),
        ({"logStreamNamePrefix": "blue/03"}, "03"),
    ):
        pages = world.client.get_paginator("describe_log_streams").paginate(
            logGroupName=GROUP, PaginationConfig={"PageSize": 2}, **arguments
        )
        names = [stream["logStreamName"] for page in pages for stream in page["logStreams"]]
        assert names == [f"blue/{name}" for name in expected.split()]


def test_what_is_said_of_a_stream(world: Logs) -> None:
    world.instance("0a", started=1)
    world.instance("0b", started=2)
    world.say("0a", "first", 3)
    world.say("0a", "last", 4.5)
    full, empty = world.client.describe_log_streams(logGroupIdentifier=f"{ARN}{GROUP}")["logStreams"]
    assert full == {
        "logStreamName": "blue/0a",
        "creationTime": ms(1),
        "firstEventTimestamp": ms(3),
        "lastEventTimestamp": ms(4.5),
        "lastIngestionTime": ms(4.5),
        "arn": f"{ARN}{GROUP}:log-stream:blue/0a",
        "storedBytes": 0,
    }
    assert "lastEventTimestamp" not in empty


# --- one stream


def test_the_latest_events_come_first_and_tokens_lead_both_ways(world: Logs) -> None:
    stream = world.instance("0a")
    for number in range(10):
        world.say("0a", f"line {number}", number // 4)  # several have the same time
    last = world.get(stream, limit=4)
    assert messages(last) == [f"line {number}" for number in (6, 7, 8, 9)]
    assert last["events"][0] == {"timestamp": ms(1), "message": "line 6", "ingestionTime": ms(1)}
    before = world.get(stream, limit=4, nextToken=last["nextBackwardToken"])
    assert messages(before) == [f"line {number}" for number in (2, 3, 4, 5)]
    first = world.get(stream, limit=4, nextToken=before["nextBackwardToken"])
    assert messages(first) == ["line 0", "line 1"]
    end = world.get(stream, limit=4, nextToken=first["nextBackwardToken"])
    assert (messages(end), end["nextBackwardToken"]) == ([], first["nextBackwardToken"])
    again = world.get(stream, limit=4, nextToken=end["nextForwardToken"])
    assert messages(again) == [f"line {number}" for number in range(4)]
    assert messages(world.get(stream, limit=4, nextToken=before["nextForwardToken"])) == messages(last)


def test_at_the_end_the_token_is_the_same_until_there_is_more(world: Logs) -> None:
    stream = world.instance("0a")
    empty = world.get(stream, startFromHead=True)
    assert (messages(empty), world.get(stream)["nextForwardToken"]) == ([], empty["nextForwardToken"])
    world.say("0a", "one", 1)
    found = world.get(stream, nextToken=empty["nextForwardToken"])
    assert messages(found) == ["one"]
    end = world.get(stream, nextToken=found["nextForwardToken"])
    assert (messages(end), end["nextForwardToken"]) == ([], found["nextForwardToken"])
    world.say("0a", "two", 1)
    assert messages(world.get(stream, nextToken=end["nextForwardToken"])) == ["two"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"startTime": ms(3)}, "3 4 5"),
        ({"endTime": ms(3)}, "0 1 2"),
        ({"startTime": ms(1), "endTime": ms(4)}, "1 2 3"),
        ({"startTime": ms(1), "endTime": ms(4), "limit": 2}, "2 3"),
        ({"startTime": ms(1), "endTime": ms(4), "limit": 2, "startFromHead": True}, "1 2"),
        ({"startTime": ms(2.5), "startFromHead": True}, "3 4 5"),
        ({"startTime": ms(9)}, ""),
        ({"endTime": 0}, ""),
        ({"startTime": ms(4), "endTime": ms(2)}, ""),
    ],
)
def test_times_and_limits(world: Logs, arguments: dict[str, Any], expected: str) -> None:
    stream = world.instance("0a")
    for number in range(6):
        world.say("0a", str(number), number)
    assert messages(world.get(stream, **arguments)) == expected.split()
    if "limit" not in arguments:
        assert world.filter(**{name: value for name, value in arguments.items() if name.endswith("Time")}) == (
            expected.split()
        )


def test_an_answer_is_bounded_and_nothing_is_left_out(world: Logs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operations, "EVENT_BYTES_MAX", 1000)
    monkeypatch.setattr(operations, "SCANNED_BYTES_MAX", 1500)
    stream = world.instance("0a")
    for number in range(200):
        world.say("0a", f"{number:09}", number)
    found, token, pages = [], {"startFromHead": True}, 0
    while True:
        page = world.get(stream, **token)
        assert len(page["events"]) <= 100
        if page["nextForwardToken"] == token.get("nextToken"):
            break
        found += messages(page)
        token, pages = {"nextToken": page["nextForwardToken"]}, pages + 1
    assert found == [f"{number:09}" for number in range(200)] == world.filter()
    assert pages >= 2
    # A term that is nowhere takes several pages to say so.
    first = world.client.filter_log_events(logGroupName=GROUP, filterPattern="nowhere")
    assert (first["events"], "nextToken" in first) == ([], True)
    assert world.filter(filterPattern="nowhere") == []


# --- several streams


def test_streams_are_merged_by_time_in_pages_of_any_size(world: Logs) -> None:
    expected = []
    for name in ("0a", "0b", "0c"):
        world.instance(name, variant="green" if name == "0c" else "blue")
    for number in range(30):
        for name in ("0c", "0a", "0b"):
            if (number + ord(name[1])) % 3:
                world.say(name, f"{number} {name}", number // 5)
                expected.append((number // 5, name, number))
    expected.sort()
    texts = [f"{number} {name}" for _, name, number in expected]
    for size in (1, 2, 7, 1000):
        assert world.filter(PaginationConfig={"PageSize": size}) == texts
    page = world.client.filter_log_events(logGroupName=GROUP)
    assert (page["searchedLogStreams"], "nextToken" in page) == ([], False)
    assert len({event["eventId"] for event in page["events"]}) == len(texts)
    assert [event["logStreamName"] for event in page["events"][:1]] == ["blue/0a"]
    assert page["events"] == world.client.filter_log_events(logGroupName=GROUP, interleaved=True)["events"]


def test_streams_and_lines_are_chosen(world: Logs) -> None:
    for name, variant in (("0a", "blue"), ("0b", "blue"), ("0c", "green")):
        world.instance(name, variant=variant)
        world.say(name, f"ERROR in {name}", 1)
        world.say(name, f"fine: {name}", 2)
    world.gone("0b")
    assert world.filter(filterPattern="ERROR") == ["ERROR in 0a", "ERROR in 0b", "ERROR in 0c"]
    assert world.filter(filterPattern='"fine: 0b"') == ["fine: 0b"]
    assert world.filter(filterPattern="-ERROR", logStreamNamePrefix="blue/") == ["fine: 0a", "fine: 0b"]
    assert world.filter(logStreamNames=["green/0c"]) == ["ERROR in 0c", "fine: 0c"]
    with pytest.raises(ClientError) as refused:
        world.filter(logStreamNames=["green/0c", "none/0d"])
    assert code_and_text(refused) == ("ResourceNotFoundException", "The specified log stream does not exist.", 400)


def test_who_asks_again_from_the_newest_time_on_sees_everything_once(world: Logs) -> None:
    """What `aws logs tail --follow` does: it asks from its newest event's time on, and passes over the ids that it has."""
    for name in ("0a", "0b"):
        world.instance(name)
    seen: dict[str, str] = {}
    since, number = ms(0), 0
    for turn in range(6):
        for name in ("0b", "0a"):
            for _ in range(turn % 3):
                world.say(name, str(number), turn)
                number += 1
        for event in world.client.filter_log_events(logGroupName=GROUP, startTime=since)["events"]:
            seen.setdefault(event["eventId"], event["message"])
            since = max(since, event["timestamp"])
    assert sorted(seen.values(), key=int) == [str(one) for one in range(number)]


# --- what is refused


@pytest.mark.parametrize(
    ("operation", "arguments", "code", "says"),
    [
        (
            "describe_log_streams",
            {"logGroupName": "no"},
            "ResourceNotFoundException",
            "The specified log group does not",
        ),
        ("filter_log_events", {"logGroupName": "no"}, "ResourceNotFoundException", "The specified log group does not"),
        (
            "get_log_events",
            {"logGroupName": GROUP, "logStreamName": "blue/0b"},
            "ResourceNotFoundException",
            "The specified log stream does not exist.",
        ),
        ("describe_log_streams", {}, "InvalidParameterException", "exactly one of logGroupName"),
        (
            "filter_log_events",
            {"logGroupName": GROUP, "logGroupIdentifier": GROUP},
            "InvalidParameterException",
            "exactly one of logGroupName",
        ),
        (
            "describe_log_groups",
            {"logGroupNamePrefix": "a", "logGroupNamePattern": "b"},
            "InvalidParameterException",
            "mutually exclusive",
        ),
        (
            "describe_log_streams",
            {"logGroupName": GROUP, "logStreamNamePrefix": "a", "orderBy": "LastEventTime"},
            "InvalidParameterException",
            "Cannot order by LastEventTime with a logStreamNamePrefix.",
        ),
        (
            "filter_log_events",
            {"logGroupName": GROUP, "logStreamNamePrefix": "a", "logStreamNames": ["b"]},
            "InvalidParameterException",
            "mutually exclusive",
        ),
        (
            "filter_log_events",
            {"logGroupName": GROUP, "filterPattern": "{ $.a = 1 }"},
            "InvalidParameterException",
            "a pattern for JSON",
        ),
        (
            "filter_log_events",
            {"logGroupName": GROUP, "startFromHead": False},
            "InvalidParameterException",
            "startFromHead",
        ),
        (
            "get_log_events",
            {"logGroupName": GROUP, "logStreamName": "blue/0a", "limit": 10_001},
            "InvalidParameterException",
            "1 validation error detected: Value '10001' at 'limit' failed to satisfy constraint",
        ),
        ("get_log_events", {"logGroupName": GROUP}, "InvalidParameterException", "'logStreamName'"),
        ("describe_log_groups", {"limit": 51}, "InvalidParameterException", "'limit'"),
        ("put_log_events", {"logGroupName": GROUP}, "UnknownOperationException", "It supports: DescribeLogGroups"),
    ],
)
def test_refusals(world: Logs, operation: str, arguments: dict[str, Any], code: str, says: str) -> None:
    world.instance("0a")
    with pytest.raises(ClientError) as refused:
        getattr(world.client, operation)(**arguments)
    found, text, status = code_and_text(refused)
    assert (found, status) == (code, 400)
    assert says in text


@pytest.mark.parametrize(
    "token",
    [
        "x",
        "f/",
        "f/-1",
        "b/1/2",
        "f/" + "9" * 30,
        "\u00fc",
        "e30=",
        base64.b64encode(b'[1,"a",-1]').decode(),
        "=" * 5000,
    ],
)
def test_tokens_that_nobody_gave(world: Logs, token: str) -> None:
    world.instance("0a")
    for operation, arguments in (
        ("describe_log_groups", {}),
        ("describe_log_streams", {"logGroupName": GROUP}),
        ("get_log_events", {"logGroupName": GROUP, "logStreamName": "blue/0a"}),
        ("filter_log_events", {"logGroupName": GROUP}),
    ):
        if token.startswith(("e30", "WzE")) and operation.startswith("describe"):
            continue  # a key like any other
        with pytest.raises(ClientError) as refused:
            getattr(world.client, operation)(nextToken=token, **arguments)
        assert code_and_text(refused) == ("InvalidParameterException", "The specified nextToken is invalid.", 400)


def test_a_page_of_the_middle_of_nowhere_is_empty(world: Logs) -> None:
    stream = world.instance("0a")
    world.say("0a", "one", 1)
    for token in ("f/999999", "b/0"):
        assert messages(world.get(stream, nextToken=token)) == []
