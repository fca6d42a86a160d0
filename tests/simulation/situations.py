"""Situations in which a rule decides, told in full because random worlds reach them seldom or not at all.

Each is a story for `Script.situation`: the world's seed varies its times and sizes, and faults may disturb it. Where nothing disturbs it, it also
asserts that it came to where it wanted to go; else it would show nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

from tests.simulation.faults import Faults
from tests.simulation.plane import ControlPlane
from tests.simulation.story import LOOK_SECONDS, Release, Script
from tests.simulation.variants import SECOND
from tests.simulation.world import Model, World

from bannister.domain.alarm.alarm import AlarmValue
from bannister.domain.deployment.admission import Retention
from bannister.domain.deployment.deployment import Phase
from bannister.domain.deployment.policy import CapacitySize, CapacityType, DeploymentPolicy, Routing
from bannister.domain.scaling import Desired
from bannister.instances.memory import Behaviour

Situation = Callable[[World], Coroutine[Any, Any, None]]


async def held_by_an_alarm(world: World) -> None:
    """An alarm is in ALARM before the first shift; in some worlds it clears."""
    release = Release(world, "e1")
    if not await release.create(world.rng.choice((1, 2))):
        return
    config = await release.version(Model("held", Behaviour(ready_after_seconds=world.rng.random())), 2)
    alarm = await release.watch(config, "ignore")  # without data it stays as it was set
    await release.set_alarm(alarm, AlarmValue.ALARM)
    await release.update(config, _all_at_once(2, alarm))
    clears = world.rng.random() < 0.5
    if clears:
        await asyncio.sleep(3 + world.rng.random() * 8)
        await release.set_alarm(alarm, AlarmValue.OK)
    rests = await release.at_rest()
    _came_to(world, Phase.HELD)
    _came_to(world, Phase.RETIRING if clears else Phase.REMOVING)
    if rests and world.calm:
        await release.delete()


async def failing_under_an_alarm(world: World) -> None:
    """A version that answers nothing but errors; its alarm trips in the bake."""
    release = Release(world, "e1")
    if (config := await _failing(world, release)) is None:
        return
    alarm = await release.watch(config, "notBreaching")
    await release.update(config, _all_at_once(40, alarm))
    await release.at_rest()
    _came_to(world, Phase.ROLLING_BACK)


async def failing_under_a_count(world: World) -> None:
    """A version that answers nothing but errors; its alarm counts them in two periods, and knows after two seconds."""
    release = Release(world, "e1")
    if (config := await _failing(world, release)) is None:
        return
    alarm = await release.watch(config, "notBreaching", 2, counted=True)
    await release.update(config, _all_at_once(40, alarm))
    await release.at_rest()
    _came_to(world, Phase.ROLLING_BACK)
    if world.calm and not world.checker.decided_early:
        raise world.violated("The situation was not reached", "No alarm was decided early.")


async def failing_under_an_expression(world: World) -> None:
    """A version that answers nothing but errors; only an alarm on an expression watches it."""
    release = Release(world, "e1")
    if (config := await _failing(world, release)) is None:
        return
    await release.update(config, _all_at_once(40, await release.watch_share(config)))
    await release.at_rest()
    _came_to(world, Phase.ROLLING_BACK)


async def failing_under_a_count_beneath(world: World) -> None:
    """As `failing_under_a_count`; what the deployment names is a composite alarm two above the one that counts."""
    release = Release(world, "e1")
    if (config := await _failing(world, release)) is None:
        return
    alarm = await release.watch(config, "notBreaching", 2, counted=True)
    await release.put_composites(config, [("middle", f"ALARM({alarm})"), ("top", "NOT OK(middle)")])
    await release.update(config, _all_at_once(40, "top"))
    await release.at_rest()
    _came_to(world, Phase.ROLLING_BACK)
    if world.calm and not world.checker.decided_early:
        raise world.violated("The situation was not reached", "No alarm was decided early.")


async def an_instant_in_alarm(world: World) -> None:
    """A sound version whose alarm is in ALARM for an instant in the bake."""
    release = Release(world, "e1")
    if not await release.create(world.rng.choice((1, 2))):
        return
    config = await release.version(Model("suspect", Behaviour(ready_after_seconds=world.rng.random())), 2)
    alarm = await release.watch(config, "notBreaching")
    await release.update(config, _all_at_once(12, alarm))
    await _bakes(world)
    await asyncio.sleep(world.rng.random() * 8)
    await release.set_alarm(alarm, AlarmValue.ALARM, AlarmValue.OK)
    await release.at_rest()
    _came_to(world, Phase.ROLLING_BACK)


async def an_instant_in_alarm_beneath(world: World) -> None:
    """A sound version; an alarm two composites below the one that is watched is in ALARM for an instant in the bake."""
    release = Release(world, "e1")
    if not await release.create(world.rng.choice((1, 2))):
        return
    config = await release.version(Model("suspect", Behaviour(ready_after_seconds=world.rng.random())), 2)
    alarm = await release.watch(config, "notBreaching")
    rules = [("middle", f"ALARM({alarm}) OR ALARM({config}-share)"), ("top", "NOT OK(middle)")]
    await release.put_composites(config, rules)
    await release.update(config, _all_at_once(12, "top"))
    await _bakes(world)
    await asyncio.sleep(world.rng.random() * 8)
    await release.set_alarm(alarm, AlarmValue.ALARM, AlarmValue.OK)
    await release.at_rest()
    _came_to(world, Phase.ROLLING_BACK)


async def stopped_by_a_person(world: World) -> None:
    """Somebody asks for a rollback, at any moment before the last bake is over, and again; in some worlds the control plane ends just then."""
    rng, release = world.rng, Release(world, "e1")
    if not await release.create(rng.choice((1, 2))):
        return
    config = await release.version(Model("unwanted", Behaviour(ready_after_seconds=rng.random())), 2)
    quarter = CapacitySize(CapacityType.CAPACITY_PERCENT, 25)
    routing = rng.choice((Routing.LINEAR, Routing.ROLLING))
    await release.update(config, DeploymentPolicy(routing, quarter, 8, 8 if routing is Routing.LINEAR else 0))
    await asyncio.sleep(rng.random() * 12)
    if rng.random() < 0.5:
        after = world.points + rng.randrange(1, 4)
        world.crash_at = lambda number, _: number >= after
    for _ in range(2):
        await release.stop("It answers oddly.")
    await release.at_rest()
    _came_to(world, Phase.ROLLING_BACK)
    if world.calm and not world.counts["rollbacks asked for"]:
        raise world.violated("The situation was not reached", "Nobody's wish was written down.")


async def slow_to_start(world: World) -> None:
    """A version of several instances that take seconds to become ready, shifted to instance by instance, with slow proxies."""
    release = Release(world, "e1")
    if not await release.create(world.rng.choice((1, 2, 3))):
        return
    _slow_proxies(world)
    config = await release.version(Model("starting", Behaviour(ready_after_seconds=2 + world.rng.random() * 3)), 3)
    step = CapacitySize(CapacityType.INSTANCE_COUNT, 1)
    await release.update(config, DeploymentPolicy(Routing.CANARY, step, 1 + world.rng.randrange(3), 1))
    await release.at_rest()
    _came_to(world, Phase.RETIRING)


async def requirements_to_install(world: World) -> None:
    """A version that takes longer to install than it may take to start; in some worlds that fails."""
    release = Release(world, "e1")
    if not await release.create(world.rng.choice((1, 2))):
        return
    rng, longer = world.rng, world.settings.startup_timeout_seconds_default
    fails = ("ERROR: No matching distribution found for flights",) if rng.random() < 0.4 else ()
    behaviour = Behaviour(
        ready_after_seconds=rng.random(), installs_for_seconds=longer * (1 + rng.random()), installing_fails=fails
    )
    config = await release.version(Model("requiring", behaviour, sound=not fails), 2)
    await release.update(config, DeploymentPolicy(Routing.ALL_AT_ONCE, None, 0, 1))
    await release.at_rest()
    _came_to(world, Phase.REMOVING if fails else Phase.RETIRING)
    reason = world.endpoints()["e1"].failure_reason if world.calm else None
    if world.calm and (reason is not None) != bool(fails):
        raise world.violated("The situation was not reached", f"FailureReason is {reason!r}.")
    if reason is not None and fails[0] not in reason:
        raise world.violated("The reason does not say why", reason)


async def deleted_while_it_serves(world: World) -> None:
    """An endpoint at rest is taken away under load, with slow proxies."""
    release = Release(world, "e1")
    if not await release.create(world.rng.choice((1, 2, 3))):
        return
    await asyncio.sleep(world.rng.random() * 5)
    _slow_proxies(world)
    await release.delete()
    while "e1" in world.endpoints():
        await asyncio.sleep(LOOK_SECONDS)


async def made_larger_and_smaller(world: World) -> None:
    """An endpoint under load has more instances and another weight, then fewer, again and again; in some worlds with slow proxies."""
    release = Release(world, "e1")
    if not await release.create(world.rng.choice((1, 2))):
        return
    if world.rng.random() < 0.5:
        _slow_proxies(world)
    for count in (4, 1, 3, 2):
        await asyncio.sleep(world.rng.random() * 3)
        weight = world.rng.choice((0.5, 1.0, 3.0))
        if not await release.scale(Desired("a", weight, count)):
            return
        blue = world.endpoints()["e1"].blue
        assert blue is not None
        (group,) = blue.groups
        if world.calm and (group.weight, group.instance_count) != (weight, count):
            raise world.violated("The situation was not reached", f"{group.instance_count} instead of {count}.")


async def variants_kept_by_an_update(world: World) -> None:
    """Two variants are rescaled, and an update keeps what they have then: at once, by a canary or batch by batch."""
    assert world.variants is not None
    world.variants.always_sound = True
    rng, release = world.rng, Release(world, "e1")
    if not await release.create(2):
        return
    if not await release.scale(Desired("a", 0.5, 4), Desired(SECOND, rng.choice((0.0, 2.0)), 2)):
        return
    config = await release.version(Model("next", Behaviour(ready_after_seconds=rng.random())), 1)
    half = CapacitySize(CapacityType.CAPACITY_PERCENT, 50)
    routing = rng.choice((Routing.ALL_AT_ONCE, Routing.CANARY, Routing.ROLLING))
    policy = DeploymentPolicy(routing, None if routing is Routing.ALL_AT_ONCE else half, 1, 1)
    await release.update(config, policy, Retention(variant_properties=True))
    await release.at_rest()
    _came_to(world, Phase.RETIRING)
    blue = world.endpoints()["e1"].blue if world.calm else None
    found = {} if blue is None else {group.variant: (group.config_name, group.instance_count) for group in blue.groups}
    if world.calm and found != {"a": (config, 4), SECOND: (config, 2)}:
        raise world.violated("The situation was not reached", str(found))


async def a_variant_that_is_slower(world: World) -> None:
    """Two variants are replaced batch by batch, and the second one's instances take longer to come up."""
    assert world.variants is not None
    world.variants.always_sound = True
    rng, release = world.rng, Release(world, "e1")
    if not await release.create(2):
        return
    if not await release.scale(Desired("a", 1.0, 2), Desired(SECOND, 1.0, 4)):
        return
    config = await release.version(Model("next", Behaviour(ready_after_seconds=0.1)), 2)
    world.machine.behaviours[f"{config}-{SECOND}"] = Behaviour(ready_after_seconds=3 + rng.random())
    half = CapacitySize(CapacityType.CAPACITY_PERCENT, 50)
    await release.update(config, DeploymentPolicy(Routing.ROLLING, half, 1), Retention(variant_properties=True))
    await release.at_rest()
    _came_to(world, Phase.GROWING)
    _came_to(world, Phase.RETIRING)


