"""The world of a simulation: one machine, some proxies, telemetry, callers, and a control plane that may end at any moment."""

from __future__ import annotations

import hashlib
import os
import random
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Sequence
from contextvars import copy_context
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tests.simulation.checker import Checker
from tests.simulation.composites import Composites
from tests.simulation.listeners import Listeners
from tests.simulation.plane import ControlPlane, Parts
from tests.simulation.room import Room
from tests.simulation.scaling import Scalings
from tests.simulation.shadow import Shadows
from tests.simulation.telemetry import Telemetry
from tests.simulation.variants import Variants
from tests.simulation.virtual_time import PROCESS, VirtualClock, VirtualLoop

from bannister.domain.comparison.report import ComparisonReport
from bannister.domain.endpoint import Endpoint
from bannister.domain.metric.summary import Report
from bannister.domain.routing import Weight
from bannister.domain.traffic import TRAFFIC_PARTS
from bannister.envoy.memory import Conduct, MemoryNetwork, MemoryProxy
from bannister.errors import Fenced
from bannister.ids import SeededIds
from bannister.instances.memory import Behaviour, MemoryMachine
from bannister.instances.process import Identity
from bannister.metrics.memory import MemoryMetrics
from bannister.settings import Settings
from bannister.state.memory import MemoryMedium
from bannister.state.store import Put, Record, Remove

SETTINGS = Settings(
    data_dir=Path("/simulation"),
    startup_timeout_seconds_default=6.0,
    ping_interval_starting_seconds=0.25,
    stop_grace_seconds=3.0,
    drain_timeout_seconds=8.0,
    stream_drain_timeout_seconds=10.0,
    shadow_timeout_seconds=4.0,
    restart_backoff_seconds_max=5.0,
    proxy_lease_seconds=5.0,
    proxy_adoption_seconds=3.0,
    proxy_poll_seconds=0.2,
    shadow_share_seconds=1.5,
    proxy_idle_poll_seconds=2.0,
    proxy_turn_seconds=1.0,
    state_read_again_seconds=5.0,
    instance_log_check_seconds=30.0,
    instance_memory_check_seconds=30.0,
    turn_seconds=1.0,
    drain_poll_seconds=0.25,
    publish_coalesce_seconds=0.01,
    alarm_clear_timeout_seconds=20.0,
    blind_timeout_seconds=12.0,
    deployment_timeout_seconds_default=120.0,
    experiment_seconds_min=1.0,
    experiment_retry_seconds=1.0,
    webhook_retry_seconds_min=0.25,
    webhook_retry_seconds_max=2.0,
)

#: Requests are made, and the checker looks, this often.
TICK_SECONDS = 0.5
TICKS_PER_REPORT = 2
#: So many requests to endpoints of several groups name a variant.
NAMED_SHARE = 0.2
TRACE_LINES_MAX = 60


class Violation(AssertionError):
    """A property does not hold. The message says which, when, and what happened before."""


@dataclass(frozen=True)
class Model:
    """How one version of a model behaves."""

    image: str
    behaviour: Behaviour | None = field(default_factory=Behaviour)
    error_rate: float = 0.0
    microseconds: int = 20_000
    artifact: str | None = None
    #: It can come into service and stay there.
    sound: bool = True
    environment: dict[str, str] = field(default_factory=dict)


def _test_that_runs() -> str:
    """How to run the test again that made a world of its own."""
    node = os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" (")[0]
    return f".venv/bin/python -m pytest '{node}'" if node else "what made it: it is the world of no command"


