"""AWS's query protocol: a form comes in, XML goes out. What older boto3 and many small tools speak to CloudWatch.

Every operation is `POST /` with a form that names it as `Action` and the service's `Version`. Nesting is in the names of the fields:
`MetricData.member.1.Dimensions.member.2.Value`. Lists are written `.member.N`, maps `.entry.N.key` and `.entry.N.value`, flattened
ones without the word in the middle; an empty value stands for an empty list. Only POST is answered: a page of another site can make
a browser send a GET without an `Origin`, which nothing would tell from a request of the user's.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl, unquote_plus

from bannister.aws.wire import values
from bannister.aws.wire.answer import Answer
from bannister.aws.wire.fault import Fault
from bannister.aws.wire.validate import camel
from bannister.aws.wire.values import Malformed, mistyped

if TYPE_CHECKING:
    from botocore.model import OperationModel, ServiceModel, Shape

#: The protocol's name in botocore's models.
PROTOCOL: Final = "query"
#: Of requests.
FORM: Final = "application/x-www-form-urlencoded"
CONTENT_TYPE: Final = "text/xml"

#: Fields of one form. More than AWS's 1 MB of form can have of PutMetricData's.
FIELDS_MAX: Final = 200_000
#: Structures, lists and maps that the names of a form's fields make.
NODES_MAX: Final = 200_000
#: Dots in the name of a field. CloudWatch's deepest has 11.
DOTS_MAX: Final = 32

#: What the names of the fields make: a text, or more names.
_Node = str | dict[str, "_Node"]

_INDEX: Final = re.compile(r"[1-9][0-9]{0,8}")
_INTEGER: Final = re.compile(r"[+-]?[0-9]{1,20}")
_REAL: Final = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,4})?|NaN|[+-]?Infinity")
_ASKED: Final = re.compile(rb"(?:^|&)(Action|Version)=([^&]{0,200})")

#: XML 1.0 has no way to write these at all, so a reader gets the replacement character instead of no document.
_UNWRITABLE: Final = [*(code for code in range(0x20) if chr(code) not in "\t\n\r"), 0xFFFE, 0xFFFF]
# A carriage return must be written as a reference, or every parser reads it as a line feed.
_ESCAPES: Final = dict.fromkeys(_UNWRITABLE, "\ufffd") | {
    ord("\r"): "&#13;",
    ord("&"): "&amp;",
    ord("<"): "&lt;",
    ord(">"): "&gt;",
    ord('"'): "&quot;",
}


# --- in


def asked(body: bytes) -> tuple[str, str]:
    """The operation and the version of the API that a form names; empty where it names none."""
    found = {match[1]: unquote_plus(match[2].decode("latin-1")) for match in _ASKED.finditer(body)}
    return found.get(b"Action", ""), found.get(b"Version", "")


def parse(shape: Shape | None, body: bytes) -> dict[str, Any]:
    """An operation's input from a form. Fields unknown to the model are left out.

    Raises:
        Malformed: It is not a form, a field is there twice, or a value has not the type that the model asks for.
    """
    tree = _tree(_fields(body))
    return _structure(shape, tree, "") if shape is not None else {}


def _fields(body: bytes) -> list[tuple[str, str]]:
    try:
        text = body.decode()
        if text.count("&") >= FIELDS_MAX:
            raise Malformed(f"The form has more than {FIELDS_MAX} fields.")
        return parse_qsl(text, keep_blank_values=True, errors="strict")
    except UnicodeDecodeError:
        raise Malformed("The form is not UTF-8.") from None


def _tree(fields: list[tuple[str, str]]) -> dict[str, _Node]:
    root: dict[str, _Node] = {}
    nodes = 0
    for name, text in fields:
        if name.count(".") > DOTS_MAX:
            raise Malformed(f"The name of a field has more than {DOTS_MAX} dots.")
        *parents, last = name.split(".")
        node = root
        for parent in parents:
            below = node.get(parent)
            if below is None:
                below = node[parent] = {}
                nodes += 1
            if not isinstance(below, dict):
                raise _both(name)
            node = below
        if last in node:
            raise Malformed(f"The field {name[:200]!r} is there twice.") if isinstance(node[last], str) else _both(name)
        node[last] = text
        if nodes > NODES_MAX:
            raise Malformed(f"The form has more than {NODES_MAX} structures and lists.")
    return root


def _both(name: str) -> Malformed:
    return Malformed(f"The field {name[:200]!r} has a part that is both a value and a structure.")


def _value(shape: Shape, found: _Node, path: str) -> Any:
    match shape.type_name:
        case "structure":
            return _structure(shape, found, path)
        case "list":
            return [
                _value(shape.member, item, f"{path}.{number}.member")
                for number, item in enumerate(_numbered(shape, found, path), start=1)
            ]
        case "map":
            return _map(shape, found, path)
        case _ if isinstance(found, str):
            return _scalar(shape, found, path)
        case _:
            raise mistyped(shape, found, path)


def _structure(shape: Shape, found: _Node, path: str) -> dict[str, Any]:
    if found == "":
        return {}
    if not isinstance(found, dict):
        raise mistyped(shape, found, path)
    prefix = f"{path}." if path else ""
    return {
        name: _value(member, found[field], prefix + camel(name))
        for name, member in shape.members.items()
        if (field := _field(name, member)) in found
    }


def _field(name: str, member: Shape) -> str:
    """What a member is called in a form and in XML: a flattened list lends its items' name to the member."""
    of_items = member.member.serialization.get("name") if member.type_name == "list" and _flat(member) else None
    return str(of_items or member.serialization.get("name", name))


