"""The XML of S3: a writer for answers and a reader for the few bodies that clients send.

The reader takes no document type, so no entity of a client's own is ever expanded, and bounds the depth.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from bannister.aws.s3.faults import Fault

#: Text, or children in order; a child that is None is left out.
Node = str | Sequence["Child"]
Child = tuple[str, "Node | None"]

DECLARATION: Final = b'<?xml version="1.0" encoding="UTF-8"?>\n'
_NAMESPACE: Final = "http://s3.amazonaws.com/doc/2006-03-01/"
_DEPTH_MAX: Final = 16
# A carriage return must be written as a reference, or every parser reads it as a line feed.
_ESCAPES: Final = {code: f"&#x{code:X};" for code in range(0x20) if chr(code) not in "\t\n"} | {
    ord("&"): "&amp;",
    ord("<"): "&lt;",
    ord(">"): "&gt;",
    ord('"'): "&quot;",
}


def document(root: str, node: Node, *, namespace: str = _NAMESPACE) -> bytes:
    """A whole document with its declaration."""
    attribute = f' xmlns="{namespace}"' if namespace else ""
    return DECLARATION + f"<{root}{attribute}>{_content(node)}</{root}>".encode()


def _content(node: Node) -> str:
    if isinstance(node, str):
        return node.translate(_ESCAPES)
    return "".join(f"<{name}>{_content(child)}</{name}>" for name, child in node if child is not None)


def parse(body: bytes) -> Element:
    """A client's document, its tags without namespaces.

    Raises:
        Fault: `MalformedXML`.
    """
    builder = TreeBuilder()
    depth = 0

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth > _DEPTH_MAX:
            raise _malformed()
        builder.start(tag.rpartition("}")[2], attributes)

    def end(tag: str) -> None:
        nonlocal depth
        depth -= 1
        builder.end(tag.rpartition("}")[2])

    def refuse(*_: object) -> None:
        raise _malformed()

    parser = expat.ParserCreate(namespace_separator="}")
    parser.buffer_text = True
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(body, True)
    except (expat.ExpatError, ValueError, LookupError):
        # The latter two: an encoding that is none, or that Python cannot map.
        raise _malformed() from None
    return builder.close()


def _malformed() -> Fault:
    return Fault(
        "MalformedXML",
        "The XML you provided was not well-formed or did not validate against our published schema",
    )
