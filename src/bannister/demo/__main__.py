"""`python -m bannister.demo`: the story from the first training to the summary. Exit code 0: everything held."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import tempfile
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from botocore.exceptions import BotoCoreError, ClientError
from rich import box
from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from bannister.demo import report
from bannister.demo.endpoint import (
    BAKE_SECONDS,
    CANARY_PERCENT,
    ENDPOINT,
    INSTANCES,
    Description,
    FlightsEndpoint,
    TookTooLong,
    config_name,
    error_alarm,
    green,
)
from bannister.demo.flights import Flights, load
from bannister.demo.report import Outcome, Settled
from bannister.demo.screen import Screen
from bannister.demo.server import Server, ServerFailed
from bannister.demo.traffic import Traffic
from bannister.demo.training import Version, train

REQUESTS_PER_SECOND = 100.0
#: Enough of March for the longest run; it has 27,902 flights that landed.
FLIGHTS_MAX = 24_000
#: How long each version is left alone before the next step, so that there is something to see.
STEADY_SECONDS = 5.0
#: Generous, for busy machines: instances start at low priority.
CREATE_TIMEOUT_SECONDS = 300.0
UPDATE_TIMEOUT_SECONDS = 300.0


class Demo:
    """One run, on a server of its own."""

    def __init__(self, server: Server, workspace: Path, screen: Screen) -> None:
        self._server = server
        self._workspace = workspace
        self._screen = screen
        self._seen: tuple[str, float] | None = None
        self._status = ""

    def run(self) -> Outcome:
        """The whole story.

        Raises:
            ServerFailed: The server did not start.
            TookTooLong: The endpoint never came to rest.
        """
        say = self._screen.say
        with ThreadPoolExecutor(1) as background:
            trained: Future[tuple[Flights, list[Version]]] = background.submit(_train)
            self._server.wait_ready()
            say(f"bannister is up on {self._server.url}")
            data, versions = trained.result()
        say("trained v1 (schedule), v2 (+ delay, weather), v3 (+ aircraft's age)")
        flights = data.replay(FLIGHTS_MAX)
        outcome = Outcome(versions, flights, alarm_name=error_alarm("v3"))
        endpoint = FlightsEndpoint(self._server.url)
        endpoint.release(versions)
        say("uploaded three model.tar.gz to s3://flights, created their models")
        endpoint.create("v1")
        created = endpoint.wait_settled(CREATE_TIMEOUT_SECONDS, self._watch)
        if created["EndpointStatus"] != "InService":
            raise ServerFailed(f"The endpoint was not created: {created.get('FailureReason')}")
        say(f"v1 is in service on {INSTANCES} instances")
        self._with_traffic(endpoint, outcome)
        return outcome

    def _with_traffic(self, endpoint: FlightsEndpoint, outcome: Outcome) -> None:
        traffic = Traffic(endpoint.invocations_url, outcome.flights, self._workspace, REQUESTS_PER_SECOND)
        try:
            self._screen.follow(traffic)
            self._screen.say(f"a client replays March: {REQUESTS_PER_SECOND:.0f} requests/s, without retries")
            self._steady()
            outcome.v2_settled = self._update(endpoint, "v2")
            self._steady()
            outcome.v3_settled = self._update(endpoint, "v3")
            outcome.rolled_back_at = time.time()
            outcome.alarm_at = endpoint.tripped_at(outcome.alarm_name)
            self._steady()
            outcome.client_survived = traffic.running
        finally:
            self._screen.unfollow()
            traffic.stop()
            outcome.answers = traffic.answers()

    def _update(self, endpoint: FlightsEndpoint, version: str) -> Settled:
        alarms = endpoint.guard(version)
        endpoint.update(version, alarms)
        self._screen.say(
            f"update to {version}: canary of {CANARY_PERCENT} % for {BAKE_SECONDS} s, {len(alarms)} alarms watch it",
            "bold",
        )
        described = endpoint.wait_settled(UPDATE_TIMEOUT_SECONDS, self._watch)
        settled = Settled(described["EndpointStatus"], described["EndpointConfigName"], described.get("FailureReason"))
        if settled.failure_reason:
            self._screen.say(settled.failure_reason, "bold red")
        else:
            self._screen.say(f"{version} is in service", "bold green")
        return settled

    def _watch(self, description: Description) -> None:
        """One look at the endpoint: an event if something has changed."""
        status = description["EndpointStatus"]
        if status == "RollingBack" and self._status != status:
            self._screen.say("rolling back: all traffic goes to the version before", "bold red")
        self._status = status
        fleet = green(description)
        if fleet is None:
            self._screen.asked(None)
            self._seen = None
        elif self._seen != (fleet.activity, fleet.share):
            self._seen = (fleet.activity, fleet.share)
            version = description["PendingDeploymentSummary"]["EndpointConfigName"].removeprefix(config_name(""))
            self._screen.asked(f"asked for {version}: {fleet.share:.0%}" if fleet.share else None)
            share = f" at {fleet.share:.0%}" if fleet.share else ""
            self._screen.say(f"  {version}{share}: {fleet.activity}")
        self._screen.tick()

    def _steady(self) -> None:
        deadline = time.monotonic() + STEADY_SECONDS
        while time.monotonic() < deadline:
            time.sleep(0.2)
            self._screen.tick()


def main() -> int:
    """Run the demo; returns the exit code: 0 everything held, 1 something did not, 130 interrupted."""
    arguments = _arguments()
    _stand_alone()
    workspace = Path(tempfile.mkdtemp(prefix="bannister-demo-"))
    screen = Screen()
    server = Server(arguments.data_dir or workspace / "data", arguments.port)
    keep_server = keep_files = False
    try:
        with screen:
            outcome = Demo(server, workspace, screen).run()
        held = _show(screen, outcome)
        keep_files = not held
        if arguments.keep:
            keep_server = keep_files = True
            _show_next(screen, server, workspace, outcome)
        return 0 if held else 1
    except (ServerFailed, TookTooLong, BotoCoreError, ClientError) as error:
        keep_files = True
        screen.console.print(Text(f"{error}\nThe server's last lines:\n{server.log_tail()}", "red"))
        return 1
    except KeyboardInterrupt:
        screen.console.print("Interrupted; stopping what was started.")
        return 130
    finally:
        # A second Ctrl-C must not leave half of it running.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        if not keep_server:
            server.stop()
        if not keep_files:
            shutil.rmtree(workspace, ignore_errors=True)
        elif not keep_server:
            screen.console.print(f"All logs are in {server.data_dir}.", soft_wrap=True)


def _stand_alone() -> None:
    """Nothing of the user's AWS set-up, and no proxy, may stand between the demo and its own server."""
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_CA_BUNDLE"):
        os.environ.pop(name, None)
    os.environ["NO_PROXY"] = "127.0.0.1"
    # Training is small, and threads that wait for one another on busy cores take several times longer than one.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    for ending in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, signal.default_int_handler)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bannister.demo",
        description="Serve a model of flight delays, update it twice under live traffic, and see the bad update taken back.",
    )
    parser.add_argument("--keep", action="store_true", help="leave the server up, and print what to try next")
    parser.add_argument("--data-dir", type=Path, help="an empty folder for the server  [default: a temporary one]")
    parser.add_argument("--port", type=int, help="the server's port  [default: a free one]")
    arguments = parser.parse_args()
    if arguments.data_dir and arguments.data_dir.is_dir() and any(arguments.data_dir.iterdir()):
        parser.error(f"{arguments.data_dir} is not empty: the demo needs a server that has nothing yet.")
    return arguments


