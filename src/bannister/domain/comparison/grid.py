"""Numbers in rows, as arrays: so many of them that walking them one by one would take seconds.

What is made here says the same as the lists it is made of, down to which numbers were written as whole ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

import msgspec

if TYPE_CHECKING:
    import numpy as np

#: Deeper nests of lists are walked one by one.
_DIMENSIONS_MAX: Final = 8
#: Below this a float holds every whole number.
_EXACT_MAX: Final = 2**53


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """Lists of lists of numbers, all of the same length."""

    #: Of whole numbers (i8), or of floats (f8).
    values: np.ndarray[Any, Any]
    #: Among floats, those that were written as whole numbers; None: none.
    whole: np.ndarray[Any, Any] | None = None

    def __len__(self) -> int:
        return len(self.values)

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.values.shape)

    def is_whole(self) -> Any:
        """Of each number, whether it was written as a whole one; True or False: all are, or none."""
        return self.whole if self.whole is not None else self.values.dtype.kind == "i"

    def number(self, at: tuple[int, ...]) -> int | float:
        """One of them."""
        value: int | float = self.values[at].item()
        return int(value) if self.whole is not None and self.whole[at] else value

    def first(self, count: int) -> Grid:
        return Grid(self.values[:count], None if self.whole is None else self.whole[:count])

    def column(self, index: int) -> Grid:
        return Grid(self.values[:, index], None if self.whole is None else self.whole[:, index])

    def reshaped(self, shape: Sequence[int]) -> Grid:
        return Grid(self.values.reshape(shape), None if self.whole is None else self.whole.reshape(shape))

    def lists(self) -> list[Any]:
        """The lists that it was made of."""
        if self.whole is None:
            return self.values.tolist()  # type: ignore[no-any-return]
        values = self.values.astype(object)
        values[self.whole] = self.values[self.whole].astype("i8").astype(object)
        return values.tolist()  # type: ignore[no-any-return]


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """Rows of CSV that are not all numbers, by columns: those of numbers as grids, all others as lists."""

    columns: list[Grid | list[Any]]

    def __len__(self) -> int:
        return len(self.columns[0])

    def lists(self) -> list[Any]:
        """The rows."""
        columns = [one.lists() if isinstance(one, Grid) else one for one in self.columns]
        return [list(row) for row in zip(*columns, strict=True)]


@dataclass(frozen=True, slots=True, eq=False)
class Beginning:
    """As much as is read of values of which there are too many, and what comes after as it was written."""

    values: Any
    rest: str


def of_lists(values: list[Any]) -> Grid | None:
    """The grid of a list of numbers, or of lists of them; None: it is none."""
    shape = [len(values)]
    while values and type(values[0]) is list and len(shape) < _DIMENSIONS_MAX:
        if set(map(type, values)) != {list} or len(set(map(len, values))) != 1:
            return None
        shape.append(len(values[0]))
        values = list(chain.from_iterable(values))
    if not values or type(values[0]) not in (int, float):
        return None
    flat = of_numbers(values)
    return None if flat is None else flat.reshaped(shape)


def of_numbers(values: Sequence[Any]) -> Grid | None:
    """The grid of numbers in one row; None: they are not all numbers, or some are too large to be exact."""
    import numpy as np

    kinds = set(map(type, values))
    try:
        if kinds == {float}:
            return Grid(np.array(values, "f8"))
        if kinds == {int}:
            return Grid(np.array(values, "i8"))
        if kinds != {int, float}:
            return None
        floats = np.array(values, "f8")
    except OverflowError:
        return None
    whole = np.fromiter((type(one) is int for one in values), "?", len(values))
    return Grid(floats, whole) if np.abs(floats[whole]).max() < _EXACT_MAX else None


def of_csv(body: bytes) -> Grid | None:
    """The grid of CSV whose every cell is a number, written as in JSON or as one that is not finite; None: it is none."""
    import numpy as np

    text = body.removeprefix(b"\xef\xbb\xbf")
    if b"\r" in text:
        text = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    text = text.rstrip(b"\n")
    if b'"' in text or not text:
        return None
    characters = np.frombuffer(text, "u1")
    separators = np.flatnonzero((characters == ord(",")) | (characters == ord("\n")))
    special, values, finite = np.empty(0, "i8"), np.empty(0), text
    if b"n" in text or b"N" in text:
        special, values, finite = _without_infinite(text, separators)
    flat = _decoded(finite.replace(b"\n", b","))
    if flat is None:
        return None
    if special.size:
        flat.values[special] = values
    rows = text.count(b"\n") + 1
    columns, left = divmod(len(flat), rows)
    if left:
        return None
    if columns > 1:
        ends = np.flatnonzero(characters[separators] == ord("\n"))
        if not np.array_equal(ends, np.arange(1, rows) * columns - 1):
            return None
    return flat.reshaped((rows, columns))


def _without_infinite(text: bytes, separators: Any) -> tuple[Any, Any, bytes]:
    """Cells that are NaN or infinite, which JSON has no words for: their numbers, their values, and the text with zeros in their places."""
    import numpy as np

    longest = len(b"+infinity")
    padded = np.frombuffer(text + b"\n" * longest, "u1").copy()
    lower = padded | 0x20
    begins, ends = np.concatenate(([0], separators + 1)), np.concatenate((separators, [len(text)]))
    signed = (padded[begins] == ord("+")) | (padded[begins] == ord("-"))
    negative = padded[begins] == ord("-")
    found = np.zeros(len(begins), "?")
    values = np.where(negative, -np.inf, np.inf)
    for word in (b"nan", b"inf", b"infinity"):
        here = np.flatnonzero(ends - begins - signed == len(word))
        first = begins[here] + signed[here]
        for offset, letter in enumerate(word):
            fits = lower[first + offset] == letter
            here, first = here[fits], first[fits]
        found[here] = True
        if word == b"nan":
            values[here] = np.nan
        padded[begins[here]] = ord(" ")
        for offset, letter in enumerate(b"0.0".ljust(len(word))):
            padded[first + offset] = letter
    return np.flatnonzero(found), values[found], padded[: len(text)].tobytes()


def of_cells(cells: Sequence[str]) -> Grid | None:
    """The grid of one column of cells, all written as JSON writes numbers; None: they are not."""
    made = _decoded(",".join(cells).encode())
    # As many numbers as cells: none of them holds a separator.
    return made if made is not None and len(made) == len(cells) else None


def _decoded(numbers: bytes) -> Grid | None:
    try:
        values = msgspec.json.decode(b"[" + numbers + b"]")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return of_numbers(values)
