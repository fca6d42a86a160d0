"""What every instance backend promises, on each of them."""

from __future__ import annotations

import asyncio
import dataclasses

import pytest

from bannister.domain.instance import InstancePhase
from bannister.errors import Fenced, Invalid

READY = InstancePhase.READY


async def test_a_group_becomes_ready_at_addresses_of_its_own(place):
    backend = await place.started()
    await backend.ensure(place.spec(), 3, epoch=1)
    found = await place.until_all(backend, READY, 3)
    assert len({one.address for one in found}) == 3
    assert {one.group for one in found} == {"shop-good/1"}
    assert [one.restarts for one in found] == [0, 0, 0]
    assert all(one.reason is None and one.started_at for one in found)


async def test_to_ensure_again_changes_nothing(place):
    backend = await place.started()
    await asyncio.gather(*(backend.ensure(place.spec(), 2, epoch=1) for _ in range(5)))
    found = await place.until_all(backend, READY, 2)
    await backend.ensure(place.spec(), 2, epoch=1)
    assert backend.snapshot() == found


async def test_a_group_never_changes_what_it_runs(place):
    backend = await place.started()
    await backend.ensure(place.spec(), 1, epoch=1)
    with pytest.raises(Invalid, match="never changes"):
        await backend.ensure(dataclasses.replace(place.spec(), environment={"COLOUR": "blue"}), 1, epoch=1)


async def test_scaling_keeps_the_oldest(place):
    backend = await place.started()
    await backend.ensure(place.spec(), 1, epoch=1)
    (first,) = await place.until_all(backend, READY, 1)
    await backend.ensure(place.spec(), 3, epoch=1)
    await place.until_all(backend, READY, 3)
    await backend.ensure(place.spec(), 1, epoch=1)
    found = backend.snapshot()
    assert found[0] == first
    assert [(one.phase, one.draining) for one in found[1:]] == [(READY, True)] * 2, (
        "whoever knows the traffic ends them"
    )
    for one in found[1:]:
        await backend.evict(one.id, epoch=1)
    assert await place.until(backend, lambda found: len(found) == 1) == (first,)


async def test_what_is_not_ready_goes_first(place):
    backend = await place.started()
    await backend.ensure(place.spec("silent"), 2, epoch=1)
    await backend.ensure(place.spec("silent"), 1, epoch=1)
    await place.until(backend, lambda found: len(found) == 1)  # it has never had a request: nobody has to evict it
    await backend.ensure(place.spec(), 2, epoch=1)
    _, first, second = await place.until(backend, lambda found: [one.phase for one in found[1:]] == [READY, READY])
    place.crash(first.id)
    # One that only falls silent may have requests. That it has ended may be known later than that.
    await place.until(backend, lambda found: found[1].phase is InstancePhase.UNREADY and not found[1].answered)
    await backend.ensure(place.spec(), 1, epoch=1)
    await place.until(backend, lambda found: [one.id for one in found[1:]] == [second.id])
    assert not backend.snapshot()[1].draining


async def test_one_that_drains_counts_no_more_and_stays_so(place):
    backend = await place.started()
    await backend.ensure(place.spec(), 2, epoch=1)
    first, second = await place.until_all(backend, READY, 2)
    await backend.ensure(place.spec(), 1, epoch=1)
    await backend.ensure(place.spec(), 2, epoch=1)
    found = await place.until_all(backend, READY, 3)
    assert [one.draining for one in found] == [False, True, False]
    await backend.close(stop_instances=False)
    after = await place.started()
    assert {one.id: one.draining for one in after.snapshot()} == {first.id: False, second.id: True, found[2].id: False}
    await after.remove("shop-good/1", epoch=1)
    await place.until(after, lambda found: not found)


async def test_scaling_to_nothing_and_back(place):
    backend = await place.started()
    await backend.ensure(place.spec(), 1, epoch=1)
    (first,) = await place.until_all(backend, READY, 1)
    await backend.ensure(place.spec(), 0, epoch=1)
    await backend.evict(first.id, epoch=1)
    await place.until(backend, lambda found: not found)
    await backend.ensure(place.spec(), 1, epoch=1)
    (second,) = await place.until_all(backend, READY, 1)
    assert second.id != first.id


async def test_one_that_crashes_is_started_again(place):
    backend = await place.started()
    await backend.ensure(place.spec(), 2, epoch=1)
    first, second = await place.until_all(backend, READY, 2)
    phases = []

    def back_again(found):
        phases.append(found[0].phase)
        return found[0].phase is READY and found[0].restarts == 1

    place.crash(first.id)
    again, other = await place.until(backend, back_again)
    assert InstancePhase.UNREADY in phases
    assert again.id == first.id
    assert again.address != first.address
    assert other == second
    assert (first.deaths, again.deaths) == (0, 1)
    place.crash(first.id)
    await place.until(backend, lambda found: found[0].phase is READY and found[0].restarts == found[0].deaths == 2)


