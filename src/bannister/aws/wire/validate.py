"""Every constraint of botocore's models, checked on the server.

botocore itself checks only required members, types and minima; maxima, patterns, enumerations and unions reach the server
unchecked. AWS names all violations of a request in one message, whose form clients match on:

    2 validation errors detected: Value 'x y' at 'productionVariants.1.member.modelName' failed to satisfy constraint: \
Member must satisfy regular expression pattern: …; Value null at 'endpointConfigName' failed to satisfy constraint: \
Member must not be null

Values must already have the types of their shapes (`bannister.aws.wire.json`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sized
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from bannister.aws.wire.pattern import compiled

if TYPE_CHECKING:
    from botocore.model import Shape, StructureShape

#: So many violations are spelled out; the rest are counted.
VIOLATIONS_LISTED_MAX = 100
#: So much of an offending value is repeated in the message.
VALUE_CHARACTERS_MAX = 1024
#: A value that is too long is not also matched against its pattern when it is longer than this.
MATCHED_CHARACTERS_MAX = 4096


@dataclass(frozen=True, slots=True)
class Violation:
    """One constraint that one value breaks."""

    #: Where, as AWS writes it: `productionVariants.1.member.modelName`.
    path: str
    #: The value as AWS shows it: quoted, `null`, or empty for a sensitive one.
    shown: str
    constraint: str
    #: A required member that is not there.
    missing: bool = False

    def sentence(self) -> str:
        value = f"Value {self.shown}" if self.shown else "Value"
        return f"{value} at '{self.path}' failed to satisfy constraint: {self.constraint}"


@dataclass(frozen=True, slots=True)
class Violations:
    """All violations of one input, in the order of the model's members: every one counted, the first ones kept."""

    count: int
    listed: tuple[Violation, ...]

    def message(self) -> str:
        """AWS's sentence about them."""
        noun = "error" if self.count == 1 else "errors"
        sentences = "; ".join(violation.sentence() for violation in self.listed)
        more = self.count - len(self.listed)
        return f"{self.count} validation {noun} detected: {sentences}" + (f"; and {more} more" if more else "")


def violations(shape: Shape | None, value: Any) -> Violations | None:
    """What of an operation's input breaks the model; None where nothing does."""
    if shape is None:
        return None
    found = _check(shape, value, "")
    listed = tuple(islice(found, VIOLATIONS_LISTED_MAX))
    return Violations(len(listed) + sum(1 for _ in found), listed) if listed else None


def camel(name: str) -> str:
    """A member's name as AWS's messages spell it."""
    return name[:1].lower() + name[1:]


def _check(shape: Shape, value: Any, path: str) -> Iterator[Violation]:
    for constraint in _broken(shape, value):
        yield Violation(path, _shown(shape, value), constraint)
    match shape.type_name:
        case "structure":
            yield from _check_structure(shape, value, path)
        case "list":
            for index, item in enumerate(value, start=1):
                yield from _check_item(shape.member, item, f"{path}.{index}.member")
        case "map":
            yield from _check_map(shape, value, path)
        case _:
            pass


def _check_structure(shape: StructureShape, value: dict[str, Any], path: str) -> Iterator[Violation]:
    prefix = f"{path}." if path else ""
    required = set(shape.required_members)
    for name, member in shape.members.items():
        if name in value:
            yield from _check(member, value[name], prefix + camel(name))
        elif name in required:
            yield _null(prefix + camel(name))
    if shape.metadata.get("union") and len(value) != 1:
        shown = _shown(shape, value)
        yield Violation(path, shown, f"Member must have exactly one of these set: [{', '.join(shape.members)}]")


def _check_item(shape: Shape, value: Any, path: str) -> Iterator[Violation]:
    if value is None:
        yield _null(path)
    else:
        yield from _check(shape, value, path)


def _check_map(shape: Shape, value: dict[str, Any], path: str) -> Iterator[Violation]:
    """A broken key or simple value is reported at the map itself, with the entry, as AWS does."""
    for key, item in value.items():
        entry = _quoted({key: item})
        if keys := list(_broken(shape.key, key)):
            yield Violation(path, entry, f"Map keys must satisfy constraint: [{', '.join(keys)}]")
        if item is None:
            yield Violation(path, entry, "Map value must not be null")
        elif shape.value.type_name in ("structure", "list", "map"):
            yield from _check(shape.value, item, f"{path}.{key}.member")
        elif values := list(_broken(shape.value, item)):
            yield Violation(path, entry, f"Map value must satisfy constraint: [{', '.join(values)}]")


def _broken(shape: Shape, value: Any) -> Iterator[str]:
    """The constraints on this value itself, not on what it contains, that it breaks."""
    rules = shape.metadata
    least, most = rules.get("min"), rules.get("max")
    if least is not None or most is not None:
        measured, what = (len(value), "length") if isinstance(value, Sized) else (value, "value")
        # Written so that NaN, which compares with nothing, breaks both.
        if most is not None and not measured <= most:
            yield f"Member must have {what} less than or equal to {most}"
        if least is not None and not measured >= least:
            yield f"Member must have {what} greater than or equal to {least}"
    if not isinstance(value, str):
        return
    if rules.get("enum") and value not in rules["enum"]:
        yield f"Member must satisfy enum value set: [{', '.join(rules['enum'])}]"
    if (pattern := rules.get("pattern")) and not _matches(pattern, value, most):
        yield f"Member must satisfy regular expression pattern: {pattern}"


def _matches(pattern: str, value: str, most: int | None) -> bool:
    if most is not None and len(value) > max(most, MATCHED_CHARACTERS_MAX):
        return True
    expression = compiled(pattern)
    return expression is None or expression.matches(value)


def _null(path: str) -> Violation:
    return Violation(path, "null", "Member must not be null", missing=True)


def _shown(shape: Shape, value: Any) -> str:
    return "" if shape.metadata.get("sensitive") else _quoted(value)


def _quoted(value: Any) -> str:
    text = _plain(value)
    return f"'{text}'" if len(text) <= VALUE_CHARACTERS_MAX else f"'{text[:VALUE_CHARACTERS_MAX]}...'"


def _plain(value: Any) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case None:
            return "null"
        case bytes():
            return f"{len(value)} bytes"
        case list():
            return f"[{', '.join(map(_plain, value[:VALUE_CHARACTERS_MAX]))}]"
        case dict():
            return "{" + ", ".join(f"{key}={_plain(item)}" for key, item in value.items()) + "}"
        case _:
            return str(value)
