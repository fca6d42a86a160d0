"""`bannister backup` and `bannister restore`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bannister.cli.data_dir import VARIABLE
from bannister.cli.data_dir import data_dir as parsed
from bannister.cli.words import printable


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(backup)
    app.command()(restore)


def backup(
    file: Annotated[Path, typer.Argument(metavar="FILE.tar.gz", help="The backup to write; it must not exist.")],
    data_dir: Annotated[
        Path | None,
        typer.Option(
            parser=parsed,
            envvar=VARIABLE,
            metavar="<path>",
            help="What to back up.  [default: ~/.local/share/bannister]",
        ),
    ] = None,
    metrics: Annotated[bool, typer.Option("--metrics", help="With the metrics of the last hours and days.")] = False,
) -> None:
    """Write everything that cannot be made again to one file; the server may run meanwhile.

    That is: resources, history, objects, the artifacts in use, and settings.
    """
    from bannister.backup.making import back_up
    from bannister.clock import SystemClock
    from bannister.settings import default_data_dir, load

    size = back_up(load(data_dir or default_data_dir()), file, SystemClock().now(), with_metrics=metrics)
    typer.echo(f"{file}: {size} bytes")


def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE.tar.gz", help="A backup.")],
    data_dir: Annotated[
        Path,
        typer.Option(
            parser=parsed,
            envvar=VARIABLE,
            metavar="<path>",
            help="The directory to make; it must be new or empty.",
        ),
    ],
) -> None:
    """Make a data directory from a backup; `bannister up --data-dir DIR` then serves what was served."""
    from bannister.backup.restoring import restore as run

    manifest = run(file, data_dir)
    said = f"{data_dir}: restored from a backup of {manifest['data_dir']} by Bannister {manifest['bannister']}"
    typer.echo(printable(said))