def _flat(shape: Shape) -> bool:
    return bool(shape.serialization.get("flattened"))


def _numbered(shape: Shape, found: _Node, path: str) -> list[_Node]:
    """The items of a list, or the entries of a map, in the order of their numbers. Numbers may be left out."""
    if found == "":
        return []
    if not isinstance(found, dict):
        raise mistyped(shape, found, path)
    numbered: _Node = found
    if not _flat(shape):
        word = "entry" if shape.type_name == "map" else shape.member.serialization.get("name", "member")
        numbered = found[word] if list(found) == [word] else ""
    if not isinstance(numbered, dict) or not all(map(_INDEX.fullmatch, numbered)):
        raise Malformed(f"What is in '{path}' is not numbered from 1, as a {shape.type_name} is in a form.")
    return [numbered[number] for number in sorted(numbered, key=int)]


def _map(shape: Shape, found: _Node, path: str) -> dict[str, Any]:
    key_field = shape.key.serialization.get("name", "key")
    value_field = shape.value.serialization.get("name", "value")
    entries: dict[str, Any] = {}
    for entry in _numbered(shape, found, path):
        if not isinstance(entry, dict) or not isinstance(key := entry.get(key_field), str) or value_field not in entry:
            raise Malformed(f"An entry of '{path}' has not one {key_field} and one {value_field}.")
        if key in entries:
            raise Malformed(f"The key {key[:100]!r} comes twice in '{path}'.")
        entries[key] = _value(shape.value, entry[value_field], f"{path}.{key}.member")
    return entries


def _scalar(shape: Shape, text: str, path: str) -> Any:
    match shape.type_name:
        case "string" | "character":
            return text
        case "boolean" if text.lower() in ("true", "false"):
            return text.lower() == "true"
        case "integer" | "long" if _INTEGER.fullmatch(text):
            return values.whole_number(shape, int(text), path)
        case "float" | "double" if _REAL.fullmatch(text):
            number = float(text)
            if math.isinf(number) and "Infinity" not in text:
                raise mistyped(shape, text, path)
            return number
        case "timestamp":
            return _timestamp(shape, text, path)
        case "blob":
            try:
                return base64.b64decode(text, validate=True)
            except (binascii.Error, ValueError):
                raise mistyped(shape, text, path) from None
        case _:
            raise mistyped(shape, text, path)