async def variants_of_which_one_is_silent(world: World) -> None:
    """All requests are to go to a variant whose only instance hangs; after a while it answers again."""
    assert world.variants is not None
    world.variants.always_sound = True
    rng, release, machine = world.rng, Release(world, "e1"), world.machine
    if not await release.create(2):
        return
    if not await release.scale(Desired("a", 1.0, 2), Desired(SECOND, 0.0, 1)):
        return
    blue = world.endpoints()["e1"].blue
    assert blue is not None
    second = next(group.id for group in blue.groups if group.variant == SECOND)
    for instance in machine.in_group(second):
        machine.harm(instance)
        machine.hang(instance)
    await asyncio.sleep(10 + rng.random() * 5)
    scaled = asyncio.create_task(release.scale(Desired("a", 0.0), Desired(SECOND, 1.0)))
    await asyncio.sleep(1 + rng.random() * 2)
    for instance in machine.in_group(second):
        machine.answer(instance)
    await scaled
    blue = world.endpoints()["e1"].blue
    if world.calm and blue is not None and [group.weight for group in blue.groups] != [0.0, 1.0]:
        raise world.violated("The situation was not reached", str([group.weight for group in blue.groups]))


async def with_a_shadow_that_dies(world: World) -> None:
    """From a version with a shadow to another one; both shadows end again and again. In some worlds the new one cannot start, and the old one is fed on."""
    release = Release(world, "e1")
    if not await release.create(world.rng.choice((1, 2))):
        return
    rng = world.rng
    dies = Behaviour(ready_after_seconds=0.2, ends_after_seconds=1.5 + rng.random())
    starts = rng.random() < 0.7
    for name, behaviour in (("old", dies), ("new", dies if starts else Behaviour(None, ends_after_seconds=0.3))):
        shadow = (rng.choice((0.5, 1.0)), behaviour)
        config = await release.version(Model(name, Behaviour(ready_after_seconds=rng.random())), 2, shadow)
        step = CapacitySize(CapacityType.CAPACITY_PERCENT, 50)
        await release.update(config, DeploymentPolicy(Routing.CANARY, step, 4, 3))
        await release.at_rest()
    _came_to(world, Phase.RETIRING if starts else Phase.REMOVING)


