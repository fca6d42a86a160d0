"""What alarms look at beyond the newest minutes, kept as aggregates of aligned stretches of time.

A range that slides by a second each second is nearly the one before it, and reading it from the file and merging it anew is what a long range costs. So it is
read once, by stretches of 1 and 10 s, 1 and 5 min and an hour, and a period is put together of the fewest that make it up: some dozens however long it is. A stretch
that a period's end has come to is merged of the shorter ones that the end passed before, so that what comes by is read once.

Whoever adds to the past of a metric, or changes how it is kept, says so, and what that touches is read again. What was not looked at for longest is forgotten first, within
a bound in bytes.
"""

from __future__ import annotations

import math
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Final, NamedTuple

from bannister.domain.metric.aggregate import Aggregate, merge
from bannister.domain.metric.identity import MetricIdentity
from bannister.domain.metric.retention import stretch
from bannister.metrics.store import GroupDimensions

#: Each is a multiple of the one before.
SPANS: Final = (1, 10, 60, 300, 3600)
#: Not more is read at a time: others have their turn in between.
SPAN_READ_MAX: Final = 300
#: About what all that is kept may take. An alarm on a latency of 100 requests a second with 5 periods of 5 minutes needs 0.5 MB.
BYTES_MAX: Final = 64 * 1024**2
#: Of one stretch beside its sketch.
_BYTES_EACH: Final = 500
_SHORTER: Final = {longer: shorter for shorter, longer in pairwise(SPANS)}
_LONGER: Final = dict(pairwise(SPANS))


class Look(NamedTuple):
    """One way of looking at a metric: alarms that share it share what is kept."""

    metric: MetricIdentity
    unit: str | None
    #: The spans of rows that it sees: they follow from the alarm's period.
    served: tuple[int, ...]


_Key = tuple[Look, int, int]

#: Reads so many adjacent stretches of a length, from a second on.
Read = Callable[[int, int, int], Sequence[Aggregate | None]]


