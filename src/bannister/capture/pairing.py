"""Finds the production answer and the copy's answer to the same request.

Both carry Envoy's request id, which is another for every attempt of a client; production's also says which copies were made of it. Whoever comes first waits for the other, within bounds of number, bytes and age; what
waits too long, or is crowded out by what came later, stays alone and is counted with its reason. A pair is made once and with nobody else's answer.

One request may have two copies, one for the shadow and one for production's own group (the noise floor); each makes its own pair. Pure: the time is given.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field

from bannister.capture.assembly import Role
from bannister.domain.capture.exchange import Exchange, Message
from bannister.domain.capture.instructions import ComparedGroups
from bannister.domain.comparison.report import Unpaired


@dataclass(frozen=True, slots=True)
class Pair:
    """Two answers to one request."""

    compared: ComparedGroups
    production: Exchange
    shadow: Exchange


@dataclass(slots=True)
class _Waiting:
    """What is known of one request so far."""

    since: float
    endpoint: str
    production: Exchange | None = None
    #: Copies that came first, by the group that they went to and whether they are for the noise floor.
    copies: dict[tuple[str, bool], Exchange] = field(default_factory=dict)
    #: Copies that have had their pair, or never will.
    done: set[tuple[str, bool]] = field(default_factory=set)
    size: int = 0


class Pairing:
    """Exchanges in, pairs out; `alone` counts those that make none."""

    def __init__(self, exchanges_max: int, bytes_max: int, seconds_max: float) -> None:
        self._exchanges_max = exchanges_max
        self._bytes_max = bytes_max
        self._seconds_max = seconds_max
        #: By request id, the oldest first.
        self._waiting: OrderedDict[str, _Waiting] = OrderedDict()
        self._bytes = 0
        self._count = 0
        #: By the group that gets the copies, and whether they are for the noise floor.
        self._compared: dict[tuple[str, bool], ComparedGroups] = {}
        self._of_endpoint: dict[str, list[tuple[str, bool]]] = {}
        self._alone: Counter[tuple[ComparedGroups, Unpaired]] = Counter()

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
        """Give up what has waited too long."""
        while self._waiting:
            identity, oldest = next(iter(self._waiting.items()))
            if now - oldest.since < self._seconds_max:
                return
            self._give_up(identity, None)

    def take_alone(self) -> Counter[tuple[ComparedGroups, Unpaired]]:
        """Who made no pair, by reason, since this was last asked."""
        taken, self._alone = self._alone, Counter()
        return taken

    def __len__(self) -> int:
        """Exchanges that wait."""
        return self._count

    @property
    def size(self) -> int:
        """Bytes of the bodies that wait, and of what callers say besides."""
        return self._bytes

    # --- the two sides

    def _add_production(self, exchange: Exchange, now: float) -> list[Pair]:
        waiting = self._waiting.get(exchange.request_id)
        expected = self._expected(exchange)
        if waiting is not None and waiting.production is not None:  # never a second pair
            self._alone.update((self._compared[key], Unpaired.REPEATED) for key in expected)
            return []
        made: list[Pair] = []
        if waiting is None:
            waiting = self._enter(exchange, now)
        else:
            for key, copy in list(waiting.copies.items()):
                made += self._meet(key, exchange, copy)
                self._drop(waiting, copy)
                waiting.done.add(key)
            waiting.copies.clear()
        waiting.production = exchange
        self._keep(waiting, exchange)
        self._finish(exchange.request_id, waiting, expected)
        self._make_room()
        return made

    def _add_copy(self, exchange: Exchange, key: tuple[str, bool], now: float) -> list[Pair]:
        if key not in self._compared:
            return []
        waiting = self._waiting.get(exchange.request_id)
        if waiting is not None and (key in waiting.done or key in waiting.copies):
            self._alone[self._compared[key], Unpaired.REPEATED] += 1
            return []
        if waiting is None or waiting.production is None:
            if waiting is None:
                waiting = self._enter(exchange, now)
            waiting.copies[key] = exchange
            self._keep(waiting, exchange)
            self._make_room()
            return []
        made = self._meet(key, waiting.production, exchange)
        waiting.done.add(key)
        self._finish(exchange.request_id, waiting, self._expected(waiting.production))
        return made

    def _meet(self, key: tuple[str, bool], production: Exchange, copy: Exchange) -> list[Pair]:
        compared = self._compared.get(key)
        if compared is None:
            return []
        why = _why_not(compared, production, copy)
        if why is not None:
            self._alone[compared, why] += 1
            return []
        return [Pair(compared, production, copy)]

    # --- what waits

    def _expected(self, production: Exchange) -> list[tuple[str, bool]]:
        """The copies that there must be of a request: a share of them may be copied."""
        keys = self._of_endpoint.get(production.endpoint, [])
        return [key for key in keys if (production.noise_copied if key[1] else production.copied)]

    def _enter(self, exchange: Exchange, now: float) -> _Waiting:
        waiting = self._waiting[exchange.request_id] = _Waiting(now, exchange.endpoint)
        return waiting

    def _finish(self, identity: str, waiting: _Waiting, expected: list[tuple[str, bool]]) -> None:
        """Nothing more is expected of this request."""
        if waiting.done.issuperset(expected):
            del self._waiting[identity]
            if waiting.production is not None:
                self._drop(waiting, waiting.production)

    def _keep(self, waiting: _Waiting, exchange: Exchange) -> None:
        size = _size(exchange)
        waiting.size += size
        self._bytes += size
        self._count += 1

    def _drop(self, waiting: _Waiting, exchange: Exchange) -> None:
        size = _size(exchange)
        waiting.size -= size
        self._bytes -= size
        self._count -= 1

    def _make_room(self) -> None:
        while self._waiting and (self._count > self._exchanges_max or self._bytes > self._bytes_max):
            self._give_up(next(iter(self._waiting)), Unpaired.CROWDED_OUT)

    def _give_up(self, identity: str, why: Unpaired | None) -> None:
        waiting = self._waiting.pop(identity)
        for key, copy in waiting.copies.items():
            self._drop(waiting, copy)
            if key in self._compared:
                self._alone[self._compared[key], why or Unpaired.NO_PRODUCTION] += 1
        if waiting.production is None:
            return
        self._drop(waiting, waiting.production)
        for key in self._expected(waiting.production):
            compared = self._compared[key]
            if key not in waiting.done:
                reason = why or Unpaired.NO_SHADOW
                self._alone[compared, _of_other_fleet(compared, waiting.production) or reason] += 1


def _of_other_fleet(compared: ComparedGroups, production: Exchange) -> Unpaired | None:
    return Unpaired.OTHER_FLEET if production.group != compared.production else None


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


def _size(exchange: Exchange) -> int:
    told = len(exchange.request_id) + len(exchange.inference_id or "") + len(exchange.custom_attributes or "")
    return told + _length(exchange.request) + _length(exchange.response)


def _length(message: Message | None) -> int:
    return len(message.body) if message is not None else 0
