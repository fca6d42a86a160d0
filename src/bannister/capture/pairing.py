"""Finds the production answer and the copy's answer to the same request.

Both carry Envoy's request id, which is another for every attempt of a client; production's also says which copies were made of it. Whoever comes first waits for the other: for as long as the other
is heard to be under way, and a little longer, because what Envoy tells of two exchanges may come in any order. So a slow answer and a stream of minutes find their pair, and a copy that Envoy never made is not
waited for as if it were slow.

What waits is bounded in number and bytes. Only what is compared or shown is kept: the answer, and of a request the excerpt. At the bound the oldest goes whose other side is not under way: its copy was most
likely never made, and where many are not (a bound on copies is reached), production's sides of those would fill the room and leave none to the pairs that there are. Where all are awaited the newest is refused, never the oldest put
out: the oldest are the next to be answered, and if they went, a slow shadow would make no pair at all.

A pair is made once and with nobody else's answer. What makes none is counted once with its reason: the other half of a loss that was counted is no second one (`late`).

One request may have two copies, one for a shadow and one for production's own group (the noise floor); each makes its own pair. Which shadow a copy was for, the copy says; a copy that never comes is missed by the
shadow of the fleet that answered, or else by the one that was fed then. A shadow that is left stays known: what is under way for it is paired, or counted as its own. Pure: the time is given.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, TypeAlias

from bannister.capture.assembly import Role
from bannister.domain.capture.exchange import Exchange, Message
from bannister.domain.capture.instructions import ComparedGroups
from bannister.domain.comparison.report import Compared, Unpaired, compared_of
from bannister.domain.comparison.tally import Excerpt, excerpt

#: A copy of a kind: the group that it went to, and whether it is for the noise floor.
_Key: TypeAlias = tuple[str, bool]

#: In place of a body that is not kept.
_NOT_KEPT: Final = Message(b"")
#: Lost pairs whose other half is known for what it is when it comes: 250 bytes each, and at 200 a second those of four minutes.
_LOST_MAX: Final = 50_000
#: At the bound so many are looked at for one whose other side is not under way; those that are awaited come last then, so the next look finds others.
_LOOKED_AT_MAX: Final = 32
#: Comparisons that are known after they were left.
_PAST_MAX: Final = 1000


@dataclass(frozen=True, slots=True)
class Pair:
    """Two answers to one request. The exchanges hold no request any more."""

    compared: ComparedGroups
    production: Exchange
    shadow: Exchange
    #: What is kept of the request; None: nothing is to be kept.
    request: Excerpt | None = None


@dataclass(frozen=True, slots=True)
class _Half:
    """As much of one exchange as a pair needs."""

    exchange: Exchange
    request: Excerpt | None
    size: int


@dataclass(frozen=True, slots=True)
class _Copy:
    """A copy's half, and who compares it."""

    compared: ComparedGroups
    half: _Half


@dataclass(slots=True)
class _Waiting:
    """What is known of one request so far. Of each kind (is it for the noise floor?) it has one copy at most."""

    since: float
    production: _Half | None = None
    #: Copies that production waits for, by kind: who misses one that never comes.
    missing: dict[bool, ComparedGroups] = field(default_factory=dict)
    #: Copies that came first, by kind.
    copies: dict[bool, _Copy] = field(default_factory=dict)
    #: Kinds that have had their pair.
    done: set[bool] = field(default_factory=set)


def _nothing_is_under_way(request_id: str, role: Role) -> bool:
    del request_id, role
    return False


