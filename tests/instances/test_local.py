"""What holds for processes of this machine beyond what every backend promises."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

from bannister.domain.instance import InstancePhase
from bannister.errors import Unavailable
from bannister.instances import process

pytestmark = pytest.mark.real
READY = InstancePhase.READY


async def eventually(condition, timeout_seconds=30.0):
    async with asyncio.timeout(timeout_seconds):
        while not (found := condition()):
            await asyncio.sleep(0.01)
    return found


def spawned(*argv: object) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, *map(str, argv)], stdout=subprocess.PIPE, text=True)


def open_files() -> list[str]:
    return sorted(str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink())


def children() -> set[int]:
    stats = [entry / "stat" for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    found = set()
    for stat in stats:
        try:
            pid, rest = stat.read_text().rsplit(")", 1)
        except OSError:
            continue
        if rest.split()[1] == str(os.getpid()):
            found.add(int(pid.split()[0]))
    return found


async def test_a_process_that_could_not_be_written_down_is_looked_after(local_place, monkeypatch):
    """The disk was full just then: it runs, and is the instance's."""
    backend = await local_place.started()
    honest, refused = backend._records.save_instance, []

    def full(record):
        if record.process is not None and not record.answered:
            refused.append(record.id)
            raise Unavailable("the disk is full")
        honest(record)

    monkeypatch.setattr(backend._records, "save_instance", full)
    await backend.ensure(local_place.spec(), 1, epoch=1)
    (one,) = await local_place.until_all(backend, READY)
    assert refused == [one.id]
    assert one.restarts == 0
    assert list(process.marked(local_place.settings.data_dir).values()) == [one.id]


async def test_nothing_is_left_behind(local_place):
    files, processes = open_files(), children()
    backend = await local_place.started()
    await backend.ensure(local_place.spec("family"), 2, epoch=1)
    await backend.ensure(local_place.spec("broken"), 1, epoch=1)
    await local_place.until(backend, lambda found: [one.phase for one in found] == [READY, READY, InstancePhase.FAILED])
    assert len(children() - processes) == 2
    local_place.crash(backend.snapshot()[0].id)
    await local_place.until(backend, lambda found: found[0].restarts == 1 and found[0].phase is READY)
    await backend.close(stop_instances=True)
    assert open_files() == files
    assert children() == processes
    assert process.marked(local_place.settings.data_dir) == {}
    folder = local_place.settings.instances_dir
    assert list((folder / "running").iterdir()) == list((folder / "groups").iterdir()) == []


async def test_what_a_model_started_ends_with_it(local_place):
    backend = await local_place.started()
    await backend.ensure(local_place.spec("family"), 1, epoch=1)
    (one,) = await local_place.until_all(backend, READY)
    (line,) = await backend.log_tail(one.id, 1)
    child = int(line.removeprefix("child "))
    assert process.identify(child)
    local_place.crash(one.id)
    await local_place.until(backend, lambda found: found[0].phase is not READY)
    await eventually(lambda: process.identify(child) is None)


async def test_a_model_is_asked_to_stop_before_it_is_made_to(local_place):
    backend = await local_place.started()
    await backend.ensure(local_place.spec(), 1, epoch=1)
    (one,) = await local_place.until_all(backend, READY)
    await backend.remove(one.group, epoch=1)
    await local_place.until(backend, lambda found: not found)
    assert await backend.log_tail(one.id, 5) == ["SIGTERM seen"]


async def test_a_stranger_on_the_port_is_not_taken_for_the_instance(local_place):
    backend = await local_place.started()
    await backend.ensure(local_place.spec("silent", startup_timeout_seconds=60), 1, epoch=1)
    (one,) = await local_place.until_all(backend, InstancePhase.STARTING)
    script = Path(__file__).with_name("model_server.py")
    stranger = spawned(script, "good", one.port)
    try:
        (seen,) = await local_place.until(backend, lambda found: found[0].reason is not None)
        assert seen.phase is InstancePhase.STARTING
        assert seen.reason == "The instance is not the one that listens on its port."
    finally:
        stranger.kill()
        stranger.communicate()


