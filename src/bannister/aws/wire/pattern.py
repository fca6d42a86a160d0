r"""A model's regular expressions, for Python.

The models are written for Java. The two dialects differ in four ways that occur in them:

* `\p{L}` and other Unicode classes, which Python's `re` lacks. Expanding them to ranges takes hundreds of entries, so the *text* is
  rewritten instead: each non-ASCII character becomes one private character that stands for its general category, and
  `\p{L}` becomes the ASCII letters and the stand-ins of Lu, Ll, Lt, Lm and Lo.
* `\d`, `\w` and `\s` mean ASCII only (`re.ASCII`).
* Characters past U+FFFF are written as two surrogates.
* `\z`, and a repeated `$`, which Java allows and which repeats nothing.

A pattern must match the whole value.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import cache

_CATEGORIES = [
    "Lu",
    "Ll",
    "Lt",
    "Lm",
    "Lo",
    "Mn",
    "Mc",
    "Me",
    "Nd",
    "Nl",
    "No",
    "Pc",
    "Pd",
    "Ps",
    "Pe",
    "Pi",
    "Pf",
    "Po",
    "Sm",
    "Sc",
    "Sk",
    "So",
    "Zs",
    "Zl",
    "Zp",
    "Cc",
    "Cf",
    "Cs",
    "Co",
    "Cn",
]
_STAND_INS = {category: chr(0xE000 + index) for index, category in enumerate(_CATEGORIES)}
_POSIX = {"ASCII": r"\x00-\x7f", "Print": r"\x20-\x7e", "Alnum": "a-zA-Z0-9"}

_TOKENS = re.compile(r"\\p\{(?P<property>\w+)\}|\\(?P<escaped>.)|(?P<bracket>[\[\]])|(?P<other>[^\\\[\]]+)", re.DOTALL)
_SURROGATES = re.compile(r"\\u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})")
_REPEATED_END = re.compile(r"(?<!\\)\$\{\d+(?:,\d*)?\}")


@dataclass(frozen=True, slots=True)
class Pattern:
    """A compiled pattern; `matches` is true where the whole value matches."""

    expression: re.Pattern[str]
    by_category: bool

    def matches(self, value: str) -> bool:
        return self.expression.fullmatch(_categorised(value) if self.by_category else value) is not None


@cache
def compiled(java: str) -> Pattern | None:
    """The pattern for Python; None where it cannot be translated, and the value is then accepted."""
    source = _SURROGATES.sub(_astral, _REPEATED_END.sub("$", java))
    try:
        return Pattern(re.compile(_translated(source), re.ASCII), by_category=r"\p{" in source)
    except re.error:
        return None


def _astral(surrogates: re.Match[str]) -> str:
    high, low = (int(digits, 16) for digits in surrogates.groups())
    return f"\\U{0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00):08x}"


def _translated(source: str) -> str:
    pieces = []
    in_class = False
    for token in _TOKENS.finditer(source):
        if name := token["property"]:
            pieces.append(_members(name) if in_class else f"[{_members(name)}]")
        elif token["escaped"] == "z":
            pieces.append(r"\Z")
        else:
            if token["bracket"]:
                in_class = token["bracket"] == "["
            pieces.append(token[0])
    return "".join(pieces)


@cache
def _members(name: str) -> str:
    """The inside of a character class for a Unicode or POSIX class."""
    if name in _POSIX:
        return _POSIX[name]
    categories = [category for category in _CATEGORIES if category.startswith(name)]
    if not categories:
        raise re.error(f"unknown class {name}")
    ascii_members = [chr(code) for code in range(128) if unicodedata.category(chr(code)) in categories]
    return "".join(map(re.escape, ascii_members)) + "".join(_STAND_INS[category] for category in categories)


def _categorised(value: str) -> str:
    return "".join(char if char.isascii() else _STAND_INS[unicodedata.category(char)] for char in value)
