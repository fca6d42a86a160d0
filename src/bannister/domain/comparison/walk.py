"""Two answers, read into values, walked side by side.

What differs in structure (members, lengths, shapes, types) is told apart from what differs in value. Walking is bounded in depth and
in the number of values. What lies beyond is the same if it is plainly equal; if not it is *not compared*, because no tolerance and no
ignored path was looked at, and is no difference. Numbers in rows are compared as arrays, by the same rules and as many as there are.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Final, TypeGuard

from bannister.domain.comparison import grid, matching
from bannister.domain.comparison.grid import Beginning, Grid, Table
from bannister.domain.comparison.paths import ANY, Step, general, patterns, spell
from bannister.domain.comparison.reading import Form
from bannister.domain.comparison.rules import Rules

DEPTH_MAX: Final = 64
VALUES_MAX: Final = 50_000
#: Label-like values that are counted of one answer.
LABELS_MAX: Final = 1000
#: Characters of a value that is shown.
SHOWN_MAX: Final = 64
#: Differences of numbers are cut here, so that sums of them stay finite.
DIFFERENCE_MAX: Final = 1e300

#: From so many numbers in a row on, numpy compares them; it costs as much as walking about so many.
_ROW_MIN: Final = 16
#: Numbers of an array that cost as much as walking one value.
_ARRAY_STEP: Final = 64
#: What is done to find out which elements of unordered lists belong together, in steps of a search; some 30 ms of processor time.
EFFORT_MAX: Final = 60_000
#: Steps that cost as much as walking one value.
VALUE_STEPS: Final = 8
#: ... as to match a list within a trial, beside its values.
_LIST_STEPS: Final = 128

#: Kinds of keys, of which no two are equal.
_NAN, _NUMBER, _LIST, _UNORDERED, _OBJECT, _TEXT, _OTHER = range(1, 8)
#: The key of what is not compared.
_NOTHING: Final = (0, 0)
#: In coarse keys numbers differ by at least one part in so many; far more than a tolerance, so that few are at a step.
_COARSE: Final = 256

Path = tuple[Step, ...]
Rows = list[Any] | Grid | Table


class _DiffersError(Exception):
    """Nothing more is asked of a trial."""


class Walk:
    """One comparison under way. The attributes are what it has found."""

    def __init__(self, rules: Rules) -> None:
        """Raises ValueError if a path of the rules is none."""
        self._rules = rules
        self._ignored = patterns(rules.ignored_paths)
        self._unordered = patterns(rules.unordered_paths)
        self._left = VALUES_MAX
        self._labels_left = LABELS_MAX
        self._effort = matching.Effort(EFFORT_MAX)
        #: Nothing is asked but whether they differ.
        self._is_trial = False
        self.differs = False
        #: Something lies beyond a bound, and is not plainly equal.
        self.partial = False
        self.structural: str | None = None
        self.invalid = False
        #: The first difference, one in structure before one in value: where, and both values.
        self.first: tuple[str, str, str] | None = None
        self.largest: float | None = None
        self._signed = 0.0
        self._numbers = 0
        self._labels: Counter[tuple[tuple[str | None, ...], str, str]] = Counter()

    @property
    def mean(self) -> float | None:
        """The mean of the shadow's numbers minus production's."""
        return self._signed / self._numbers if self._numbers else None

    @property
    def labels(self) -> list[tuple[str, str, str, int]]:
        """Path, old, new, and how often."""
        counts = self._labels.items()
        return sorted((shown(spell(path)), old, new, count) for (path, old, new), count in counts)

    def values(self, path: Path, old: Any, new: Any) -> None:
        """Compare production's value and the shadow's in one place."""
        self._left -= 1
        if self._ignored.match(path):
            return
        if self._left < 0 or len(path) > DEPTH_MAX:
            self._beyond(old, new)
        elif isinstance(old, dict) and isinstance(new, dict):
            self._members(path, old, new)
        elif isinstance(old, Beginning) or isinstance(new, Beginning):
            self._beginnings(path, old, new)
        elif isinstance(old, list | Grid | Table) and isinstance(new, list | Grid | Table):
            self._elements(path, old, new)
        elif _is_number(old) and _is_number(new):
            self._number(path, old, new)
        elif type(old) is type(new) and not hasattr(old, "dtype"):
            self._plain(path, old, new)
        elif hasattr(old, "dtype") and hasattr(new, "dtype"):
            self._arrays(path, old, new)
        else:
            self._structure(path, old, new, f"{_kind(old)} became {_kind(new)}")

    # --- structure

    def _members(self, path: Path, old: dict[str, Any], new: dict[str, Any]) -> None:
        for name, value in old.items():
            if name in new:
                self.values((*path, name), value, new[name])
            elif not self._ignored.match((*path, name)):
                self._structure((*path, name), value, None, "is missing")
        for name, value in new.items():
            if name not in old and not self._ignored.match((*path, name)):
                self._structure((*path, name), None, value, "is new")
                self._check((*path, name), value)

    def _beginnings(self, path: Path, old: Any, new: Any) -> None:
        """Where one side was not read to its end, the other is compared no further."""
        values = [one.values if isinstance(one, Beginning) else one for one in (old, new)]
        rests = [one.rest if isinstance(one, Beginning) else "" for one in (old, new)]
        for cut, other in ((0, 1), (1, 0)):
            if rests[cut] and len(values[cut]) < len(values[other]):
                values[other] = _first(values[other], len(values[cut]))
                self.partial = True
        self.partial = self.partial or rests[0] != rests[1]
        self.values(path, values[0], values[1])

    def _elements(self, path: Path, old: Rows, new: Rows) -> None:
        if len(old) != len(new):
            self._structure(path, old, new, f"{len(old)} elements became {len(new)}")
        unordered = self._unordered.match(path)
        if self._as_arrays(path, old, new, unordered=unordered):
            return
        olds, news = (one if isinstance(one, list) else one.lists() for one in (old, new))
        indices: Sequence[int] = range(len(olds))
        doubtful: frozenset[int] = frozenset()
        if unordered:
            matched = self._matched(path, olds, news)
            if matched is None:
                self._beyond(olds, news)
                return
            indices, olds, news, doubtful = matched
        common = min(len(olds), len(news))
        for number in range(common):
            if self._left <= 0:
                self._beyond(olds[number:common], news[number:common])
                break
            place = (*path, indices[number])
            (self._guessed if indices[number] in doubtful else self.values)(place, olds[number], news[number])
        numbers = grid.of_lists(news) if len(news) - common >= _ROW_MIN else None
        if numbers is not None:
            self._check_array(path, numbers, common)
            return
        for number in range(common, len(news)):
            if self._left <= 0:
                self.partial = True
                break
            self._check((*path, number), news[number])

    def _beyond(self, old: Any, new: Any) -> None:
        """What is not walked is the same, or it is not compared."""
        if not _plainly_equal(old, new):
            self.partial = True

    # --- lists without an order

    def _matched(
        self, path: Path, old: list[Any], new: list[Any]
    ) -> tuple[list[int], list[Any], list[Any], frozenset[int]] | None:
        """Both with elements that belong together in the same places, the places of the old ones before, and of which of them the partner is
        a guess. None: they are too large.
        """
        old_keys = [self._key((*path, index), one) for index, one in enumerate(old)]
        new_keys = [self._key((*path, index), one) for index, one in enumerate(new)]
        if self._left < 0:
            return None
        if self._is_trial:
            self._effort.left -= _LIST_STEPS
        keys = matching.Keys(self._coarse, self._shape if self._are_places_alike(path) else _no_shape, self._reach)
        found = matching.match(
            old_keys, new_keys, keys, lambda one, other: self._belong((*path, one), old[one], new[other]), self._effort
        )
        places = [*(one for one, _ in found.pairs), *found.old]
        others = [*(other for _, other in found.pairs), *found.new]
        return places, [old[one] for one in places], [new[one] for one in others], found.doubtful

    def _are_places_alike(self, path: Path) -> bool:
        """The rules do not tell elements of a list without an order from one another by their numbers."""
        nested = self._unordered.below(path)
        return not any(
            isinstance(steps[0], int) or (nested and any(isinstance(step, int) for step in steps))
            for steps in (*nested, *self._ignored.below(path))
        )

    def _key(self, path: Path, value: Any) -> tuple[int, Any]:
        """Orders any values, so that equal ones have equal keys, and close numbers are neighbours. What is ignored is no part of it."""
        self._left -= 1
        if self._left < 0 or len(path) > DEPTH_MAX or self._ignored.match(path):
            return _NOTHING
        if _is_number(value):
            return (_NAN, 0) if math.isnan(_float(value)) else (_NUMBER, value)
        if isinstance(value, list):
            keys = [self._key((*path, index), one) for index, one in enumerate(value)]
            return (_UNORDERED, tuple(sorted(keys))) if self._unordered.match(path) else (_LIST, tuple(keys))
        if isinstance(value, dict):
            keys_of = ((name, self._key((*path, name), one)) for name, one in sorted(value.items()))
            return _OBJECT, tuple((name, key) for name, key in keys_of if key != _NOTHING)
        return (_TEXT, value) if isinstance(value, str) else (_OTHER, -1 if value is None else int(value))

    def _coarse(self, key: tuple[int, Any]) -> tuple[int, Any]:
        """A key with its numbers rounded, so that close ones do not decide the order before what comes after them does."""
        kind, value = key
        if kind == _NUMBER:
            number = _float(value)
            if not math.isfinite(number) or abs(number) <= _COARSE * self._rules.absolute_tolerance:
                return kind, number if math.isinf(number) else 0.0
            mantissa, exponent = math.frexp(number)
            return kind, math.ldexp(round(mantissa * _COARSE) / _COARSE, exponent) if exponent < 1000 else number
        if kind in (_LIST, _UNORDERED):
            return kind, tuple(self._coarse(one) for one in value)
        if kind == _OBJECT:
            return kind, tuple((name, self._coarse(one)) for name, one in value)
        return key

    def _shape(self, key: tuple[int, Any]) -> tuple[Any, list[int | float]]:
        """A key without its numbers, and these by their places."""
        numbers: list[int | float] = []
        return _without_numbers(key, numbers), numbers

    def _reach(self, number: float) -> tuple[float, float]:
        """Between which numbers all are that agree with this one; a little too far rather than rounded off."""
        value = _float(number)
        if math.isinf(value):
            return value, value
        allowed = self._rules.absolute_tolerance + self._rules.relative_tolerance * abs(value)
        allowed += 1e-9 * allowed + 1e-15 * abs(value)
        return value - allowed, value + allowed

    def _belong(self, path: Path, old: Any, new: Any) -> bool | None:
        """Whether two elements agree; None: the effort is spent."""
        values = self._effort.left // VALUE_STEPS
        if values <= 0:
            return None
        found, left = self._tried(path, old, new, values)
        self._effort.left -= VALUE_STEPS * (1 + values - left)
        return found

    def _guessed(self, path: Path, old: Any, new: Any) -> None:
        """Compare two elements that may have others as partners: if they agree all is well, if not nothing is known."""
        found, left = self._tried(path, old, new, self._left)
        if found:
            self.values(path, old, new)
        else:
            self._left = left
            self.partial = True

    def _tried(self, path: Path, old: Any, new: Any, values: int) -> tuple[bool | None, int]:
        """Whether two values agree, and what is left of so many values. None: they were too few."""
        trial = Walk(self._rules)
        trial._is_trial, trial._effort, trial._left, trial._labels_left = True, self._effort, values, 0
        try:
            trial.values(path, old, new)
        except _DiffersError:
            return False, trial._left
        if trial.partial:
            return (None if trial._left < 0 else False), trial._left
        return True, trial._left

    def _structure(self, path: Path, old: Any, new: Any, what: str) -> None:
        if self._is_trial:
            self.differs = True
            raise _DiffersError
        if self.structural is None:
            where = spell(path)
            self.structural = f"{shown(where)} {what}" if what.startswith("is ") else f"{shown(where)}: {what}"
            self.first = (shown(where), shown(old), shown(new))
        self.differs = True

    def _differ(self, path: Path, old: Any, new: Any) -> None:
        self.differs = True
        if self._is_trial:
            raise _DiffersError
        if self.first is None:
            self.first = (shown(spell(path)), shown(old), shown(new))

    # --- values

    def _plain(self, path: Path, old: Any, new: Any) -> None:
        if isinstance(old, Form):
            if old != new:
                self._structure(path, old, new, f"{shown(old)} became {shown(new)}")
            return
        if isinstance(old, str | bool):
            self._label(path, old, new)
        if old != new:
            self._differ(path, old, new)

    def _number(self, path: Path, old: float, new: float) -> None:
        a, b = _float(old), _float(new)
        self._bounds(b)
        if type(old) is int and type(new) is int:
            self._label(path, old, new)
            agree = old == new
        else:
            agree = a == b or (math.isnan(a) and math.isnan(b)) or self._close(a, b)
        if math.isfinite(a) and math.isfinite(b):
            self._difference(min(max(b - a, -DIFFERENCE_MAX), DIFFERENCE_MAX), abs(b - a), 1)
        if not agree:
            self._differ(path, old, new)

    def _close(self, a: float, b: float) -> bool:
        rules = self._rules
        # Of an infinite number a relative tolerance would allow everything.
        return math.isfinite(a) and abs(a - b) <= rules.absolute_tolerance + rules.relative_tolerance * abs(a)

    def _bounds(self, value: float) -> None:
        low, high = self._rules.minimum, self._rules.maximum
        if not math.isfinite(value) or (low is not None and value < low) or (high is not None and value > high):
            self.invalid = True

    def _difference(self, signed: float, largest: float, count: int) -> None:
        """`signed`: the sum of so many differences, each of them cut."""
        self.largest = min(max(self.largest or 0.0, largest), DIFFERENCE_MAX)
        self._signed += signed
        self._numbers += count

    def _label(self, path: Path, old: Any, new: Any) -> None:
        if self._labels_left > 0:
            self._labels_left -= 1
            self._labels[general(path), shown(old), shown(new)] += 1

    def _check(self, path: Path, value: Any) -> None:
        """Look for invalid numbers in what only the shadow answered."""
        self._left -= 1
        if self._ignored.match(path):
            return
        if self._left < 0 or len(path) > DEPTH_MAX:
            self.partial = True
        elif _is_number(value):
            self._bounds(_float(value))
        elif isinstance(value, dict):
            for name, one in value.items():
                self._check((*path, name), one)
        elif isinstance(value, list):
            numbers = grid.of_lists(value) if len(value) >= _ROW_MIN else None
            if numbers is not None:
                self._check_array(path, numbers)
                return
            for index, one in enumerate(value):
                if self._left <= 0:
                    self.partial = True
                    break
                self._check((*path, index), one)

    def _check_array(self, path: Path, numbers: Grid, begin: int = 0) -> None:
        """The same for numbers in rows, from one row on."""
        self._left -= _ROW_MIN + numbers.values.size // _ARRAY_STEP
        ignored = self._mask(path, numbers.shape)
        rest = numbers.values[begin:]
        self._array_bounds(rest if ignored is None else rest[~ignored[begin:]])

    # --- arrays

    def _as_arrays(self, path: Path, old: Rows, new: Rows, *, unordered: bool) -> bool:
        """Compare numbers in rows, if both are that."""
        if self._unordered.below(path):
            return False
        if isinstance(old, Table) or isinstance(new, Table):
            columns = _columns(old), _columns(new)
            if unordered or columns[0] is None or columns[1] is None or len(columns[0]) != len(columns[1]):
                return False
            self._tables(path, columns[0], columns[1])
            return True
        if isinstance(old, list) and isinstance(new, list) and min(len(old), len(new)) < _ROW_MIN:
            return False
        one = old if isinstance(old, Grid) else grid.of_lists(old)
        other = new if isinstance(new, Grid) else grid.of_lists(new)
        if one is None or other is None or one.shape[1:] != other.shape[1:]:
            return False
        places = None
        if unordered:
            if len(one.shape) > 1 or self._ignored.below(path):
                return False
            one, places = _sorted(one)
            other, _ = _sorted(other)
        common = min(len(one), len(other))
        self._left -= _ROW_MIN + one.values.size // _ARRAY_STEP
        pair = one.first(common), other.first(common)
        first = self._array((*path, *(0 for _ in one.shape)), *pair, self._mask(path, pair[0].shape), self._labels_left)
        if first is not None:
            at = _place(first, pair[0].shape)
            was, became = pair[0].number(at), pair[1].number(at)
            self._differ((*path, int(places[first])) if places is not None else (*path, *at), was, became)
        if len(other) > common:
            self._check_array(path, other, common)
        return True

    def _tables(self, path: Path, old: list[Grid | list[Any]], new: list[Grid | list[Any]]) -> None:
        """Column by column: numbers as arrays, texts as lists, and what is mixed cell by cell."""
        width, common = len(old), min(len(old[0]), len(new[0]))
        mask = self._mask(path, (len(new[0]), width))
        labels = max(self._labels_left // width, 1)
        first: list[tuple[int, int]] = []
        mixed: list[int] = []
        for index, (one, other) in enumerate(zip(old, new, strict=True)):
            ignored = None if mask is None else mask[:common, index]
            self._left -= _ROW_MIN + common // _ARRAY_STEP
            found: int | None = None
            if isinstance(one, Grid) and isinstance(other, Grid):
                found = self._array((*path, 0, index), one.first(common), other.first(common), ignored, labels)
                if len(other) > common:
                    rest = other.values[common:]
                    self._array_bounds(rest if mask is None else rest[~mask[common:, index]])
            elif _texts(one) and _texts(other):
                found = self._words((*path, 0, index), one[:common], other[:common], ignored, labels)
            else:
                mixed.append(index)
            if found is not None:
                first.append((found, index))
        for row, index in sorted(first)[:1]:
            self._differ((*path, row, index), _cell(old[index], row), _cell(new[index], row))
        for index in mixed:
            one, other = (side[index] for side in (old, new))
            one, other = (each.lists() if isinstance(each, Grid) else each for each in (one, other))
            compared: Sequence[int] = range(len(other)) if mask is None else (~mask[:, index]).nonzero()[0].tolist()
            for row in compared:
                if row >= common:
                    self._check((*path, row, index), other[row])
                elif self._left > 0:
                    self.values((*path, row, index), one[row], other[row])
                else:
                    self._beyond(one[row:common], other[row:common])
                    break

    def _words(self, path: Path, old: list[str], new: list[str], ignored: Any, labels: int) -> int | None:
        """Texts in a row; the number of the first that differs."""
        kept: Sequence[int] = range(len(old)) if ignored is None else (~ignored).nonzero()[0].tolist()
        for index in kept[:labels]:
            self._label(path, old[index], new[index])
        if old == new:
            return None
        return next((index for index in kept if old[index] != new[index]), None)

    def _arrays(self, path: Path, old: Any, new: Any) -> None:
        """Whole arrays, as NPY holds them; a structural difference leaves no values to compare."""
        # How wide texts are is what is in them, and no type.
        texts = old.dtype.kind == new.dtype.kind and old.dtype.kind in "SU"
        if old.shape != new.shape:
            self._structure(path, old, new, f"shape {old.shape} became {new.shape}")
        elif not texts and old.dtype.newbyteorder("=") != new.dtype.newbyteorder("="):
            self._structure(path, old, new, f"type {old.dtype} became {new.dtype}")
        else:
            general_path = (*path, *(0 for _ in old.shape))
            first = self._array(general_path, Grid(old), Grid(new), self._mask(path, old.shape), self._labels_left)
            if first is not None:
                at = _place(first, old.shape)
                self._differ((*path, *at), old[at].item(), new[at].item())
            return
        if new.dtype.kind in "iuf":
            mask = self._mask(path, new.shape)
            self._array_bounds(new if mask is None else new[~mask])

    def _mask(self, path: Path, shape: tuple[int, ...]) -> Any:
        """Which elements of an array are ignored; None: none."""
        below = [one for one in self._ignored.below(path) if len(one) <= len(shape)]
        if not below:
            return None
        import numpy as np

        mask = np.zeros(shape, "?")
        for steps in below:
            at = [slice(None) if step is ANY else step for step in steps if not isinstance(step, str)]
            if len(at) == len(steps) and all(
                isinstance(step, slice) or step < size for step, size in zip(at, shape, strict=False)
            ):
                mask[tuple(at)] = True
        return mask

    def _array(self, path: Path, old: Grid, new: Grid, ignored: Any, labels: int) -> int | None:
        """Numbers or words of the same shape; the number of the first that differs. `path`: of any of them."""
        import numpy as np

        kept = None if ignored is None else np.flatnonzero(~ignored)
        one, other = (side.values.ravel() if kept is None else side.values.ravel()[kept] for side in (old, new))
        kind = one.dtype.kind
        whole: Any = kind in "biuSU" or False
        if old.whole is not None or new.whole is not None or kind != other.dtype.kind:
            whole = old.is_whole() & np.broadcast_to(new.is_whole(), old.shape)
            whole = whole.ravel() if kept is None else whole.ravel()[kept]
        if whole is not False:
            labelled = slice(labels) if whole is True else np.flatnonzero(whole)[:labels]
            for a, b in zip(one[labelled].tolist(), other[labelled].tolist(), strict=True):
                self._label(path, *((a, b) if whole is True else (int(a), int(b))))
        wrong: Any = one != other if whole is True else None
        if kind not in "bSU":
            self._array_bounds(other)
            with np.errstate(all="ignore"):
                a, b = one.astype("f8"), other.astype("f8")
                signed = b - a
                size = np.abs(signed)
                if whole is not True:
                    allowed = self._rules.absolute_tolerance + self._rules.relative_tolerance * np.abs(a)
                    close = np.isfinite(a) & (size <= allowed)
                    close |= (a == b) | (np.isnan(a) & np.isnan(b))
                    wrong = ~close if whole is False else np.where(whole, one != other, ~close)
                finite = np.isfinite(a) & np.isfinite(b)
                if not finite.all():
                    signed, size = signed[finite], size[finite]
                if signed.size:
                    mean = float(np.mean(np.clip(signed, -DIFFERENCE_MAX, DIFFERENCE_MAX)))
                    self._difference(mean * signed.size, float(size.max()), int(signed.size))
        first = np.flatnonzero(wrong)[:1]
        if not first.size:
            return None
        return int(first[0] if kept is None else kept[first[0]])

    def _array_bounds(self, new: Any) -> None:
        import numpy as np

        low, high = self._rules.minimum, self._rules.maximum
        infinite = new.dtype.kind == "f" and not np.isfinite(new).all()
        outside = new.size and ((low is not None and new.min() < low) or (high is not None and new.max() > high))
        self.invalid = self.invalid or bool(infinite or outside)


def shown(value: Any) -> str:
    """A value for people: short, on one line, and sound as UTF-8."""
    if isinstance(value, str):
        text = str(value)  # also of a `Form`, which nobody knows how to write down
    elif isinstance(value, bool):
        text = "true" if value else "false"
    elif isinstance(value, float):
        text = f"{value:.12g}"
    elif isinstance(value, int):
        text = str(value) if abs(value) < 10**30 else "a whole number of more than 30 digits"
    elif value is None:
        text = "null"
    elif isinstance(value, bytes):
        text = value[:SHOWN_MAX].decode("ascii", "backslashreplace")
    elif isinstance(value, dict):
        text = f"an object of {len(value)}"
    elif isinstance(value, list | Grid | Table):
        text = f"a list of {len(value)}"
    else:
        text = f"{value.dtype}{value.shape}"
    if len(text) <= SHOWN_MAX and text.isascii() and text.isprintable():
        return text
    text = text[: SHOWN_MAX + 1].encode("utf-8", "backslashreplace").decode()
    text = "".join([one if one.isprintable() else "·" for one in text])
    return text if len(text) <= SHOWN_MAX else text[: SHOWN_MAX - 1] + "…"


def _without_numbers(key: tuple[int, Any], numbers: list[int | float]) -> tuple[int, Any]:
    kind, value = key
    if kind == _NUMBER:
        # Beyond what a float holds all are as good as infinite, as they are where they are compared.
        numbers.append(value if abs(value) < DIFFERENCE_MAX else _float(value))
        return kind, 0
    if kind == _LIST:
        return kind, tuple([_without_numbers(one, numbers) for one in value])
    if kind == _UNORDERED:  # which number is whose is not known
        return kind, tuple(sorted(_without_numbers(one, []) for one in value))
    if kind == _OBJECT:
        return kind, tuple([(name, _without_numbers(one, numbers)) for name, one in value])
    return key


def _no_shape(_key: tuple[int, Any]) -> tuple[Any, list[int | float]]:
    return None, []


def _kind(value: Any) -> str:
    names: Iterator[str] = (
        name
        for kind, name in (
            (dict, "an object"),
            (list | Grid | Table, "a list"),
            (str, "text"),
            (bool, "a truth value"),
            (bytes, "bytes"),
        )
        if isinstance(value, kind)
    )
    return next(names, "null" if value is None else "a number" if _is_number(value) else "an array")


def _is_number(value: Any) -> bool:
    return type(value) is int or type(value) is float


def _float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def _first(rows: Rows, count: int) -> Rows:
    if isinstance(rows, list):
        return rows[:count]
    if isinstance(rows, Grid):
        return rows.first(count)
    return Table([one.first(count) if isinstance(one, Grid) else one[:count] for one in rows.columns])


def _columns(rows: Rows) -> list[Grid | list[Any]] | None:
    """The columns of a table; None: it is none."""
    if isinstance(rows, Table):
        return rows.columns
    if isinstance(rows, Grid) and len(rows.shape) == 2:
        return [rows.column(index) for index in range(rows.shape[1])]
    return None


def _sorted(numbers: Grid) -> tuple[Grid, Any]:
    """A row of numbers by size, and the place that each had."""
    order = numbers.values.argsort(kind="stable")
    return Grid(numbers.values[order], None if numbers.whole is None else numbers.whole[order]), order


def _place(index: int, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Where in an array of this shape the element of that number is."""
    at: list[int] = []
    for size in reversed(shape):
        index, here = divmod(index, size)
        at.append(here)
    return tuple(reversed(at))


def _texts(column: Grid | list[Any]) -> TypeGuard[list[str]]:
    return isinstance(column, list) and set(map(type, column)) <= {str}


def _cell(column: Grid | list[Any], row: int) -> Any:
    return column.number((row,)) if isinstance(column, Grid) else column[row]


def _plainly_equal(old: Any, new: Any) -> bool:
    try:
        return bool(old == new)
    except (RecursionError, ValueError):
        return False
