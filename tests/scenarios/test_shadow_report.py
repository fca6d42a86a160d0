"""A shadow is judged by what it answers, on a real server, with the commands and the examples of docs/shadow-report.md."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.scenarios.shadow import total
from tests.scenarios.test_look_and_stop import blocks, environment, run
from tests.scenarios.world import World, wait_for

pytestmark = [pytest.mark.real, pytest.mark.slow]

PAGE = (Path(__file__).parents[2] / "docs" / "shadow-report.md").read_text()

#: v4 is wrong about every fourth flight.
FLIGHTS = b"""
import os

def model_fn(model_dir):
    return os.environ["VERSION"]

def predict_fn(data, model):
    late = data["delay"] % 4 == 0 and model != "flights-v4"
    return {"late": late, "probability": 0.75 if late else 0.25, "version": model}
"""
REQUESTS = 80


def program(world: World, text: str) -> str:
    path = run(world, "service-model").stdout.strip()
    credentials = {"AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": "any", "AWS_DEFAULT_REGION": "us-east-1"}
    answer = subprocess.run(
        [sys.executable, "-c", text],
        capture_output=True,
        text=True,
        env=environment(world) | credentials | {"AWS_DATA_PATH": path},
        timeout=60,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    return answer.stdout


def reported(world: World, endpoint: str) -> dict[str, Any]:
    answer = run(world, "shadow", "report", endpoint, "--json")
    assert answer.returncode == 0, answer.stderr
    found: dict[str, Any] = json.loads(answer.stdout)
    return found


def told_of(found: dict[str, Any]) -> int:
    """Requests that a report tells of, in one way or another."""
    unpaired = sum(one["Count"] for one in found["Unpaired"])
    return int(found["Agreement"]["Pairs"] + found["EarlierPairs"] + unpaired + found["Skipped"])


def test_the_documentations_shadow_is_put_there_judged_and_guards_its_promotion(world: World, tmp_path: Path) -> None:
    for model in ("flights-v2", "flights-v4"):
        world.model(model, files={"code/inference.py": FLIGHTS})
    endpoint = world.endpoint("flights", world.config("flights-plain", instances=1, model="flights-v2"))
    beside, promotion, reading = blocks(PAGE, "python")
    commands = [shlex.split(one) for one in re.findall(r"^bannister .*$", "\n".join(blocks(PAGE, "sh")), re.MULTILINE)]
    assert {one[1] for one in commands} == {"shadow"}
    program(world, beside)
    assert world.settled(endpoint)["EndpointConfigName"] == "flights-beside"
    assert run(world, "shadow", "report", endpoint).stdout.count("has been compared") == 1
    # The rules first, so that what is compared afterwards is compared by them.
    for command in sorted(commands, key=lambda one: one[2] != "rules"):
        if "--html" in command:
            command[-1] = str(tmp_path / command[-1])
        answer = run(world, *command[1:])
        assert answer.returncode == 0, (command, answer.stderr)
    probes = 0

    def compared_by_these_rules() -> bool:
        """Pairs are counted anew by them, so the first that is counted shows that they have reached the capture process."""
        nonlocal probes
        probes += 1
        world.invoke(endpoint, b'{"delay": 1}')
        return bool(reported(world, endpoint)["Agreement"]["Pairs"])

    wait_for("the rules to hold", compared_by_these_rules)
    before = wait_for("all that was asked so far", lambda: told_of(one := reported(world, endpoint)) == probes and one)[
        "Agreement"
    ]["Pairs"]
    for number in range(REQUESTS):
        assert world.invoke(endpoint, json.dumps({"delay": number}).encode())["version"] == "flights-v2"
    found = wait_for(
        "every pair",
        lambda: (one := reported(world, endpoint))["Agreement"]["Pairs"] >= before + REQUESTS * 0.95 and one,
    )
    agreement = found["Agreement"]
    assert agreement["Pairs"] <= before + REQUESTS
    assert agreement["Pairs"] - agreement["Agreeing"] == pytest.approx(0.25 * REQUESTS, abs=0.05 * REQUESTS)
    assert found["Labels"][0] | {"Count": 0} == {"Path": "$.late", "Old": "true", "New": "false", "Count": 0}
    assert found["NumericDifference"]["SignedMean"] < 0
    assert (found["ShadowModelName"], found["ProductionModelName"]) == ("flights-v4", "flights-v2")
    assert len(found["Worst"]) == 10
    assert '"version": "flights-v4"' in found["Worst"][0]["ShadowAnswer"]["Text"]
    assert found["Current"]
    both = [agreement, *(one["Agreement"] for one in found["Earlier"])]
    pairs = sum(one["Pairs"] for one in both)
    assert total(world, endpoint, "Shadow", "Pairs", namespace="/bannister/Shadow") == pairs
    assert total(world, endpoint, "Shadow", "Disagreements", namespace="/bannister/Shadow") == pytest.approx(
        pairs - sum(one["Agreeing"] for one in both)
    )

    program(world, promotion)
    held = wait_for(
        "the deployment to be held", lambda: '"held"' in (shown := run(world, "status", "--json").stdout) and shown
    )
    assert "flights-v4-differs" in held
    assert run(world, "rollback", endpoint, "--reason", "v4 disagrees").returncode == 0
    assert world.settled(endpoint)["EndpointConfigName"] == "flights-beside"
    assert program(world, reading).startswith("flights-v4 agrees with flights-v2 on 7")
    world.sagemaker.delete_endpoint(EndpointName=endpoint)
