"""Cores and memory by instance type: what is given out, what is measured, and what becomes of one that uses too much."""

from __future__ import annotations

import asyncio
import dataclasses
import http.client
import os
from pathlib import Path

import pytest
from tests.instances.conftest import LocalPlace, MemoryPlace

from bannister.domain import instance_type
from bannister.domain.instance import GroupSpec, Instance, InstancePhase
from bannister.instances import machine, process
from bannister.instances.limiting import Grant, Limiter
from bannister.settings import Settings, Switch

READY = InstancePhase.READY
MIB = 1024**2


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> str:
    """A type that is smaller than any machine: one core and 256 MiB."""
    monkeypatch.setitem(instance_type._OTHERS, "test.small", (1, 0.25))  # type: ignore[index]
    return "ml.test.small"


def of_type(spec: GroupSpec, name: str) -> GroupSpec:
    return dataclasses.replace(spec, instance_type=name)


def ask(one: Instance, body: bytes) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", one.port or 0, timeout=30)
    connection.request("POST", "/invocations", body)
    connection.getresponse().read()
    connection.close()


# --- what is given out


def test_what_is_enforced_is_said(small: str) -> None:
    assert str(Grant()) == ""
    assert str(Grant((2, 5), None, "ml.t2.medium")) == "This instance has 2 core(s), number 2, 5, as ml.t2.medium."
    assert str(Grant((), 8 * 1024 * MIB, "ml.m5.large")) == "This instance has 8 GiB of memory, as ml.m5.large."
    both = Grant((0,), 256 * MIB, small)
    assert str(both) == "This instance has 1 core(s), number 0 and 256 MiB of memory, as ml.test.small."
    assert both.exceeded(256 * MIB) is None
    assert both.exceeded(300 * MIB) == "used more memory than the 256 MiB of ml.test.small (300 MiB)"
    assert Grant((0,), None, "ml.m5.24xlarge").exceeded(2**50) is None


def test_instances_get_different_cores_for_as_long_as_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: str
) -> None:
    monkeypatch.setattr(machine, "cores", lambda: (3, 4, 5))
    monkeypatch.setattr(machine, "memory_total", lambda: 2**40)
    limiter = Limiter(Settings(tmp_path))
    limiter.adopt("earlier", Grant((3, 4)))
    assert limiter.grant("a", small).cores == (5,)
    assert limiter.grant("b", "ml.t2.medium").cores == (3, 4)
    assert limiter.grant("c", small).cores == (5,)
    limiter.give_back("earlier")
    limiter.give_back("b")
    assert limiter.grant("d", small).cores == (3,)
    assert limiter.grant("e", "ml.m5.xlarge").cores == (), "it has more than the machine"
    assert limiter.grant("f", None) == Grant()
    assert (
        str(limiter.grant("g", "ml.z9.large"))
        == "Nothing limits this instance: what ml.z9.large has is not known here."
    )


def test_instances_get_threads_of_different_physical_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: str
) -> None:
    monkeypatch.setattr(machine, "cores", lambda: (0, 1, 2, 3))
    monkeypatch.setattr(machine, "memory_total", lambda: None)
    monkeypatch.setattr(machine, "physical_cores", lambda cores: {0: 0, 1: 0, 2: 2, 3: 2})
    limiter = Limiter(Settings(tmp_path))
    assert [limiter.grant(name, small).cores for name in "abcd"] == [(0,), (2,), (1,), (3,)]


def test_which_threads_share_a_physical_core_is_read_from_the_system(tmp_path: Path) -> None:
    siblings = {0: ("core_cpus_list", "0,4"), 4: ("core_cpus_list", "0,4"), 3: ("thread_siblings_list", "2-3")}
    for core, (name, text) in siblings.items():
        topology = tmp_path / f"sys/devices/system/cpu/cpu{core}/topology"
        topology.mkdir(parents=True)
        (topology / name).write_text(f"{text}\n")
    assert machine.physical_cores((0, 3, 4, 5), tmp_path) == {0: 0, 3: 2, 4: 0}


def test_nothing_is_limited_where_that_is_switched_off(tmp_path: Path, small: str) -> None:
    assert Limiter(Settings(tmp_path, instance_limits=Switch.OFF)).grant("a", small) == Grant()


def test_a_system_that_gives_out_no_cores_tells_the_runtime(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: str
) -> None:
    monkeypatch.setattr(machine, "cores", tuple)
    monkeypatch.setattr(machine, "memory_total", lambda: None)
    found = Limiter(Settings(tmp_path)).grant("a", small)
    assert found == Grant((), None, small, (("BANNISTER_RUNTIME_THREADS", "1"),))


# --- what the machine has


