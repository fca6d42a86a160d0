"""Values drawn from botocore's shapes, good and bad; the same for the same seed.

A good value satisfies every constraint of its shape. A *site* is one place in a shape (`ProductionVariants`, the first of them, its `ModelName`), and a fault is what can be wrong
there: every constraint broken, every other type, what is missing or null, numbers too large for anything, text that is hard to handle.
"""

from __future__ import annotations

import base64
import json
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final
from urllib.parse import urlencode

from botocore.model import Shape
from tests.operations.hand_clock import NOW

from bannister.aws.wire.validate import camel, violations

#: Texts of the forms that models ask for, the plainest first.
TEXTS: Final = (
    *("a", "", "Name-1", "v1", "1", "x" * 20, "text/csv", "s3://bucket/key", "https://example.org/x", "/x", "/", "{}"),
    "000000000000",
    "arn:aws:iam::000000000000:role/r",
    "arn:aws:sns:us-east-1:000000000000:t",
    "arn:aws:lambda:us-east-1:000000000000:function:f",
    "arn:aws:sagemaker:us-east-1:000000000000:endpoint/e",
    "arn:aws:sagemaker:us-east-1:000000000000:model/m",
    "arn:aws:sagemaker:us-east-1:000000000000:endpoint-config/c",
    "arn:aws:sagemaker:us-east-1:000000000000:inference-experiment/x",
    "mig-1g.10gb",
    "ünïcödé ☃",
)
#: Texts that are hard to handle: control characters, characters past U+FFFF, halves of them, other directions, other digits, text that grows.
ODD: Final = (
    "\0",
    "\ud800",
    "\U0001f600" * 3,
    "\u202eabc",
    "a\u0301" * 5,
    "\uffff",
    "٣",
    "ﷺ",
    "ß" * 63,
    "\r\n",
    "a\n",
    "%s{0}",
    "'\"<&;",
)
#: Numbers that no type, or hardly one, can hold.
HUGE: Final = (2**31, -(2**31) - 1, 2**63, -(2**63) - 1, 10**400, 1e308, -1e308, 1e-320)
#: JSON of every type.
OF_EVERY_TYPE: Final[Mapping[str, Any]] = {
    "text": "zz",
    "number": 7,
    "fraction": 0.5,
    "truth": True,
    "list": [1],
    "structure": {"zz": 1},
}
_TAKEN: Final = {
    "string": {"text"},
    "integer": {"number"},
    "long": {"number"},
    "float": {"number", "fraction"},
    "double": {"number", "fraction"},
    "timestamp": {"number", "fraction"},
    "boolean": {"truth"},
    "blob": {"text"},
    "list": {"list"},
    "structure": {"structure"},
    "map": {"structure"},
}


class Wrong(StrEnum):
    """What is wrong with a value."""

    LONG = "too long"
    SHORT = "too short"
    HIGH = "too high"
    LOW = "too low"
    ENUM = "no value of the enumeration"
    PATTERN = "not of the form"
    MISSING = "missing"
    NULL = "null"
    TYPE = "of another type"
    HUGE = "a huge number"
    ODD = "odd text"
    UNKNOWN = "an unknown member"
    UNION = "more than one member of a union"


#: These break a constraint of the model, and the answer says which and where.
CONSTRAINTS: Final = (
    Wrong.LONG,
    Wrong.SHORT,
    Wrong.HIGH,
    Wrong.LOW,
    Wrong.ENUM,
    Wrong.PATTERN,
    Wrong.MISSING,
    Wrong.NULL,
)


class _Delete:
    """Stands for a member that is not there."""