async def green_dies_while_its_next_batch_starts(world: World) -> None:
    """What serves of the new version dies while more of it starts: the number of those that are ready comes right again, and an instance was lost.

    The control plane is away in between, and sees the number only when it is right.
    """
    rng, release, machine = world.rng, Release(world, "e1"), world.machine
    if not await release.create(3):
        return
    one, starts_for = CapacitySize(CapacityType.INSTANCE_COUNT, 1), 2 + rng.random()
    config = await release.version(Model("next", Behaviour(ready_after_seconds=starts_for)), 3)
    await release.update(config, DeploymentPolicy(Routing.ROLLING, one, 1, 0))
    while (running := world.endpoints()["e1"].deployment) is not None:
        (green,) = running.green.groups
        up = {one: machine.up(machine.address_of[one]) for one in machine.in_group(green.id)}
        if (
            running.phase is Phase.GROWING
            and running.step > 0
            and [*up.values()].count(False) == 1
            and any(up.values())
        ):
            await asyncio.sleep(starts_for - 0.1)
            if world.plane is not None:
                world.kill_plane(world.plane, "is killed")
            machine.end(next(instance for instance, answers in up.items() if answers))
            break
        await asyncio.sleep(0.05)
    await release.at_rest()
    _came_to(world, Phase.ROLLING_BACK)