MEMINFO = "MemTotal:       16000000 kB\nMemFree:         1000000 kB\nMemAvailable:    9000000 kB\n"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"proc/meminfo": MEMINFO}, (16_384_000_000, 9_216_000_000)),
        ({"proc/meminfo": "MemTotal: 1 kB\n"}, (None, None)),
        ({}, (None, None)),
        (
            {
                "proc/meminfo": MEMINFO,
                "proc/self/cgroup": "0::/a/b\n",
                "sys/fs/cgroup/a/memory.max": "8000000000\n",
                "sys/fs/cgroup/a/memory.current": "5000000000\n",
                "sys/fs/cgroup/a/memory.stat": "anon 3000000000\ninactive_file 1000000000\n",
                "sys/fs/cgroup/a/b/memory.max": "max\n",
                "sys/fs/cgroup/a/b/memory.current": "4000000000\n",
            },
            (8_000_000_000, 4_000_000_000),
        ),
        (
            {
                "proc/meminfo": MEMINFO,
                "proc/self/cgroup": "0::/of/the/host\n",  # in a container, whose own group is the base
                "sys/fs/cgroup/memory.max": "2000000000\n",
                "sys/fs/cgroup/memory.current": "2500000000\n",
            },
            (2_000_000_000, 0),
        ),
        (
            {
                "proc/meminfo": MEMINFO,
                "proc/self/cgroup": "9:name=systemd:/\n4:memory:/a\n0::/\n",
                "sys/fs/cgroup/memory/a/memory.limit_in_bytes": "3000000000\n",
                "sys/fs/cgroup/memory/a/memory.usage_in_bytes": "1000000000\n",
                "sys/fs/cgroup/memory/a/memory.stat": "total_inactive_file 200000000\n",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
                "sys/fs/cgroup/memory/memory.usage_in_bytes": "1000000000\n",
            },
            (3_000_000_000, 2_200_000_000),
        ),
    ],
    ids=["a machine", "an old kernel", "no Linux", "a group and one above it", "a container", "version 1"],
)
def test_a_limit_that_we_are_in_is_the_machines(
    tmp_path: Path, files: dict[str, str], expected: tuple[int | None, int | None]
) -> None:
    for name, text in files.items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    assert (machine.memory_total(tmp_path), machine.memory_available(tmp_path)) == expected


# --- one that uses too much, wherever it runs


async def test_one_that_used_too_much_is_asked_to_end_and_started_again(tmp_path: Path) -> None:
    place = MemoryPlace(tmp_path)
    backend = await place.started()
    await backend.ensure(place.spec(), 1, epoch=1)
    (one,) = await place.until_all(backend, READY)
    asked = []
    honest = place.machine.terminate
    place.machine.terminate = lambda instance: (asked.append(instance), honest(instance))[1]  # type: ignore[method-assign]
    place.machine.strain(one.id)
    (down,) = await place.until_all(backend, InstancePhase.UNREADY)
    assert down.reason == "The instance used more memory than it may; it is started again in 0.02 seconds."
    assert not down.answered, "no proxy is to send it anything more"
    await place.until(backend, lambda found: found[0].phase is READY and found[0].restarts == 1)
    assert asked == [one.id], "what it had begun, it could finish"
    await backend.close(stop_instances=True)


async def test_those_of_a_group_are_ended_one_after_the_other(tmp_path: Path) -> None:
    """They have the same model and the same traffic: all use too much at the same time."""
    place = MemoryPlace(tmp_path)
    backend = await place.started()
    await backend.ensure(place.spec(), 3, epoch=1)
    for one in await place.until_all(backend, READY, 3):
        place.machine.strain(one.id)
    ready = []

    def all_again(found: tuple[Instance, ...]) -> bool:
        ready.append(sum(one.phase is READY for one in found))
        return all(one.phase is READY and one.restarts == 1 for one in found)

    await place.until(backend, all_again)
    assert min(ready) == 2
    await backend.close(stop_instances=True)


async def test_one_that_uses_too_much_before_it_is_ready_fails(tmp_path: Path) -> None:
    place = MemoryPlace(tmp_path)
    backend = await place.started()
    await backend.ensure(place.spec("silent"), 1, epoch=1)
    (one,) = await place.until_all(backend, InstancePhase.STARTING)
    place.machine.strain(one.id)
    (failed,) = await place.until_all(backend, InstancePhase.FAILED)
    assert "The instance used more memory than it may. The last lines of its log:\nstill loading" in failed.reason
    await backend.close(stop_instances=True)


# --- on this machine


@pytest.fixture
async def place(tmp_path: Path) -> LocalPlace:
    return LocalPlace(tmp_path, instance_memory_check_seconds=0.05)


