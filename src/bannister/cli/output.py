"""Lines for terminals and for pipes: styled and cropped at the width there, plain and whole here."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.text import Text


def console() -> Console:
    """Standard output. `NO_COLOR` and `TERM=dumb` are honoured by rich."""
    return Console(highlight=False, soft_wrap=not sys.stdout.isatty())


def line(out: Console, *parts: str | tuple[str, str]) -> None:
    """One line: cropped where a terminal would wrap it, whole in a pipe."""
    text = Text.assemble(*parts)
    out.print(text, no_wrap=True, overflow="ellipsis" if out.is_terminal else "ignore", crop=out.is_terminal)


def paragraph(out: Console, text: str, *, indent: int = 0, style: str = "") -> None:
    """Text of any length: wrapped under its beginning in a terminal, one line in a pipe."""
    for piece in text.splitlines():
        if out.is_terminal:
            out.print(Padding(Text(piece, style), (0, 0, 0, indent)))
        else:
            line(out, " " * indent, piece)


def warning(out: Console, one: Mapping[str, Any], *, indent: int = 0) -> None:
    """What is wrong with an alarm: the fact in one line, why and what to do under it."""
    line(out, " " * indent, ("! ", "yellow"), (f"{one['AlarmName']}: {one['Kind']}", "yellow"))
    paragraph(out, f"{one['Reason']} {one['Remedy']}", indent=indent + 2, style="dim")


def as_json(value: Mapping[str, Any] | list[Any]) -> None:
    """A document; times in ISO 8601."""
    json.dump(value, sys.stdout, indent=2, default=_plain, ensure_ascii=False)
    sys.stdout.write("\n")


def _plain(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} has no place in a document")