async def back_batch_by_batch_under_a_long_request(world: World) -> None:
    """A rolling update goes back batch by batch while each instance of the new version is still answering somebody: blue grows meanwhile."""
    rng, release = world.rng, Release(world, "e1")
    if not await release.create(3):
        return
    one, proxy = CapacitySize(CapacityType.INSTANCE_COUNT, 1), next(iter(world.network.proxies.values()))
    config = await release.version(Model("next", Behaviour(ready_after_seconds=rng.random())), 3)
    alarm = await release.watch(config, "notBreaching")
    await release.update(config, DeploymentPolicy(Routing.ROLLING, one, 3, 0, alarms=(alarm,), rollback_step=one))
    while (running := world.endpoints()["e1"].deployment) is not None:
        if running.phase is Phase.BAKING and running.step > 0:
            (green,) = running.green.groups
            for address in proxy.reachable(green.id):
                proxy.begin(address)
                world.loop.call_later(5.0 + rng.random(), proxy.finish, address)
            await release.set_alarm(alarm, AlarmValue.ALARM)
            break
        await asyncio.sleep(LOOK_SECONDS)
    await release.at_rest()
    _came_to(world, Phase.SHEDDING)
    _came_to(world, Phase.RESTORING)


async def shadows_in_one_room(world: World) -> None:
    """The shadows of two endpoints share too little room: one comes, is replaced, and goes; production fills the proxies' heaps, telemetry and the control plane are replaced."""
    rng, room = world.rng, world.room
    releases, behaviour = (Release(world, "e1"), Release(world, "e2")), Behaviour(ready_after_seconds=0.2)
    assert room is not None
    for number, release in enumerate(releases):
        model = Model(f"first-{number}", Behaviour(ready_after_seconds=rng.random()))
        if not await release.create_with(await release.version(model, 1, (1.0, behaviour))):
            return
        await asyncio.sleep(2 + rng.random() * 3)
    for node in world.network.proxies:
        room.fill(node, rng.choice((0.6, 0.78, 0.82)), 6.0)
    await asyncio.sleep(9 + rng.random())
    world.telemetry.stop()
    await asyncio.sleep(rng.random() * 3)
    world.telemetry.start()
    if world.plane is not None:
        world.kill_plane(world.plane, "is killed")
    await asyncio.sleep(4 + rng.random() * 3)
    step = CapacitySize(CapacityType.CAPACITY_PERCENT, 50)
    model = Model("second", Behaviour(ready_after_seconds=rng.random()))
    config = await releases[0].version(model, 1, (rng.choice((0.5, 1.0)), behaviour))
    await releases[0].update(config, DeploymentPolicy(Routing.CANARY, step, 4, 3))
    await releases[0].at_rest()
    _came_to(world, Phase.RETIRING)
    await asyncio.sleep(5)
    await releases[1].delete()
    await asyncio.sleep(5)
    if world.calm and not (world.counts["copies"] and world.counts["copies skipped"]):
        raise world.violated("The situation was not reached", str(dict(world.counts)))


