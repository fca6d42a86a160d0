"""`python -m bannister.demo`: the story from the first training to the summary. Exit code 0: everything held."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path

from botocore.exceptions import BotoCoreError, ClientError
from rich import box
from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from bannister.demo import report
from bannister.demo.endpoint import ENDPOINT, TookTooLong, config_name
from bannister.demo.report import Outcome
from bannister.demo.screen import Screen
from bannister.demo.server import Server, ServerFailed
from bannister.demo.story import Demo


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
    """Nothing of the user's set-up of AWS or of Bannister, and no proxy, may stand between the demo and its own server."""
    for name in [name for name in os.environ if name.startswith(("AWS_", "BANNISTER_"))]:
        del os.environ[name]
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        os.environ[name] = os.devnull
    os.environ["NO_PROXY"] = "127.0.0.1"
    # The model of Bannister's own service; `bannister service-model` prints the same folder.
    os.environ["AWS_DATA_PATH"] = str(Path(__file__).parents[1] / "service")
    # Training is small, and threads that wait for one another on busy cores take several times longer than one.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    # Also SIGINT, which a shell that starts the demo in the background has it ignore.
    for ending in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, signal.default_int_handler)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bannister.demo",
        description="Serve a model of flight delays under live traffic. A canary takes back a version that fails; a shadow stops one that is wrong.",
    )
    parser.add_argument("--keep", action="store_true", help="leave the server up, and print what to try next")
    parser.add_argument("--data-dir", type=Path, help="an empty folder for the server  [default: a temporary one]")
    parser.add_argument("--port", type=int, help="the server's port  [default: a free one]")
    arguments = parser.parse_args()
    if arguments.data_dir and arguments.data_dir.is_dir() and any(arguments.data_dir.iterdir()):
        parser.error(f"{arguments.data_dir} is not empty: the demo needs a server that has nothing yet.")
    return arguments


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
    for line in (*report.times(outcome), *report.shadows(outcome)):
        console.print(Padding(Text(line), (0, 2, 0, 2)))
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
    bannister, v3 = Path(sys.executable).with_name("bannister"), outcome.settled["v3"].deployment
    lines = (
        "# The server is still up. In any shell:",
        f"export AWS_ENDPOINT_URL={server.url} AWS_DEFAULT_REGION=us-east-1 "
        "AWS_ACCESS_KEY_ID=any AWS_SECRET_ACCESS_KEY=any",
        "# 1. Will this flight of an unregistered aircraft land late?",
        f"curl -H content-type:application/json -d @{file} $AWS_ENDPOINT_URL/endpoints/{ENDPOINT}/invocations",
        "# 2. Why was v3 taken back?",
        f"{bannister} explain {ENDPOINT} --deployment {v3}",
        "# 3. Release v3 without guards, all at once; then try 1 again after some seconds.",
        f'{python} -c "{boto}; '
        f"sagemaker.update_endpoint(EndpointName='{ENDPOINT}', EndpointConfigName='{config_name('v3')}')\"",
        "# When you are done:",
        f"kill {server.pid}; while kill -0 {server.pid}; do sleep 0.2; done; rm -r {workspace}",
    )
    screen.console.print()
    for line in lines:
        # Not wrapped: each is to be copied.
        screen.console.print(Text(line, "bright_black" if line.startswith("#") else ""), soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
