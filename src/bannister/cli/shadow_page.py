"""A shadow's report as one page: its plots are SVG, it needs no scripts, and it opens from a file years later."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any, Final

from bannister.cli import words
from bannister.cli.plots import Axis, Line, chart, linear, logarithmic, of_time, share_bar
from bannister.cli.shadow_rules import told
from bannister.cli.shadow_words import (
    changes_elsewhere,
    earlier,
    interval,
    label_places,
    left_out,
    names,
    percentile_name,
    quantile,
    share,
    since,
)
from bannister.errors import Refused

_SHOWN_PERCENTS: Final = (50.0, 90.0, 95.0, 99.0, 99.9, 100.0)
_LABEL_ROWS_MAX: Final = 40

_STYLE: Final = """
:root { color-scheme: light dark; --ink: #1c2024; --dim: #626b74; --rule: #d9dee3; --back: #fff; --card: #f6f8fa;
  --shadow: #0b7285; --production: #b35c00; --bad: #c2255c; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ec; --dim: #98a2ab; --rule: #343b42; --back: #15181b; --card: #1d2125;
  --shadow: #4cc9e0; --production: #f2a65a; --bad: #ff7fa5; } }
body { margin: 2rem auto; max-width: 60rem; padding: 0 1.2rem; color: var(--ink); background: var(--back);
  font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.35rem; margin: 0; } h2 { font-size: 1.05rem; margin: 2rem 0 .5rem; }
.verdict { font-size: 1.15rem; border-left: 4px solid var(--shadow); padding: .3rem 0 .3rem .9rem; margin: 1.1rem 0; }
.dim, small { color: var(--dim); } .s { color: var(--shadow); } .p { color: var(--production); } .bad { color: var(--bad); }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .22rem .8rem .22rem 0; border-bottom: 1px solid var(--rule); vertical-align: top; }
th { font-weight: 600; color: var(--dim); font-size: .85rem; } td.n, th.n { text-align: right; }
svg { width: 100%; height: auto; display: block; } svg.bar { width: 24rem; max-width: 100%; }
svg text { font-size: 11px; fill: var(--dim); } text.end { text-anchor: end; } text.mid { text-anchor: middle; }
.grid { stroke: var(--rule); stroke-width: 1; } .curve { fill: none; stroke-width: 2; stroke-linejoin: round; }
.curve.shadow, .fill.shadow, .dot.shadow { stroke: var(--shadow); } .fill.shadow, .dot.shadow { fill: var(--shadow); }
.curve.production, .fill.production, .dot.production { stroke: var(--production); }
.fill.production, .dot.production { fill: var(--production); }
.whole { fill: var(--card); stroke: var(--rule); } .sure { stroke: var(--ink); stroke-width: 1.5; fill: none; }
.key::before { content: ""; display: inline-block; width: .8em; height: .8em; margin-right: .35em; border-radius: 2px;
  background: currentColor; vertical-align: -.05em; }