async def test_an_image_whose_program_is_not_there_says_so_once(local_place):
    local_place.settings.images_path.write_text('[[image]]\nmatch = "model:*"\ncommand = ["no-such-program"]\n')
    backend = await local_place.started()
    await backend.ensure(local_place.spec(), 1, epoch=1)
    (one,) = await local_place.until_all(backend, InstancePhase.FAILED)
    assert one.reason.endswith(
        "cannot be started: There is no program 'no-such-program' to run the image with. It printed nothing."
    )


async def test_one_that_answers_with_an_error_is_not_ready(local_place):
    backend = await local_place.started()
    await backend.ensure(local_place.spec("unwell", startup_timeout_seconds=1.0), 1, epoch=1)
    (one,) = await local_place.until_all(backend, InstancePhase.FAILED)
    assert "did not answer /ping with 200" in one.reason


async def test_a_process_whose_id_was_not_yet_written_down_is_adopted(local_place):
    backend = await local_place.started()
    await backend.ensure(local_place.spec(), 1, epoch=1)
    (one,) = await local_place.until_all(backend, READY)
    pid = local_place.pid(one.id)
    await backend.close(stop_instances=False)
    file = local_place.settings.instances_dir / "running" / one.id / "record.json"
    record = msgspec.json.decode(file.read_bytes())
    file.write_bytes(msgspec.json.encode(record | {"process": None, "answered": False, "was_ready": False}))
    second = await local_place.started()
    (again,) = await local_place.until_all(second, READY)
    assert (again.id, again.address, local_place.pid(again.id)) == (one.id, one.address, pid)


@pytest.mark.parametrize("change", [{"started": "1"}, {"boot": "another"}])
async def test_another_process_with_the_same_id_is_not_adopted(local_place, change):
    backend = await local_place.started()
    await backend.ensure(local_place.spec(), 1, epoch=1)
    (one,) = await local_place.until_all(backend, READY)
    pid = local_place.pid(one.id)
    await backend.close(stop_instances=False)
    file = local_place.settings.instances_dir / "running" / one.id / "record.json"
    record = msgspec.json.decode(file.read_bytes())
    file.write_bytes(msgspec.json.encode(record | {"process": record["process"] | change}))
    second = await local_place.started()
    (again,) = await local_place.until(second, lambda found: found[0].restarts == 1 and found[0].phase is READY)
    assert again.id == one.id
    assert local_place.pid(again.id) != pid
    assert process.identify(pid) is None


async def test_instances_outlive_a_control_plane_that_is_killed(local_place):
    code = (
        "import asyncio, sys; from pathlib import Path\n"
        "from bannister import clock, ids, settings; from bannister.domain.instance import GroupSpec\n"
        "from bannister.instances.images import ImageTable; from bannister.instances.local import LocalInstances\n"
        "async def main():\n"
        f"    s = settings.Settings(data_dir=Path({str(local_place.settings.data_dir)!r}),\n"
        f"        instance_port_first={local_place.settings.instance_port_first})\n"
        "    b = LocalInstances(s, clock.SystemClock(), ids.RandomIds(), ImageTable(s)); await b.start()\n"
        "    await b.ensure(GroupSpec('shop-good/1', 'shop', 'AllTraffic', 'model:good', None), 2, 1)\n"
        "    while [i.phase.value for i in b.snapshot()] != ['ready'] * 2: await asyncio.sleep(0.01)\n"
        "    print('ready', flush=True); await asyncio.sleep(600)\n"
        "asyncio.run(main())\n"
    )
    first = spawned("-c", code)
    try:
        assert await asyncio.to_thread(first.stdout.readline) == "ready\n"
    finally:
        first.kill()
        first.communicate()
    backend = await local_place.started()
    found = backend.snapshot()
    assert [one.phase for one in found] == [READY, READY]
    pid = local_place.pid(found[0].id)
    os.kill(pid, signal.SIGKILL)  # not our child: its end must be noticed all the same
    (again, _) = await local_place.until(backend, lambda now: now[0].restarts == 1 and now[0].phase is READY)
    assert again.id == found[0].id


