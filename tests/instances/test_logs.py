"""What every implementation of the logs of instances promises, on each of them."""

from __future__ import annotations

import itertools
import time

import pytest

from bannister.domain.instance import InstancePhase

LAST = "ModuleNotFoundError: No module named 'flights'"


@pytest.fixture
async def failed(place):
    """A backend with one instance that printed its last words a few times, and that instance."""
    began = time.time()
    backend = await place.started()
    await backend.ensure(place.spec("broken"), 1, epoch=1)
    (one,) = await place.until_all(backend, InstancePhase.FAILED)
    return backend, one.id, began


async def whole(logs, instance):
    lines, at = [], 0
    while True:
        part = await logs.forward(instance, at, bytes_max=64)
        lines += part.lines
        assert part.start >= at
        at = part.end
        if not part.more:
            return lines


async def test_a_log_is_found_by_endpoint_and_variant(failed):
    backend, instance, began = failed
    (stream,) = await backend.logs.streams()
    assert (stream.endpoint, stream.variant, stream.instance) == ("shop", "AllTraffic", instance)
    assert began - 1 <= stream.created_at <= stream.first_at <= stream.last_at <= time.time() + 1
    assert stream.size == sum(line.end - line.position for line in await whole(backend.logs, instance))


async def test_lines_follow_each_other_in_position_and_time(failed):
    backend, instance, began = failed
    (stream,) = await backend.logs.streams()
    lines = await whole(backend.logs, instance)
    assert lines[-1].text == LAST
    assert lines[0].position == 0
    for earlier, later in itertools.pairwise(lines):
        assert (earlier.end, earlier.at <= later.at) == (later.position, True)
    assert began - 1 <= lines[0].at <= lines[-1].at == stream.last_at


async def test_backward_gives_the_same_lines_from_the_end(failed):
    backend, instance, _ = failed
    await backend.logs.streams()
    lines = await whole(backend.logs, instance)
    assert list((await backend.logs.backward(instance)).lines) == lines
    before = await backend.logs.backward(instance, lines[-1].position)
    assert (list(before.lines), before.end, before.more) == (lines[:-1], lines[-1].position, False)
    nothing = await backend.logs.backward(instance, 0)
    assert (nothing.lines, nothing.more) == ((), False)


async def test_what_is_later_than_everything_is_nothing_and_at_the_end(failed):
    backend, instance, _ = failed
    (stream,) = await backend.logs.streams()
    lines = await whole(backend.logs, instance)
    newest = await backend.logs.forward(instance, since=stream.last_at)
    assert newest.lines
    assert all(line.at == stream.last_at for line in newest.lines)
    for found in (
        await backend.logs.forward(instance, since=stream.last_at + 0.001),
        await backend.logs.forward(instance, lines[-1].end),
        await backend.logs.forward(instance, 10**9),
    ):
        assert (found.lines, found.end, found.more) == ((), lines[-1].end, False)


async def test_a_log_outlives_its_instance_and_the_control_plane(failed, place):
    backend, instance, _ = failed
    before = await backend.logs.streams()
    lines = await whole(backend.logs, instance)
    await backend.remove("shop-broken/1", epoch=1)
    await place.until(backend, lambda found: not found)
    (kept,) = await backend.logs.streams()
    assert (kept.endpoint, kept.variant, kept.instance, kept.size) == ("shop", "AllTraffic", instance, before[0].size)
    assert await whole(backend.logs, instance) == lines
    await backend.close(stop_instances=False)
    again = await place.started()
    assert await again.logs.streams() == (kept,)
    assert await whole(again.logs, instance) == lines


async def test_an_unknown_instance_has_no_lines(place):
    backend = await place.started()
    assert await backend.logs.streams() == ()
    for part in (await backend.logs.forward("0badcafe"), await backend.logs.backward("0badcafe", 100)):
        assert (part.lines, part.more) == ((), False)
