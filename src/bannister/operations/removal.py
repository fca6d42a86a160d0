"""Forgetting a row that only its own operations write."""

from __future__ import annotations

from typing import Any, Final

from bannister.errors import Conflict, NotFound, Resource
from bannister.operations.context import Context
from bannister.state.store import Remove, Table

#: Each failure means that its tags changed in between.
_ATTEMPTS_MAX: Final = 20


async def remove(context: Context, table: Table[Any], kind: Resource, name: str) -> None:
    """Forget a row, with its tags.

    Raises:
        NotFound: There is no such row.
    """
    for _ in range(_ATTEMPTS_MAX):
        row = await context.state.get(table, name)
        if row is None:
            raise NotFound(kind, name)
        try:
            await context.state.commit([Remove(table, name, row.revision)])
        except Conflict:
            continue
        return
    raise Conflict(f'The {kind.value} "{name}" changed at every attempt; try again.')
