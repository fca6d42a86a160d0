"""Finds the production answer and the copy's answer to the same request.

Both carry Envoy's request id, which is another for every attempt of a client; production's also says which copies were made of it. Whoever comes first waits for the other: for as long as the other
is heard to be under way, and a little longer, because what Envoy tells of two exchanges may come in any order. So a slow answer and a stream of minutes find their pair, and a copy that Envoy never made is not
waited for as if it were slow.

What waits is bounded in number and bytes. Only what is compared or shown is kept: the answer, and of a request the excerpt. At the bound the newest is refused, never the oldest put out: the oldest are the next
to be answered, and if they went, a slow shadow would make no pair at all.

A pair is made once and with nobody else's answer. What makes none is counted once with its reason: the other half of a loss that was counted is no second one (`late`).

One request may have two copies, one for the shadow and one for production's own group (the noise floor); each makes its own pair. Pure: the time is given.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Final, TypeAlias

from bannister.capture.assembly import Role
from bannister.domain.capture.exchange import Exchange, Message
from bannister.domain.capture.instructions import ComparedGroups
from bannister.domain.comparison.report import Unpaired
from bannister.domain.comparison.tally import Excerpt, excerpt

#: A copy: the group that it went to, and whether it is for the noise floor.
_Key: TypeAlias = tuple[str, bool]

#: In place of a body that is not kept.
_NOT_KEPT: Final = Message(b"")
#: Lost pairs whose other half is known for what it is when it comes: 250 bytes each, and at 200 a second those of four minutes.
_LOST_MAX: Final = 50_000


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


@dataclass(slots=True)
class _Waiting:
    """What is known of one request so far."""

    since: float
    production: _Half | None = None
    #: Copies that came first.
    copies: dict[_Key, _Half] = field(default_factory=dict)
    #: Copies that have had their pair, or never will.
    done: set[_Key] = field(default_factory=set)


def _nothing_is_under_way(request_id: str, role: Role) -> bool:
    del request_id, role
    return False


class Pairing:
    """Exchanges in, pairs out; `take_alone` counts those that make none.

    Args:
        exchanges_max: So many wait at most ...
        bytes_max: ... with so many bytes of answers and excerpts.
        seconds_max: How long one waits for another that is not under way; also, how often it is asked.
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
        self._compared: dict[_Key, ComparedGroups] = {}
        self._of_endpoint: dict[str, list[_Key]] = {}
        self._alone: Counter[tuple[ComparedGroups, Unpaired]] = Counter()
        #: Pairs that will never be and are counted, the oldest first.
        self._lost: dict[tuple[str, _Key], None] = {}
        #: Exchanges whose other side had been given up, and was counted then.
        self.late = 0

    def follow(self, pairs: Iterable[ComparedGroups]) -> None:
        """Compare these from now on; what waits for others is forgotten when its time is over."""
        self._compared = {(one.shadow, one.noise): one for one in pairs}
        self._of_endpoint = {}
        for key, one in self._compared.items():
            self._of_endpoint.setdefault(one.endpoint, []).append(key)

    def add(self, exchange: Exchange, role: Role, now: float) -> list[Pair]:
        """One exchange of production, or of a copy; the pairs that it completes."""
        if role is Role.PRODUCTION:
            return self._add_production(exchange, now) if exchange.endpoint in self._of_endpoint else []
        return self._add_copy(exchange, (exchange.group, role is Role.NOISE), now)

    def expire(self, now: float) -> None:
        """Give up what has waited too long for what is not under way."""
        while self._waiting:
            identity, oldest = next(iter(self._waiting.items()))
            if now - oldest.since < self._seconds_max:
                return
            if self._is_awaited(identity, oldest):
                oldest.since = now
                self._waiting.move_to_end(identity)
            else:
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

    # --- the two sides

    def _add_production(self, exchange: Exchange, now: float) -> list[Pair]:
        identity = exchange.request_id
        waiting = self._waiting.get(identity)
        expected = self._expected(exchange)
        if waiting is not None and waiting.production is not None:  # never a second pair
            self._alone.update((self._compared[key], Unpaired.REPEATED) for key in expected)
            return []
        half = self._half(exchange, is_shown=any(self._compared[key].rules.keeps_bodies for key in expected))
        done = {key for key in expected if (identity, key) in self._lost}
        made: list[Pair] = []
        if waiting is not None:
            for key, copy in waiting.copies.items():
                made += self._meet(key, half, copy)
                self._drop(copy)
                done.add(key)
            del self._waiting[identity]
        elif done:
            self.late += done.issuperset(expected)
        if done.issuperset(expected):
            return made
        if self._has_room(half):
            self._waiting[identity] = _Waiting(now, half, done=done)
            self._keep(half)
        else:
            self._lose_production(half.exchange, done, Unpaired.CROWDED_OUT)
        return made

    def _add_copy(self, exchange: Exchange, key: _Key, now: float) -> list[Pair]:
        if key not in self._compared:
            return []
        identity = exchange.request_id
        waiting = self._waiting.get(identity)
        if waiting is not None and (key in waiting.done or key in waiting.copies):
            self._alone[self._compared[key], Unpaired.REPEATED] += 1
            return []
        if (identity, key) in self._lost:
            self.late += 1
            return []
        half = self._half(exchange, is_shown=False)
        if waiting is not None and waiting.production is not None:
            made = self._meet(key, waiting.production, half)
            waiting.done.add(key)
            if waiting.done.issuperset(self._expected(waiting.production.exchange)):
                del self._waiting[identity]
                self._drop(waiting.production)
            return made
        if not self._has_room(half):
            self._lose(identity, key, Unpaired.CROWDED_OUT)
            return []
        if waiting is None:
            waiting = self._waiting[identity] = _Waiting(now)
        waiting.copies[key] = half
        self._keep(half)
        return []

    def _meet(self, key: _Key, production: _Half, copy: _Half) -> list[Pair]:
        compared = self._compared.get(key)
        if compared is None:
            return []
        why = _why_not(compared, production.exchange, copy.exchange)
        if why is not None:
            self._alone[compared, why] += 1
            return []
        request = production.request if compared.rules.keeps_bodies else None
        return [Pair(compared, production.exchange, copy.exchange, request)]

    # --- what waits

    def _expected(self, production: Exchange) -> list[_Key]:
        """The copies that there must be of a request: a share of them may be copied."""
        keys = self._of_endpoint.get(production.endpoint, [])
        return [key for key in keys if (production.noise_copied if key[1] else production.copied)]

    def _is_awaited(self, identity: str, waiting: _Waiting) -> bool:
        """Whether what it waits for is under way."""
        if waiting.production is None:
            return self._is_under_way(identity, Role.PRODUCTION)
        missing = [key for key in self._expected(waiting.production.exchange) if key not in waiting.done]
        return any(self._is_under_way(identity, Role.NOISE if noise else Role.SHADOW) for _, noise in missing)

    @staticmethod
    def _half(exchange: Exchange, *, is_shown: bool) -> _Half:
        """`is_shown`: its request may be shown with a pair that does not agree."""
        shown = excerpt(exchange.request) if is_shown else None
        kept = replace(exchange, request=_NOT_KEPT, inference_id=None, custom_attributes=None)
        answer = len(exchange.response.body) if exchange.response is not None else 0
        return _Half(kept, shown, len(exchange.request_id) + answer + (len(shown.text) if shown is not None else 0))

    def _has_room(self, half: _Half) -> bool:
        return self._count < self._exchanges_max and self._bytes + half.size <= self._bytes_max

    def _keep(self, half: _Half) -> None:
        self._bytes += half.size
        self._count += 1

    def _drop(self, half: _Half) -> None:
        self._bytes -= half.size
        self._count -= 1

    # --- what makes no pair

    def _give_up(self, identity: str) -> None:
        waiting = self._waiting.pop(identity)
        for key, copy in waiting.copies.items():
            self._drop(copy)
            if key in self._compared:
                self._lose(identity, key, Unpaired.NO_PRODUCTION)
        if waiting.production is not None:
            self._drop(waiting.production)
            self._lose_production(waiting.production.exchange, waiting.done, Unpaired.NO_SHADOW)

    def _lose_production(self, production: Exchange, done: set[_Key], why: Unpaired) -> None:
        for key in self._expected(production):
            if key not in done:
                other = production.group != self._compared[key].production
                self._lose(production.request_id, key, Unpaired.OTHER_FLEET if other else why)

    def _lose(self, identity: str, key: _Key, why: Unpaired) -> None:
        self._alone[self._compared[key], why] += 1
        self._lost[identity, key] = None
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
