"""How far an address has been told of events."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class EventDelivery:
    """One configured address. Times in seconds since 1970."""

    url: str
    #: Of the events up to this place in the journal it is told no more: they were before it was configured, were taken, or given up.
    position: int
    delivered: int = 0
    given_up: int = 0
    delivered_at: float | None = None
    given_up_at: float | None = None
    #: Why the last one was given up: a sentence.
    given_up_because: str | None = None
    #: It has not taken the event that it is being told since then; None: nothing is wrong.
    failing_since: float | None = None
    #: Why the last attempt failed: a sentence; None: it did not.
    error: str | None = None