class Stretches:
    """Aggregates by look, length and beginning. Synchronous."""

    def __init__(self, bytes_max: int = BYTES_MAX) -> None:
        self._bytes_max = bytes_max
        self._bytes = 0
        self._kept: OrderedDict[_Key, Aggregate | None] = OrderedDict()
        #: None begins before this.
        self._oldest = math.inf
        #: How many stretches of each look there are, so that nobody has to go through them all; and the looks that may have none.
        self._counts: Counter[Look] = Counter()
        self._maybe_empty: dict[Look, None] = {}
        #: What each look was put together of.
        self._groups: dict[Look, Sequence[GroupDimensions]] = {}
        self._looks: dict[str | MetricIdentity, set[Look]] = {}

    def fill(self, look: Look, groups: Sequence[GroupDimensions], start: int, end: int, until: int, read: Read) -> bool:
        """Read a little of what `read` would have to; False: nothing is missing."""
        self._know(look, groups)
        return any(self._missing_read(look, span, begin, until, read) for span, begin in _pieces(start, end))

    def read(
        self, look: Look, groups: Sequence[GroupDimensions], start: int, end: int, until: int, read: Read
    ) -> Aggregate | None:
        """The aggregate of [start, end), of which `groups` give a part; nothing from `until` on is read or kept."""
        while self.fill(look, groups, start, end, until, read):
            pass
        keys = [(look, span, begin) for span, begin in _pieces(start, end)]
        for key in keys:
            self._kept.move_to_end(key)
        parts = [one for key in keys if (one := self._kept[key]) is not None]
        self._keep_within_bytes()
        return merge(parts) if parts else None

    def _know(self, look: Look, groups: Sequence[GroupDimensions]) -> None:
        if self._groups.get(look) != groups:
            self._drop(look)
            self._groups[look] = groups
            self._maybe_empty[look] = None
            for owner in _owners(look, groups):
                self._looks.setdefault(owner, set()).add(look)

    def touch(self, owner: str | MetricIdentity, at: float) -> None:
        """Something of this time was added to a group or a metric."""
        for look in self._looks.get(owner, ()):
            for span in SPANS:
                self._pop((look, span, stretch(at, span)))

    def forget(self, before: float) -> None:
        """What begins before this is kept otherwise now, or no more. May be called again and again: only what was kept since is looked for."""
        if self._oldest >= before:
            return
        for key in [key for key in self._kept if key[2] < before]:
            self._pop(key)
        self._oldest = before
        self._forget_looks()

    def _missing_read(self, look: Look, span: int, begin: int, until: int, read: Read) -> bool:
        """Whether something had to be read for a stretch, which may not be all of it."""
        key = (look, span, begin)
        if key in self._kept or self._merge_shorter(key):
            return False
        if span > SPAN_READ_MAX:
            shorter = _SHORTER[span]
            return any(
                self._missing_read(look, shorter, at, until, read) for at in range(begin, begin + span, shorter)
            ) or not self._merge_shorter(key)
        # With those beside it, which the next period has, or this one a moment later.
        around = min(_LONGER[span], SPAN_READ_MAX)
        first = stretch(begin, around)
        last = min(first + around, until)
        for index, one in enumerate(read(first, span, (last - first) // span)):
            self._keep((look, span, first + index * span), one)
        return True

    def _merge_shorter(self, key: _Key) -> bool:
        """Whether all that a stretch consists of is there; then it is now, too."""
        look, span, begin = key
        shorter = _SHORTER.get(span)
        if shorter is None:
            return False
        keys = [(look, shorter, at) for at in range(begin, begin + span, shorter)]
        if not all(one in self._kept for one in keys):
            return False
        parts = [part for one in keys if (part := self._kept[one]) is not None]
        self._keep(key, merge(parts) if parts else None)
        return True

    def _keep(self, key: _Key, one: Aggregate | None) -> None:
        self._pop(key)
        self._kept[key] = one
        self._counts[key[0]] += 1
        self._oldest = min(self._oldest, key[2])
        self._bytes += _bytes(one)

    def _pop(self, key: _Key) -> None:
        if key not in self._kept:
            return
        self._bytes -= _bytes(self._kept.pop(key))
        look = key[0]
        self._counts[look] -= 1
        if self._counts[look] == 0:
            del self._counts[look]
            self._maybe_empty[look] = None

    def _keep_within_bytes(self) -> None:
        if self._bytes <= self._bytes_max:
            return
        while self._bytes > self._bytes_max:
            self._pop(next(iter(self._kept)))
        self._forget_looks()

    def _forget_looks(self) -> None:
        """Those of which nothing is kept."""
        maybe, self._maybe_empty = self._maybe_empty, {}
        for look in maybe:
            if look not in self._counts:
                self._drop(look)

    def _drop(self, look: Look) -> None:
        groups = self._groups.pop(look, None)
        if groups is None:
            return
        for owner in _owners(look, groups):
            self._looks[owner].discard(look)
            if not self._looks[owner]:
                del self._looks[owner]
        if look in self._counts:
            for key in [key for key in self._kept if key[0] == look]:
                self._pop(key)


def _owners(look: Look, groups: Sequence[GroupDimensions]) -> list[str | MetricIdentity]:
    """Whatever of these something is added to, it shows in this look."""
    return [look.metric, *(group.group for group in groups)]


def _pieces(start: int, end: int) -> Iterator[tuple[int, int]]:
    """Length and beginning of the fewest aligned stretches that make up [start, end), in order."""
    at = start
    while at < end:
        span = next(span for span in reversed(SPANS) if at % span == 0 and at + span <= end)
        yield span, at
        at += span


def _bytes(one: Aggregate | None) -> int:
    if one is None or one.sketch is None:
        return _BYTES_EACH
    return _BYTES_EACH + len(one.sketch.keys) + len(one.sketch.weights)
