"""CloudWatch Logs' filter patterns, as far as they are about text: terms and quoted phrases.

A pattern is terms between spaces. A line matches that contains all of them, anywhere and in this case; none that begin with a minus; of
those that begin with a question mark, one is enough. What is not letters, digits or underscores is put in double quotes. Patterns that look
into JSON or columns, and regular expressions, are refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from bannister.errors import Invalid, Unsupported

_TERM: Final = re.compile(r'\s*(?P<sign>[-?]?)(?:"(?P<phrase>(?:[^"\\]|\\.)*)"|(?P<term>[^\s"]+))(?=\s|$)')
_ESCAPED: Final = re.compile(r"\\(.)", re.DOTALL)
_OTHER_KINDS: Final = {"{": "a pattern for JSON", "[": "a pattern for columns", "%": "a regular expression"}


@dataclass(frozen=True, slots=True)
class LogPattern:
    """Which lines are wanted."""

    required: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()
    #: One of these is enough; empty: none is asked for.
    optional: tuple[str, ...] = ()

    def matches(self, line: str) -> bool:
        return (
            all(text in line for text in self.required)
            and not any(text in line for text in self.excluded)
            and (not self.optional or any(text in line for text in self.optional))
        )


def parse_pattern(pattern: str) -> LogPattern:
    """The pattern that a text means.

    Raises:
        Unsupported: It is of another kind, or mixes optional terms with others, which has no documented meaning.
        Invalid: A term has characters that need quotes, or a quote is not closed.
    """
    rest = pattern.strip()
    if kind := _OTHER_KINDS.get(rest[:1]):
        raise Unsupported(
            f"The filter pattern is {kind}. Terms and phrases in double quotes are supported, with - and ?."
        )
    found: dict[str, list[str]] = {"": [], "-": [], "?": []}
    while rest:
        match = _TERM.match(rest)
        if match is None:
            raise Invalid("Invalid filter pattern: a double quote is not closed, or stands inside of a term.")
        found[match["sign"]].append(_text(match))
        rest = rest[match.end() :].lstrip()
    if found["?"] and (found[""] or found["-"]):
        raise Unsupported("A filter pattern with ? terms can have no others: give either all of them a ?, or none.")
    return LogPattern(tuple(found[""]), tuple(found["-"]), tuple(found["?"]))


def _text(match: re.Match[str]) -> str:
    if match["phrase"] is not None:
        return _ESCAPED.sub(r"\1", match["phrase"])
    term = match["term"]
    if not all(letter.isalnum() or letter == "_" for letter in term):
        raise Invalid(f"Invalid character(s) in term '{term}': put it in double quotes.")
    return term
