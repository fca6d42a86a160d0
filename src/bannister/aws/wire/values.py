"""What the protocols have in common: the walk over the values of a shape, in both directions.

Which structures, lists and maps a value consists of is the model's matter; how one number, text, time or blob is written is the
protocol's, which hands in a function for it. Coming in, a document already has nested dicts and lists (JSON, CBOR); query finds
its structure in the names of a form's fields and walks by itself. Going out, every protocol walks here, and a handler's mistake is
found by all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from bannister.aws.wire.validate import camel

if TYPE_CHECKING:
    from botocore.model import Shape

#: Reads a value that is neither structure nor list nor map: its shape, what was found, and where (for the message).
Reader = Callable[["Shape", Any, str], Any]
#: Writes one: the shape's type, and the value in that type (timestamps: `float` seconds to the millisecond).
Writer = Callable[[str, Any], Any]

_INTEGER_BITS: Final = {"integer": 32, "long": 64}
_ARTICLES: Final = {"string": "a String", "integer": "an Integer", "long": "a Long", "boolean": "a Boolean"}
#: The years 1 to 9999: what every consumer of a timestamp can hold.
_TIME_MIN, _TIME_MAX = -62_135_596_800.0, 253_402_300_799.0


class Malformed(Exception):
    """The body cannot be read, or a value in it has the wrong type. The message says which and where."""


# --- in


def incoming(shape: Shape | None, document: Any, read: Reader) -> dict[str, Any]:
    """An operation's input from a document. Members that are null or unknown to the model are left out.

    Raises:
        Malformed: A value has not the type that the model asks for.
    """
    if not isinstance(document, dict):
        raise Malformed("The body must be one structure: an object in JSON, a map in CBOR.")
    return _structure(shape, document, "", read) if shape is not None else {}


def _value(shape: Shape, found: Any, path: str, read: Reader) -> Any:
    match shape.type_name:
        case "structure":
            return _structure(shape, found, path, read)
        case "list":
            if not isinstance(found, list):
                raise mistyped(shape, found, path)
            return [
                None if item is None else _value(shape.member, item, f"{path}.{index}.member", read)
                for index, item in enumerate(found, start=1)
            ]
        case "map":
            if not isinstance(found, dict):
                raise mistyped(shape, found, path)
            return {
                key: None if item is None else _value(shape.value, item, f"{path}.{key}.member", read)
                for key, item in found.items()
            }
        case _:
            return read(shape, found, path)


def _structure(shape: Shape, found: Any, path: str, read: Reader) -> dict[str, Any]:
    if not isinstance(found, dict):
        raise mistyped(shape, found, path)
    prefix = f"{path}." if path else ""
    return {
        name: _value(member, found[name], prefix + camel(name), read)
        for name, member in shape.members.items()
        if found.get(name) is not None
    }


def plain(shape: Shape, found: Any, path: str) -> Any:
    """A text, truth value or number that the format has as such.

    Raises:
        Malformed: It is none of those, or of another type than its shape.
    """
    match shape.type_name, found:
        case "string" | "character", str():
            return found
        case "boolean", bool():
            return found
        case "integer" | "long", int() | float() if not isinstance(found, bool):
            return whole_number(shape, found, path)
        case "float" | "double", int() | float() if not isinstance(found, bool):
            return real_number(shape, found, path)
        case _:
            raise mistyped(shape, found, path)


def whole_number(shape: Shape, found: float, path: str) -> int:
    """A number within the bits of its shape, also where it is written as 5.0."""
    limit = 2 ** (_INTEGER_BITS[shape.type_name] - 1)
    if not -limit <= found < limit or found != int(found):
        raise mistyped(shape, found, path)
    return int(found)


def real_number(shape: Shape, found: float, path: str) -> float:
    """A number as a double; NaN and infinities are the operations' matter."""
    try:
        return float(found)
    except OverflowError:
        raise mistyped(shape, found, path) from None


def seconds(shape: Shape, found: float, path: str) -> float:
    """Seconds since the epoch, within the years that can be written."""
    try:
        moment = float(found)
    except OverflowError:
        raise mistyped(shape, found, path) from None
    if not _TIME_MIN <= moment <= _TIME_MAX:
        raise mistyped(shape, found, path)
    return moment


def mistyped(shape: Shape, found: Any, path: str) -> Malformed:
    """AWS's sentence about a value of the wrong type."""
    where = f" at '{path}'" if path else ""
    match found:
        case dict():
            return Malformed(f"Start of structure or map found where not expected{where}.")
        case list():
            return Malformed(f"Start of list found where not expected{where}.")
        case bool():
            kind = f"{str(found).upper()}_VALUE"
        case str():
            kind = "STRING_VALUE"
        case bytes():
            kind = "BLOB_VALUE"
        case int() | float():
            kind = "NUMBER_VALUE"
        case _:
            kind = "TIMESTAMP_VALUE"
    wanted = _ARTICLES.get(shape.type_name, f"a {shape.type_name.capitalize()}")
    return Malformed(f"{kind} can not be converted to {wanted}{where}.")


# --- out


def outgoing(shape: Shape, value: Any, path: str, write: Writer) -> Any:
    """A value of a shape as a tree of dicts and lists with `write`'s results as leaves. Members that are None are left out.

    Raises:
        ValueError: The value has a member that the shape has not, or one of another type: a mistake of the handler.
    """
    match shape.type_name:
        case "structure" if isinstance(value, Mapping):
            if unknown := [name for name in value if name not in shape.members]:
                raise ValueError(f"{path} has no member {', '.join(unknown)}")
            return {
                name: outgoing(shape.members[name], item, f"{path}.{name}", write)
                for name, item in value.items()
                if item is not None
            }
        case "list" if isinstance(value, list | tuple):
            return [outgoing(shape.member, item, path, write) for item in value]
        case "map" if isinstance(value, Mapping):
            return {str(key): outgoing(shape.value, item, f"{path}.{key}", write) for key, item in value.items()}
        case "boolean" if isinstance(value, bool):
            return write("boolean", value)
        case "string" | "character" if isinstance(value, str):
            return write("string", str(value))
        case "blob" if isinstance(value, bytes):
            return write("blob", value)
        case kind if isinstance(value, int | float) and not isinstance(value, bool):
            return write(kind, _number(kind, value, path))
        case kind:
            raise ValueError(f"{path} must be a {kind}, not {type(value).__name__}")


def _number(kind: str, value: float, path: str) -> float | int:
    match kind:
        case "timestamp":
            return round(float(value), 3)
        case "integer" | "long" if value == int(value):
            return int(value)
        case "float" | "double":
            return float(value)
        case _:
            raise ValueError(f"{path} must be a {kind}, not {value!r}")
