"""What becomes of each member of an operation's input.

Beside its operations every module has a table, `MEMBERS`: for each structure of botocore's model that the operations read, which members do what AWS says,
which have no effect here, and which are refused, with the reason in words. The table is what the server acts on, and what `docs/compatibility.md` is made of:

* The door refuses what the table refuses, wherever it is in a request, before the operation is performed (`Refusals`).
* What has no effect is stored with the resource and given back (`as_given`), exactly as it came.

A structure that is wholly refused, or without effect, needs no row of its own. Refused is what would change answers, traffic, capacity, metrics or
what is written somewhere, and would be missed. Without effect is what concerns AWS's own machinery: roles, networks, encryption, hardware.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bannister.errors import Unsupported

if TYPE_CHECKING:
    from botocore.model import Shape


@dataclass(frozen=True, slots=True)
class Members:
    """The members of one structure. Reasons have no full stop, and go on after a colon."""

    #: They do what they say; the names, with spaces between them.
    supported: str = ""
    #: They have no effect here, and why. Where AWS describes the resource with them, so do we.
    ignored: Mapping[str, str] = field(default_factory=dict)
    #: They are refused, and why. `Member=VALUE` refuses one value of a member that is supported. A reason that begins with the member's name is the whole sentence.
    refused: Mapping[str, str] = field(default_factory=dict)


#: By the name of the structure in botocore's model.
Tables = Mapping[str, Members]


def as_given(params: Mapping[str, Any], members: Members, besides: Container[str] = ()) -> dict[str, Any]:
    """What of a structure has no effect, as it came. `besides`: members that are stored in another way."""
    return {name: value for name, value in params.items() if name in members.ignored and name not in besides}


class Refusals:
    """What of one operation's input is refused by the tables, wherever it is."""

    def __init__(self, shape: Shape | None, tables: Tables) -> None:
        self._root = _node(shape, tables, ()) if shape is not None else None

    def check(self, params: Mapping[str, Any]) -> None:
        """Params have been checked against the model.

        Raises:
            Unsupported: Something is refused.
        """
        for sentence in _refused(self._root, params, ""):
            raise Unsupported(sentence)


@dataclass(frozen=True, slots=True)
class _Node:
    """A structure in which, at some depth, something is refused; through lists and maps of it."""

    #: A list or map of structures; of which, the next one says.
    each: _Node | None
    refused: Mapping[str, str]
    inner: Mapping[str, _Node]


def _node(shape: Shape, tables: Tables, above: tuple[str, ...]) -> _Node | None:
    if shape.name in above:
        return None
    above = (*above, shape.name)
    match shape.type_name:
        case "list" | "map":
            each = _node(shape.member if shape.type_name == "list" else shape.value, tables, above)
            return _Node(each, {}, {}) if each is not None else None
        case "structure":
            table = tables.get(shape.name, Members())
            found = {
                name: _node(member, tables, above)
                for name, member in shape.members.items()
                if name not in table.refused
            }
            inner = {name: node for name, node in found.items() if node is not None}
            return _Node(None, table.refused, inner) if table.refused or inner else None
        case _:
            return None


def _refused(node: _Node | None, value: Any, path: str) -> Iterator[str]:
    """A sentence for everything that is refused."""
    if node is None:
        return
    if node.each is not None:
        items = value.items() if isinstance(value, dict) else enumerate(value, start=1)
        for key, item in items:
            yield from _refused(node.each, item, f"{path}{key}.")
        return
    for name, given in value.items():
        if name in node.refused and not _asks_nothing(given):
            yield _sentence(name, path + name, node.refused[name])
        if isinstance(given, str) and (why := node.refused.get(f"{name}={given}")) is not None:
            yield _sentence(name, f"{path}{name} {given}", why)
        if name in node.inner:
            yield from _refused(node.inner[name], given, f"{path}{name}.")


def _asks_nothing(value: Any) -> bool:
    return value is False or value == []


def _sentence(name: str, what: str, why: str) -> str:
    return f"{why}." if why.startswith(name) else f"{what} cannot be used: {why}."