async def a_shadow_whose_capture_is_killed(world: World) -> None:
    """The capture process is killed again and again under load, and what it is told to do changes."""
    rng, release = world.rng, Release(world, "e1")
    assert world.shadows is not None
    for number in range(2):
        shadow = (rng.choice((0.5, 1.0)), Behaviour(ready_after_seconds=0.2))
        config = await release.version(
            Model(f"version-{number}", Behaviour(ready_after_seconds=rng.random())), 1, shadow
        )
        if number:
            await release.update(config, DeploymentPolicy(Routing.ALL_AT_ONCE, None, 0, 2))
        elif not await release.create_with(config):
            return
        for _ in range(2):
            await asyncio.sleep(4 + rng.random() * 4)
            world.shadows.capture.kill(world)
        await asyncio.sleep(12)
    await release.at_rest()
    _came_to(world, Phase.RETIRING)
    if world.calm and not world.counts["copies of a process that was killed"]:
        raise world.violated("The situation was not reached", str(dict(world.counts)))


async def silent_before_a_restart(world: World) -> None:
    """An instance falls silent with a request in flight, and answers again; then the control plane is replaced, and its group goes."""
    release = Release(world, "e1")
    if not await release.create(2):
        return
    machine, proxy = world.machine, next(iter(world.network.proxies.values()))
    config = await release.version(Model("next", Behaviour(ready_after_seconds=world.rng.random())), 1)
    for instance in list(machine.running)[:1]:
        proxy.begin(machine.address_of[instance])
        world.loop.call_later(40.0, proxy.finish, machine.address_of[instance])
        machine.harm(instance)
        machine.hang(instance)
        await asyncio.sleep(8 + world.rng.random() * 4)  # until the proxies have lists without it
        if instance in machine.running:
            machine.answer(instance)
    await asyncio.sleep(3 + world.rng.random() * 3)
    if world.plane is not None:
        world.kill_plane(world.plane, "is killed")
    await release.update(config, DeploymentPolicy(Routing.ALL_AT_ONCE, None, 0, 0))
    await release.at_rest()
    _came_to(world, Phase.RETIRING)


async def replaced_while_blue_retires(world: World) -> None:
    """Blue is still answering somebody when it goes, one of green's instances hangs, and the control plane is replaced: green has all the traffic, whatever is left of it."""
    release = Release(world, "e1")
    if not await release.create(1):
        return
    machine, proxy = world.machine, next(iter(world.network.proxies.values()))
    config = await release.version(Model("next", Behaviour(ready_after_seconds=world.rng.random())), 2)
    blue = [machine.address_of[instance] for instance in machine.running]
    await release.update(config, DeploymentPolicy(Routing.ALL_AT_ONCE, None, 0, 1))
    while (running := world.endpoints()["e1"].deployment) is not None:
        if running.phase is Phase.BAKING and blue:
            proxy.begin(blue[0])
            world.loop.call_later(7.0, proxy.finish, blue.pop())
        if running.phase is Phase.RETIRING:
            (green,) = running.green.groups
            for instance in machine.in_group(green.id)[:1]:
                machine.harm(instance)
                machine.hang(instance)
                world.loop.call_later(6.0, lambda one=instance: one in machine.running and machine.answer(one))
            await asyncio.sleep(2 + world.rng.random())  # until it is seen that it does not answer
            if world.plane is not None:
                world.kill_plane(world.plane, "is killed")
            break
        await asyncio.sleep(LOOK_SECONDS / 5)
    await release.at_rest()
    _came_to(world, Phase.RETIRING)


async def silent_while_it_drains(world: World) -> None:
    """An instance is answering somebody when its group goes, falls silent, and so leaves the proxies' lists: no proxy counts the request any more."""
    release = Release(world, "e1")
    if not await release.create(2):
        return
    machine, proxy = world.machine, next(iter(world.network.proxies.values()))
    config = await release.version(Model("next", Behaviour(ready_after_seconds=world.rng.random())), 1)
    instance = next(iter(machine.running), None)
    await release.update(config, DeploymentPolicy(Routing.ALL_AT_ONCE, None, 0, 2))
    await _bakes(world)
    if instance is not None and instance in machine.running and machine.answers(instance):
        address = machine.address_of[instance]
        proxy.begin(address)
        world.loop.call_later(7.0 + world.rng.random(), proxy.finish, address)
        await asyncio.sleep(world.rng.random())
        machine.harm(instance)
        machine.hang(instance)
    await release.at_rest()
    _came_to(world, Phase.RETIRING)


async def a_proxy_that_comes_back_later(world: World) -> None:
    """The control plane is replaced when all traffic is asked back, and of two proxies one finds the new one later than the other: until then it routes to green."""
    rng, release = world.rng, Release(world, "e1")
    if not await release.create(2):
        return
    late = list(world.network.proxies.values())[-1]
    config = await release.version(Model("next", Behaviour(ready_after_seconds=rng.random())), 2)
    half = CapacitySize(CapacityType.CAPACITY_PERCENT, 50)
    await release.update(config, DeploymentPolicy(Routing.CANARY, half, 20, 1))
    await _bakes(world)
    late.disconnect()
    world.loop.call_later(1.2 + rng.random() * 0.5, late.reconnect)  # in time for a rollback that is as quick as any
    if world.plane is not None:
        world.kill_plane(world.plane, "is killed")
    await asyncio.sleep(0.3)
    await release.stop("It answers oddly.")
    await release.at_rest()
    _came_to(world, Phase.ROLLING_BACK)