def _train() -> tuple[Flights, list[Version]]:
    data = load()
    return data, [train(name, data) for name in ("v1", "v2", "v3")]


def _show(screen: Screen, outcome: Outcome) -> bool:
    console = screen.console
    console.print(Rule(style="bright_black"))
    console.print(Padding(Text(report.conclusion(outcome), "bold"), (1, 2, 0, 2)))
    table = Table(box=box.SIMPLE_HEAD, pad_edge=True)
    headings = ("", "offline\nacc.", "\nF1", "live\nacc.", "\nF1", "requests", "errors", "p50\nms", "p99\nms")
    for heading in headings:
        table.add_column(heading, justify="right" if heading else "left")
    for row in report.table(outcome):
        table.add_row(*row, style="red" if row[6] != "0" else "")
    console.print(table)
    for line in report.times(outcome):
        console.print(f"  {line}")
    console.print()
    found = report.checks(outcome)
    for check in found:
        console.print(_check_line(check))
    return all(check.held for check in found)


def _check_line(check: report.Check) -> Text:
    if check.held:
        return Text.assemble(("  ✔ ", "green"), check.sentence)
    return Text.assemble(("  ✘ DID NOT HOLD: ", "bold red"), check.sentence, f"\n      {check.evidence}")


def _show_next(screen: Screen, server: Server, workspace: Path, outcome: Outcome) -> None:
    flight = next(flight for flight in outcome.flights if not flight.known_plane)
    file = workspace / "flight.json"
    file.write_text(flight.body)
    python, boto = sys.executable, "import boto3; sagemaker = boto3.client('sagemaker')"
    lines = (
        "# The server is still up. In any shell:",
        f"export AWS_ENDPOINT_URL={server.url} AWS_DEFAULT_REGION=us-east-1 "
        "AWS_ACCESS_KEY_ID=any AWS_SECRET_ACCESS_KEY=any",
        "# 1. Will this flight of an unregistered aircraft land late?",
        f"curl -H content-type:application/json -d @{file} $AWS_ENDPOINT_URL/endpoints/{ENDPOINT}/invocations",
        "# 2. Why was v3 taken back?",
        f"{python} -c \"{boto}; print(sagemaker.describe_endpoint(EndpointName='{ENDPOINT}')['FailureReason'])\"",
        "# 3. Release v3 without guards, all at once; then try 1 again after some seconds.",
        f'{python} -c "{boto}; '
        f"sagemaker.update_endpoint(EndpointName='{ENDPOINT}', EndpointConfigName='{config_name('v3')}')\"",
        "# When you are done:",
        f"kill {server.pid}; rm -r {workspace}",
    )
    screen.console.print()
    for line in lines:
        # Not wrapped: each is to be copied.
        screen.console.print(Text(line, "bright_black" if line.startswith("#") else ""), soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
