"""What must come of a request that nothing disturbs on its way into the capture process, looked at from outside: part of the checker.

A *stretch* is a time in which what an endpoint asks of capture stays the same and the process is not killed. In it the process must know what is asked soon after the control plane can tell it; from then on
every copy whose two answers were told makes a pair, but for a few that find no room. So must those whose answers came a little before: exchanges of a group that is not named yet wait.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import msgspec

from bannister.capture.assembly import Role
from bannister.domain.capture.data_capture import DataCapture
from bannister.domain.comparison.rules import Rules
from bannister.domain.endpoint import Endpoint
from bannister.domain.fleet import Fleet
from bannister.domain.routing import Forwarding, Mirror, plan_of

if TYPE_CHECKING:
    from tests.simulation.world import World

SAMPLED: Final = "12: records are written as sampled"
MADE: Final = "4: a shadow's answers are compared"

#: The process knows what the endpoints say when the control plane could have told it for so long.
TOLD_SECONDS_MAX: Final = 1.5
#: Answers wait at least so long for their group to be named.
EARLY_SECONDS_MIN: Final = 4.0
#: An answer that takes longer than this is awaited only because it is known to be under way.
SLOW_SECONDS_MIN: Final = 7.0
#: Of copies that nothing disturbs: how many must have been looked at, and the share of them that is compared, where there is room. When much comes at once there may be none for some.
PAIRED_SHARES: Final = {
    "told": (10, 0.8),
    #: Made before the process must know of their group.
    "early": (10, 0.8),
    #: Made for the noise floor.
    "noise": (10, 0.8),
    #: One of their answers was slow.
    "slow": (4, 0.5),
}
#: A share of records is looked at after so many more requests.
LOOK_AGAIN: Final = 20
#: Natural logarithm of twice how many looks find chance guilty once.
LOG_IMPROBABLE: Final = math.log(2 / 1e-9)


class Request:
    """One request, and what was told of it."""

    def __init__(self, seed: int, number: int, endpoint: str, now: float) -> None:
        self.number, self.endpoint, self.made_at = number, endpoint, now
        #: Envoy's x-request-id.
        self.id = f"r{seed}-{number}"
        #: Its route says that it is told of; that it is copied for the shadow, and for production's own group.
        self.is_observed = self.copied = self.noise_copied = False
        #: The proxy tells of exchanges at all.
        self.is_told = True
        #: The copies that were answered.
        self.copies: list[Mirror] = []
        #: The process is told of nothing more than it by then, if all goes well.
        self.is_told_by = now
        #: Whose answers are not told, or not as they should be.
        self.astray: set[Role] = set()
        #: Whose answers are told twice.
        self.repeated: set[Role] = set()


@dataclass(slots=True, eq=False)
class Stretch:
    """A time in which what an endpoint asks of capture stays the same."""

    endpoint: Endpoint
    mirrors: tuple[Mirror, ...]
    captured_parts: int
    #: By group: how it is written to storage.
    groups: dict[str, DataCapture | None]
    rules: Rules
    since: float
    #: The process knows it by then; None: it need not yet.
    told_at: float | None = None

    def asks_the_same(self, other: Stretch) -> bool:
        mine = self.mirrors, self.captured_parts, self.groups, self.rules
        return mine == (other.mirrors, other.captured_parts, other.groups, other.rules)


class CaptureRules:
    """Told of every request and every tick.

    Args:
        made: How many pairs the process has made, by request, group and whether it was a noise copy.
        records: How many records it has written, by request and group.
        has_room: Whoever waits for another has room.
    """

    def __init__(
        self,
        world: World,
        made: Mapping[tuple[int, str, bool], int],
        records: Mapping[tuple[int, str], int],
        *,
        has_room: bool,
    ) -> None:
        self._world = world
        self._made = made
        self._records = records
        self._has_room = has_room
        #: The process is not the first one.
        self._is_another = False
        #: By configured percentage, side, and whether another process was killed before: requests, and those that were written.
        self._sampled: dict[tuple[int, Role, bool], list[int]] = {}
        self._stretches: dict[str, Stretch] = {}
        #: Requests of which it is to be seen what becomes: with the group that answered.
        self._watched: list[tuple[Request, str, Stretch]] = []
        self._linked_since: float | None = None
        self._copies: Counter[tuple[str, bool]] = Counter()
        self._pairs: Counter[tuple[str, bool]] = Counter()

    def begun_anew(self) -> None:
        """The process was killed, and another one knows nothing. What it was told before is written, as far as it knew of its group."""
        now = self._world.loop.time()
        for request, group, stretch in self._watched:
            is_known = stretch.told_at is not None and stretch.told_at <= request.made_at
            if is_known and request.is_told_by < now and self._stretches.get(request.endpoint) is stretch:
                self._are_sampled(request, group, stretch)
        self._watched = []
        self._is_another = self._linked_since is not None or self._is_another
        self._stretches.clear()

    def answered(self, request: Request, group: str, forwarding: Forwarding) -> None:
        """Production has answered. `forwarding`: what the proxy did with the request."""
        stretch = self._stretches.get(request.endpoint)
        if stretch is None or not (request.is_observed or stretch.groups.get(group)):
            return
        if (forwarding.mirrors, forwarding.captured_parts) == (stretch.mirrors, stretch.captured_parts):
            self._watched.append((request, group, stretch))

    def tick(self, endpoints: Iterable[Endpoint], *, linked: bool) -> None:
        """`linked`: the control plane could tell the process something now."""
        now = self._world.loop.time()
        if not linked:
            self._linked_since = None
        elif self._linked_since is None:
            self._linked_since = now
        known = self._stretches
        self._stretches = {one.name: self._stretch(known.get(one.name), one, now) for one in endpoints}
        if self._watched:
            self._watched = [one for one in self._watched if not self._is_judged(*one, now)]

    def _stretch(self, known: Stretch | None, endpoint: Endpoint, now: float) -> Stretch:
        rules = self._world.checker.comparison_rules(endpoint.name)
        if known is None or known.endpoint is not endpoint or known.rules is not rules:
            plan = plan_of(endpoint, rules.noise_parts)
            running = endpoint.deployment
            fleets = (endpoint.blue,) if running is None else (running.blue, running.green)
            groups = {one.id: _capture(fleet) for fleet in fleets if fleet is not None for one in fleet.all_groups}
            new = Stretch(endpoint, plan.mirrors, plan.captured_parts, groups, rules, now)
            if known is None or not known.asks_the_same(new):
                return new
            known.endpoint, known.rules = endpoint, rules
        linked = self._linked_since
        if known.told_at is None and linked is not None and now - max(linked, known.since) >= TOLD_SECONDS_MAX:
            known.told_at = now
        return known

    def _is_judged(self, request: Request, group: str, stretch: Stretch, now: float) -> bool:
        """Whether it is known what has become of a request, or never will be."""
        if self._stretches.get(request.endpoint) is not stretch:
            return True
        told_at = stretch.told_at
        if (told_at if told_at is not None else now) > request.made_at + EARLY_SECONDS_MIN:
            return True
        if told_at is None or now < max(told_at, request.is_told_by) + 0.5:
            return False
        is_slow = request.is_told_by > request.made_at + SLOW_SECONDS_MIN
        what = "slow" if is_slow else "early" if told_at > request.made_at else "told"
        self._are_sampled(request, group, stretch)
        for mirror in request.copies:
            copy = Role.NOISE if mirror.noise else Role.SHADOW
            if mirror.compared_with == group and not request.astray & {Role.PRODUCTION, copy}:
                self._compared(
                    "noise" if mirror.noise and not is_slow else what,
                    self._made.get((request.number, mirror.group, mirror.noise), 0) > 0,
                )
        return True

    def _compared(self, what: str, paired: bool) -> None:
        kind = what, self._is_another
        self._copies[kind] += 1
        self._pairs[kind] += paired
        self._world.counts[f"copies undisturbed, {what}"] += 1
        self._world.counts[f"pairs undisturbed, {what}"] += paired
        copies_min, share = PAIRED_SHARES[what]
        if self._has_room and self._copies[kind] >= copies_min and self._pairs[kind] < share * self._copies[kind]:
            raise self._world.violated(
                MADE,
                f"Of {self._copies[kind]} copies that nothing disturbed ({what}) {self._pairs[kind]} were compared.",
            )

    # --- what is written

    def _are_sampled(self, request: Request, group: str, stretch: Stretch) -> None:
        self._is_sampled(request, group, Role.PRODUCTION, stretch)
        for mirror in request.copies:
            if not mirror.noise:
                self._is_sampled(request, mirror.group, Role.SHADOW, stretch)

    def _is_sampled(self, request: Request, group: str, side: Role, stretch: Stretch) -> None:
        if side in request.astray:
            return
        capture, records = stretch.groups.get(group), self._records.get((request.number, group), 0)
        percent = capture.sampling_percent if capture is not None else 0
        most = 0 if percent == 0 else 2 if side in request.repeated else 1
        if not (percent == 100) <= records <= most:
            raise self._world.violated(SAMPLED, f"{request.id} of {group}: {records} records at {percent} %.")
        tally = self._sampled.setdefault((percent, side, self._is_another), [0, 0])
        tally[0] += 1
        tally[1] += records > 0
        self._world.counts["requests sampled"] += 0 < percent < 100
        if tally[0] % LOOK_AGAIN == 0:
            self._check_share(percent, side, *tally)

    def _check_share(self, percent: int, side: Role, requests: int, records: int) -> None:
        expected = requests * percent / 100
        # Bernstein's inequality.
        most = LOG_IMPROBABLE / 3
        most += math.sqrt(most**2 + 2 * LOG_IMPROBABLE * expected * (1 - percent / 100))
        if abs(records - expected) > most:
            raise self._world.violated(
                SAMPLED,
                f"{records} records of {requests} requests ({side}) at {percent} %: {most:.0f} more or less is chance.",
            )

    def written(self, request_id: str, capture: DataCapture, line: bytes) -> None:
        """A record was written: it is of its request, and has the sides that were asked for."""
        record = msgspec.json.decode(line)
        asked = {"endpointInput": capture.captures_input, "endpointOutput": capture.captures_output}
        sides = record["captureData"].keys()
        if record["eventMetadata"]["eventId"] != request_id or sides != {side for side, one in asked.items() if one}:
            raise self._world.violated(SAMPLED, f"{request_id}, {capture}: {record}")

    def settled(self) -> None:
        """At the end."""
        for (percent, side, _), tally in self._sampled.items():
            self._check_share(percent, side, *tally)


def _capture(fleet: Fleet) -> DataCapture | None:
    return fleet.capture if fleet.capture is not None and fleet.capture.enabled else None
