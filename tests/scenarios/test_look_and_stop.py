"""A person looks at deployments and stops one, with the commands as users run them, at constant traffic."""

import json
import os
import pty
import re
import select
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from tests.scenarios.recorder import check_decisions
from tests.scenarios.world import BANNISTER, Load, World, wait_for

pytestmark = [pytest.mark.real, pytest.mark.slow]

CANARY = {
    "Type": "CANARY",
    "WaitIntervalInSeconds": 3,
    "CanarySize": {"Type": "CAPACITY_PERCENT", "Value": 20},
}
LONG_CANARY = CANARY | {"WaitIntervalInSeconds": 300}


def environment(world: World) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "BANNISTER_"))}
    return clean | {"AWS_ENDPOINT_URL": world.server.url, "TERM": "xterm", "LINES": "24", "COLUMNS": "80"}


def run(world: World, *arguments: str, seconds: float = 120) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [BANNISTER, *arguments],
        capture_output=True,
        text=True,
        env=environment(world),
        stdin=subprocess.DEVNULL,
        timeout=seconds,
        check=False,
    )


def document(world: World, *arguments: str) -> Any:
    answer = run(world, *arguments, "--json")
    assert answer.returncode == 0, answer.stderr
    return json.loads(answer.stdout)


class Terminal:
    """A command in a terminal of 80 by 24."""

    def __init__(self, world: World, *arguments: str) -> None:
        self.shown = ""
        self._screen, theirs = pty.openpty()
        self.process = subprocess.Popen(
            [BANNISTER, *arguments], stdin=theirs, stdout=theirs, stderr=theirs, env=environment(world)
        )
        os.close(theirs)

    def read(self, *, until: str, seconds: float = 60) -> None:
        """Read on until a text is shown, or, without one, the end."""
        deadline = time.monotonic() + seconds
        while not until or until not in self.shown:
            left = deadline - time.monotonic()
            assert left > 0, f"{until!r} was not shown: {self.shown[-3000:]}"
            if select.select([self._screen], [], [], left)[0]:
                try:
                    piece = os.read(self._screen, 65536)
                except OSError:  # Linux's way to say that the other side is closed
                    piece = b""
                if not piece:
                    assert not until, f"ended without {until!r}: {self.shown[-3000:]}"
                    return
                self.shown += re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", piece.decode(errors="replace"))

    def end(self) -> int:
        self.read(until="")
        os.close(self._screen)
        return self.process.wait(30)


def test_a_deployment_is_watched_to_its_end_and_explained(world: World, record: Path) -> None:
    endpoint = world.endpoint("watched", world.config("watched-1"))
    world.config("watched-2")
    alarm = world.error_alarm("watched-errors", endpoint, "watched-2")
    with Load(world.server, endpoint, record, rate=100) as load:
        world.update(endpoint, "watched-2", routing=CANARY, alarms=(alarm,), termination_wait=2)
        terminal = Terminal(world, "watch", endpoint)
        try:
            terminal.read(until="Bakes at step 1 of 2")
            (running,) = (one for one in document(world, "status")["Endpoints"] if one["EndpointName"] == endpoint)
            terminal.read(until="Completed after")
        finally:
            code = terminal.end()
    load.nothing_lost()
    assert code == 0
    assert running["EndpointStatus"] == "Updating"
    assert running["Deployment"]["Green"]["PercentAcknowledged"] in (0.0, 20.0, 100.0)
    for shown in (
        "watched-1 → watched-2",
        "canary of 20 %",
        "20 % green",
        "2 of 2 ready",
        "watched-errors",
        "alarm if > 0.05",
    ):
        assert shown in terminal.shown
    story = run(world, "explain", endpoint)
    assert story.returncode == 0
    order = ["started", "green ready", "split acknowledged", "step baked", "last step baked", "blue gone", "Completed"]
    places = [story.stdout.index(what) for what in order]
    assert places == sorted(places)
    told = document(world, "explain", endpoint)
    assert told["Deployment"]["Status"] == "Completed"
    requests = told["Deployment"]["Blue"]["Variants"][0]["Figures"]["Requests"]
    assert requests > 0
    again = run(world, "watch", endpoint)
    assert again.returncode == 0
    assert f"No deployment runs on {endpoint}" in again.stdout