async def test_the_reason_says_how_one_ended(place):
    backend = await place.started()
    await backend.ensure(place.spec(), 1, epoch=1)
    (one,) = await place.until_all(backend, READY, 1)
    place.crash(one.id)
    # That it no longer answers may be known before its end is.
    (down,) = await place.until(backend, lambda found: "started again" in (found[0].reason or ""))
    assert down.phase is InstancePhase.UNREADY
    assert "was ended by SIGKILL; it is started again in" in down.reason


async def test_one_that_cannot_start_fails_with_its_last_words(place):
    backend = await place.started()
    await backend.ensure(place.spec("broken"), 1, epoch=1)
    (one,) = await place.until_all(backend, InstancePhase.FAILED)
    assert one.restarts == place.settings.startup_attempts_max - 1
    assert one.deaths == 0, "none of its processes has ever answered"
    assert one.reason.startswith(
        "The primary container for production variant AllTraffic did not pass the ping health check. "
        "The instance ended with exit status 3 (3 attempts). The last lines of its log:\n"
    )
    assert one.reason.endswith("ModuleNotFoundError: No module named 'flights'")
    assert len(one.reason) <= 1024


async def test_the_reason_says_that_its_variant_is_a_shadow(place):
    backend = await place.started()
    await backend.ensure(dataclasses.replace(place.spec("broken"), variant="next", is_shadow=True), 1, epoch=1)
    (one,) = await place.until_all(backend, InstancePhase.FAILED)
    assert one.reason.startswith("The primary container for shadow variant next did not pass the ping health check. ")


async def test_one_that_failed_is_replaced_when_it_is_evicted_and_not_before(place):
    backend = await place.started()
    await backend.ensure(place.spec("broken"), 1, epoch=1)
    (one,) = await place.until_all(backend, InstancePhase.FAILED)
    await backend.ensure(place.spec("broken"), 1, epoch=1)
    assert backend.snapshot() == (one,)
    await backend.evict(one.id, epoch=1)
    (other,) = await place.until(
        backend, lambda found: len(found) == 1 and found[0].id != one.id and found[0].phase is InstancePhase.FAILED
    )
    assert other.restarts == place.settings.startup_attempts_max - 1


async def test_one_that_never_answers_fails_at_its_timeout(place):
    backend = await place.started()
    await backend.ensure(place.spec("silent", startup_timeout_seconds=3.0), 1, epoch=1)
    (one,) = await place.until_all(backend, InstancePhase.FAILED)
    assert "The instance did not answer /ping with 200 within 3 seconds." in one.reason
    assert one.reason.endswith("still loading")
    assert one.restarts == 0
    with pytest.raises((StopIteration, KeyError)):
        place.pid(one.id)


async def test_an_image_that_nobody_can_run_fails_at_once(place):
    backend = await place.started()
    await backend.ensure(dataclasses.replace(place.spec(), image="unknown:1"), 1, epoch=1)
    (one,) = await place.until_all(backend, InstancePhase.FAILED)
    assert "Bannister does not know how to run the image 'unknown:1'" in one.reason
    assert one.restarts == 0


async def test_one_that_hangs_is_unready_until_it_answers_again(place):
    backend = await place.started()
    await backend.ensure(place.spec(), 1, epoch=1)
    (one,) = await place.until_all(backend, READY)
    pid = place.pid(one.id)
    place.hang(one.id)
    (hung,) = await place.until_all(backend, InstancePhase.UNREADY)
    assert "did not answer /ping with 200 3 times in a row" in hung.reason
    place.wake(one.id)
    (awake,) = await place.until_all(backend, READY)
    assert awake.silent_until is not None
    assert dataclasses.replace(awake, silent_until=None) == one
    assert place.pid(one.id) == pid


async def test_one_that_keeps_a_ping_waiting_is_shown_so_until_it_answers(place):
    """It is still ready: nobody can know yet whether it is only slow."""
    backend = await place.started()
    await backend.ensure(place.spec(), 1, epoch=1)
    (one,) = await place.until_all(backend, READY)
    assert not one.overdue
    place.hang(one.id)
    (late,) = await place.until(backend, lambda found: found[0].overdue)
    assert late == dataclasses.replace(one, overdue=True)
    place.wake(one.id)
    assert await place.until(backend, lambda found: not found[0].overdue) == (one,)
    place.hang(one.id)
    (hung,) = await place.until_all(backend, InstancePhase.UNREADY)
    assert not hung.overdue, "that it may not answer is for those that are taken for ready"
    place.wake(one.id)  # else it takes all of the grace to end