@pytest.mark.real
async def test_one_that_waits_for_its_turn_to_be_ended_is_not_killed(place: LocalPlace, small: str) -> None:
    """However much it uses meanwhile: it serves, and the other does not yet."""
    place.settings = dataclasses.replace(place.settings, instance_memory_check_seconds=1000.0)
    backend = await place.started()
    await backend.ensure(dataclasses.replace(place.spec(), instance_type=small), 2, epoch=1)
    first, second = await place.until_all(backend, READY, 2)
    processes = dict(backend._host._processes._bounded.values())
    bound = processes[second.id].grant.memory_bytes
    place.hang(first.id)
    await place.until(backend, lambda found: found[0].phase is InstancePhase.UNREADY)
    assert processes[second.id].uses(bound + 1)
    processes[second.id].uses(2 * bound)
    await asyncio.to_thread(ask, second, b"")
    place.wake(first.id)
    # Now it is its turn: it is asked to end, and one that grows then is not waited for.
    await place.until(backend, lambda found: found[1].restarts == 1 and found[1].phase is READY)
    await backend.close(stop_instances=True)


@pytest.mark.real
@pytest.mark.alone
async def test_one_that_uses_too_much_memory_ends_with_a_reason(place: LocalPlace, small: str) -> None:
    backend = await place.started()
    await backend.ensure(of_type(place.spec(), small), 1, epoch=1)
    (one,) = await place.until_all(backend, READY)
    await asyncio.to_thread(ask, one, b"more")
    reasons: list[str | None] = []

    def again(found: tuple[Instance, ...]) -> bool:
        reasons.append(found[0].reason)
        return found[0].phase is READY and found[0].restarts == 1

    await place.until(backend, again)
    told = [reason for reason in reasons if reason is not None]
    assert told
    assert told[0].startswith("The instance used more memory than the 256 MiB of ml.test.small (")
    assert told[0].endswith(" MiB); it is started again in 0.02 seconds.")
    lines = await backend.log_tail(one.id, 20)
    assert any(line.startswith("[bannister] This instance used more memory than ") for line in lines), lines
    assert "SIGTERM seen" in lines
    await backend.close(stop_instances=True)


@pytest.mark.real
@pytest.mark.alone
async def test_one_that_takes_too_much_to_load_fails_with_a_reason(place: LocalPlace, small: str) -> None:
    backend = await place.started()
    await backend.ensure(of_type(place.spec("hungry"), small), 1, epoch=1)
    (one,) = await place.until_all(backend, InstancePhase.FAILED)
    assert "The instance used more memory than the 256 MiB of ml.test.small (" in one.reason
    assert one.restarts == 0
    await backend.close(stop_instances=True)


@pytest.mark.real
@pytest.mark.alone
@pytest.mark.skipif(len(machine.cores()) < 2, reason="a core cannot be given out where there is one")
async def test_each_instance_has_its_cores_also_for_the_next_control_plane(place: LocalPlace, small: str) -> None:
    backend = await place.started()
    await backend.ensure(of_type(place.spec(), small), 2, epoch=1)
    first, second = await place.until_all(backend, READY, 2)
    on = [os.sched_getaffinity(place.pid(one.id)) for one in (first, second)]
    assert [len(cores) for cores in on] == [1, 1]
    assert on[0] != on[1]
    (line,) = await backend.log_tail(first.id, 1)
    assert (
        line == f"[bannister] This instance has 1 core(s), number {min(on[0])} and 256 MiB of memory, as ml.test.small."
    )
    assert os.sched_getaffinity(0) == set(machine.cores()), "we keep ours"
    await backend.close(stop_instances=False)

    after = await place.started()
    await place.until_all(after, READY, 2)
    place.crash(first.id)
    await place.until(after, lambda found: found[0].phase is READY and found[0].restarts == 1)
    assert os.sched_getaffinity(place.pid(first.id)) == on[0], "the other is still the second's"
    await asyncio.to_thread(ask, after.snapshot()[1], b"more")
    await place.until(after, lambda found: found[1].restarts == 1)  # its limit is known, too
    await after.close(stop_instances=True)


@pytest.mark.real
@pytest.mark.alone
async def test_memory_is_measured_over_all_processes_of_a_session(place: LocalPlace) -> None:
    backend = await place.started()
    await backend.ensure(place.spec("family"), 1, epoch=1)
    (one,) = await place.until_all(backend, READY)
    leader = place.pid(one.id)
    both, nobody = process.session_memory({leader: None}), process.session_memory({})
    exact = process.session_memory({leader: 0})
    assert nobody == {}
    assert 2 * MIB < exact[leader] < both[leader], "shared pages are counted once"
    found = await backend.memory()
    assert found is not None
    assert found.used == {"shop-family/1": pytest.approx(exact[leader], rel=0.2)}
    assert 0 < found.available < found.total
    await backend.close(stop_instances=True)
