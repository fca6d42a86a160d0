"""Lines for terminals and for pipes: styled and cropped at the width there, plain and whole here.

All that the commands print from data goes through here (or through `screen`), and nothing of it is obeyed by a terminal (`words.printable`).
"""

from __future__ import annotations

import json
import sys
import textwrap
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from bannister.cli.words import printable, warned


def console() -> Console:
    """Standard output. `NO_COLOR` and `TERM=dumb` are honoured by rich."""
    return Console(highlight=False, soft_wrap=not sys.stdout.isatty())


def line(out: Console, *parts: str | tuple[str, str], columns: int | None = None) -> None:
    """One line: cropped where a terminal would wrap it; in a pipe whole, or wrapped under its beginning where it has more than so many columns."""
    text = Text.assemble(*map(_printable, parts))
    if columns is not None and not out.is_terminal and text.cell_len > columns:
        for piece in _wrapped(text.plain, columns):
            out.print(Text(piece), no_wrap=True, overflow="ignore", crop=False)
        return
    out.print(text, no_wrap=True, overflow="ellipsis" if out.is_terminal else "ignore", crop=out.is_terminal)


def labelled(out: Console, label: str, *parts: str | tuple[str, str], indent: int = 0) -> None:
    """Text that follows a label: wrapped beside it in a terminal, one line in a pipe."""
    if not out.is_terminal:
        line(out, " " * indent, label, *parts)
        return
    before = Text.assemble(" " * indent, (label, "dim"))
    text = Text.assemble(*map(_printable, parts))
    for piece in text.wrap(out, max(1, out.width - before.cell_len)):
        piece.rstrip()
        out.print(Text.assemble(before, piece), no_wrap=True, overflow="ellipsis")
        before = Text(" " * before.cell_len)


def _printable(part: str | tuple[str, str]) -> str | tuple[str, str]:
    return printable(part) if isinstance(part, str) else (printable(part[0]), part[1])


def _wrapped(text: str, columns: int) -> list[str]:
    """Pieces of at most so many columns (characters of double width are counted once); those after the first begin where the text does."""
    indent = " " * min(len(text) - len(text.lstrip()), columns // 2)
    return textwrap.wrap(text.strip(), columns, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)


def paragraph(out: Console, text: str, *, indent: int = 0, style: str = "", columns: int | None = None) -> None:
    """Text of any length: wrapped under its beginning in a terminal; in a pipe one line, or wrapped there, too."""
    for piece in text.splitlines():
        if out.is_terminal:
            out.print(Padding(Text(printable(piece), style), (0, 0, 0, indent)))
        else:
            line(out, " " * indent, piece, columns=columns)


def warning(out: Console, one: Mapping[str, Any], *, indent: int = 0) -> None:
    """What is wrong, with an alarm, a model or memory: the fact in one line, why and what to do under it."""
    line(out, " " * indent, ("! ", "yellow"), (warned(one), "yellow"))
    paragraph(out, f"{one['Reason']} {one['Remedy']}", indent=indent + 2, style="dim")


def as_json(value: Mapping[str, Any] | list[Any]) -> None:
    """A document; times in ISO 8601. What is not printable is escaped, which loses nothing."""
    sys.stdout.write(f"{_escaped(json.dumps(value, indent=2, default=_plain, ensure_ascii=False))}\n")


def as_json_line(value: Mapping[str, Any]) -> None:
    """A document in one line, at once."""
    sys.stdout.write(f"{_escaped(json.dumps(value, ensure_ascii=False, separators=(',', ':')))}\n")
    sys.stdout.flush()


def _escaped(document: str) -> str:
    if printable(document, keeps_lines=True) == document:
        return document
    return "".join(one if one.isprintable() or one == "\n" else json.dumps(one)[1:-1] for one in document)


def _plain(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} has no place in a document")