async def test_that_one_was_silent_is_remembered_by_the_next_control_plane(place):
    backend = await place.started()
    await backend.ensure(place.spec(), 1, epoch=1)
    (one,) = await place.until_all(backend, READY)
    assert one.silent_until is None
    place.hang(one.id)
    await place.until_all(backend, InstancePhase.UNREADY)
    await backend.close(stop_instances=False)
    place.wake(one.id)  # while nobody looks: when it answered again is not known, so it counts from when it was seen to
    second = await place.started()
    (seen,) = second.snapshot()
    assert seen.phase is READY
    assert seen.silent_until is not None
    await second.close(stop_instances=False)
    assert (await place.started()).snapshot() == (seen,)


async def test_what_one_process_answered_is_not_said_of_the_next(place):
    backend = await place.started()
    await backend.ensure(place.spec(), 1, epoch=1)
    (one,) = await place.until_all(backend, READY)
    assert one.answered
    place.crash(one.id)
    # That it is silent may be known before its end is.
    await place.until(backend, lambda found: found[0].phase is InstancePhase.UNREADY and not found[0].answered)
    (again,) = await place.until_all(backend, READY)
    assert again.answered
    assert again.silent_until is None


async def test_only_so_many_start_at_a_time(place):
    place.settings = dataclasses.replace(place.settings, startup_parallel_max=2)
    backend = await place.started()
    await backend.ensure(place.spec("silent"), 5, epoch=1)
    await place.until(backend, lambda found: [one.phase for one in found].count(InstancePhase.STARTING) == 2)
    assert [one.phase for one in backend.snapshot()].count(InstancePhase.PENDING) == 3


async def test_removing_a_group_leaves_the_others(place):
    backend = await place.started()
    await backend.ensure(place.spec(), 2, epoch=1)
    other = dataclasses.replace(place.spec(), id="shop-good/2")
    await backend.ensure(other, 1, epoch=1)
    found = await place.until_all(backend, READY, 3)
    await backend.remove("shop-good/1", epoch=1)
    assert await place.until(backend, lambda left: len(left) == 1) == found[2:]
    await backend.remove("shop-good/1", epoch=1)
    await backend.remove("unknown", epoch=1)
    assert backend.snapshot() == found[2:]


async def test_one_that_does_not_stop_is_killed_after_the_grace(place):
    place.settings = dataclasses.replace(place.settings, stop_grace_seconds=0.2)
    backend = await place.started()
    await backend.ensure(place.spec("deaf"), 1, epoch=1)
    (one,) = await place.until_all(backend, READY)
    await backend.remove(one.group, epoch=1)
    (stopping,) = backend.snapshot()
    assert stopping == dataclasses.replace(one, phase=InstancePhase.STOPPING)
    await place.until(backend, lambda found: not found)


async def test_in_a_hurry_nothing_is_waited_for(place):
    place.settings = dataclasses.replace(place.settings, stop_grace_seconds=1000.0)
    backend = await place.started()
    await backend.ensure(place.spec("deaf"), 2, epoch=1)
    await place.until_all(backend, READY, 2)
    closing = asyncio.create_task(backend.close(stop_instances=True))
    await place.until(backend, lambda found: {one.phase for one in found} == {InstancePhase.STOPPING})
    assert not closing.done()
    backend.hurry()
    async with asyncio.timeout(place.patience_seconds):
        await closing
    assert backend.snapshot() == ()


async def test_evicting_replaces(place):
    backend = await place.started()
    await backend.ensure(place.spec(), 2, epoch=1)
    first, second = await place.until_all(backend, READY, 2)
    await backend.evict(first.id, epoch=1)
    await backend.evict(first.id, epoch=1)
    await backend.evict("unknown", epoch=1)
    await place.until(backend, lambda found: first.id not in {one.id for one in found})
    kept, new = await place.until_all(backend, READY, 2)
    assert kept == second
    assert new.restarts == 0


async def test_a_lower_epoch_is_refused_and_changes_nothing(place):
    backend = await place.started()
    await backend.ensure(place.spec(), 1, epoch=7)
    found = await place.until_all(backend, READY)
    for write in (
        backend.ensure(place.spec(), 0, epoch=6),
        backend.remove(found[0].group, epoch=6),
        backend.evict(found[0].id, epoch=6),
    ):
        with pytest.raises(Fenced):
            await write
    assert backend.snapshot() == found


async def test_the_epoch_outlives_the_control_plane(place):
    backend = await place.started()
    await backend.ensure(place.spec(), 1, epoch=7)
    await backend.close(stop_instances=False)
    with pytest.raises(Fenced):
        await (await place.started()).ensure(place.spec(), 0, epoch=6)