async def test_a_model_gets_a_small_environment_and_a_folder_of_its_own(local_place, tmp_path):
    backend = await local_place.started()
    spec = dataclasses.replace(local_place.spec("environment"), artifact_dir=str(tmp_path))
    await backend.ensure(spec, 1, epoch=1)
    (one,) = await local_place.until_all(backend, READY)
    (line,) = await backend.log_tail(one.id, 1)
    names, _, folder = line.rpartition("] ")
    assert folder == str(local_place.settings.instances_dir / "running" / one.id / "work")
    given = {name.strip("'") for name in names.strip("[").split(", ")}
    ours = {"SAGEMAKER_BIND_TO_PORT", "SM_MODEL_DIR", "BANNISTER_INSTANCE", "BANNISTER_DATA_DIR", "COLOUR"}
    assert ours <= given
    inherited = {"HOME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES"}
    assert given - ours - inherited == {"PATH", "PYTHONUNBUFFERED"}


async def test_an_environment_that_no_process_can_have_fails_at_once(local_place):
    backend = await local_place.started()
    await backend.ensure(dataclasses.replace(local_place.spec(), environment={"A": "x\0y"}), 1, epoch=1)
    (one,) = await local_place.until_all(backend, InstancePhase.FAILED)
    assert "none that a process can have" in one.reason


async def test_a_log_stays_within_its_bound_and_keeps_its_end(local_place):
    backend = await local_place.started()
    await backend.ensure(local_place.spec("chatty"), 1, epoch=1)
    (one,) = await local_place.until_all(backend, READY)
    folder = local_place.settings.instances_dir / "running" / one.id

    def size():
        return sum(file.stat().st_size for file in folder.glob("log*"))

    await eventually(lambda: size() <= local_place.settings.instance_log_bytes_max)
    assert (folder / "log.1").exists()
    assert (await backend.log_tail(one.id, 1)) == ["the last line"]
    os.kill(local_place.pid(one.id), signal.SIGTERM)
    await eventually(lambda: b"SIGTERM seen" in (folder / "log").read_bytes())
    assert size() <= local_place.settings.instance_log_bytes_max


async def test_a_starting_model_yields_to_those_that_serve(local_place):
    backend = await local_place.started()
    await backend.ensure(local_place.spec("silent"), 1, epoch=1)
    await backend.ensure(local_place.spec("good"), 1, epoch=1)
    starting, ready = await local_place.until(
        backend, lambda found: [one.phase for one in found] == [InstancePhase.STARTING, READY]
    )
    niceness = {True: 5, False: 0}[process.may_raise_priority()]
    assert os.getpriority(os.PRIO_PROCESS, local_place.pid(starting.id)) == niceness
    assert os.getpriority(os.PRIO_PROCESS, local_place.pid(ready.id)) == 0
    group = Path(f"/proc/{local_place.pid(starting.id)}/autogroup")
    if group.exists():
        assert group.read_text().endswith("nice 5\n")
        served = Path(f"/proc/{local_place.pid(ready.id)}/autogroup")
        await eventually(lambda: served.read_text().endswith("nice 0\n"))


async def test_a_shadow_yields_to_production_for_good_and_ends_first_when_memory_runs_out(local_place):
    backend = await local_place.started()
    shadow = dataclasses.replace(local_place.spec("silent"), id="shop-shadow/1", image="model:good", is_shadow=True)
    await backend.ensure(shadow, 1, epoch=1)
    await backend.ensure(local_place.spec("good"), 1, epoch=1)
    pid = {one.group == shadow.id: local_place.pid(one.id) for one in await local_place.until_all(backend, READY, 2)}
    await eventually(lambda: os.getpriority(os.PRIO_PROCESS, pid[False]) == 0)
    await eventually(lambda: os.getpriority(os.PRIO_PROCESS, pid[True]) == 10)
    ours = Path("/proc/self/oom_score_adj")
    if ours.exists():
        assert Path(f"/proc/{pid[True]}/oom_score_adj").read_text() == "500\n"
        assert Path(f"/proc/{pid[False]}/oom_score_adj").read_text() == ours.read_text()


async def test_a_model_that_starts_for_long_stops_yielding(local_place):
    local_place.settings = dataclasses.replace(local_place.settings, startup_yield_seconds=0.5)
    backend = await local_place.started()
    await backend.ensure(local_place.spec("silent"), 1, epoch=1)
    (one,) = await local_place.until(backend, lambda found: [each.phase for each in found] == [InstancePhase.STARTING])
    await eventually(lambda: os.getpriority(os.PRIO_PROCESS, local_place.pid(one.id)) == 0)
    assert backend.snapshot()[0].phase is InstancePhase.STARTING