def _timestamp(shape: Shape, text: str, path: str) -> float:
    """ISO 8601, in UTC where it names no zone. Seconds since the epoch are refused, as AWS does and in its words."""
    try:
        moment = datetime.fromisoformat(text)
        return values.seconds(shape, (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp(), path)
    except (ValueError, OverflowError):
        raise Malformed("timestamp must follow ISO8601") from None


# --- out


def render(operation: OperationModel, output: Mapping[str, Any], request_id: str) -> Answer:
    """The answer to a request that succeeded: the output within two wrappers, and the request's id.

    Raises:
        ValueError: The output has a member that the shape has not, or of another type: a mistake of the handler.
    """
    pieces: list[str] = []
    shape = operation.output_shape
    if shape is not None:
        tree = values.outgoing(shape, output, operation.name, _text)
        _write(pieces, shape.serialization.get("resultWrapper", f"{operation.name}Result"), shape, tree)
    _write_texts(pieces, "ResponseMetadata", {"RequestId": request_id})
    return _document(200, f"{operation.name}Response", operation.service_model, pieces)


def render_fault(model: ServiceModel | None, fault: Fault, request_id: str, *, query_mode: bool) -> Answer:
    """The answer to a request that was refused or failed. The code is always the query protocol's."""
    pieces: list[str] = []
    _write_texts(pieces, "Error", {"Type": fault.blamed, "Code": fault.query_code, "Message": fault.message})
    pieces.append(f"<RequestId>{_escaped(request_id)}</RequestId>")
    return _document(fault.status, "ErrorResponse", model, pieces)


def _document(status: int, root: str, model: ServiceModel | None, pieces: list[str]) -> Answer:
    namespace = "" if model is None else f' xmlns="{_escaped(model.metadata.get("xmlNamespace", ""))}"'
    return Answer(status, f"<{root}{namespace}>{''.join(pieces)}</{root}>\n".encode(), CONTENT_TYPE)


def _write_texts(pieces: list[str], name: str, texts: Mapping[str, str]) -> None:
    inner = "".join(f"<{child}>{_escaped(text)}</{child}>" for child, text in texts.items())
    pieces.append(f"<{name}>{inner}</{name}>")


def _write(pieces: list[str], name: str, shape: Shape, value: Any) -> None:
    """One member with its tree of texts, as one element; of a flattened list or map, one for each item."""
    if shape.type_name in ("list", "map") and _flat(shape):
        _write_items(pieces, name, shape, value)
        return
    pieces.append(f"<{name}>")
    match shape.type_name:
        case "structure":
            for member, item in value.items():
                _write(pieces, _field(member, shape.members[member]), shape.members[member], item)
        case "list":
            _write_items(pieces, shape.member.serialization.get("name", "member"), shape, value)
        case "map":
            _write_items(pieces, "entry", shape, value)
        case _:
            pieces.append(value)
    pieces.append(f"</{name}>")


def _write_items(pieces: list[str], name: str, shape: Shape, value: Any) -> None:
    if shape.type_name == "list":
        for item in value:
            _write(pieces, name, shape.member, item)
        return
    for key, item in value.items():
        pieces.append(f"<{name}>")
        _write(pieces, shape.key.serialization.get("name", "key"), shape.key, _escaped(key))
        _write(pieces, shape.value.serialization.get("name", "value"), shape.value, item)
        pieces.append(f"</{name}>")


def _text(kind: str, value: Any) -> str:
    match kind:
        case "boolean":
            return "true" if value else "false"
        case "blob":
            return base64.b64encode(value).decode("ascii")
        case "timestamp":
            moment = datetime.fromtimestamp(value, UTC)
            return moment.replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"
        case "float" | "double" if not math.isfinite(value):
            return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
        case "string":
            return _escaped(value)
        case _:
            return str(value)


def _escaped(text: str) -> str:
    return text.translate(_ESCAPES)
