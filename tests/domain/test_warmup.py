"""Warm-up requests: what is one, and what is refused with its line."""

from __future__ import annotations

import pytest

from bannister.domain.warmup import WarmupRequest, parse
from bannister.errors import Invalid


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('{"content_type": "text/csv", "body": "1,2\\n"}', WarmupRequest(1, b"1,2\n", "text/csv")),
        ('{"body": {"x": [1.5, null]}}', WarmupRequest(1, b'{"x":[1.5,null]}', "application/json")),
        ('{"body": null}', WarmupRequest(1, b"null", "application/json")),
        ('{"body": [1], "content_type": "a/b", "count": 3}', WarmupRequest(1, b"[1]", "a/b", count=3)),
        (
            '{"body_base64": "AP8=", "content_type": "application/x-npy", "accept": "text/csv"}',
            WarmupRequest(1, b"\x00\xff", "application/x-npy", "text/csv"),
        ),
    ],
)
def test_a_line_is_a_request(line: str, expected: WarmupRequest) -> None:
    assert parse(line.encode(), "it", 10).requests == (expected,)


def test_empty_lines_are_none_and_lines_keep_their_numbers() -> None:
    found = parse(b'\n{"body": 1}\r\n\n  \n{"body": 2, "count": 9}', "it", 10)
    assert [(one.line, one.count) for one in found.requests] == [(2, 1), (5, 9)]
    assert parse(b"", "it", 1).requests == ()


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"5.1,3.5", "Line 1 of it is no warm-up request: "),
        (b"[" * 100_000, "Line 1 of it is no warm-up request: "),
        (b'{"body": "\xff"}', "Line 1 of it is no warm-up request: "),
        (b'{"body": 1, "times": 2}', "unknown field `times`"),
        (b"{}", "give either body or body_base64"),
        (b'{"body": 1, "body_base64": "AA=="}', "give either body or body_base64"),
        (b'{"body": "1,2"}', "give its content_type"),
        (b'{"body_base64": "AA=="}', "give its content_type"),
        (b'{"body_base64": "A", "content_type": "a/b"}', "its body_base64 is not base64"),
        (b'{"body": 1, "count": 0}', "count is 0; it must be 1 or more"),
        (b'{"body": 1, "content_type": "a/b\\r\\nX: y"}', "its content_type cannot be sent as a header"),
        (b'{"body": 1, "accept": ""}', "its accept cannot be sent as a header"),
        (b'{"body": 1, "count": 11}', "it has 11 warm-up requests; it may have 10."),
    ],
)
def test_what_is_none_is_refused_with_its_line(line: bytes, why: str) -> None:
    with pytest.raises(Invalid) as refused:
        parse(line, "it", 10)
    assert why in str(refused.value)
