"""What must come of a request that nothing disturbs on its way into the capture process, looked at from outside: part of the checker.

A *stretch* is a time in which what an endpoint asks of capture stays the same and the process is not killed. In it the process must know what is asked soon after the control plane can tell it; from then on
every copy whose two answers were told makes a pair, but for a few that find no room. So must those whose answers came a little before: exchanges of a group that is not named yet wait.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from bannister.domain.endpoint import Endpoint
from bannister.domain.routing import Forwarding, Mirror, plan_of

if TYPE_CHECKING:
    from tests.simulation.world import World

MADE: Final = "4: a shadow's answers are compared"

#: The process knows what the endpoints say when the control plane could have told it for so long.
TOLD_SECONDS_MAX: Final = 1.5
#: Answers wait at least so long for their group to be named.
EARLY_SECONDS_MIN: Final = 4.0
#: An answer that takes longer than this is awaited only because it is known to be under way.
SLOW_SECONDS_MIN: Final = 7.0
#: Of copies that nothing disturbs: how many must have been looked at, and the share of them that is compared. The others find no room, of which there is little here.
PAIRED_SHARES: Final = {
    "told": (10, 0.8),
    #: Made before the process must know of their group.
    "early": (10, 0.8),
    #: One of their answers was slow.
    "slow": (4, 0.5),
}


class Request:
    """One request, and what was told of it."""

    def __init__(self, seed: int, number: int, endpoint: str, now: float) -> None:
        self.number, self.endpoint, self.made_at = number, endpoint, now
        #: Envoy's x-request-id.
        self.id = f"r{seed}-{number}"
        #: Its route says that it is copied.
        self.copied = False
        #: The copies that were answered.
        self.copies: list[Mirror] = []
        #: The process is told of nothing more than it by then, if all goes well.
        self.is_told_by = now
        #: Something of it goes astray.
        self.is_disturbed = False


@dataclass(slots=True, eq=False)
class Stretch:
    """A time in which what an endpoint asks of capture stays the same."""

    endpoint: Endpoint
    mirrors: tuple[Mirror, ...]
    captured_parts: int
    groups: tuple[str, ...]
    since: float
    #: The process knows it by then; None: it need not yet.
    told_at: float | None = None

    def asks_the_same(self, other: Stretch) -> bool:
        return (self.mirrors, self.captured_parts, self.groups) == (other.mirrors, other.captured_parts, other.groups)


class CaptureRules:
    """Told of every request and every tick. `made`: how many pairs the process has made, by request, group and whether it was a noise copy."""

    def __init__(self, world: World, made: Mapping[tuple[int, str, bool], int]) -> None:
        self._world = world
        self._made = made
        self._stretches: dict[str, Stretch] = {}
        #: Requests of which it is to be seen what becomes: with the group that answered.
        self._watched: list[tuple[Request, str, Stretch]] = []
        self._linked_since: float | None = None
        self._copies: Counter[str] = Counter()
        self._pairs: Counter[str] = Counter()

    def begun_anew(self) -> None:
        """The process knows nothing."""
        self._stretches.clear()

    def answered(self, request: Request, group: str, forwarding: Forwarding) -> None:
        """Production has answered. `forwarding`: what the proxy did with the request."""
        stretch = self._stretches.get(request.endpoint)
        if stretch is None or request.is_disturbed or not request.copies:
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
        if known is None or known.endpoint is not endpoint:
            plan = plan_of(endpoint)
            running = endpoint.deployment
            fleets = (endpoint.blue,) if running is None else (running.blue, running.green)
            groups = tuple(group.id for fleet in fleets if fleet is not None for group in fleet.all_groups)
            new = Stretch(endpoint, plan.mirrors, plan.captured_parts, groups, now)
            if known is None or not known.asks_the_same(new):
                return new
            known.endpoint = endpoint
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
        if request.is_told_by > request.made_at + SLOW_SECONDS_MIN:
            what = "slow"
        else:
            what = "early" if told_at > request.made_at else "told"
        for mirror in request.copies:
            if mirror.compared_with == group:
                self._compared(what, self._made.get((request.number, mirror.group, mirror.noise), 0) > 0)
        return True

    def _compared(self, what: str, paired: bool) -> None:
        self._copies[what] += 1
        self._pairs[what] += paired
        self._world.counts[f"copies undisturbed, {what}"] += 1
        self._world.counts[f"pairs undisturbed, {what}"] += paired
        copies_min, share = PAIRED_SHARES[what]
        if self._copies[what] >= copies_min and self._pairs[what] < share * self._copies[what]:
            raise self._world.violated(
                MADE,
                f"Of {self._copies[what]} copies that nothing disturbed ({what}) {self._pairs[what]} were compared.",
            )
