"""The command line. Everything that a command needs is imported when it runs: `bannister --help` and `up` must start at once."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from bannister.errors import BannisterError, Refused

_HELP = """Bannister guards releases of machine-learning models: it serves them behind endpoints and changes the
version behind an endpoint step by step, rolling back by itself when an alarm trips.

It speaks the API of Amazon SageMaker (endpoints and deployment guardrails) and Amazon CloudWatch (alarms), so
boto3, the AWS CLI and existing scripts work unmodified once they are pointed at it:

\b
  bannister up
  export AWS_ENDPOINT_URL=http://127.0.0.1:3594
  export AWS_ACCESS_KEY_ID=any AWS_SECRET_ACCESS_KEY=any AWS_DEFAULT_REGION=us-east-1
  aws sagemaker list-endpoints
"""

app = typer.Typer(
    name="bannister",
    help=_HELP,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # plain text: rich alone would double the time that --help takes
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from bannister import __version__

        typer.echo(f"bannister {__version__}")
        raise typer.Exit


@app.callback()
def bannister(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit."),
    ] = False,
) -> None:
    del version  # acted on by its callback


@app.command()
def up(
    port: Annotated[
        int | None,
        typer.Option(help="The one port, on 127.0.0.1, for the API and for invocations.  [default: 3594]"),
    ] = None,
    data_dir: Annotated[
        Path | None,
        typer.Option(help="Where everything is kept.  [default: ~/.local/share/bannister]"),
    ] = None,
) -> None:
    """Run the server in the foreground until Ctrl-C.

    Prints `ready http://127.0.0.1:PORT` once it answers. Resources, objects and logs are kept in the data directory, and are
    served again by the next `up`. Settings are read from bannister.toml there, and from BANNISTER_* variables.
    """
    from bannister.launcher.up import up as run
    from bannister.settings import default_data_dir, load

    raise typer.Exit(run(load(data_dir or default_data_dir(), port=port)))


def main() -> None:
    """The `bannister` command. An error is one sentence on standard error; exit code 2 where the caller can mend it, else 1."""
    try:
        app()
    except BannisterError as error:
        print(error, file=sys.stderr)
        sys.exit(2 if isinstance(error, Refused) else 1)