async def woken_when_it_was_replaced(world: World) -> None:
    """The control plane stops when it is about to tell the proxies of a split, another one takes over, and it wakes while they are still connected to it."""
    rng, release = world.rng, Release(world, "e1")
    if not await release.create(2):
        return
    config = await release.version(Model("next", Behaviour(ready_after_seconds=rng.random())), 2)

    def stop(stopped: ControlPlane) -> None:
        connected_for = (world.settings.proxy_lease_seconds - 2) * rng.uniform(0.5, 0.99)
        world.replace_plane(connected_for)
        world.loop.call_later(rng.random() * connected_for, world.thaw, stopped)

    def is_about_to_tell(point: str) -> bool:
        endpoint = world.endpoints().get("e1")
        running = endpoint.deployment if endpoint is not None else None
        return point == "before publish" and running is not None and running.phase is Phase.SHIFTING

    _when(world, is_about_to_tell, stop)
    half = CapacitySize(CapacityType.CAPACITY_PERCENT, 50)
    await release.update(config, DeploymentPolicy(Routing.CANARY, half, 2, 1))
    await release.at_rest()
    _came_to(world, Phase.RETIRING)
    if world.calm and not world.counts["fenced towards a proxy"]:
        raise world.violated("The situation was not reached", "Nothing was kept from the proxies.")


async def woken_while_instances_start(world: World) -> None:
    """The control plane stops when it is about to start instances, another one starts them, and it wakes; whoever comes after both knows what runs."""
    rng, release = world.rng, Release(world, "e1")
    if not await release.create(2):
        return
    config = await release.version(Model("next", Behaviour(ready_after_seconds=rng.random())), 2)

    def stop(stopped: ControlPlane) -> None:
        world.counts["stopped before instances start"] += 1
        world.replace_plane()
        world.loop.call_later(0.5 + rng.random(), world.thaw, stopped)
        world.loop.call_later(2.0 + rng.random(), _kill, world)

    _when(world, lambda point: point.startswith("before ensure"), stop)
    await release.update(config, _all_at_once(2, await release.watch(config, "notBreaching")))
    await release.at_rest()
    _came_to(world, Phase.RETIRING)
    if world.calm and not world.counts["stopped before instances start"]:
        raise world.violated("The situation was not reached", "It was never about to start any.")


async def counted_by_one_that_lapsed(world: World) -> None:
    """A request is in flight through a proxy that does as it is told, but says so only after its lease; meanwhile its group goes."""
    release = Release(world, "e1")
    if not await release.create(2):
        return
    machine, proxy = world.machine, next(iter(world.network.proxies.values()))
    config = await release.version(Model("next", Behaviour(ready_after_seconds=world.rng.random())), 1)
    instance = next(iter(machine.running), None)
    if instance is None:
        return
    blue, late = machine.group_of[instance], [world.settings.proxy_lease_seconds * (3 + world.rng.random())]
    world.checker.astray(proxy.node)
    world.checker.slow[proxy.node] = None
    proxy.conduct.answer_seconds = lambda: (
        late[0] if any(one.parts and one.group != blue for one in proxy.weights("e1")) else 0.0
    )
    proxy.begin(machine.address_of[instance])
    world.loop.call_later(8.0 + world.settings.proxy_lease_seconds, proxy.finish, machine.address_of[instance])
    await release.update(config, DeploymentPolicy(Routing.ALL_AT_ONCE, None, 0, 0))
    await release.at_rest()
    late[0] = 0.0
    world.checker.slow.pop(proxy.node, None)
    _came_to(world, Phase.RETIRING)


async def silence_in_a_bake(world: World) -> None:
    """Telemetry says nothing any more while a sound version bakes; in some worlds the control plane ends meanwhile."""
    release = Release(world, "e1")
    if not await release.create(world.rng.choice((1, 2))):
        return
    config = await release.version(Model("sound", Behaviour(ready_after_seconds=world.rng.random())), 2)
    await release.update(config, _all_at_once(60, await release.watch(config, "notBreaching")))
    await _bakes(world)
    await asyncio.sleep(world.rng.random() * 5)
    world.telemetry.stands_still = True
    if world.rng.random() < 0.5:
        await asyncio.sleep(world.rng.random() * 6)
        _kill(world)
    await release.at_rest()
    world.telemetry.stands_still = False
    _came_to(world, Phase.ROLLING_BACK)
    reason = world.endpoints()["e1"].failure_reason if world.calm else "silent"
    if reason is None or "silent" not in reason:
        raise world.violated("19: blind is not quiet, and says so", f"FailureReason is {reason!r}.")


