"""Quantiles of differences that have a sign, from a sketch of those above zero and one of the sizes of those below."""

from __future__ import annotations

from bannister.domain.metric.sketch import Sketch


def signed_quantile(above: Sketch | None, below: Sketch | None, q: float) -> float | None:
    """The nearest-rank quantile for a share q in [0, 1]; None: there are no samples."""
    down, up = below.count if below is not None else 0.0, above.count if above is not None else 0.0
    total = down + up
    if total == 0:
        return None
    if below is not None and (above is None or q * total <= down):
        # The smallest value is the largest size: ranks run the other way.
        return -below.quantile(1 - q * total / down) if down else None
    return above.quantile((q * total - down) / up) if above is not None else None
