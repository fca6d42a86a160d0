"""A refusal passes from the proxy to the control plane in a header, and whoever else writes one writes at most a refusal."""

import pytest

from bannister.domain.runtime_texts import Reply, read_refusal, written_refusal

REFUSAL = Reply(413, "ValidationError", '{"Message": "too large"}')


def test_what_is_written_is_read() -> None:
    assert read_refusal(written_refusal(REFUSAL)) == REFUSAL


@pytest.mark.parametrize(
    "value",
    [
        "",
        "x",
        "[]",
        '{"status": 413}',
        written_refusal(Reply(200, "ValidationError", "")),
        written_refusal(Reply(304, "ValidationError", "")),
        written_refusal(Reply(999, "ValidationError", "")),
        written_refusal(Reply(400, "a\r\nb: c", "")),
        written_refusal(Reply(400, "é", "")),
    ],
)
def test_what_is_no_refusal(value: str) -> None:
    assert read_refusal(value) is None