async def a_proxy_that_never_comes_back(world: World) -> None:
    """One of two proxies ends for good, at any moment of a deployment; in some worlds the control plane ends soon after."""
    rng, release = world.rng, Release(world, "e1")
    if not await release.create(rng.choice((1, 2))):
        return
    config = await release.version(Model("next", Behaviour(ready_after_seconds=rng.random())), 2)
    step = CapacitySize(CapacityType.CAPACITY_PERCENT, 25)
    await release.update(config, DeploymentPolicy(Routing.LINEAR, step, 2, 1))
    await asyncio.sleep(rng.random() * 8)
    world.leave([*world.network.proxies.values()][-1])
    if rng.random() < 0.5:
        await asyncio.sleep(rng.random() * 4)
        _kill(world)
    await release.at_rest()
    _came_to(world, Phase.RETIRING)


async def a_proxy_leaves_with_the_control_plane(world: World) -> None:
    """In a bake of a rolling update; the next control plane waits for it for a while, and meanwhile gives green's share to blue."""
    rng, release = world.rng, Release(world, "e1")
    if not await release.create(rng.choice((1, 2))):
        return
    config = await release.version(Model("next", Behaviour(ready_after_seconds=rng.random())), 2)
    one = CapacitySize(CapacityType.INSTANCE_COUNT, 1)
    await release.update(config, DeploymentPolicy(Routing.ROLLING, one, rng.choice((3, 4)), 1))
    await _bakes(world)
    world.leave([*world.network.proxies.values()][-1])
    _kill(world)
    await release.at_rest()
    _came_to(world, Phase.RETIRING)


async def reports_that_come_again(world: World) -> None:
    """The control plane ends when it has stored a report and not said so: when an alarm moves, and whenever it may."""
    release = Release(world, "e1")
    if (config := await _failing(world, release)) is None:
        return
    alarm = await release.watch(config, "notBreaching")
    await release.update(config, _all_at_once(40, alarm))
    world.crash_at = lambda _, point: "alarm.transitioned" in point
    await _bakes(world)
    if world.crash_at is None:
        world.crash_at = lambda _, point: "alarm.transitioned" in point
    await release.at_rest()
    world.crash_at = None
    _came_to(world, Phase.ROLLING_BACK)
    if world.calm and world.planes < 2:
        raise world.violated("The situation was not reached", "No control plane ended with an alarm's transition.")


async def control_planes_that_end_in_a_bake(world: World) -> None:
    """A sound version bakes, and every few seconds the control plane ends and another takes over; the last one stays."""
    bake_seconds = 16
    release = await _sound_in_its_bake(world, bake_seconds)
    if release is None:
        return
    for _ in range(5):
        await asyncio.sleep(bake_seconds / 6 + world.rng.random() * 0.5)
        _kill(world)
    await release.at_rest()
    _came_to(world, Phase.RETIRING)


async def green_stands_still_in_a_bake(world: World) -> None:
    """One of green's instances hangs shortly before a bake would be over, and only after that can it be taken for unready."""
    release = await _sound_in_its_bake(world, 8)
    if release is None:
        return
    await asyncio.sleep(4.0 + world.rng.random() * 0.9)
    running = world.endpoints()["e1"].deployment
    for instance in world.machine.in_group(running.green.groups[0].id)[:1] if running is not None else ():
        world.machine.harm(instance)
        world.machine.hang(instance)
    await release.at_rest()
    _came_to(world, Phase.ROLLING_BACK)


async def the_only_one_hangs(world: World) -> None:
    """An endpoint's only instance does not answer while the control plane is replaced, and answers again about when the new one acts."""
    release = Release(world, "e1")
    if not await release.create(1):
        return
    machine = world.machine
    for instance in list(machine.running)[:1]:
        machine.harm(instance)
        machine.hang(instance)
        await asyncio.sleep(world.rng.random())
        if world.plane is not None:
            world.kill_plane(world.plane, "is killed")
        await asyncio.sleep(0.5 + world.settings.proxy_adoption_seconds * world.rng.random())
        if instance in machine.running:
            machine.answer(instance)
    await asyncio.sleep(8)
    await release.delete()


