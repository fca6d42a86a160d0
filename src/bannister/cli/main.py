"""The command line. Everything that a command needs is imported when it runs: `bannister --help` and `up` must start at once."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from bannister.cli import backup, shadow_commands
from bannister.cli.data_dir import VARIABLE
from bannister.cli.data_dir import data_dir as parsed
from bannister.cli.words import printable
from bannister.errors import BannisterError, Refused

_HELP = """Bannister guards releases of machine-learning models: it serves them behind endpoints and changes the
version behind an endpoint step by step, rolling back by itself when an alarm trips.

It speaks the API of Amazon SageMaker (endpoints and deployment guardrails) and Amazon CloudWatch (alarms), so
boto3, the AWS CLI and existing scripts work unmodified once they are pointed at it:

\b
  bannister up
  export AWS_ENDPOINT_URL=http://127.0.0.1:3594
  export AWS_ACCESS_KEY_ID=any AWS_SECRET_ACCESS_KEY=any
  export AWS_DEFAULT_REGION=us-east-1
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
        typer.Option(
            parser=parsed,
            envvar=VARIABLE,
            metavar="<path>",
            help="Where everything is kept.  [default: ~/.local/share/bannister]",
        ),
    ] = None,
) -> None:
    """Run the server in the foreground until Ctrl-C.

    Prints `ready http://127.0.0.1:PORT` once it answers. Resources, objects and logs are kept in the data directory, and are
    served again by the next `up`. Settings are read from bannister.toml there, and from BANNISTER_* variables.
    """
    from bannister.launcher.up import up as run
    from bannister.settings import default_data_dir, load

    raise typer.Exit(run(load(data_dir or default_data_dir(), port=port)))


_Url = Annotated[
    str | None,
    typer.Option(
        "--endpoint-url",
        metavar="URL",
        help="Where the server is.  [default: AWS_ENDPOINT_URL, else http://127.0.0.1:3594]",
    ),
]
_Endpoint = Annotated[str, typer.Argument(help="The endpoint's name.")]
_Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead.")]


@app.command()
def status(json: _Json = False, endpoint_url: _Url = None) -> None:
    """Show all endpoints: what is in production, and what is changing that.

    \b
    Example:
      bannister status
      bannister status --json | jq '.Endpoints[].EndpointStatus'
    """  # noqa: D301  # the mark tells click to keep the lines
    from bannister.cli.status import status as run

    raise typer.Exit(run(endpoint_url, json))


@app.command()
def watch(endpoint: _Endpoint, endpoint_url: _Url = None) -> None:
    """Follow a deployment live until it ends.

    Shows the steps done and to come, the split asked and acknowledged, blue and green side by side, the alarms against their
    thresholds, and what the deployment waits for. In a pipe it prints one line for each change. Ctrl-C stops watching, not
    the deployment.

    \b
    Exit code: 0 when it completed, 1 when it was rolled back.

    \b
    Example:
      bannister watch flights && echo released
    """  # noqa: D301  # the mark tells click to keep the lines
    from bannister.cli.watch import watch as run

    raise typer.Exit(run(endpoint, endpoint_url))


@app.command()
def explain(
    endpoint: _Endpoint,
    deployment: Annotated[
        str | None, typer.Option(metavar="ID", help="A deployment's id.  [default: the endpoint's newest]")
    ] = None,
    json: _Json = False,
    endpoint_url: _Url = None,
) -> None:
    """Tell why a deployment went as it did: every decision, with what it was made on.

    \b
    Example:
      bannister explain flights
      bannister explain flights --deployment 3f2a9c10 --json
    """  # noqa: D301  # the mark tells click to keep the lines
    from bannister.cli.explain import explain as run

    raise typer.Exit(run(endpoint, deployment, endpoint_url, json))


@app.command()
def events(
    endpoint: Annotated[str | None, typer.Argument(help="Only those of this endpoint.  [default: all]")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with those to come, until Ctrl-C.")] = False,
    last: Annotated[
        int, typer.Option(metavar="N", min=0, help="At most the newest N of those that are there; 0: all.")
    ] = 40,
    json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document instead; with --follow one line for each event.")
    ] = False,
    endpoint_url: _Url = None,
) -> None:
    """Show what became of endpoints, as SageMaker would tell EventBridge of it.

    Every change of an endpoint's status and of its deployment's stage is an event, kept for two weeks. Webhooks are told of
    them: the setting event_webhooks in bannister.toml.

    \b
    Example:
      bannister events
      bannister events flights --follow
      bannister events flights --json | jq '.Events[].detail.EndpointStatus'
    """  # noqa: D301  # the mark tells click to keep the lines
    from bannister.cli.events import events as run

    raise typer.Exit(run(endpoint, last, follow, endpoint_url, json))


@app.command()
def rollback(
    endpoint: _Endpoint,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why, in one line, for those who ask later.")],
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Do not wait until it is done.")] = False,
    endpoint_url: _Url = None,
) -> None:
    """Stop a running deployment: all traffic goes back to blue, then green is removed.

    Waits until that is done; Ctrl-C stops waiting, not the rollback.

    \b
    Exit code: 0 when it is rolled back, 1 when it completed all the same.

    \b
    Example:
      bannister rollback flights --reason "predictions look wrong in Denver"
    """  # noqa: D301  # the mark tells click to keep the lines
    from bannister.cli.rollback import rollback as run

    raise typer.Exit(run(endpoint, reason, endpoint_url, wait=not no_wait))


@app.command("service-model")
def service_model() -> None:
    """Print where the botocore model of Bannister's own operations is.

    \b
    Example:
      export AWS_DATA_PATH=$(bannister service-model)
      python -c 'import boto3; print(boto3.client("bannister").list_deployments())'
    """  # noqa: D301  # the mark tells click to keep the lines
    from bannister.cli.service_model import OWN_MODELS

    typer.echo(OWN_MODELS)


app.add_typer(shadow_commands.app)
backup.register(app)


def main() -> None:
    """The `bannister` command. An error is one sentence on standard error; exit code 2 where the caller can mend it, else 1."""
    try:
        app()
    except BannisterError as error:
        print(printable(str(error), keeps_lines=True), file=sys.stderr)
        sys.exit(2 if isinstance(error, Refused) else 1)