def test_a_rollback_shows_the_value_that_breached_against_the_threshold(world: World, record: Path) -> None:
    """Half of green's answers are errors: who asks why reads that, the threshold, and the share of the traffic that it had."""
    endpoint = world.endpoint("failing", world.config("failing-1"))
    world.config("failing-2", FAIL="0.5")
    alarm = world.error_alarm("failing-errors", endpoint, "failing-2")
    with Load(world.server, endpoint, record, rate=100):
        world.update(endpoint, "failing-2", routing=LONG_CANARY, alarms=(alarm,))
        assert world.settled(endpoint)["EndpointConfigName"] == "failing-1"
    story = run(world, "explain", endpoint).stdout
    breached = r'alarm  "failing-errors" ALARM \(tripped\): ([0-9.]+), alarm if > 0\.05'
    shown = re.search(breached, story[story.index("stopped: rolling back") :])
    assert shown is not None, story
    assert 0.05 < float(shown[1]) <= 1.0
    shifted = story[story.index("split acknowledged") : story.index("stopped: rolling back")]
    assert "traffic: 80 % asked, 80 % acknowledged" in shifted
    assert "traffic: 20 % asked, 20 % acknowledged" in shifted


def test_a_person_stops_a_deployment(world: World, record: Path) -> None:
    endpoint = world.endpoint("stopped", world.config("stopped-1"))
    world.config("stopped-2")
    with Load(world.server, endpoint, record, rate=100) as load:
        world.update(endpoint, "stopped-2", routing=LONG_CANARY)
        wait_for("the bake", lambda: '"baking"' in json.dumps(document(world, "status")))
        watching = subprocess.Popen(
            [BANNISTER, "watch", endpoint], stdout=subprocess.PIPE, text=True, env=environment(world)
        )
        assert watching.stdout is not None
        first = watching.stdout.readline()  # else all may be over before it begins to look
        stopped = run(world, "rollback", endpoint, "--reason", "predictions look wrong in Denver")
        rest, _ = watching.communicate(timeout=60)
        lines = first + rest
    answers = load.nothing_lost()
    assert stopped.returncode == 0, stopped.stderr
    assert "All traffic of stopped goes back to stopped-1" in stopped.stdout
    assert "Rolled back after" in stopped.stdout
    assert watching.returncode == 1
    assert "predictions look wrong in Denver" in lines
    assert [one for one in lines.splitlines()[:-1] if not re.match(r"\d\d:\d\d:\d\d  ", one)] == []
    found = world.describe(endpoint)
    assert (found["EndpointStatus"], found["EndpointConfigName"]) == ("InService", "stopped-1")
    assert "A rollback was asked for: predictions look wrong in Denver" in found["FailureReason"]
    last_new = max(one.began for one in answers if one.version == "stopped-2")
    assert all(one.version == "stopped-1" for one in answers if one.began > last_new)
    story = run(world, "explain", endpoint).stdout
    assert story.index("a person asked to roll back") < story.index("stopped: rolling back")
    again = run(world, "rollback", endpoint, "--reason", "again")
    assert (again.returncode, again.stdout) == (2, "")
    assert again.stderr.startswith('No deployment runs on "stopped"')
    assert "UpdateEndpoint" in again.stderr


def test_what_is_wrong_with_an_alarm_is_shown_by_every_command(world: World) -> None:
    endpoint = world.endpoint("warned", world.config("warned-old", instances=1))
    world.config("warned-new", instances=1)
    alarm = world.error_alarm("warned-errors", endpoint, "warned-new", threshold=2.0)
    world.update(endpoint, "warned-new", routing=LONG_CANARY, alarms=(alarm,))
    warnings = document(world, "explain", endpoint)["Deployment"]["Warnings"]
    warning = warnings[0]
    for command in (("status",), ("explain", endpoint)):
        shown = " ".join(run(world, *command).stdout.split())
        assert f"! {alarm}: {warning['Kind']}" in shown
        assert f"{warning['Reason']} {warning['Remedy']}" in shown
    watched = Terminal(world, "watch", endpoint)
    watched.read(until=warning["Kind"])
    watched.process.send_signal(signal.SIGINT)
    watched.read(until="")
    with subprocess.Popen(
        [BANNISTER, "watch", endpoint], stdout=subprocess.PIPE, text=True, env=environment(world)
    ) as piped:
        assert piped.stdout is not None
        first = piped.stdout.readline()  # else all may be over before it begins to look
        assert run(world, "rollback", endpoint, "--reason", "enough").returncode == 0
        shown = " ".join((first + piped.stdout.read()).split())
    assert f"{warning['Reason']} {warning['Remedy']}" in shown


