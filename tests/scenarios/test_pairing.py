"""Every copied request makes a pair, and none a wrong one, at 200 requests a second of which all are copied."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from tests.scenarios.shadow import SHADOW, shadow_config, total
from tests.scenarios.test_look_and_stop import run
from tests.scenarios.world import Load, World, wait_for

pytestmark = [pytest.mark.real, pytest.mark.slow]

REQUESTS = int(os.environ.get("PAIRED_REQUESTS", "2000"))
#: Issued: of the copies whose body was fully sent.
PAIRED_SHARE_MIN = 0.999

#: Says which request it answers: two answers that belong to different requests disagree.
ECHO = b"""
import os

def model_fn(model_dir):
    return os.environ["VERSION"]

def predict_fn(data, model):
    return {"x": data["x"], "version": model}
"""


def reported(world: World) -> dict[str, Any]:
    answer = run(world, "shadow", "report", "paired", "--json")
    assert answer.returncode == 0, answer.stderr
    found: dict[str, Any] = json.loads(answer.stdout)
    return found


def test_every_copied_request_makes_one_pair_and_none_a_wrong_one(world: World, tmp_path: Path) -> None:
    for model in ("echo-1", "echo-2"):
        world.model(model, files={"code/inference.py": ECHO})
    world.endpoint("paired", shadow_config(world, "paired-1", "echo-1", "echo-2"))
    assert run(world, "shadow", "rules", "paired", "--ignore", "$.version").returncode == 0
    # The rules, and the route of the copies, are there.
    wait_for(
        "the first pair", lambda: world.invoke("paired", b'{"x": -1}') and reported(world)["Agreement"]["Agreeing"]
    )
    before = reported(world)
    with Load(world.server, "paired", tmp_path / "load.jsonl") as load:
        wait_for("the load", lambda: len(load.answers()) >= REQUESTS, timeout_seconds=REQUESTS / 100 + 60)
    answers = load.nothing_lost()

    def settled() -> dict[str, Any] | None:
        found = reported(world)
        alone = sum(one["Count"] for one in found.get("Unpaired", []))
        made = found["Agreement"]["Pairs"] + alone + found.get("Skipped", 0)
        return found if made - before["Agreement"]["Pairs"] >= len(answers) else None

    found = wait_for("every copy to be accounted for", settled, timeout_seconds=90)
    pairs = found["Agreement"]["Pairs"] - before["Agreement"]["Pairs"]
    copies = total(world, "paired", SHADOW) - before["Agreement"]["Pairs"]
    print(
        f"\n{len(answers)} requests, {copies:.0f} copies, {pairs} pairs; {found.get('Unpaired')}, {found.get('Skipped')} skipped"
    )
    assert pairs >= PAIRED_SHARE_MIN * copies
    assert pairs <= len(answers)
    assert found["Agreement"]["Agreeing"] == found["Agreement"]["Pairs"], "none wrongly"