class ObservedMachine(MemoryMachine):
    """A machine that tells the checker what is done on it, and by whom."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world
        #: By address: the instance and the process id. An address is never used twice.
        self.addresses: dict[str, tuple[str, int]] = {}
        self.address_of: dict[str, str] = {}
        self.group_of: dict[str, str] = {}
        #: Instances that a fault has hit, or that end by themselves.
        self.harmed: dict[str, None] = {}
        #: By instance: the address of its program that was asked to end last.
        self.asked_to_end: dict[str, str] = {}
        #: Since when programs that run do not answer although they had.
        self.silent_since: dict[str, float] = {}

    def start(self, instance: str, image: str, now: float = 0.0) -> Identity:
        address = f"127.0.0.1:{self.next_port}"
        group = next(one.group for one in self.remembered.instances if one.id == instance)
        self._world.checker.acted(f"start {instance} of {group}")
        identity = super().start(instance, image, now)
        self.addresses[address] = (instance, identity.pid)
        self.address_of[instance] = address
        self.group_of[instance] = group
        self._world.image_of[group] = image
        self._world.note("machine", f"{instance} of {group} starts at {address}")
        return identity

    def hang(self, instance: str) -> None:
        self.silent_since[instance] = self._world.loop.time()
        super().hang(instance)

    def answer(self, instance: str) -> None:
        self.silent_since.pop(instance, None)
        super().answer(instance)

    def terminate(self, instance: str) -> None:
        self._world.checker.acted(f"terminate {instance}")
        if instance in self._programs:
            self._world.note("machine", f"{instance} of {self.group_of[instance]} is asked to end")
            if self._programs[instance].strained:
                self.harm(instance)  # it is ended though it is wanted, perhaps long after it began to use too much
            elif not self._was_asked_to_end(instance):  # else it cannot be kept, whatever is wanted by now
                self._world.checker.stopping(instance)
            self.asked_to_end[instance] = self.address_of[instance]
        super().terminate(instance)

    def end(self, instance: str, status: int = -9) -> None:
        self.silent_since.pop(instance, None)
        if instance in self._programs:
            self._world.note("machine", f"{instance} of {self.group_of[instance]} ends with {status}")
            if not self._was_asked_to_end(instance) or self._programs[instance].strained:
                self.harm(instance)
                self._world.checker.died(instance, self.group_of[instance])
        super().end(instance, status)

    def _was_asked_to_end(self, instance: str) -> bool:
        """Whether its present program was."""
        return self.asked_to_end.get(instance) == self.address_of[instance]

    def up(self, address: str) -> bool:
        """Whether the program that was given this address runs and answers."""
        instance, pid = self.addresses[address]
        program = self._programs.get(instance)
        return program is not None and program.identity.pid == pid and program.answering.is_set()

    def is_warm(self, address: str) -> bool:
        """Whether a program has answered the warm-up that its model brings, if it brings one."""
        program = self._programs[self.addresses[address][0]]
        return program.warm or not self._world.models[self._world.image_of[self.group_of[program.instance]]].environment

    def strain(self, instance: str) -> None:
        self._world.note("machine", f"{instance} of {self.group_of[instance]} uses too much memory")
        self.harm(instance)
        super().strain(instance)

    def is_strained(self, group: str) -> bool:
        """Whether one of its programs uses more memory than it may, and has not ended yet."""
        return any(one.strained for instance, one in self._programs.items() if self.group_of[instance] == group)

    def runs(self, address: str) -> bool:
        instance, pid = self.addresses[address]
        program = self._programs.get(instance)
        return program is not None and program.identity.pid == pid

    def harm(self, instance: str) -> None:
        self.harmed[instance] = None
        self._world.checker.harmed(self.group_of[instance])

    def ever_harmed(self, group: str) -> bool:
        """Whether a fault has hit an instance of the group at any time."""
        return any(self.group_of[instance] == group for instance in self.harmed)

    def stay(self, image: str) -> None:
        """The running programs of an image end only when they are asked to."""
        for program in self._programs.values():
            if self._world.image_of[self.group_of[program.instance]] == image and program.answering.is_set():
                for timer in program.timers:
                    timer.cancel()

    def silent_in(self, group: str) -> dict[str, float]:
        """Instances of a group that do not answer although they had, with since when."""
        return {one: since for one, since in self.silent_since.items() if self.group_of[one] == group}

    def in_group(self, group: str) -> list[str]:
        """Running instances of a group."""
        return [instance for instance in self._programs if self.group_of[instance] == group]


class ObservedMetrics(MemoryMetrics):
    """A store of metrics that, as the durable one, nobody writes who was replaced."""

    def __init__(self, world: World) -> None:
        super().__init__(world.settings)
        self._world = world
        #: Copies that were not made, as far as reports have told of them.
        self.skipped = 0
        #: Requests by group and second, as far as reports have told of them.
        self.requests: dict[str, Counter[int]] = defaultdict(Counter)

    async def record(self, report: Report | ComparisonReport) -> bool:
        self._world.fence()
        is_new = await super().record(report)
        if is_new and isinstance(report, Report):
            for one in report.summaries:
                self.skipped += one.skipped
                self.requests[one.group][one.second] += one.invocations
        if isinstance(report, Report):
            self._world.checker.counts.stored(report)
        return is_new

    def counted(self, group: str, second: int) -> tuple[int, int]:
        """The requests and errors of a group that are stored for a second; no world lasts until they are rolled up."""
        requests = errors = 0
        for one in self._windows[0]._summaries.get(group, {}).get(second, ()):
            requests += one.invocations
            errors += one.errors_5xx
        return requests, errors


class World:
    """Everything, from one seed."""

    def __init__(
        self,
        seed: int,
        *,
        proxies: int = 1,
        parts: Parts | None = None,
        settings: Settings = SETTINGS,
        replay: str | None = None,
    ) -> None:
        """`replay`: the command that makes this world again; None: a test made it."""
        self.seed = seed
        self._replay = replay if replay is not None else _test_that_runs()
        self.rng = random.Random(seed)
        self.loop = VirtualLoop(turns_max=5_000_000, seconds_max=3_000.0)
        self.clock = VirtualClock(self.loop)
        self.settings = settings
        self.parts = parts or Parts()
        self.ids = SeededIds(seed)
        self.medium = MemoryMedium()
        self.metrics = ObservedMetrics(self)
        self.models: dict[str, Model] = {}
        self.image_of: dict[str, str] = {}
        self.machine = ObservedMachine(self)
        self.network = MemoryNetwork(settings, self.machine.up)
        #: None: no version has a shadow.
        self.shadows: Shadows | None = None
        #: None: there are no copies.
        self.room: Room | None = None
        self.composites: Composites | None = None
        self.listeners: Listeners | None = None
        self.scalings: Scalings | None = None
        self.rolling: random.Random | None = None
        #: Some models bring a warm-up.
        self.warmups = False
        #: None: there is one production variant, and no update keeps anything.
        self.variants: Variants | None = None
        self.telemetry: Telemetry = None  # type: ignore[assignment]  # made when the loop runs
        self.checker = Checker(self)
        self.trace: deque[str] = deque(maxlen=TRACE_LINES_MAX)
        self.digest = hashlib.blake2b(digest_size=16)
        self.listener: Callable[[str], None] | None = None
        self._ticks = 0
        self.planes = 0
        self.plane: ControlPlane | None = None
        #: The one that was started last, which may have ended.
        self._newest: ControlPlane | None = None
        self.stale: list[ControlPlane] = []
        self.counts: Counter[str] = Counter()
        #: Crash points passed so far, and the one at which to crash: (number, or None for any) in `crash_at`.
        self.points = 0
        #: The context of what belongs to no control plane's process.
        self.outside = copy_context()
        self.point_names: list[str] = []
        self.crash_at: Callable[[int, str], bool] | None = None
        #: Acts of instances' backend (a record, a start, a signal) are counted while one of them is the one to crash before; 0: after the last.
        self.crash_at_act: int | None = None
        self.acts_begun = 0
        self.restart_seconds: Callable[[], float] = lambda: 0.2
        self.proxies_wanted = proxies
        #: No instance, proxy, clock or telemetry is disturbed any more.
        self.calm = True

    # --- telling

    def note(self, who: str, what: str) -> None:
        if self.loop.over:
            return
        line = f"{self.loop.time():10.3f} {who}: {what}"
        self.trace.append(line)
        self.digest.update(line.encode())
        if self.listener is not None:
            self.listener(line)

    def violated(self, rule: str, what: str) -> Violation:
        before = "\n  ".join(self.trace)
        found = Violation(
            f"{rule}\n  {what}\n  seed {self.seed}, virtual time {self.loop.time():.3f}; replay with: {self._replay}\n"
            f"  What happened before:\n  {before}"
        )
        self.loop.fatal = self.loop.fatal or found  # the loops contain errors, and must not contain this one
        return found

    # --- parts that live on

    def begin(self) -> None:
        """Everything starts."""
        for number in range(self.proxies_wanted):
            self.add_proxy(f"proxy-{number + 1}")
        self.telemetry = Telemetry(self.clock)
        if self.room is not None:
            self.settings = self.network.settings = self.room.fitted(self.settings)
            self.room.begin()
            self.telemetry.counters = self._counters
        self.start_plane()
        self.loop.call_later(TICK_SECONDS, self._tick)

    def add_proxy(self, node: str) -> MemoryProxy:
        rng = self.rng
        conduct = Conduct(
            apply_seconds=lambda: 0.001 + rng.random() * 0.004,
            answer_seconds=lambda: 0.001 + rng.random() * 0.004,
            reconnect_seconds=lambda: 0.02 + rng.random() * 0.08,
            first_check_seconds=lambda: 0.001 + rng.random() * 0.005,
        )
        return self.network.add(node, conduct)

    def add_model(self, model: Model) -> None:
        self.models[model.image] = model
        self.machine.behaviours[model.image] = model.behaviour

    def heal_models(self) -> None:
        """Programs that end by themselves do so no more."""
        for model in self.models.values():
            if model.behaviour is not None and model.behaviour.ready_after_seconds is not None:
                healed = replace(model.behaviour, ends_after_seconds=None, strained_after_seconds=None)
                self.machine.behaviours[model.image] = healed
                self.machine.stay(model.image)

    def leave(self, proxy: MemoryProxy) -> None:
        """A proxy ends, and never comes back."""
        self.note("proxy", f"{proxy.node} leaves for good")
        self.counts["proxies that left"] += 1
        self.checker.gone[proxy.node] = None
        self.checker.astray(proxy.node)
        proxy.end()

    @property
    def watched_proxy(self) -> MemoryProxy:
        """The one of which telemetry counts the copies that it did not make."""
        return next(iter(self.network.proxies.values()))

    def _counters(self) -> str | None:
        """What it answers when it is asked for them."""
        proxy = self.watched_proxy
        if not proxy.running:
            return None
        uptime = int(self.loop.time() - proxy.started_at)
        lines = [f"cluster.{name}.upstream_rq_active_overflow: {count}" for name, count in proxy.overflows.items()]
        return "\n".join([*lines, f"server.uptime: {uptime}"])

    # --- control planes

    def start_plane(self) -> None:
        self.planes += 1
        self.plane = self._newest = ControlPlane(self, self.planes)
        self.plane.start()

    def kill_plane(self, plane: ControlPlane, why: str) -> None:
        """The control plane's process ends here and now; the launcher starts another."""
        if not plane.process.alive:
            return
        self.note("crash", f"control plane {plane.number} {why}")
        self.loop.kill(plane.process)
        if plane.discovery is not None:
            self.network.hang_up(plane.discovery)
        if plane is self.plane:
            self.plane = None
            self.loop.call_later(self.restart_seconds(), self._restart, context=self.outside.copy())

    def _restart(self) -> None:
        if self.plane is None:
            self.start_plane()

    def replace_plane(self, streams_seconds: float = 0.0) -> None:
        """The control plane stops for a while and does not know; another one takes over.

        The proxies' streams with it last for so long, or until its process ends: if it wakes before, only the fence keeps it from telling them what was right when it stopped.
        """
        plane = self.plane
        if plane is None:
            return
        self.note("crash", f"control plane {plane.number} freezes")
        self.loop.freeze(plane.process)
        if plane.discovery is not None:
            self.network.listening = None  # the path of its socket is the successor's
            self.loop.call_later(streams_seconds, self.network.hang_up, plane.discovery, context=self.outside.copy())
        if streams_seconds >= self.settings.proxy_lease_seconds - 2:
            for node in self.network.proxies:
                self.checker.astray(node)
        self.stale.append(plane)
        self.start_plane()

    def thaw(self, plane: ControlPlane) -> None:
        if plane.process.alive:
            self.note("crash", f"control plane {plane.number} thaws")
            self.loop.thaw(plane.process)

    def plane_ended(self, plane: ControlPlane, error: BaseException | None) -> None:
        """A loop of it has ended: so does the process."""
        if not isinstance(error, Fenced):
            raise self.violated("A loop ended", f"Control plane {plane.number}: {error!r}")
        if plane is self.plane:
            raise self.violated("5: one control plane at a time", f"The newest control plane was fenced: {error}")
        self.note("crash", f"control plane {plane.number} is fenced")
        self.kill_plane(plane, "ends")

    def reached(self, plane: ControlPlane, point: str) -> bool:
        """A control plane is about to write, or has written; True: it dies here."""
        if self.loop.over:
            return False
        if not plane.process.alive:
            return True
        self.points += 1
        if self.crash_at is not None:
            self.point_names.append(point)
        if self.crash_at is not None and plane is self.plane and self.crash_at(self.points, point):
            self.crash_at = None
            self.kill_plane(plane, f"dies {point}")
            return True
        return False

    def acts(self, plane: ControlPlane) -> bool:
        """A control plane's backend is about to act; True: it dies, or has died, before it does."""
        if self.crash_at_act is None or self.loop.over:
            return False
        if not plane.process.alive:
            return True
        self.acts_begun += 1
        if self.acts_begun != self.crash_at_act:
            return False
        self.kill_plane(plane, "dies before its backend acts")
        return True

    def committed(self, plane: ControlPlane, writes: Sequence[Put[Any] | Remove], records: Sequence[Record]) -> None:
        for record in records:
            body = record.body
            detail = " ".join(str(body[key]) for key in ("deployment", "event", "from", "to", "reason") if key in body)
            self.note(f"plane {plane.number}", f"{record.subject} {record.kind} {detail}")
        self.checker.committed(plane.number, writes, records)

    # --- traffic

    def _tick(self) -> None:
        self.loop.call_later(TICK_SECONDS, self._tick)
        self._ticks += 1
        self._requests()
        if self._ticks % TICKS_PER_REPORT == 0:
            self.telemetry.tick()
        self.checker.tick()

    def _requests(self) -> None:
        rng, machine = self.rng, self.machine
        for proxy in self.network.proxies.values():
            for name, forwarding in proxy.forwardings().items():
                weights = forwarding.weights
                for _ in range(2):
                    shadows = self.shadows
                    request = shadows.copy(self, proxy, name, forwarding) if shadows is not None else None
                    weight = self._picked(weights)
                    if weight is None:
                        continue
                    addresses = [one for one in proxy.reachable(weight.group) if machine.up(one)]
                    if not addresses:
                        continue  # the checker judges that
                    address = addresses[int(rng.random() * len(addresses))]
                    if not machine.is_warm(address):
                        raise self.violated(
                            "2: capacity before traffic", f"{address} of {weight.group} is not warm yet."
                        )
                    model = self.models[self.image_of[weight.group]]
                    error = rng.random() < model.error_rate
                    self.telemetry.note(weight.group, address, 1, int(error), model.microseconds)
                    self.counts["requests"] += 1
                    if shadows is not None and request is not None:
                        shadows.production(self, request, weight.group, forwarding)
                    if rng.random() < 0.02:
                        proxy.begin(address)
                        self.loop.call_later(0.5 + rng.random() * 12, proxy.finish, address)

    def _picked(self, weights: Sequence[Weight]) -> Weight | None:
        """Who gets a request, which may name one of the variants."""
        rng = self.rng
        pick, named = rng.random() * TRAFFIC_PARTS, None
        if len(weights) > 1 and rng.random() < NAMED_SHARE:
            named = weights[int(rng.random() * len(weights))].variant
            self.counts["requests that name a variant"] += 1
        for weight in weights:
            if named is None:
                pick -= weight.parts
            elif named == weight.variant:
                pick -= weight.named_parts
            if pick < 0:
                return weight
        return None

    # --- what is durable, read from outside

    def fence(self) -> None:
        """Whoever was replaced ends before it writes."""
        process = PROCESS.get()
        if process is not None and not self.current_epoch_context:
            for plane in self.stale:
                if plane.process is process:
                    plane.fence()

    def endpoints(self) -> dict[str, Endpoint]:
        return self.checker.endpoints

    @property
    def current_epoch_context(self) -> bool:
        """Whether the code that runs now belongs to the newest control plane, or to none."""
        process = PROCESS.get()
        return self.loop.over or process is None or self._newest is None or process is self._newest.process
