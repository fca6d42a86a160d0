"""The CBOR codec by RFC 8949's own examples, and against bytes that nobody should send."""

from __future__ import annotations

import contextlib
import math
import tracemalloc
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bannister.aws.wire import cbor
from bannister.aws.wire.cbor import DEPTH_MAX, Epoch, decode, encode
from bannister.aws.wire.values import Malformed

#: From the appendix of RFC 8949, as far as it is spoken here.
READ: list[tuple[str, Any]] = [
    ("00", 0),
    ("17", 23),
    ("1818", 24),
    ("1903e8", 1000),
    ("1a000f4240", 1000000),
    ("1b000000e8d4a51000", 1000000000000),
    ("1bffffffffffffffff", 2**64 - 1),
    ("3bffffffffffffffff", -(2**64)),
    ("20", -1),
    ("3903e7", -1000),
    ("f90000", 0.0),
    ("f93c00", 1.0),
    ("fb3ff199999999999a", 1.1),
    ("f97bff", 65504.0),
    ("fa47c35000", 100000.0),
    ("fb7e37e43c8800759c", 1.0e300),
    ("f90001", 5.960464477539063e-8),
    ("f9c400", -4.0),
    ("f97c00", math.inf),
    ("fa7f800000", math.inf),
    ("fbfff0000000000000", -math.inf),
    ("f4", False),
    ("f5", True),
    ("f6", None),
    ("f7", None),
    ("c11a514b67b0", Epoch(1363896240)),
    ("c1fb41d452d9ec200000", Epoch(1363896240.5)),
    ("40", b""),
    ("4401020304", b"\1\2\3\4"),
    ("60", ""),
    ("6161", "a"),
    ("62c3bc", "ü"),
    ("64f0908591", "\U00010151"),
    ("80", []),
    ("83010203", [1, 2, 3]),
    ("8301820203820405", [1, [2, 3], [4, 5]]),
    ("a0", {}),
    ("a26161016162820203", {"a": 1, "b": [2, 3]}),
    ("5f42010243030405ff", b"\1\2\3\4\5"),
    ("7f657374726561646d696e67ff", "streaming"),
    ("9fff", []),
    ("9f018202039f0405ffff", [1, [2, 3], [4, 5]]),
    ("83018202039f0405ff", [1, [2, 3], [4, 5]]),
    ("bf61610161629f0203ffff", {"a": 1, "b": [2, 3]}),
    ("bf6346756ef563416d7421ff", {"Fun": True, "Amt": -2}),
    ("1800", 0),  # longer than need be, which is allowed
    ("780161", "a"),
]


@pytest.mark.parametrize(("content", "value"), READ, ids=[content for content, _ in READ])
def test_what_is_read(content: str, value: Any) -> None:
    found = decode(bytes.fromhex(content))
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize("content", ["f97e00", "fa7fc00000", "fb7ff8000000000000"])
def test_no_number_is_read_in_every_width(content: str) -> None:
    assert math.isnan(decode(bytes.fromhex(content)))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "it ends within an item"),
        ("18", "it ends within an item"),
        ("62", "it ends within an item"),
        ("8201", "it ends within an item"),
        ("9f01", "it ends within an item"),
        ("a16161", "it ends within an item"),
        ("5f4101", "it ends within an item"),
        ("9bffffffffffffffff", "it ends within an item"),
        ("bbffffffffffffffff", "it ends within an item"),
        ("5bffffffffffffffff00", "it ends within an item"),
        ("0000", "there are bytes after the end"),
        ("a0ff", "there are bytes after the end"),
        ("1c", "not well-formed"),
        ("1f", "not well-formed"),
        ("dfff", "not well-formed"),
        ("ff", "a break stands where"),
        ("81ff", "a break stands where"),
        ("bf6161ff", "a break stands where"),
        ("f0", "unassigned"),
        ("f8ff", "unassigned"),
        ("a10101", "a key of a map is not a text"),
        ("a1f601", "a key of a map is not a text"),
        ("a2616101616102", "the key 'a' comes twice"),
        ("bf616101616102ff", "the key 'a' comes twice"),
        ("61ff", "not UTF-8"),
        ("7f61c361bcff", "not UTF-8"),  # one character over two pieces
        ("7f4161ff", "a piece of another kind"),
        ("5f5f4161ffff", "not well-formed"),
        ("c074323031332d30332d32315432303a30343a30305a", "tag 0 is not supported"),
        ("c249010000000000000000", "tag 2 is not supported"),
        ("d81c80", "tag 28 is not supported"),
        ("c16161", "seconds since the epoch are not a number"),
        ("c1f5", "seconds since the epoch are not a number"),
        ("c1c100", "seconds since the epoch are not a number"),
    ],
)
def test_what_is_refused(content: str, says: str) -> None:
    with pytest.raises(Malformed, match=says):
        decode(bytes.fromhex(content))


