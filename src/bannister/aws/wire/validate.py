"""Every constraint of botocore's models, checked on the server.

botocore itself checks only required members, types and minima; maxima, patterns, enumerations and unions reach the server
unchecked. AWS names all violations of a request in one message, whose form clients match on:

    2 validation errors detected: Value 'x y' at 'productionVariants.1.member.modelName' failed to satisfy constraint: \
Member must satisfy regular expression pattern: …; Value null at 'endpointConfigName' failed to satisfy constraint: \
Member must not be null

Where a value is, the path says: items of a list are counted from 1. Texts and numbers in a list or map have no path of their own: the list or
map is named and shown once, with every constraint on what is in it.

    Value '[a b]' at 'tagKeys' failed to satisfy constraint: Member must satisfy constraint: [Member must have length less than or equal to 128, …]

Values must already have the types of their shapes (`bannister.aws.wire.json`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sized
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from bannister.aws.wire.pattern import compiled

if TYPE_CHECKING:
    from botocore.model import MapShape, Shape, StructureShape

#: So many violations are spelled out; the rest are counted.
VIOLATIONS_LISTED_MAX = 100
#: So much of an offending value is repeated in the message.
VALUE_CHARACTERS_MAX = 1024
#: A value that is too long is not also matched against its pattern when it is longer than this.
MATCHED_CHARACTERS_MAX = 4096

_CONTAINERS: Final = ("structure", "list", "map")
_NUMBERS: Final = ("integer", "long", "float", "double")
_NOT_NULL: Final = "Member must not be null"


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
        case "list" if shape.member.type_name in _CONTAINERS:
            for index, item in enumerate(value, start=1):
                yield from _check_item(shape.member, item, f"{path}.{index}.member")
        case "list":
            if any(_unfit(shape.member, item) for item in value):
                rules = _rules(shape.member, value)
                yield Violation(path, _shown(shape, value), f"Member must satisfy constraint: [{rules}]")
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


def _check_map(shape: MapShape, value: dict[str, Any], path: str) -> Iterator[Violation]:
    if any(_unfit(shape.key, key) for key in value):
        yield Violation(path, _shown(shape, value), f"Map keys must satisfy constraint: [{_rules(shape.key, value)}]")
    if any(_unfit(shape.value, item) for item in value.values()):
        rules = _rules(shape.value, value.values())
        yield Violation(path, _shown(shape, value), f"Map value must satisfy constraint: [{rules}]")
    if shape.value.type_name in _CONTAINERS:
        for key, item in value.items():
            if not _unfit(shape.value, item):
                yield from _check(shape.value, item, f"{path}.{key}.member")


def _unfit(shape: Shape, value: Any) -> bool:
    """Whether a value in a list or map cannot be there, whatever it contains."""
    return value is None or next(_broken(shape, value), None) is not None


def _rules(shape: Shape, values: Iterable[Any]) -> str:
    """All constraints on the values of a list or map: AWS repeats those that hold, too."""
    rules = shape.metadata
    what = "value" if shape.type_name in _NUMBERS else "length"
    texts = [_most(what, rules["max"])] if "max" in rules else []
    texts += [_least(what, rules["min"])] if "min" in rules else []
    texts += [_one_of(rules["enum"])] if rules.get("enum") else []
    texts += [_form(rules["pattern"])] if rules.get("pattern") else []
    texts += [_NOT_NULL] if not texts or any(value is None for value in values) else []
    return ", ".join(texts)


def _broken(shape: Shape, value: Any) -> Iterator[str]:
    """The constraints on this value itself, not on what it contains, that it breaks."""
    rules = shape.metadata
    least, most = rules.get("min"), rules.get("max")
    if least is not None or most is not None:
        measured, what = (len(value), "length") if isinstance(value, Sized) else (value, "value")
        # Written so that NaN, which compares with nothing, breaks both.
        if most is not None and not measured <= most:
            yield _most(what, most)
        if least is not None and not measured >= least:
            yield _least(what, least)
    if not isinstance(value, str):
        return
    if rules.get("enum") and value not in rules["enum"]:
        yield _one_of(rules["enum"])
    if (pattern := rules.get("pattern")) and not _matches(pattern, value, most):
        yield _form(pattern)


def _most(what: str, bound: float) -> str:
    return f"Member must have {what} less than or equal to {bound}"


def _least(what: str, bound: float) -> str:
    return f"Member must have {what} greater than or equal to {bound}"


def _one_of(values: list[str]) -> str:
    return f"Member must satisfy enum value set: [{', '.join(values)}]"


def _form(pattern: str) -> str:
    return f"Member must satisfy regular expression pattern: {pattern}"


def _matches(pattern: str, value: str, most: int | None) -> bool:
    if most is not None and len(value) > max(most, MATCHED_CHARACTERS_MAX):
        return True
    expression = compiled(pattern)
    return expression is None or expression.matches(value)


def _null(path: str) -> Violation:
    return Violation(path, "null", _NOT_NULL, missing=True)


def _shown(shape: Shape, value: Any) -> str:
    if _is_sensitive(shape, value):
        return ""
    text = _plain(value)
    return f"'{text}'" if len(text) <= VALUE_CHARACTERS_MAX else f"'{text[:VALUE_CHARACTERS_MAX]}...'"


def _is_sensitive(shape: Shape, value: Any) -> bool:
    """Whether the value, or one in it, must not be repeated."""
    if shape.metadata.get("sensitive"):
        return True
    match shape.type_name, value:
        case "structure", dict():
            return any(_is_sensitive(shape.members[name], item) for name, item in value.items())
        case "list", list():
            return any(_is_sensitive(shape.member, item) for item in value)
        case "map", dict():
            return any(_is_sensitive(shape.key, key) or _is_sensitive(shape.value, item) for key, item in value.items())
        case _:
            return False


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
