"""Two answers, read into values, walked side by side.

What differs in structure (members, lengths, shapes, types) is told apart from what differs in value. Walking is bounded in depth and
in the number of values; what lies beyond is compared for plain equality, in which no tolerance and no ignored path holds.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

from bannister.domain.comparison.paths import Step, general, patterns, spell
from bannister.domain.comparison.rules import Rules

DEPTH_MAX: Final = 64
VALUES_MAX: Final = 50_000
#: Label-like values that are counted of one answer.
LABELS_MAX: Final = 1000
#: Characters of a value that is shown.
SHOWN_MAX: Final = 64
#: Differences of numbers are cut here, so that sums of them stay finite.
DIFFERENCE_MAX: Final = 1e300

#: From so many numbers in a row on, numpy compares them.
_ROW_MIN: Final = 16

Path = tuple[Step, ...]


class Walk:
    """One comparison under way. The attributes are what it has found."""

    def __init__(self, rules: Rules) -> None:
        """Raises ValueError if a path of the rules is none."""
        self._rules = rules
        self._ignored = patterns(rules.ignored_paths)
        self._unordered = patterns(rules.unordered_paths)
        self._left = VALUES_MAX
        self._labels_left = LABELS_MAX
        self.differs = False
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
        if self._ignored.match(path):
            return
        self._left -= 1
        if self._left < 0 or len(path) > DEPTH_MAX:
            if not _plainly_equal(old, new):
                self._differ(path, old, new)
        elif isinstance(old, dict) and isinstance(new, dict):
            self._members(path, old, new)
        elif isinstance(old, list) and isinstance(new, list):
            self._elements(path, old, new)
        elif _is_number(old) and _is_number(new):
            self._number(path, old, new)
        elif type(old) is type(new) and not hasattr(old, "dtype"):
            if isinstance(old, str | bool):
                self._label(path, old, new)
            if old != new:
                self._differ(path, old, new)
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

    def _elements(self, path: Path, old: list[Any], new: list[Any]) -> None:
        if len(old) != len(new):
            self._structure(path, old, new, f"{len(old)} elements became {len(new)}")
        if self._unordered.match(path):
            old, new = sorted(old, key=_order), sorted(new, key=_order)
        if len(old) == len(new) >= _ROW_MIN and not self._ignored.reach_below(path) and _floats(old) and _floats(new):
            import numpy as np

            self._left -= len(old) // _ROW_MIN
            self._rows(path, np.asarray(old), np.asarray(new))
            return
        for index, (one, other) in enumerate(zip(old, new, strict=False)):
            self.values((*path, index), one, other)
        for index in range(len(old), len(new)):
            self._check((*path, index), new[index])

    def _structure(self, path: Path, old: Any, new: Any, what: str) -> None:
        if self.structural is None:
            where = spell(path)
            self.structural = f"{shown(where)} {what}" if what.startswith("is ") else f"{shown(where)}: {what}"
            self.first = (shown(where), shown(old), shown(new))
        self.differs = True

    def _differ(self, path: Path, old: Any, new: Any) -> None:
        self.differs = True
        if self.first is None:
            self.first = (shown(spell(path)), shown(old), shown(new))

    # --- values

    def _number(self, path: Path, old: float, new: float) -> None:
        a, b = _float(old), _float(new)
        self._bounds(b)
        if type(old) is int and type(new) is int:
            self._label(path, old, new)
            agree = old == new
        else:
            agree = a == b or (math.isnan(a) and math.isnan(b)) or self._close(a, b)
        if math.isfinite(a) and math.isfinite(b):
            self._difference(b - a, abs(b - a), 1)
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
        self.largest = min(max(self.largest or 0.0, largest), DIFFERENCE_MAX)
        self._signed += min(max(signed, -DIFFERENCE_MAX), DIFFERENCE_MAX)
        self._numbers += count

    def _label(self, path: Path, old: Any, new: Any) -> None:
        if self._labels_left > 0:
            self._labels_left -= 1
            self._labels[general(path), shown(old), shown(new)] += 1

    def _check(self, path: Path, value: Any) -> None:
        """Look for invalid numbers in what only the shadow answered."""
        self._left -= 1
        if self._left < 0 or len(path) > DEPTH_MAX or self._ignored.match(path):
            return
        if _is_number(value):
            self._bounds(_float(value))
        elif isinstance(value, dict):
            for name, one in value.items():
                self._check((*path, name), one)
        elif isinstance(value, list):
            for index, one in enumerate(value):
                self._check((*path, index), one)

    # --- arrays

    def _arrays(self, path: Path, old: Any, new: Any) -> None:
        """Whole arrays, as NPY holds them; a structural difference leaves no values to compare."""
        if old.shape != new.shape:
            self._structure(path, old, new, f"shape {old.shape} became {new.shape}")
        elif old.dtype.newbyteorder("=") != new.dtype.newbyteorder("="):
            self._structure(path, old, new, f"type {old.dtype} became {new.dtype}")
        else:
            self._rows(path, old.ravel(), new.ravel(), old.shape)
            return
        if new.dtype.kind in "iuf":
            self._array_bounds(new)

    def _rows(self, path: Path, old: Any, new: Any, shape: tuple[int, ...] | None = None) -> None:
        """Numbers or words in a row; `shape`: that of the array they are the elements of."""
        import numpy as np

        if old.dtype.kind in "biuSU":
            for a, b in zip(old[: self._labels_left].tolist(), new[: self._labels_left].tolist(), strict=True):
                self._label((*path, 0), a, b)
        if old.dtype.kind in "bSU":
            wrong = old != new
        else:
            self._array_bounds(new)
            with np.errstate(all="ignore"):
                a, b = old.astype("f8"), new.astype("f8")
                signed = b - a
                if old.dtype.kind == "f":
                    allowed = self._rules.absolute_tolerance + self._rules.relative_tolerance * np.abs(a)
                    close = np.isfinite(a) & (np.abs(signed) <= allowed)
                    wrong = ~((a == b) | (np.isnan(a) & np.isnan(b)) | close)
                else:
                    wrong = old != new
                finite = np.isfinite(a) & np.isfinite(b)
                cut = np.clip(signed[finite], -DIFFERENCE_MAX, DIFFERENCE_MAX)
                if cut.size:
                    self._difference(float(np.mean(cut)) * cut.size, float(np.abs(cut).max()), int(cut.size))
        for index in np.flatnonzero(wrong)[:1].tolist():
            at: tuple[int, ...] = (index,)
            if shape is not None:
                at = tuple(int(one) for one in np.unravel_index(index, shape)) if shape else ()
            self._differ((*path, *at), old[index].item(), new[index].item())

    def _array_bounds(self, new: Any) -> None:
        import numpy as np

        low, high = self._rules.minimum, self._rules.maximum
        infinite = new.dtype.kind == "f" and not np.isfinite(new).all()
        outside = new.size and ((low is not None and new.min() < low) or (high is not None and new.max() > high))
        self.invalid = self.invalid or bool(infinite or outside)


def shown(value: Any) -> str:
    """A value for people: short, on one line, and sound as UTF-8."""
    if isinstance(value, str):
        text = value
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
    elif isinstance(value, list):
        text = f"a list of {len(value)}"
    else:
        text = f"{value.dtype}{value.shape}"
    if len(text) <= SHOWN_MAX and text.isascii() and text.isprintable():
        return text
    text = text[: SHOWN_MAX + 1].encode("utf-8", "backslashreplace").decode()
    text = "".join([one if one.isprintable() else "·" for one in text])
    return text if len(text) <= SHOWN_MAX else text[: SHOWN_MAX - 1] + "…"


def _kind(value: Any) -> str:
    names: Iterator[str] = (
        name
        for kind, name in (
            (dict, "an object"),
            (list, "a list"),
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


def _floats(values: list[Any]) -> bool:
    return all(type(one) is float for one in values)


def _order(value: Any) -> tuple[int, float, str]:
    """An order of any values in which equal ones are neighbours, and close numbers too."""
    if _is_number(value) and not math.isnan(value):
        return 0, _float(value), ""
    try:
        return 1, 0.0, json.dumps(value, sort_keys=True, default=str)
    except (ValueError, RecursionError):
        return 2, 0.0, ""


def _plainly_equal(old: Any, new: Any) -> bool:
    try:
        return bool(old == new)
    except (RecursionError, ValueError):
        return False
