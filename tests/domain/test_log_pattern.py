"""Which lines a filter pattern matches, and which patterns are refused."""

from __future__ import annotations

import pytest

from bannister.domain.log_pattern import parse_pattern
from bannister.errors import Invalid, Refused, Unsupported

LINES = ["[ERROR 400] BAD REQUEST", "[ERROR 401] UNAUTHORIZED", "warn: error code 7", 'said "so" \\ there', ""]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("", [0, 1, 2, 3, 4]),
        ("   ", [0, 1, 2, 3, 4]),
        ("ERROR", [0, 1]),
        ("error", [2]),
        ("ERR", [0, 1]),
        ("ERROR 401", [1]),
        ("401   ERROR", [1]),
        ('"BAD REQUEST"', [0]),
        ('"REQUEST BAD"', []),
        ("REQUEST BAD", [0]),
        ("ERROR -401", [0]),
        ('-ERROR -"warn: "', [3, 4]),
        ("?BAD ?warn", [0, 2]),
        ('?"BAD REQUEST" ?UNAUTHORIZED', [0, 1]),
        (r'"\"so\" \\"', [3]),
        ('"[ERROR 400]"', [0]),
        ('""', [0, 1, 2, 3, 4]),
    ],
)
def test_which_lines_match(pattern: str, expected: list[int]) -> None:
    found = parse_pattern(pattern)
    assert [number for number, line in enumerate(LINES) if found.matches(line)] == expected


@pytest.mark.parametrize(
    ("pattern", "kind", "says"),
    [
        ('{ $.level = "ERROR" }', Unsupported, "a pattern for JSON"),
        ("[ip, user, status=4*]", Unsupported, "a pattern for columns"),
        ("%[0-9]+%", Unsupported, "a regular expression"),
        ("?a b", Unsupported, "can have no others"),
        ("?a -b", Unsupported, "can have no others"),
        ("time-out", Invalid, r"Invalid character\(s\) in term 'time-out': put it in double quotes"),
        ("a.b", Invalid, r"Invalid character\(s\) in term 'a.b'"),
        ("-", Invalid, r"Invalid character\(s\) in term '-'"),
        ('"open', Invalid, "a double quote is not closed"),
        ('half"way"', Invalid, "a double quote"),
        ('"one""two"', Invalid, "a double quote"),
    ],
)
def test_what_is_refused(pattern: str, kind: type[Refused], says: str) -> None:
    with pytest.raises(kind, match=says):
        parse_pattern(pattern)