DELETE: Final = _Delete()
#: Steps into a list, and into a map.
ITEM, VALUE = "[]", "{}"
Path = tuple[str, ...]


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong, in one place."""

    wrong: Wrong
    path: Path
    value: Any
    #: Where AWS says that it is.
    told: str


# --- good values


#: By the constraints, and the texts to choose from.
_fitting: dict[tuple[str, tuple[str, ...]], tuple[str, ...]] = {}


def texts_of(shape: Shape, texts: Sequence[str] = TEXTS) -> tuple[str, ...]:
    """Those texts that satisfy the shape."""
    rules = shape.metadata
    if rules.get("enum"):
        return tuple(rules["enum"])
    key = (str([rules.get(name) for name in ("min", "max", "pattern")]), tuple(texts))
    if key not in _fitting:
        _fitting[key] = tuple(text for text in texts if violations(shape, text) is None)
        assert _fitting[key] or texts is not TEXTS, f"no text fits {shape.name}: {key[0]}"
    return _fitting[key]


class Drawing:
    """Good values. `names` are texts for members of those names, which are taken where they satisfy the shape."""

    def __init__(
        self, rng: random.Random, names: Mapping[str, Sequence[str]] | None = None, share: float = 0.5
    ) -> None:
        self._rng = rng
        self._names = names or {}
        #: Of the members that need not be there.
        self._share = share

    def value(self, shape: Shape, member: str = "", depth: int = 0) -> Any:
        rng, rules = self._rng, shape.metadata
        match shape.type_name:
            case "structure":
                return self._structure(shape, depth)
            case "list":
                least, most = rules.get("min", 0), rules.get("max", 3)
                count = max(least, min(most, rng.choice((0, 1, 1, 2, 3)) if depth < 6 else 0))
                return [self.value(shape.member, member, depth + 1) for _ in range(count)]
            case "map":
                keys = texts_of(shape.key)
                count = max(rules.get("min", 0), min(rules.get("max", 2), rng.choice((0, 1, 2))))
                chosen = rng.sample(keys, min(count, len(keys)))
                return {key: self.value(shape.value, member, depth + 1) for key in chosen}
            case "integer" | "long":
                least = rules.get("min", 0)
                return rng.randint(least, min(rules.get("max", least + 100_000), least + rng.choice((1, 100, 100_000))))
            case "float" | "double":
                least = float(rules.get("min", -1000.0))
                return rng.choice((least, max(0.5, least), float(rules.get("max", 1000.0))))
            case "boolean":
                return rng.random() < 0.5
            case "timestamp":
                milliseconds = round(NOW * 1000) + rng.randint(-10_000_000, 10_000_000)
                return datetime.fromtimestamp(milliseconds // 1000, UTC).replace(microsecond=milliseconds % 1000 * 1000)
            case "blob":
                return rng.randbytes(rng.randint(0, 20))
            case _:
                named = texts_of(shape, tuple(self._names.get(member, ()))) if member in self._names else ()
                return rng.choice(named or texts_of(shape))

    def like(self, shape: Any, model: Any, member: str = "", depth: int = 0) -> Any:
        """A good value that is mostly `model`: now and then a part is drawn anew, left out, or there in addition."""
        rng = self._rng
        match shape.type_name, model:
            case "structure", dict() if not shape.metadata.get("union"):
                found = {}
                for name, part in shape.members.items():
                    if name in model:
                        if name in shape.required_members or rng.random() > 0.05:
                            found[name] = self.like(part, model[name], name, depth + 1)
                    elif rng.random() < 0.5 / len(shape.members):
                        found[name] = self.value(part, name, depth + 1)
                return found
            case "list", list() if model and rng.random() > 0.05:
                return [self.like(shape.member, item, member, depth + 1) for item in model]
            case "map", dict() if model and rng.random() > 0.05:
                return {key: self.like(shape.value, item, member, depth + 1) for key, item in model.items()}
            case _:
                return model if rng.random() > 0.05 else self.value(shape, member, depth)

    def _structure(self, shape: Any, depth: int) -> dict[str, Any]:
        members = shape.members
        if shape.metadata.get("union"):
            name = self._rng.choice(list(members))
            return {name: self.value(members[name], name, depth + 1)}
        share = self._share if depth < 4 else self._share / 4 if depth < 8 else 0
        chosen = [name for name in members if name in shape.required_members or self._rng.random() < share]
        return {name: self.value(members[name], name, depth + 1) for name in chosen}


# --- sites and faults


def sites(shape: Shape, path: Path = (), above: tuple[str, ...] = ()) -> Iterator[tuple[Path, Shape]]:
    """Every place in a shape; a shape within itself is not entered again."""
    yield path, shape
    if above.count(shape.name) > 1:
        return
    above = (*above, shape.name)
    match shape.type_name:
        case "structure":
            for name, member in shape.members.items():
                yield from sites(member, (*path, name), above)
        case "list":
            yield from sites(shape.member, (*path, ITEM), above)
        case "map":
            yield from sites(shape.value, (*path, VALUE), above)
        case _:
            pass


def with_site(shape: Shape, path: Path, rng: random.Random, names: Mapping[str, Sequence[str]]) -> Any:
    """The least good value that has the place."""
    least = Drawing(rng, names, share=0.0)
    if not path:
        return least.value(shape)
    step, rest = path[0], path[1:]
    match shape.type_name:
        case "structure":
            base = {} if shape.metadata.get("union") else least.value(shape)
            return {**base, step: with_site(shape.members[step], rest, rng, names)}
        case "list":
            return [with_site(shape.member, rest, rng, names), *least.value(shape)[1:]]
        case _:
            others = least.value(shape)
            key = next(iter(others), texts_of(shape.key)[0])
            return {**others, key: with_site(shape.value, rest, rng, names)}


def at(path: Path, value: Any) -> str:
    """The place as AWS writes it; what is simple in a list or map has none of its own."""
    pieces: list[str] = []
    for step in path:
        if step == ITEM:
            pieces += ["1", "member"]
        elif step == VALUE:
            pieces += [next(iter(_found(value, path[: path.index(VALUE)]))), "member"]
        else:
            pieces.append(camel(step))
    return ".".join(pieces)


def _found(value: Any, path: Path) -> Any:
    for step in path:
        value = value[0] if step == ITEM else next(iter(value.values())) if step == VALUE else value[step]
    return value


def faults(shape: Shape, path: Path, site: Shape, base: Any, rng: random.Random) -> Iterator[Fault]:
    """Everything that can be wrong at a place of a good value."""
    inside = bool(path) and path[-1] in (ITEM, VALUE)
    simple = site.type_name not in ("structure", "list", "map")
    told = at(path[:-1] if inside and simple else path, base)
    broken = _broken_map if site.type_name == "map" else _broken
    for wrong, value in broken(site, _found(base, path)):
        yield Fault(wrong, path, value, told)
    if inside:
        in_map = path[-1] == VALUE
        yield Fault(Wrong.NULL, path, None, at(path[:-1], base) if simple or in_map else told)
    if site.type_name == "structure":
        for name in site.required_members:
            yield Fault(Wrong.MISSING, (*path, name), DELETE, at((*path, name), base))
            yield Fault(Wrong.NULL, (*path, name), None, at((*path, name), base))
        yield Fault(Wrong.UNKNOWN, (*path, "Zz"), rng.choice(list(OF_EVERY_TYPE.values())), told)
        if site.metadata.get("union") and len(site.members) > 1:
            yield Fault(Wrong.UNION, path, {}, told)
    for kind, value in OF_EVERY_TYPE.items():
        if path and kind not in _TAKEN.get(site.type_name, {"text"}):
            yield Fault(Wrong.TYPE, path, value, told)
    if site.type_name in ("integer", "long", "float", "double", "timestamp"):
        yield from (Fault(Wrong.HUGE, path, value, told) for value in HUGE)
    if site.type_name == "string":
        yield from (Fault(Wrong.ODD, path, value, told) for value in ODD)


def _broken(site: Shape, good: Any) -> Iterator[tuple[Wrong, Any]]:
    """Values that break a constraint of the place itself, and as few others as can be."""
    rules = site.metadata
    least, most = rules.get("min"), rules.get("max")
    match site.type_name:
        case "string":
            if rules.get("enum"):
                yield Wrong.ENUM, "TELEPORT"
            if most is not None and most < 100_000:
                yield Wrong.LONG, "a" * (most + 1)
            if least:
                yield Wrong.SHORT, "a" * (least - 1)
            if rules.get("pattern"):
                bad = [text for text in ("a b", " ", "\t", "☃", "%", "") if _only_pattern(site, text)]
                yield from ((Wrong.PATTERN, text) for text in bad[:1])
        case "list":
            if most is not None and most < 1000:
                yield Wrong.LONG, [good[0] if good else _plainest(site.member)] * (most + 1)
            if least:
                yield Wrong.SHORT, []
        case "integer" | "long" | "float" | "double":
            if most is not None and most < 2**31 - 1:
                yield Wrong.HIGH, most + 1
            if least is not None:
                yield Wrong.LOW, least - 1
        case _:
            pass


def _broken_map(site: Shape, good: Any) -> Iterator[tuple[Wrong, Any]]:
    key, item = next(iter(good.items()), (texts_of(site.key)[0], _plainest(site.value)))
    most = site.metadata.get("max")
    if most is not None and most < 1000:
        yield Wrong.LONG, {f"{key}{number}": item for number in range(most + 1)}
    if site.metadata.get("min"):
        yield Wrong.SHORT, {}
    yield from ((wrong, {bad: item}) for wrong, bad in _broken(site.key, key))


def _only_pattern(site: Shape, text: str) -> bool:
    """Judged by Python's own dialect, not by what is tested; a pattern that it cannot read is left to the tests of patterns."""
    rules = site.metadata
    if not rules.get("min", 0) <= len(text) <= rules.get("max", len(text)):
        return False
    try:
        return re.fullmatch(rules["pattern"], text, re.ASCII) is None
    except re.error:
        return False