class Pairing:
    """Exchanges in, pairs out; `take_alone` counts those that make none.

    Args:
        exchanges_max: So many wait at most ...
        bytes_max: ... with so many bytes of answers and excerpts.
        seconds_max: How long one waits for another that is not under way, as long as there is room; also, how often it is asked.
        is_under_way: Whether the beginning of this exchange was told, and its end was not yet.
    """

    def __init__(
        self,
        exchanges_max: int,
        bytes_max: int,
        seconds_max: float,
        is_under_way: Callable[[str, Role], bool] = _nothing_is_under_way,
    ) -> None:
        self._exchanges_max = exchanges_max
        self._bytes_max = bytes_max
        self._seconds_max = seconds_max
        self._is_under_way = is_under_way
        #: By request id, those first whose time is over first.
        self._waiting: OrderedDict[str, _Waiting] = OrderedDict()
        self._bytes = 0
        self._count = 0
        #: All that are known; those that were left a while ago first.
        self._compared: dict[_Key, ComparedGroups] = {}
        #: By endpoint and kind: the one that is fed first, those that were left last.
        self._of_endpoint: dict[tuple[str, bool], list[ComparedGroups]] = {}
        #: Those that are fed, or were.
        self._fed: set[_Key] = set()
        self._alone: Counter[tuple[ComparedGroups, Unpaired]] = Counter()
        #: Copies that will never make a pair and are counted, by request and kind, the oldest first.
        self._lost: dict[tuple[str, bool], None] = {}
        self._is_ended = False
        #: Exchanges whose other side had been given up, and was counted then.
        self.late = 0

    def follow(self, pairs: Iterable[ComparedGroups]) -> None:
        """Compare these from now on, of an endpoint's and kind the one that is fed first; what is under way for others is still compared."""
        present = {(one.shadow, one.noise): one for one in pairs}
        past = {key: one for key, one in self._compared.items() if key not in present}
        for key in list(past)[: max(len(past) - _PAST_MAX, 0)]:
            del past[key]
        self._compared = past | present
        self._of_endpoint = {}
        for one in (*present.values(), *reversed(past.values())):
            self._of_endpoint.setdefault((one.endpoint, one.noise), []).append(one)
        fed = {(some[0].shadow, some[0].noise) for some in self._of_endpoint.values()}
        self._fed = (self._fed | fed) & self._compared.keys()

    def compares(self, group: str, role: Role) -> bool:
        """Whether it is known with whose answers the copies for a group are compared."""
        return (group, role is Role.NOISE) in self._compared

    def add(self, exchange: Exchange, role: Role, now: float) -> list[Pair]:
        """One exchange of production, or of a copy; the pairs that it completes."""
        if role is Role.PRODUCTION:
            return self._add_production(exchange, now)
        return self._add_copy(exchange, role is Role.NOISE, now)

    def end(self) -> None:
        """Give up all that waits, and let nothing wait any more."""
        self._is_ended = True
        for identity in list(self._waiting):
            self._give_up(identity, Unpaired.ENDED)

    def expire(self, now: float) -> None:
        """Give up what has waited too long for what is not under way."""
        while self._waiting:
            identity, oldest = next(iter(self._waiting.items()))
            if now - oldest.since < self._seconds_max:
                return
            if not self._goes_on_waiting(identity, oldest, now):
                self._give_up(identity)

    def take_alone(self) -> Counter[tuple[ComparedGroups, Unpaired]]:
        """Who made no pair, by reason, since this was last asked."""
        taken, self._alone = self._alone, Counter()
        return taken

    def __len__(self) -> int:
        """Exchanges that wait."""
        return self._count

    @property
    def size(self) -> int:
        """Bytes of the answers and excerpts that wait."""
        return self._bytes

    def pending(self) -> Counter[Compared]:
        """Copies that are heard of, themselves or by production's side, and not decided."""
        found: Counter[Compared] = Counter()
        for waiting in self._waiting.values():
            found.update(compared_of(copy.compared) for copy in waiting.copies.values())
            found.update(map(compared_of, waiting.missing.values()))
        return found

    # --- the two sides

    def _add_production(self, exchange: Exchange, now: float) -> list[Pair]:
        identity = exchange.request_id
        waiting = self._waiting.get(identity)
        expected = self._expected(exchange)
        if waiting is not None and waiting.production is not None:  # never a second pair
            self._alone.update((compared, Unpaired.REPEATED) for compared in expected.values())
            return []
        half = self._half(exchange, is_shown=any(one.rules.keeps_bodies for one in expected.values()))
        missing = {noise: one for noise, one in expected.items() if (identity, noise) not in self._lost}
        made: list[Pair] = []
        done: set[bool] = set()
        if waiting is not None:
            for noise, copy in waiting.copies.items():
                made += self._meet(half, copy)
                self._drop(copy.half)
                missing.pop(noise, None)
                done.add(noise)
            del self._waiting[identity]
        elif len(missing) < len(expected):
            self.late += not missing
        if not missing:
            return made
        why_not = self._why_not_kept(half, now)
        if why_not is None:
            self._waiting[identity] = _Waiting(now, half, missing, done=done)
            self._keep(half)
        else:
            self._lose_production(half.exchange, missing, why_not)
        return made

    def _add_copy(self, exchange: Exchange, noise: bool, now: float) -> list[Pair]:
        compared = self._compared.get((exchange.group, noise))
        if compared is None:
            return []
        identity = exchange.request_id
        if (identity, noise) in self._lost:
            self.late += 1
            return []
        waiting = self._waiting.get(identity)
        if waiting is not None and (noise in waiting.done or noise in waiting.copies):
            self._alone[compared, Unpaired.REPEATED] += 1
            return []
        copy = _Copy(compared, self._half(exchange, is_shown=False))
        if waiting is not None and waiting.production is not None:
            made = self._meet(waiting.production, copy)
            waiting.done.add(noise)
            waiting.missing.pop(noise, None)
            if not waiting.missing:
                del self._waiting[identity]
                self._drop(waiting.production)
            return made
        why_not = self._why_not_kept(copy.half, now)
        if why_not is not None:
            self._lose(identity, noise, compared, why_not)
            return []
        waiting = self._waiting.setdefault(identity, _Waiting(now))  # it may just have been given up itself
        waiting.copies[noise] = copy
        self._keep(copy.half)
        return []

    def _meet(self, production: _Half, copy: _Copy) -> list[Pair]:
        compared = self._compared.get((copy.compared.shadow, copy.compared.noise), copy.compared)
        why = _why_not(compared, production.exchange, copy.half.exchange)
        if why is not None:
            self._alone[compared, why] += 1
            return []
        request = production.request if compared.rules.keeps_bodies else None
        return [Pair(compared, production.exchange, copy.half.exchange, request)]

    # --- what waits

    def _expected(self, production: Exchange) -> dict[bool, ComparedGroups]:
        """The copies that there must be of a request (a share of them may be copied), by kind: who misses one that never comes."""
        copied = {False: production.copied, True: production.noise_copied}
        found = {noise: self._missed_by(production, noise) for noise in copied if copied[noise]}
        return {noise: one for noise, one in found.items() if one is not None}

    def _missed_by(self, production: Exchange, noise: bool) -> ComparedGroups | None:
        known = self._of_endpoint.get((production.endpoint, noise), [])
        own = (one for one in known if one.production == production.group and (one.shadow, noise) in self._fed)
        return next(own, None) or next(iter(known), None)

    def _is_awaited(self, identity: str, waiting: _Waiting) -> bool:
        """Whether what it waits for is under way."""
        if waiting.production is None:
            return self._is_under_way(identity, Role.PRODUCTION)
        return any(self._is_under_way(identity, Role.NOISE if noise else Role.SHADOW) for noise in waiting.missing)

    @staticmethod
    def _half(exchange: Exchange, *, is_shown: bool) -> _Half:
        """`is_shown`: its request may be shown with a pair that does not agree."""
        shown = excerpt(exchange.request) if is_shown else None
        kept = replace(exchange, request=_NOT_KEPT, inference_id=None, custom_attributes=None)
        answer = len(exchange.response.body) if exchange.response is not None else 0
        return _Half(kept, shown, len(exchange.request_id) + answer + (len(shown.text) if shown is not None else 0))

    def _why_not_kept(self, half: _Half, now: float) -> Unpaired | None:
        """Why this half may not wait; None: it may. At the bound others are given up for it."""
        if self._is_ended:
            return Unpaired.ENDED
        if half.size > self._bytes_max:
            return Unpaired.CROWDED_OUT
        for _ in range(_LOOKED_AT_MAX):
            if self._has_room(half):
                return None
            identity, oldest = next(iter(self._waiting.items()))
            if not self._goes_on_waiting(identity, oldest, now):
                self._give_up(identity, Unpaired.CROWDED_OUT)
        return None if self._has_room(half) else Unpaired.CROWDED_OUT

    def _has_room(self, half: _Half) -> bool:
        return self._count < self._exchanges_max and self._bytes + half.size <= self._bytes_max

    def _goes_on_waiting(self, identity: str, waiting: _Waiting, now: float) -> bool:
        """Whether what it waits for is under way; then its time begins anew."""
        if not self._is_awaited(identity, waiting):
            return False
        waiting.since = now
        self._waiting.move_to_end(identity)
        return True

    def _keep(self, half: _Half) -> None:
        self._bytes += half.size
        self._count += 1

    def _drop(self, half: _Half) -> None:
        self._bytes -= half.size
        self._count -= 1

    # --- what makes no pair

    def _give_up(self, identity: str, why: Unpaired | None = None) -> None:
        """`why`: None: what it waited for did not come in time."""
        waiting = self._waiting.pop(identity)
        for noise, copy in waiting.copies.items():
            self._drop(copy.half)
            self._lose(identity, noise, copy.compared, why or Unpaired.NO_PRODUCTION)
        if waiting.production is not None:
            self._drop(waiting.production)
            self._lose_production(waiting.production.exchange, waiting.missing, why or Unpaired.NO_SHADOW)

    def _lose_production(self, production: Exchange, missing: Mapping[bool, ComparedGroups], why: Unpaired) -> None:
        for noise, compared in missing.items():
            other = production.group != compared.production
            self._lose(production.request_id, noise, compared, Unpaired.OTHER_FLEET if other else why)

    def _lose(self, identity: str, noise: bool, compared: ComparedGroups, why: Unpaired) -> None:
        self._alone[compared, why] += 1
        self._lost[identity, noise] = None
        if len(self._lost) > _LOST_MAX:
            del self._lost[next(iter(self._lost))]


def _why_not(compared: ComparedGroups, production: Exchange, copy: Exchange) -> Unpaired | None:
    """Why these two answers cannot be compared; None: they can."""
    if production.group != compared.production:
        return Unpaired.OTHER_FLEET
    if production.response is None:
        return Unpaired.NO_PRODUCTION
    if copy.response is None:
        return Unpaired.NO_SHADOW
    if not (production.response.complete and copy.response.complete):
        return Unpaired.INCOMPLETE
    return None
