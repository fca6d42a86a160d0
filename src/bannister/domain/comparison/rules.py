"""What counts as the same answer. Each endpoint has its rules; these are the defaults."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Rules:
    """How two answers to the same request are compared."""

    #: Numbers a (production) and b (shadow) are equal where |a - b| <= absolute + relative * |a|.
    absolute_tolerance: float = 1e-6
    relative_tolerance: float = 1e-4
    #: Paths whose values are not compared: `$.id`, `$.outputs[*].timestamp`; for CSV a column as `$[*][2]`.
    ignored_paths: tuple[str, ...] = ()
    #: Paths of lists that are compared as sets.
    unordered_paths: tuple[str, ...] = ()
    #: Numbers outside are invalid outputs, as NaN and infinity always are; None: no bound.
    minimum: float | None = None
    maximum: float | None = None
    #: Bodies of the largest disagreements are kept to be looked at.
    keeps_bodies: bool = True
    #: Share of requests also copied to production's own group, to know how much it differs from itself. Parts of `TRAFFIC_PARTS`.
    noise_parts: int = 0
    #: Since when an endpoint's answers are compared like this; 0.0: always, or an earlier version did not write it down.
    since: float = 0.0

    @property
    def comparing(self) -> Rules:
        """What of them decides whether two answers are the same: figures of pairs that were compared by other ones do not add up."""
        return replace(self, keeps_bodies=True, noise_parts=0, since=0.0)