SITUATIONS: dict[str, Situation] = {
    "held by an alarm": held_by_an_alarm,
    "failing under an alarm": failing_under_an_alarm,
    "failing under a count": failing_under_a_count,
    "failing under an expression": failing_under_an_expression,
    "failing under a count beneath a composite": failing_under_a_count_beneath,
    "an instant in alarm": an_instant_in_alarm,
    "stopped by a person": stopped_by_a_person,
    "slow to start": slow_to_start,
    "the only one hangs": the_only_one_hangs,
    "green stands still in a bake": green_stands_still_in_a_bake,
    "silent before a restart": silent_before_a_restart,
    "replaced while blue retires": replaced_while_blue_retires,
    "silent while it drains": silent_while_it_drains,
    "a proxy that comes back later": a_proxy_that_comes_back_later,
    "woken when it was replaced": woken_when_it_was_replaced,
    "woken while instances start": woken_while_instances_start,
    "counted by one that lapsed": counted_by_one_that_lapsed,
    "requirements to install": requirements_to_install,
    "deleted while it serves": deleted_while_it_serves,
    "made larger and smaller while it serves": made_larger_and_smaller,
    "variants kept by an update": variants_kept_by_an_update,
    "variants of which one is slower": a_variant_that_is_slower,
    "variants of which one is silent": variants_of_which_one_is_silent,
    "with a shadow that dies": with_a_shadow_that_dies,
    "green dies while its next batch starts": green_dies_while_its_next_batch_starts,
    "back batch by batch under a long request": back_batch_by_batch_under_a_long_request,
    "shadows in one room": shadows_in_one_room,
    "a shadow whose captures are killed": a_shadow_whose_capture_is_killed,
    "an instant in alarm beneath a composite": an_instant_in_alarm_beneath,
    "silence in a bake": silence_in_a_bake,
    "a proxy that never comes back": a_proxy_that_never_comes_back,
    "a proxy leaves with the control plane": a_proxy_leaves_with_the_control_plane,
    "reports that come again": reports_that_come_again,
    "control planes that end in a bake": control_planes_that_end_in_a_bake,
}


def scripts(name: str) -> tuple[Script, Script]:
    """A situation undisturbed and with faults; both with two proxies."""
    undisturbed = Script(
        fault_seconds=None,
        proxies=2,
        shadows="shadow" in name,
        captures="captures" in name,
        rooms="room" in name,
        composites="composite" in name,
        variants="variants" in name,
        name=name,
        situation=SITUATIONS[name],
    )
    return undisturbed, replace(undisturbed, fault_seconds=3.0)


async def _failing(world: World, release: Release) -> str | None:
    """An endpoint, and a configuration for it that answers nothing but errors; None: the endpoint is gone."""
    rng = world.rng
    if not await release.create(rng.choice((1, 2))):
        return None
    model = Model("failing", Behaviour(ready_after_seconds=rng.random()), error_rate=1.0)
    return await release.version(model, 2)


def _all_at_once(bake_seconds: int, alarm: str) -> DeploymentPolicy:
    return DeploymentPolicy(Routing.ALL_AT_ONCE, None, 0, bake_seconds, alarms=(alarm,))


async def _sound_in_its_bake(world: World, bake_seconds: int) -> Release | None:
    """A sound version at once with all of the traffic, watched by an alarm or by none, and its bake begins; None: there is no endpoint, because of a fault."""
    release = Release(world, "e1")
    if not await release.create(world.rng.choice((1, 2))):
        return None
    config = await release.version(Model("sound", Behaviour(ready_after_seconds=world.rng.random())), 2)
    policy = _all_at_once(bake_seconds, await release.watch(config, "notBreaching"))
    await release.update(config, policy if world.rng.random() < 0.5 else replace(policy, alarms=()))
    await _bakes(world)
    return release


async def _bakes(world: World) -> None:
    """Wait for the bake; or for the end, where a fault brings it about."""
    while (running := world.endpoints()["e1"].deployment) is not None and running.phase is not Phase.BAKING:
        await asyncio.sleep(LOOK_SECONDS)


def _when(world: World, is_there: Callable[[str], bool], do: Callable[[ControlPlane], None]) -> None:
    """As soon as the control plane comes to a point like this, once, outside of it and before it goes on."""

    def done() -> None:
        if world.plane is not None:
            do(world.plane)

    def comes_to(_: int, point: str) -> bool:
        if is_there(point):
            world.crash_at = None
            world.loop.call_soon(done, context=world.outside.copy())
        return False

    world.crash_at = comes_to


def _kill(world: World) -> None:
    if world.plane is not None:
        world.kill_plane(world.plane, "is killed")


def _slow_proxies(world: World) -> None:
    faults = Faults(world)
    for proxy in world.network.proxies.values():
        faults.slow_down(proxy, 1.0)


def _came_to(world: World, phase: Phase) -> None:
    """The newest deployment was in this phase."""
    watched = list(world.checker.watched.values())[-1]
    if world.calm and phase not in watched.phase_times:
        raise world.violated("The situation was not reached", f"{watched.deployment.id} was never {phase.value}.")
