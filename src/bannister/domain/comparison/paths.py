r"""Where in an answer a value is, and patterns that say which places are meant.

`$` is the whole answer, `.name` a member, `[2]` an element, `[*]` any element or member. A member whose name is no plain word is
written `['like this']`, with `\'` for a quotation mark in it and `\\` for a backslash. Outputs of KServe's V2 protocol are members by
their names: `$.outputs.scores.data[0]`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Final

#: A member's name or an element's number.
Step = str | int

#: Any member or element.
ANY: Final = None

_STEP = re.compile(
    r"\.(?P<word>[^\s.\[\]'*]+)|\[(?P<index>\d{1,9})\]|\[(?P<any>\*)\]|\.\*|\['(?P<quoted>(?:[^'\\]|\\['\\]|\\(?!['\\]))*)'\]"
)
_ESCAPED = re.compile(r"\\(['\\])")
_WORD = re.compile(r"[^\s.\[\]'*]+")


def parse(pattern: str) -> tuple[Step | None, ...]:
    """The steps of a pattern.

    Raises:
        ValueError: It is none; the sentence says what is wrong.
    """
    if not pattern.startswith("$"):
        raise ValueError(f"The path {pattern!r} does not begin with $, the whole answer.")
    steps: list[Step | None] = []
    at = 1
    while at < len(pattern):
        match = _STEP.match(pattern, at)
        if match is None:
            raise ValueError(
                f"The path {pattern!r} cannot be read from {pattern[at:]!r} on. Write members as .name or ['a name'], elements as [2], any as [*]."
            )
        if match["index"] is not None:
            steps.append(int(match["index"]))
        elif match["word"] is not None:
            steps.append(match["word"])
        elif match["quoted"] is not None:
            steps.append(_ESCAPED.sub(r"\1", match["quoted"]))
        else:
            steps.append(ANY)
        at = match.end()
    return tuple(steps)


def spell(path: Iterable[Step | None]) -> str:
    """A path as people write it, or a pattern."""
    parts = ["$"]
    for step in path:
        if step is ANY:
            parts.append("[*]")
        elif isinstance(step, int):
            parts.append(f"[{step}]")
        else:
            parts.append(f".{step}" if _WORD.fullmatch(step) else _quoted(step))
    return "".join(parts)


def _quoted(name: str) -> str:
    escaped = re.sub(r"(['\\])", r"\\\1", name)
    return f"['{escaped}']"


def general(path: Iterable[Step]) -> tuple[str | None, ...]:
    """The pattern of a place and all others that differ from it only in the numbers of elements."""
    return tuple([ANY if isinstance(step, int) else step for step in path])


class Patterns:
    """Several patterns, asked again and again."""

    def __init__(self, patterns: Sequence[str]) -> None:
        """Raises ValueError as `parse`."""
        parsed = [parse(one) for one in patterns]
        self._by_length = {
            length: [one for one in parsed if len(one) == length] for length in {len(one) for one in parsed}
        }

    def match(self, path: Sequence[Step]) -> bool:
        """One of them is exactly this place."""
        found = self._by_length.get(len(path))
        return found is not None and any(_fits(one, path) for one in found)

    def below(self, path: Sequence[Step]) -> list[tuple[Step | None, ...]]:
        """Those that may be places inside this one, from here on."""
        deeper = [one for length, found in self._by_length.items() if length > len(path) for one in found]
        return [one[len(path) :] for one in deeper if _fits(one, path)]


@lru_cache(maxsize=64)
def patterns(written: tuple[str, ...]) -> Patterns:
    """The patterns of an endpoint's rules, read once. Raises ValueError as `parse`."""
    return Patterns(written)


def _fits(pattern: Sequence[Step | None], path: Sequence[Step]) -> bool:
    return all(wanted is ANY or wanted == step for wanted, step in zip(pattern, path, strict=False))
