"""What a shadow's tally says, in words."""

from __future__ import annotations

from collections.abc import Iterator

from bannister.domain.comparison.interval import Interval, interval
from bannister.domain.comparison.quantiles import signed_quantile
from bannister.domain.comparison.record import ShadowRecord
from bannister.domain.comparison.tally import Tally

#: Below so many pairs, what is said is said with a warning.
FEW_PAIRS = 100


def verdict(record: ShadowRecord, noise: ShadowRecord | None) -> str:
    """A few sentences, the agreement first; `noise`: production compared with itself."""
    shadow, production = names(record)
    if record.tally.pairs == 0:
        return f"No answer of {shadow} has been compared with one of {production} yet."
    return " ".join(_sentences(record.tally, noise, shadow, production))


def names(record: ShadowRecord) -> tuple[str, str]:
    """What to call the shadow and production: their models, or else their variants, or else their groups."""
    shadow = record.model or record.variant or record.group
    production = record.production_model or record.production_variant or record.production_group
    if shadow == production:
        return f"{shadow} (the shadow)", f"{production} (production)"
    return shadow, production


def _sentences(tally: Tally, noise: ShadowRecord | None, shadow: str, production: str) -> Iterator[str]:
    found = interval(tally.agreeing, tally.pairs)
    yield f"{shadow} agrees with {production} on {_share(tally.agreeing, tally.pairs)} ({_interval(found)})."
    if tally.pairs < FEW_PAIRS:
        yield f"That is few: with {FEW_PAIRS} pairs or more it will say something."
    if tally.structural:
        yield f"{_count(tally.structural, 'pair')} of {tally.pairs:,} differ in structure."
    if tally.invalid:
        yield f"{_count(tally.invalid, 'answer')} of {shadow} {'holds' if tally.invalid == 1 else 'hold'} invalid numbers."
    if noise is not None and noise.tally.pairs:
        yield _noise(found, noise.tally, production)
    later = signed_quantile(tally.slower, tally.faster, 0.5)
    if later is not None:
        word = "later" if later >= 0 else "earlier"
        yield f"{shadow} answers {_milliseconds(abs(later))} {word} at the median."


def _noise(found: Interval, noise: Tally, production: str) -> str:
    own = interval(noise.agreeing, noise.pairs)
    said = f"{production} agrees with itself on {_share(noise.agreeing, noise.pairs)}"
    if found.upper < own.lower:
        return f"{said}, so the difference is more than its noise."
    if found.lower > own.upper:
        return f"{said}, so the difference is less than its noise."
    return f"{said}; that is no difference that can be told from its noise so far."


def percent(share: float) -> str:
    """A share for people; one just below all is never rounded up to all."""
    text = f"{100 * share:.1f}"
    if text == "100.0" and share < 1:
        text = f"{int(100_000 * share) / 1000:.3f}".rstrip("0")
    if text == "0.0" and share > 0:
        text = f"{100 * share:.3g}"
    return f"{text.removesuffix('.0')} %"


def _share(hits: int, count: int) -> str:
    return f"all {_count(count, 'pair')}" if hits == count else f"{percent(hits / count)} of {_count(count, 'pair')}"


def _interval(found: Interval) -> str:
    sure = f"{100 * found.confidence:.0f} % interval"
    if found.upper == 1.0:
        return f"{sure}: at least {percent(found.lower)}"
    if found.lower == 0.0:
        return f"{sure}: at most {percent(found.upper)}"
    return f"{sure} {percent(found.lower)} to {percent(found.upper)}"


def _count(count: int, word: str) -> str:
    return f"{count:,} {word}" if count == 1 else f"{count:,} {word}s"


def _milliseconds(microseconds: float) -> str:
    return f"{microseconds / 1000:.3g} ms" if microseconds < 1e6 else f"{microseconds / 1e6:.3g} s"
