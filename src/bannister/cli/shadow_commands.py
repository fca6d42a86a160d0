"""`bannister shadow`: what a shadow's answers are worth, and what counts as the same answer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    name="shadow",
    help="""Judge a version that answers beside production, before anybody depends on it.

A shadow gets copies of production's requests; no caller sees its answers. Each is compared with production's answer to the same request.
""",
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)

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
def report(
    endpoint: _Endpoint,
    variant: Annotated[str | None, typer.Option(metavar="NAME", help="A shadow variant's name.")] = None,
    config: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="An endpoint configuration's name.  [default: the shadow that is there, or was last]"
        ),
    ] = None,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a page with plots, in one file, instead.")
    ] = None,
    json: _Json = False,
    endpoint_url: _Url = None,
) -> None:
    """Say how far a shadow agrees with production, and where not.

    The interval beside the agreement holds however often one looks: it may be read after every pair. The noise floor is how far production
    agrees with itself, where `bannister shadow rules --noise-percent` has it measured.

    \b
    Example:
      bannister shadow report flights
      bannister shadow report flights --html flights.html
      bannister shadow report flights --json | jq .Agreement.LowerBound
    """  # noqa: D301  # the mark tells click to keep the lines
    from bannister.cli.shadow_report import report as run

    raise typer.Exit(run(endpoint, variant, config, endpoint_url, page=html, json=json))


@app.command()
def rules(
    endpoint: _Endpoint,
    ignore: Annotated[
        list[str] | None,
        typer.Option(metavar="PATH", help="A place that is not compared, such as $.id or $[*].at; may be repeated."),
    ] = None,
    unordered: Annotated[
        list[str] | None, typer.Option(metavar="PATH", help="A list whose order does not matter; may be repeated.")
    ] = None,
    atol: Annotated[float | None, typer.Option(help="Numbers may differ by this.  [default: 1e-06]")] = None,
    rtol: Annotated[
        float | None, typer.Option(help="… and by this share of production's number.  [default: 0.0001]")
    ] = None,
    minimum: Annotated[float | None, typer.Option("--min", help="Numbers below are invalid outputs.")] = None,
    maximum: Annotated[float | None, typer.Option("--max", help="Numbers above are invalid outputs.")] = None,
    noise_percent: Annotated[
        float | None,
        typer.Option(help="Copy this share of requests to production itself, to measure its noise.  [default: 0]"),
    ] = None,
    bodies: Annotated[
        bool | None, typer.Option("--bodies/--no-bodies", help="Keep the bodies of the worst pairs.  [default: keep]")
    ] = None,
    reset: Annotated[bool, typer.Option("--reset", help="Begin from the defaults.")] = False,
    json: _Json = False,
    endpoint_url: _Url = None,
) -> None:
    """Show, or change, what counts as the same answer.

    An option changes its rule from now on; what no option names stays as it is. Numbers are equal within the tolerances, everything else only if it is the same; NaN equals NaN.
    What was compared before is not compared again.

    \b
    Example:
      bannister shadow rules flights
      bannister shadow rules flights --ignore '$.version' --rtol 0.01
      bannister shadow rules flights --min 0 --max 1 --noise-percent 5
    """  # noqa: D301  # the mark tells click to keep the lines
    from bannister.cli.shadow_rules import Change
    from bannister.cli.shadow_rules import rules as run

    change = Change(ignore, unordered, atol, rtol, minimum, maximum, noise_percent, bodies, reset)
    raise typer.Exit(run(endpoint, change, endpoint_url, json=json))