def test_ctrl_c_leaves_the_deployment_alone(world: World) -> None:
    endpoint = world.endpoint("left-alone", world.config("alone-1", instances=1))
    world.config("alone-2", instances=1)
    world.update(endpoint, "alone-2", routing=LONG_CANARY)
    terminal = Terminal(world, "watch", endpoint)
    try:
        terminal.read(until="left-alone")
    finally:
        terminal.process.send_signal(signal.SIGINT)
        code = terminal.end()
    assert code == 130
    assert "The deployment of left-alone goes on" in terminal.shown
    assert world.describe(endpoint)["EndpointStatus"] == "Updating"
    refused = run(world, "rollback", endpoint, "--reason", "x" * 1025)
    assert refused.returncode == 2
    assert run(world, "rollback", endpoint, "--reason", "clean\n up", "--no-wait").returncode == 0
    assert "asked for: clean up" in world.settled(endpoint)["FailureReason"]


def test_a_refused_update_is_in_the_story(world: World) -> None:
    endpoint = world.endpoint("busy", world.config("busy-1", instances=1))
    world.config("busy-2", instances=1)
    world.update(endpoint, "busy-2", routing=LONG_CANARY)
    with pytest.raises(world.sagemaker.exceptions.ClientError, match="in-progress"):
        world.update(endpoint, "busy-2", routing=LONG_CANARY)
    assert run(world, "rollback", endpoint, "--reason", "enough").returncode == 0
    kinds = [one["Kind"] for one in document(world, "explain", endpoint)["Decisions"]]
    assert kinds[0] == "Started"
    assert "Refused" in kinds
    assert kinds.index("Refused") < kinds.index("RollbackRequested")


def test_the_examples_of_the_documentation_run(world: World) -> None:
    page = (Path(__file__).parents[2] / "docs" / "reading-a-deployment.md").read_text()
    commands = [shlex.split(one) for one in re.findall(r"^bannister .*$", "\n".join(blocks(page, "sh")), re.MULTILINE)]
    assert {one[1] for one in commands} == {"status", "watch", "explain", "rollback"}
    (program,) = blocks(page, "python")
    endpoint = world.endpoint("flights", world.config("flights-v1", instances=1))
    world.config("flights-v2", instances=1)
    world.update(endpoint, "flights-v2", routing=LONG_CANARY)
    # Watching comes last here: it goes on until the deployment has ended.
    for command in sorted(commands, key=lambda one: ("status", "explain", "rollback", "watch").index(one[1])):
        answer = run(world, *command[1:])
        assert answer.returncode == (1 if command[1] == "watch" else 0), (command, answer.stderr)
    path = run(world, "service-model").stdout.strip()
    credentials = {"AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": "any", "AWS_DEFAULT_REGION": "us-east-1"}
    answer = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env=environment(world) | credentials | {"AWS_DATA_PATH": path},
        timeout=60,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.startswith("RolledBack")
    assert "RollbackRequested" in answer.stdout


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)


def test_every_decision_so_far_is_the_same_when_taken_again(world: World) -> None:
    assert check_decisions(world.server.data_dir) >= 20


@pytest.mark.parametrize(
    "arguments", [("watch", "nope"), ("explain", "nope"), ("rollback", "nope", "--reason", "x")], ids=lambda one: one[0]
)
def test_an_endpoint_that_does_not_exist_is_one_sentence(world: World, arguments: tuple[str, ...]) -> None:
    answer = run(world, *arguments)
    assert (answer.returncode, answer.stdout) == (2, "")
    assert answer.stderr == 'Could not find endpoint "nope".\n'
