"""Faults of Bannister itself in looking after an instance end where people look."""

from pathlib import Path

from tests.instances.conftest import MemoryPlace

from bannister.domain.instance import InstancePhase
from bannister.errors import Unavailable
from bannister.instances.memory import Behaviour, MemoryMachine


class ShortOfEverything(MemoryMachine):
    """A machine that starts nothing, in a way nobody foresaw."""

    def start(self, instance: str, image: str, now: float = 0.0):
        raise RuntimeError("out of what it takes")


async def test_a_fault_nobody_foresaw_fails_the_instance_with_its_words(tmp_path: Path):
    place = MemoryPlace(tmp_path)
    place.machine = ShortOfEverything()
    backend = await place.started()
    await backend.ensure(place.spec("good"), 1, epoch=1)
    (one,) = await place.until_all(backend, InstancePhase.FAILED)
    assert "out of what it takes" in one.reason
    await backend.close(stop_instances=True)


async def test_the_time_in_which_others_have_their_turn_is_not_its_own(tmp_path: Path):
    """One dies early, and two at a time start before it is tried again."""
    place = MemoryPlace(tmp_path, startup_parallel_max=2)
    place.machine.behaviours["model:good"] = Behaviour(ready_after_seconds=2.0)
    backend = await place.started()
    await backend.ensure(place.spec("good", startup_timeout_seconds=5.0), 6, epoch=1)
    found = await place.until(backend, lambda seen: any(one.phase is InstancePhase.STARTING for one in seen))
    (first, *_) = [one for one in found if one.phase is InstancePhase.STARTING]
    place.machine.end(first.id)
    ready = await place.until_all(backend, InstancePhase.READY, 6)
    assert [one.restarts for one in ready if one.id == first.id] == [1]
    await backend.close(stop_instances=True)


class FullForAWhile(MemoryMachine):
    """A machine that can start nothing yet."""

    refused = 0

    def start(self, instance: str, image: str, now: float = 0.0):
        self.refused += 1
        if self.refused <= 10:
            raise Unavailable("No space left on device.")
        return super().start(instance, image, now)


async def test_what_cannot_be_done_now_is_no_attempt(tmp_path: Path):
    place = MemoryPlace(tmp_path, restart_backoff_seconds_max=0.05)
    place.machine = FullForAWhile(default=Behaviour(ready_after_seconds=0.01))
    backend = await place.started()
    await backend.ensure(place.spec("good", startup_timeout_seconds=2.0), 1, epoch=1)
    (one,) = await place.until_all(backend, InstancePhase.READY)
    assert (place.machine.refused, one.restarts) == (11, 0)
    await backend.close(stop_instances=True)


class EndsOnce(FullForAWhile):
    """One whose first process ends, and that can start nothing for a while then."""

    refused = 100
    ended: str | None = None

    def start(self, instance: str, image: str, now: float = 0.0):
        if self.ended is None:
            self.ended, self.refused = instance, 0
            return MemoryMachine.start(self, instance, image, now)
        return super().start(instance, image, now)


async def test_the_time_in_which_nothing_can_be_started_is_not_its_own(tmp_path: Path):
    place = MemoryPlace(tmp_path, restart_backoff_seconds_max=0.2)
    place.machine = EndsOnce(default=Behaviour(ready_after_seconds=1.0))
    backend = await place.started()
    await backend.ensure(place.spec("good", startup_timeout_seconds=2.0), 1, epoch=1)
    (one,) = await place.until_all(backend, InstancePhase.STARTING)
    place.machine.end(one.id)
    (one,) = await place.until_all(backend, InstancePhase.READY)  # after 1.7 s in which nothing could be done
    assert (place.machine.refused, one.restarts) == (11, 1)
    await backend.close(stop_instances=True)


async def test_nobody_takes_it_for_an_attempt_after_a_restart_either(tmp_path: Path):
    place = MemoryPlace(tmp_path, restart_backoff_seconds_min=1000.0, restart_backoff_seconds_max=1000.0)
    place.machine = FullForAWhile(default=Behaviour(ready_after_seconds=0.01))
    place.machine.refused = -1000
    backend = await place.started()
    await backend.ensure(place.spec("good"), 1, epoch=1)
    for _ in range(4):
        await place.until(backend, lambda seen: "cannot be started now" in (seen[0].reason or ""))
        await backend.close(stop_instances=False)
        backend = await place.started()
    place.machine.refused = 1000
    await backend.close(stop_instances=False)
    backend = await place.started()
    (one,) = await place.until_all(backend, InstancePhase.READY)
    assert one.restarts == 0
    await backend.close(stop_instances=True)


async def test_what_cannot_be_done_for_as_long_as_a_start_may_take_fails(tmp_path: Path):
    place = MemoryPlace(tmp_path, restart_backoff_seconds_max=0.05)
    place.machine = FullForAWhile(default=Behaviour(ready_after_seconds=0.01))
    place.machine.refused = -1000
    backend = await place.started()
    await backend.ensure(place.spec("good", startup_timeout_seconds=0.3), 1, epoch=1)
    (one,) = await place.until_all(backend, InstancePhase.FAILED)
    assert "cannot be started: No space left on device; it was tried for 0.3 seconds" in one.reason
    await backend.close(stop_instances=True)


async def test_what_is_installed_first_is_shown_and_takes_no_start_up_time(tmp_path: Path):
    place = MemoryPlace(tmp_path)
    place.machine.behaviours["model:good"] = Behaviour(ready_after_seconds=0.01, installs_for_seconds=0.3)
    backend = await place.started()
    await backend.ensure(place.spec("good", startup_timeout_seconds=0.2), 2, epoch=1)
    found = await place.until(backend, lambda seen: all(one.reason for one in seen))
    assert {one.phase for one in found} == {InstancePhase.PENDING}
    assert found[0].reason == "The instance waits until what it needs is installed."
    ready = await place.until_all(backend, InstancePhase.READY, 2)
    assert {one.reason for one in ready} == {None}
    await backend.close(stop_instances=True)


async def test_what_cannot_be_installed_fails_the_instance_at_once_with_its_words(tmp_path: Path):
    place = MemoryPlace(tmp_path)
    lines = ("ERROR: No matching distribution found for flights",)
    place.machine.behaviours["model:good"] = Behaviour(installs_for_seconds=0.01, installing_fails=lines)
    backend = await place.started()
    await backend.ensure(place.spec("good"), 1, epoch=1)
    (one,) = await place.until_all(backend, InstancePhase.FAILED)
    assert one.reason.endswith(f"What it needs cannot be installed. From its log:\n{lines[0]}")
    assert one.restarts == 0
    assert place.machine.running == {}
    await backend.close(stop_instances=True)