details { border-bottom: 1px solid var(--rule); padding: .35rem 0; } summary { cursor: pointer; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; background: var(--card); padding: .6rem .8rem; margin: .4rem 0; font-size: 13px; }
code { font-size: 13px; overflow-wrap: anywhere; }
"""


def write(found: Mapping[str, Any], path: Path) -> None:
    """Write the page.

    Raises:
        Refused: The file cannot be written.
    """
    # Half of a surrogate pair is no character: a text that was cut within one is shown as it was written.
    content = page(found).encode("utf-8", "backslashreplace")
    try:
        path.write_bytes(content)
    except OSError as error:
        raise Refused(f"The page cannot be written: {error}") from None


def page(found: Mapping[str, Any]) -> str:
    """The whole page."""
    shadow, production = names(found)
    title = f"{found['EndpointName']}: {shadow} beside {production}"
    body = "\n".join(_body(found, title))
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>\n'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head>\n<body>\n{body}\n</body></html>\n'
    )


def _body(found: Mapping[str, Any], title: str) -> Iterator[str]:
    yield f'<h1>{escape(title)}</h1><p class="dim">{escape(since(found))}</p>'
    yield f'<p class="verdict">{escape(found["Verdict"])}</p>'
    if "Trouble" in found:
        yield f"<p>{escape(found['Trouble'])}</p>"
    if found["Agreement"]["Pairs"]:
        yield from _agreement(found)
        yield from _labels(found)
        yield from _numbers(found)
        yield from _latency(found)
    rows = left_out(found)
    if rows:
        yield "<h2>Not compared</h2>"
        yield _table(("", "n"), ("why", "exchanges"), [(escape(reason), f"{count:,}") for reason, count in rows])
    yield from _worst(found)
    yield "<h2>Rules</h2>"
    rules = told(found["Rules"])
    rules += [("since", words.day_and_clock(found["RulesTime"]))] if "RulesTime" in found else []
    yield _table(("", ""), ("", ""), [(escape(name), escape(said)) for name, said in rules])
    earlier_rows = earlier(found)
    if earlier_rows:
        yield f"<h2>By other rules before</h2><p>{found['EarlierPairs']:,} pairs, which are not counted above.</p>"
        yield _table(("", ""), ("agreed", "rules"), [(escape(said), escape(other)) for said, other in earlier_rows])


def _agreement(found: Mapping[str, Any]) -> Iterator[str]:
    shadow, production = names(found)
    yield "<h2>Agreement</h2>"
    rows = [(f'<span class="s">{escape(shadow)}</span> with {escape(production)}', found["Agreement"], "shadow")]
    if found.get("NoiseFloor", {}).get("Pairs"):
        rows.append((f'<span class="p">{escape(production)}</span> with itself', found["NoiseFloor"], "production"))
    yield _table(
        ("", "", "n", "", "n"),
        ("", "", "agreement", f"{100 * found['Agreement']['Confidence']:.0f} % interval", "pairs"),
        [
            (
                name,
                share_bar(one["Rate"], style, (one["LowerBound"], one["UpperBound"])),
                share(one["Rate"]),
                interval(one),
                f"{one['Pairs']:,}",
            )
            for name, one, style in rows
        ],
    )
    yield "<p><small>The interval holds however often one looks: it may be read after every pair.</small></p>"
    worse = [
        f"{found['StructuralDifferences']:,} pairs differ in structure." if found["StructuralDifferences"] else "",
        f'<span class="bad">{found["InvalidOutputs"]:,} answers hold invalid numbers.</span>'
        if found["InvalidOutputs"]
        else "",
    ]
    if any(worse):
        yield f"<p>{' '.join(worse)}</p>"
    course = found["Course"]
    if len(course) > 1:
        began = course[0]["Timestamp"]
        points = [((one["Timestamp"] - began).total_seconds(), one["Agreeing"] / one["Pairs"]) for one in course]
        up = Axis(0.0, 1.0, "agreement", (0.0, 0.25, 0.5, 0.75, 1.0), lambda value: f"{100 * value:.0f} %")
        across = of_time(points[-1][0], f"time since {words.day_and_clock(began)}", words.duration)
        yield chart(across, up, [Line(shadow, "shadow", points, gap=1.5 * found["CoursePeriodSeconds"])], dots=True)


def _labels(found: Mapping[str, Any]) -> Iterator[str]:
    places = label_places(found)
    if not places:
        return
    shadow, production = names(found)
    yield f"<h2>Labels, {escape(production)} → {escape(shadow)}</h2>"
    for place in places:
        cells = [
            (
                escape(one["Old"]),
                escape(one["New"]),
                f"{one['Count']:,}",
                share(one["Count"] / place.total),
                share_bar(one["Count"] / place.total, "shadow"),
            )
            for one in place.changes[:_LABEL_ROWS_MAX]
        ]
        yield (
            f"<p><code>{escape(place.path)}</code> <small>{place.unchanged:,} of {place.total:,} unchanged</small></p>"
        )
        if cells:
            yield _table(("", "", "n", "n", ""), ("old", "new", "times", "share", ""), cells)
        rest = place.rest(_LABEL_ROWS_MAX)
        if rest is not None:
            yield f"<p><small>{rest}.</small></p>"
    elsewhere = changes_elsewhere(found)
    if elsewhere:
        yield f"<p><small>{elsewhere:,} more changes of other labels.</small></p>"


def _numbers(found: Mapping[str, Any]) -> Iterator[str]:
    numbers = found.get("NumericDifference")
    if numbers is None:
        return
    shadow, production = names(found)
    yield "<h2>Numbers</h2>"
    yield f"<p>The largest absolute difference in each of {numbers['Pairs']:,} pairs. "
    yield f"{escape(shadow)} minus {escape(production)}: <b>{numbers['SignedMean']:+.4g}</b> on average.</p>"
    yield _quantile_table([("difference", "", numbers["Quantiles"])], lambda value: f"{value:.4g}")
    points = [(one["Value"], one["Percent"]) for one in numbers["Quantiles"]]
    across = linear([x for x, _ in points], "difference, and the share of pairs that differ by at most so much")
    yield chart(across, _percents("of the pairs differ by at most"), [Line("difference", "shadow", points)])


def _latency(found: Mapping[str, Any]) -> Iterator[str]:
    old, new = found["ProductionLatency"], found["ShadowLatency"]
    if not old or not new:
        return
    shadow, production = names(found)
    yield "<h2>Latency</h2>"
    yield _quantile_table([(production, "p", old), (shadow, "s", new)], words.milliseconds)
    curves = [
        Line(name, style, [(one["Value"], one["Percent"]) for one in quantiles])
        for name, style, quantiles in ((production, "production", old), (shadow, "shadow", new))
    ]
    across = logarithmic(
        [x for one in curves for x, _ in one.points], "milliseconds, and the share answered within so many"
    )
    yield chart(across, _percents("answered within"), curves)
    yield f'<p><span class="key p">{escape(production)}</span> &nbsp; <span class="key s">{escape(shadow)}</span></p>'
    paired = [(percentile_name(one), quantile(found["LatencyDifference"], one)) for one in (5.0, 50.0, 95.0)]
    said = ", ".join(f"{name} {words.more_milliseconds(value)}" for name, value in paired if value is not None)
    yield f"<p><small>{escape(shadow)} minus {escape(production)}, request by request: {said}</small></p>"


def _percents(title: str) -> Axis:
    return Axis(0.0, 100.0, title, (0.0, 25.0, 50.0, 75.0, 100.0), lambda value: f"{value:.0f} %")


def _quantile_table(rows: Sequence[tuple[str, str, Any]], write_value: Any) -> str:
    cells = [
        (
            f'<span class="{style}">{escape(name)}</span>',
            *(write_value(quantile(found, one)) for one in _SHOWN_PERCENTS),
        )
        for name, style, found in rows
    ]
    return _table(("", *["n"] * len(_SHOWN_PERCENTS)), ("", *map(percentile_name, _SHOWN_PERCENTS)), cells)


def _worst(found: Mapping[str, Any]) -> Iterator[str]:
    if not found["Worst"]:
        return
    shadow, production = names(found)
    yield "<h2>Worst pairs</h2>"
    for number, one in enumerate(found["Worst"], start=1):
        more = f" · difference {one['Difference']:.4g}" if one.get("Difference") else ""
        yield f"<details{' open' if number == 1 else ''}><summary>{number}. {escape(one['Why'])}"
        yield f" <small>{words.day_and_clock(one['Time'])}{more} · request {escape(one['RequestId'])}</small></summary>"
        bodies = (
            ("request", one.get("Request")),
            (production, one.get("ProductionAnswer")),
            (shadow, one.get("ShadowAnswer")),
        )
        for name, body in bodies:
            if body is not None:
                yield f"<small>{escape(name)}, {body['Size']:,} bytes</small><pre>{escape(_pretty(body))}</pre>"
        yield "</details>"


def _pretty(body: Mapping[str, Any]) -> str:
    """JSON that is whole and short on one line; everything else as it is."""
    try:
        return json.dumps(json.loads(body["Text"]), ensure_ascii=False)
    except (ValueError, RecursionError):
        return str(body["Text"])


def _table(kinds: Sequence[str], heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Cells are HTML already; a kind `n` is a number."""
    marked = [' class="n"' if kind == "n" else "" for kind in kinds]
    head = "".join(f"<th{kind}>{escape(text)}</th>" for kind, text in zip(marked, heads, strict=True))
    body = "".join(
        f"<tr>{''.join(f'<td{kind}>{cell}</td>' for kind, cell in zip(marked, row, strict=True))}</tr>" for row in rows
    )
    return f"<table>{f'<tr>{head}</tr>' if any(heads) else ''}{body}</table>"
