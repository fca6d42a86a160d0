"""How sure one may be of a share: an interval that holds at every moment at once, so that one may look after every pair.

An ordinary confidence interval is wrong more often than it says for whoever looks again and again and stops when it pleases him. A
*confidence sequence* is not: with probability 1 - α it holds the true share at every number of pairs. This one inverts a bet (Ville's inequality;
Robbins 1970; Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting", 2024): of a share p, the wealth of a
gambler who mixes over all shares with a Beta(a, b) weight is, after s of n,

    E(p) = B(a + s, b + n - s) / (B(a, b) · p^s · (1 - p)^(n - s)),

a martingale with mean 1 if p is the true share. The interval is every p with E(p) < 1/α. Jeffreys' weight, a = b = 1/2, serves shares near 0 and 1 best.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

CONFIDENCE: Final = 0.95
#: Jeffreys' weight.
PRIOR: Final = 0.5

_HALVINGS: Final = 80


@dataclass(frozen=True, slots=True)
class Interval:
    """Where the true share is, with this confidence at every moment."""

    lower: float
    upper: float
    confidence: float = CONFIDENCE


def log_wealth(hits: int, count: int, share: float, a: float = PRIOR, b: float = PRIOR) -> float:
    """How strongly `hits` of `count` speak against the share p: the logarithm of E(p)."""
    misses = count - hits
    against = (math.log(share) * hits if share > 0 else -math.inf) if hits else 0.0
    against += (math.log1p(-share) * misses if share < 1 else -math.inf) if misses else 0.0
    return _log_beta(a + hits, b + misses) - _log_beta(a, b) - against


def interval(hits: int, count: int, confidence: float = CONFIDENCE, a: float = PRIOR, b: float = PRIOR) -> Interval:
    """Where the share is of which `hits` of `count` were seen. Of nothing seen: anywhere."""
    assert 0 <= hits <= count
    if count == 0:
        return Interval(0.0, 1.0, confidence)
    bound = -math.log(1 - confidence)
    seen = hits / count
    lower = 0.0 if hits == 0 else _crossing(0.0, seen, hits, count, bound, a, b)
    upper = 1.0 if hits == count else _crossing(1.0, seen, hits, count, bound, a, b)
    return Interval(lower, upper, confidence)


def _crossing(outside: float, inside: float, hits: int, count: int, bound: float, a: float, b: float) -> float:
    """Where the wealth reaches its bound between a share that is out and one that may be in; the wealth falls in between."""
    for _ in range(_HALVINGS):
        middle = (outside + inside) / 2
        if log_wealth(hits, count, middle, a, b) >= bound:
            outside = middle
        else:
            inside = middle
    return outside


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
