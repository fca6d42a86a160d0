"""Which headers pass between a caller and a model: those that AWS documents, and what HTTP needs. Nothing else does, in either direction.

A pattern can only say what a header's name is like, not what it is unlike, so the complement of the list is written out as one (`other_than`): at each place, a character with which no name of
the list goes on, or an end where none ends. Envoy removes the headers whose whole names match.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

#: What a model sees of a request. Envoy writes the rest of it: `Host`, the length, the id that it gave the request.
REQUEST_HEADERS: Final = (
    "content-type",
    "accept",
    "x-amzn-sagemaker-custom-attributes",
    "x-amzn-sagemaker-inference-id",
    "x-amzn-sagemaker-prefix-aware-id",
    "x-amzn-sagemaker-session-id",
)
_REQUEST_FRAMING: Final = (
    ":authority",
    ":method",
    ":path",
    ":scheme",
    "content-length",
    "host",
    "transfer-encoding",
    "x-request-id",
)
#: What a caller sees of a model's answer, beside what the proxy adds. An encoding belongs to the body: without its name nobody could read it.
RESPONSE_HEADERS: Final = (
    "content-type",
    "content-encoding",
    "x-amzn-sagemaker-custom-attributes",
    "x-amzn-sagemaker-new-session-id",
    "x-amzn-sagemaker-closed-session-id",
)
_RESPONSE_FRAMING: Final = (":status", "content-length", "transfer-encoding")


def not_for_the_model() -> str:
    """Matches the names of a request's headers that no model sees."""
    return other_than((*REQUEST_HEADERS, *_REQUEST_FRAMING))


def not_for_the_caller() -> str:
    """Matches the names of an answer's headers that no caller sees."""
    return other_than((*RESPONSE_HEADERS, *_RESPONSE_FRAMING))


def other_than(names: Iterable[str]) -> str:
    """A regular expression, without look-around, for whole strings that are none of these."""
    tree: dict[str, Any] = {}
    for name in names:
        node = tree
        for character in (*name, ""):  # "": a name ends here
            node = node.setdefault(character, {})
    return _other_than(tree)


def _other_than(tree: dict[str, Any]) -> str:
    following = sorted(character for character in tree if character)
    if not following:
        return ".+"
    unlike = f"[^{''.join(map(re.escape, following))}].*"
    like = [re.escape(character) + _other_than(tree[character]) for character in following]
    whole = f"(?:{'|'.join((unlike, *like))})"
    return whole if "" in tree else whole + "?"