async def test_past_logs_are_bounded(local_place):
    local_place.settings = dataclasses.replace(local_place.settings, past_instance_logs_max=2)
    backend = await local_place.started()
    for number in range(4):
        await backend.ensure(dataclasses.replace(local_place.spec(), id=f"g/{number}"), 1, epoch=1)
        await backend.remove(f"g/{number}", epoch=1)
    await local_place.until(backend, lambda found: not found)
    past = sorted(file.name for file in (local_place.settings.instances_dir / "past").iterdir())
    first, second = sorted({name.partition(".")[0] for name in past})
    assert past == sorted(f"{one}.{kind}" for one in (first, second) for kind in ("json", "log", "log.times"))


async def test_an_end_is_noticed_without_waitid_and_pidfd(local_place, monkeypatch):
    """As on macOS, where Python has no waitid before 3.13 and never a pidfd."""
    monkeypatch.delattr(os, "waitid")
    monkeypatch.delattr(os, "pidfd_open")
    processes = children()
    backend = await local_place.started()
    await backend.ensure(local_place.spec("family"), 1, epoch=1)
    (one,) = await local_place.until_all(backend, READY)
    (line,) = await backend.log_tail(one.id, 1)
    local_place.crash(one.id)
    await local_place.until(backend, lambda found: found[0].restarts == 1 and found[0].phase is READY)
    await eventually(lambda: process.identify(int(line.removeprefix("child "))) is None)
    assert len(children() - processes) == 1, "the first one was collected"


@pytest.mark.parametrize("linux", [True, False])
async def test_a_child_is_ours_until_it_is_collected(tmp_path, monkeypatch, linux):
    monkeypatch.delattr(os, "waitid")
    monkeypatch.delattr(os, "pidfd_open")
    monkeypatch.setattr(process, "_LINUX", linux)  # otherwise `ps` is asked
    pid = process.start([sys.executable, "-c", "import time; time.sleep(600)"], {}, tmp_path, tmp_path / "log")
    ended = asyncio.Event()
    process.EndWatch(pid, ended.set)
    assert process.is_unreaped_child(pid)
    assert not process.is_unreaped_child(os.getppid())
    assert not ended.is_set()
    os.kill(pid, signal.SIGKILL)
    await asyncio.wait_for(ended.wait(), 30)
    assert process.is_unreaped_child(pid), "noticed, and left to be collected"
    assert process.reap(pid) == -signal.SIGKILL
    assert not process.is_unreaped_child(pid)


def test_marks_are_found_in_what_ps_tells(tmp_path):
    """Where there is no /proc: an installer that outlived its control plane is ended there as well."""
    folder = tmp_path / "with a space"
    lines = [
        f"  101 python -m pip install HOME=/home/me BANNISTER_INSTANCE=key-1 BANNISTER_DATA_DIR={folder} LANG=C",
        f"102 python BANNISTER_DATA_DIR={folder} BANNISTER_INSTANCE=abc",
        f"103 bannister up BANNISTER_DATA_DIR={folder}",
        f"104 python BANNISTER_INSTANCE=other BANNISTER_DATA_DIR={folder}-2",
        f"{os.getpid()} python BANNISTER_INSTANCE=abc BANNISTER_DATA_DIR={folder}",
        "105 a process of somebody else",
    ]
    assert process._marked_by_ps(folder, lines) == {101: "key-1", 102: "abc"}


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere it is tested by what uses it")
def test_marks_are_the_same_by_ps_and_by_proc(tmp_path, monkeypatch):
    marks = {process.MARK_DATA_DIR: str(tmp_path), process.MARK_INSTANCE: "0badcafe"}
    orphan = subprocess.Popen(["sleep", "60"], env={**os.environ, **marks})
    try:
        deadline = time.monotonic() + 30
        while not process.marked(tmp_path):  # its environment is there a moment after it
            assert time.monotonic() < deadline
        by_proc = process.marked(tmp_path)
        monkeypatch.setattr(process, "_LINUX", False)
        ask = process._ask
        monkeypatch.setattr(process, "_ask", lambda *command: ask("ps", "xeww", "-o", "pid=", "-o", "command="))
        assert process.marked(tmp_path) == by_proc == {orphan.pid: "0badcafe"}
    finally:
        orphan.kill()
        orphan.wait()
