"""A model is warmed up before it gets its first request: in the life of an instance, and over HTTP."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest
from tests.instances.conftest import LocalPlace, MemoryPlace

from bannister.domain.instance import GroupSpec, InstancePhase
from bannister.domain.warmup import WARMUP_FILE, WARMUP_VARIABLE
from bannister.errors import Invalid
from bannister.instances.memory import Behaviour
from bannister.instances.warmup import warmup_of
from bannister.settings import Settings

READY = InstancePhase.READY


def brings(spec: GroupSpec, *requests: dict[str, Any], **changes: Any) -> GroupSpec:
    lines = "\n".join(json.dumps(one) for one in requests)
    return dataclasses.replace(spec, environment={**spec.environment, WARMUP_VARIABLE: lines}, **changes)


# --- the life of an instance, wherever it runs


async def test_one_that_answers_its_warm_up_is_ready(place):
    backend = await place.started()
    await backend.ensure(brings(place.spec(), {"body": 1}), 2, epoch=1)
    found = await place.until_all(backend, READY, 2)
    assert all(one.answered and one.reason is None for one in found)


async def test_requests_that_are_none_fail_the_instance_before_it_is_started(place):
    backend = await place.started()
    await backend.ensure(brings(place.spec(), {"body": "1,2"}), 1, epoch=1)
    (one,) = await place.until_all(backend, InstancePhase.FAILED)
    assert (
        "The instance cannot be started: Line 1 of BANNISTER_WARMUP is no warm-up request: give its content_type."
        in one.reason
    )
    assert one.restarts == 0
    assert one.started_at is None


async def test_a_warm_up_has_its_time(tmp_path: Path):
    place = MemoryPlace(tmp_path, warmup_timeout_seconds=0.2)
    backend = await place.started()
    await backend.ensure(brings(place.spec("sluggish"), {"body": 1}), 1, epoch=1)
    await backend.ensure(brings(place.spec("cold"), {"body": 1}), 1, epoch=1)
    late, refused = await place.until_all(backend, InstancePhase.FAILED, 2)
    assert (
        "did not pass its warm-up. The instance did not answer warm-up request 1 of BANNISTER_WARMUP in time: its warm-up may take 0.2 s."
        in late.reason
    )
    assert (
        "did not pass its warm-up. The instance answered warm-up request 1 of BANNISTER_WARMUP with 500."
        in refused.reason
    )
    assert (late.answered, refused.answered, late.restarts, refused.restarts) == (False, False, 0, 0)
    await backend.close(stop_instances=True)


async def test_one_that_hangs_answers_no_warm_up(tmp_path: Path):
    place = MemoryPlace(tmp_path, startup_attempts_max=1)
    # They answer pings at once, so that where they are seen to start they are asked to warm up already.
    place.machine.behaviours["model:slow"] = Behaviour(warm_after_seconds=0.2)
    backend = await place.started()
    await backend.ensure(brings(place.spec("slow", startup_timeout_seconds=0.8), {"body": 1}), 2, epoch=1)
    hangs, wakes = await place.until_all(backend, InstancePhase.STARTING, 2)
    for one in (hangs, wakes):
        place.hang(one.id)
    place.wake(wakes.id)
    late, ready = await place.until(
        backend, lambda found: {one.phase for one in found} == {READY, InstancePhase.FAILED}
    )
    assert (late.id, ready.id) == (hangs.id, wakes.id)
    assert "did not answer warm-up request 1" in late.reason
    await backend.close(stop_instances=True)


async def test_the_time_to_start_includes_the_warm_up(tmp_path: Path):
    place = MemoryPlace(tmp_path)
    backend = await place.started()
    spec = brings(place.spec("sluggish"), {"body": 1}, startup_timeout_seconds=0.3)
    await backend.ensure(spec, 1, epoch=1)
    (one,) = await place.until_all(backend, InstancePhase.FAILED)
    assert "did not answer warm-up request 1" in one.reason
    await backend.close(stop_instances=True)


async def test_one_that_is_started_again_is_warmed_up_again(tmp_path: Path):
    place = MemoryPlace(tmp_path)
    backend = await place.started()
    await backend.ensure(brings(place.spec(), {"body": 1}), 1, epoch=1)
    (one,) = await place.until_all(backend, READY)
    program = place.machine._programs[one.id]
    assert program.warm
    place.crash(one.id)
    await place.until(backend, lambda found: found[0].phase is READY and found[0].restarts == 1)
    assert place.machine._programs[one.id] is not program
    assert place.machine._programs[one.id].warm
    await backend.close(stop_instances=True)


async def test_a_control_plane_that_takes_over_in_a_warm_up_begins_it_anew(tmp_path: Path):
    place = MemoryPlace(tmp_path)
    backend = await place.started()
    await backend.ensure(brings(place.spec("sluggish"), {"body": 1}), 1, epoch=1)
    (one,) = await place.until_all(backend, InstancePhase.STARTING)
    await backend.close(stop_instances=False)
    program = place.machine._programs[one.id]
    program.behaviour = dataclasses.replace(program.behaviour, warm_after_seconds=0.01)
    after = await place.started()
    (again,) = await place.until_all(after, READY)
    assert (again.id, again.restarts) == (one.id, 0)
    assert place.machine._programs[one.id] is program
    assert program.warm
    await after.close(stop_instances=True)


# --- where it comes from


async def test_it_comes_from_the_artifact_unless_the_environment_says_otherwise(tmp_path: Path):
    settings = Settings(tmp_path, warmup_bytes_max=20)
    spec = GroupSpec("g", "e", "v", "i", artifact_dir=str(tmp_path))
    assert (await warmup_of(spec, settings)).requests == ()
    file = tmp_path / WARMUP_FILE
    file.parent.mkdir()
    file.write_text('{"body": 1}')
    found = await warmup_of(spec, settings)
    assert (found.requests[0].body, found.source) == (b"1", "code/warmup.jsonl")
    other = dataclasses.replace(spec, environment={WARMUP_VARIABLE: '{"body": 2}'})
    assert [(one.body) for one in (await warmup_of(other, settings)).requests] == [b"2"]
    assert (await warmup_of(dataclasses.replace(spec, environment={WARMUP_VARIABLE: ""}), settings)).requests == ()
    assert (await warmup_of(dataclasses.replace(spec, artifact_dir=None), settings)).requests == ()
    file.write_text('{"body": 1, "count": 1}')
    with pytest.raises(Invalid, match=r"code/warmup.jsonl is larger than 20 bytes \(warmup_bytes_max\)"):
        await warmup_of(spec, settings)


async def test_the_loop_goes_on_while_its_file_is_read(tmp_path: Path):
    file = tmp_path / WARMUP_FILE
    file.parent.mkdir()
    os.mkfifo(file)  # it is read when somebody writes to it
    writer = threading.Timer(0.5, file.write_text, ('{"body": 1}',))
    writer.start()
    turns = 0

    async def turn() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0.01)
            turns += 1

    turning = asyncio.create_task(turn())
    await asyncio.sleep(0)
    found = await warmup_of(GroupSpec("g", "e", "v", "i", artifact_dir=str(tmp_path)), Settings(tmp_path))
    turning.cancel()
    writer.join()
    assert [one.body for one in found.requests] == [b"1"]
    assert turns > 0


# --- over HTTP


@pytest.mark.real
async def test_requests_reach_the_instance_as_they_are_written(local_place):
    backend = await local_place.started()
    spec = brings(
        local_place.spec(),
        {"body": "1,2", "content_type": "text/csv", "accept": "text/plain", "count": 2},
        {"body": {"a": [1]}},
        {"body": "in pieces", "content_type": "a/b"},
        {"body": "without a length", "content_type": "a/b"},
        {"body_base64": "w6Q=", "content_type": "a/b"},
    )
    await backend.ensure(spec, 1, epoch=1)
    (one,) = await local_place.until_all(backend, READY)
    assert await backend.log_tail(one.id, 10) == [
        *["POST /invocations text/csv text/plain 1,2"] * 2,
        'POST /invocations application/json None {"a":[1]}',
        "POST /invocations a/b None in pieces",
        "POST /invocations a/b None without a length",
        "POST /invocations a/b None ä",
    ]


@pytest.mark.real
@pytest.mark.parametrize(
    ("body", "why", "starts"),
    [
        ("fail", "The instance answered warm-up request 2 of BANNISTER_WARMUP with 500: nothing for it ·[0m.", 1),
        ("wait", "The instance did not answer warm-up request 2 of BANNISTER_WARMUP in time: its warm-up may take 1 s.", 1),
        ("hang up", "The instance did not answer warm-up request 2 of BANNISTER_WARMUP (it closed the connection).", 1),
        ("end", "The instance ended with exit status 7 during its warm-up (3 attempts).", 3),
    ],
)  # fmt: skip
async def test_one_that_fails_its_warm_up_says_how(tmp_path: Path, body: str, why: str, starts: int):
    place = LocalPlace(tmp_path, warmup_timeout_seconds=1.0)
    backend = await place.started()
    spec = brings(place.spec(), {"body": 1}, {"body": body, "content_type": "text/plain"})
    await backend.ensure(spec, 1, epoch=1)
    (one,) = await place.until_all(backend, InstancePhase.FAILED)
    assert one.reason.startswith(
        f"The primary container for production variant AllTraffic did not pass its warm-up. {why} The last lines of its log:\n"
    )
    assert one.restarts == starts - 1
    await backend.close(stop_instances=True)