def _plainest(shape: Shape) -> Any:
    return Drawing(random.Random(0), share=0.0).value(shape)


def spoilt(base: Any, fault: Fault) -> Any:
    """A copy of a good value with what is wrong in it."""
    return _spoilt(base, fault.path, fault.value)


def _spoilt(value: Any, path: Path, wrong: Any) -> Any:
    if not path:
        return wrong
    step, rest = path[0], path[1:]
    if step == ITEM:
        return [_spoilt(value[0], rest, wrong), *value[1:]]
    if step == VALUE:
        key = next(iter(value))
        return {**value, key: _spoilt(value[key], rest, wrong)}
    if not rest and wrong is DELETE:
        return {name: item for name, item in value.items() if name != step}
    return {**value, step: _spoilt(value.get(step), rest, wrong)}


def as_json(value: Any) -> bytes:
    """A value as botocore would write it in JSON, wrong as it may be."""
    return json.dumps(_plain(value)).encode()


def _plain(value: Any) -> Any:
    match value:
        case datetime():
            return value.timestamp()
        case bytes():
            return base64.b64encode(value).decode()
        case dict():
            return {key: _plain(item) for key, item in value.items()}
        case list():
            return [_plain(item) for item in value]
        case _:
            return value


def as_form(heading: Mapping[str, str], value: Any) -> bytes:
    """A value as botocore would write it in a form; what is not there, or null, has no field."""
    return urlencode([*heading.items(), *_fields("", _plain(value))], errors="surrogatepass").encode()


def _fields(name: str, value: Any) -> Iterator[tuple[str, str]]:
    prefix = f"{name}." if name else ""
    match value:
        case None:
            return
        case bool():
            yield name, "true" if value else "false"
        case dict():
            for key, item in value.items():
                yield from _fields(prefix + key, item)
        case list():
            for number, item in enumerate(value, start=1):
                yield from _fields(f"{prefix}member.{number}", item)
        case _:
            yield name, str(value)