@pytest.mark.parametrize("nested", [b"\x81", b"\x9f", b"\xa1\x61a", b"\xbf\x61a", b"\xc1"])
def test_depth_is_bounded(nested: bytes) -> None:
    with pytest.raises(Malformed, match=r"nested more than|seconds since the epoch"):
        decode(nested * 100_000 + b"\x00")
    assert decode(b"\x81" * DEPTH_MAX + b"\x00")


def test_items_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cbor, "ITEMS_MAX", 1000)
    assert len(decode(b"\x99\x03\xe7" + b"\x00" * 999)) == 999
    for content in (b"\x99\x03\xe8" + b"\x00" * 1000, b"\x9f" + b"\x80" * 1000 + b"\xff"):
        with pytest.raises(Malformed, match="more than 1000 items"):
            decode(content)


def test_what_is_not_there_is_not_allocated() -> None:
    tracemalloc.start()
    try:
        for content in (b"\x9b" + b"\x7f" * 8, b"\xbb" + b"\x7f" * 8, b"\x5b" + b"\x7f" * 8):
            with pytest.raises(Malformed, match="ends within"):
                decode(content)
        _, claimed = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert claimed < 100_000


@pytest.mark.parametrize(
    ("value", "content"),
    [
        (23, "17"),
        (255, "18ff"),
        (256, "190100"),
        (65536, "1a00010000"),
        (2**32, "1b0000000100000000"),
        (-25, "3818"),
        (True, "f5"),
        (1.5, "fb3ff8000000000000"),
        ("ü", "62c3bc"),
        (b"a", "4161"),
        ({"a": [1, {}]}, "a161618201a0"),
        (Epoch(1363896240.0), "c11a514b67b0"),
        (Epoch(1363896240.5), "c1fb41d452d9ec200000"),
    ],
)
def test_what_is_written(value: Any, content: str) -> None:
    assert encode(value).hex() == content


@pytest.mark.parametrize("value", [None, 2**64, (1,), object()])
def test_what_is_not_spoken_is_not_written(value: Any) -> None:
    with pytest.raises(ValueError, match="CBOR has no"):
        encode([value])


TREES = st.recursive(
    st.booleans()
    | st.integers(-(2**64), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(max_size=30)
    | st.binary(max_size=300)
    | st.integers(-(2**40), 2**40).map(Epoch),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=5), inner, max_size=5),
    max_leaves=20,
)


@settings(max_examples=100, deadline=None)
@given(value=TREES)
def test_what_is_written_is_read(value: Any) -> None:
    assert decode(encode(value)) == value


@settings(max_examples=500, deadline=None)
@given(content=st.binary(max_size=60))
def test_no_bytes_are_more_than_malformed(content: bytes) -> None:
    with contextlib.suppress(Malformed):
        decode(content)


@settings(max_examples=100, deadline=None)
@given(value=TREES, data=st.data())
def test_no_part_of_a_document_is_one(value: Any, data: st.DataObject) -> None:
    content = encode([value])
    with pytest.raises(Malformed, match="ends within"):
        decode(content[: data.draw(st.integers(0, len(content) - 1))])