async def test_a_new_control_plane_adopts_what_runs(place):
    backend = await place.started()
    await backend.ensure(place.spec(), 3, epoch=1)
    found = await place.until_all(backend, READY, 3)
    pids = [place.pid(one.id) for one in found]
    await backend.close(stop_instances=False)
    assert [place.pid(one.id) for one in found] == pids
    second = await place.started()
    assert second.snapshot() == found
    await second.ensure(place.spec(), 3, epoch=2)
    assert second.snapshot() == found
    assert [place.pid(one.id) for one in found] == pids
    place.crash(found[0].id)
    await place.until(second, lambda now: now[0].restarts == 1 and now[0].phase is READY)


async def test_one_that_ended_meanwhile_is_started_again(place):
    backend = await place.started()
    await backend.ensure(place.spec(), 2, epoch=1)
    first, second = await place.until_all(backend, READY, 2)
    await backend.close(stop_instances=False)
    place.crash(first.id)
    found = await place.until_all(await place.started(), READY, 2)
    assert {one.id: (one.restarts, one.deaths) for one in found} == {first.id: (1, 1), second.id: (0, 0)}


async def test_one_that_hung_meanwhile_is_not_called_ready(place):
    backend = await place.started()
    await backend.ensure(place.spec(), 1, epoch=1)
    (one,) = await place.until_all(backend, READY)
    await backend.close(stop_instances=False)
    place.hang(one.id)
    second = await place.started()
    assert second.snapshot()[0].phase is InstancePhase.UNREADY
    place.wake(one.id)
    (awake,) = await place.until_all(second, READY)
    assert dataclasses.replace(awake, silent_until=None) == one


async def test_one_that_was_starting_goes_on_starting(place):
    backend = await place.started()
    await backend.ensure(place.spec("silent"), 1, epoch=1)
    (one,) = await place.until_all(backend, InstancePhase.STARTING)
    pid = place.pid(one.id)
    await backend.close(stop_instances=False)
    second = await place.started()
    assert second.snapshot() == (one,)
    assert place.pid(one.id) == pid


async def test_what_failed_or_was_stopping_stays_so(place):
    backend = await place.started()
    await backend.ensure(place.spec("broken"), 1, epoch=1)
    await backend.ensure(place.spec("deaf"), 1, epoch=1)
    failed, deaf = await place.until(
        backend, lambda found: [one.phase for one in found] == [InstancePhase.FAILED, READY]
    )
    await backend.ensure(place.spec("deaf"), 0, epoch=1)
    await backend.evict(deaf.id, epoch=1)
    await backend.close(stop_instances=False)
    second = await place.started()
    assert [(one.id, one.phase) for one in second.snapshot()] == [
        (failed.id, InstancePhase.FAILED),
        (deaf.id, InstancePhase.STOPPING),
    ]
    assert second.snapshot()[0].reason == failed.reason
    place.crash(deaf.id)
    await place.until(second, lambda found: deaf.id not in {one.id for one in found})


async def test_what_nobody_recorded_is_ended(place):
    runs = place.start_orphan()
    assert runs()
    await place.started()
    async with asyncio.timeout(30):
        while runs():
            await asyncio.sleep(0.01)


async def test_closing_ends_everything(place):
    backend = await place.started()
    await backend.ensure(place.spec(), 2, epoch=1)
    await backend.ensure(place.spec("silent"), 3, epoch=1)
    await place.until(backend, lambda found: [one.phase for one in found].count(READY) == 2)
    ids = [one.id for one in backend.snapshot()]
    await backend.close(stop_instances=True)
    assert backend.snapshot() == ()
    for one in ids:
        with pytest.raises((StopIteration, KeyError)):
            place.pid(one)
    assert (await place.started()).snapshot() == ()


async def test_a_log_can_be_read_also_after_the_instance_is_gone(place):
    backend = await place.started()
    await backend.ensure(place.spec("broken"), 1, epoch=1)
    (one,) = await place.until_all(backend, InstancePhase.FAILED)
    last = ["ModuleNotFoundError: No module named 'flights'"]
    assert await backend.log_tail(one.id, 1) == last
    await backend.remove(one.group, epoch=1)
    await place.until(backend, lambda found: not found)
    assert await backend.log_tail(one.id, 1) == last
    assert await backend.log_tail("unknown", 10) == []


async def test_what_an_instance_uses_is_known_and_grows(place):
    backend = await place.started()
    await backend.ensure(place.spec(), 2, epoch=1)
    found = await place.until_all(backend, READY, 2)
    first = await backend.usage()
    assert first.keys() == {one.id for one in found}
    assert all(one.resident_bytes > 1_000_000 for one in first.values())
    async with asyncio.timeout(20):
        while True:
            later = await backend.usage()
            assert all(later[one].cpu_seconds >= first[one].cpu_seconds for one in first)
            if any(later[one].cpu_seconds > first[one].cpu_seconds for one in first):
                break
            await asyncio.sleep(0.1)
    await backend.remove(found[0].group, epoch=1)
    await place.until(backend, lambda found: not found)
    assert await backend.usage() == {}
