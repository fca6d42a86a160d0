"""Invocations in, one summary per group, instance and second out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from bannister.domain.metric.sketch import Sketch
from bannister.domain.metric.summary import Summary
from bannister.telemetry.entry import Invocation


@dataclass(slots=True)
class _Open:
    """A summary that still grows."""

    invocations: int = 0
    errors_4xx: int = 0
    errors_5xx: int = 0
    model_errors: int = 0
    unreachable: int = 0
    abandoned: int = 0
    retries: int = 0
    late: int = 0
    copies: int = 0
    skipped: int = 0
    model_latencies: list[int] = field(default_factory=list)
    overhead_latencies: list[int] = field(default_factory=list)

    def add(self, invocation: Invocation, *, late: bool) -> None:
        status = invocation.status
        self.invocations += 1
        self.late += late
        self.abandoned += invocation.abandoned
        self.unreachable += invocation.unreachable
        self.retries += invocation.retries
        self.copies += invocation.copy
        if status is None:
            # A client that hung up before an answer says nothing about the model.
            self.model_errors += not invocation.abandoned
        elif not 200 <= status < 300:
            self.model_errors += 1
            self.errors_4xx += 400 <= status < 500
            self.errors_5xx += status >= 500
        if invocation.model_latency is not None and invocation.overhead_latency is not None:
            self.model_latencies.append(invocation.model_latency)
            self.overhead_latencies.append(invocation.overhead_latency)

    def closed(self, group: str, address: str, second: int) -> Summary:
        return Summary(
            group,
            address,
            second,
            invocations=self.invocations,
            errors_4xx=self.errors_4xx,
            errors_5xx=self.errors_5xx,
            model_errors=self.model_errors,
            unreachable=self.unreachable,
            abandoned=self.abandoned,
            retries=self.retries,
            late=self.late,
            copies=self.copies,
            skipped=self.skipped,
            model_latency=Sketch.of(self.model_latencies) if self.model_latencies else None,
            overhead_latency=Sketch.of(self.overhead_latencies) if self.overhead_latencies else None,
        )


class Fold:
    """Sums invocations up until their second is final."""

    def __init__(self, open_seconds_max: int) -> None:
        self._open_seconds_max = open_seconds_max
        #: Second, then (group, address).
        self._open: dict[int, dict[tuple[str, str], _Open]] = {}
        #: All seconds before this one were final when last taken.
        self._final_before = 0
        #: By group: skipped copies in summaries that are open.
        self._skipped: Counter[str] = Counter()

    @property
    def skipped(self) -> Mapping[str, int]:
        """Skipped copies that are in no summary that was taken, by group."""
        return dict(self._skipped)

    def add(self, invocation: Invocation) -> None:
        summary = self._summary(invocation.second, invocation.group, invocation.address)
        summary.add(invocation, late=invocation.second < self._final_before)

    def skip(self, group: str, second: int, copies: int) -> None:
        """So many copies for a shadow were not made in this second."""
        self._summary(second, group, "").skipped += copies
        self._skipped[group] += copies

    def _summary(self, second: int, group: str, address: str) -> _Open:
        of_second = self._open.get(second)
        if of_second is None:
            of_second = self._open[second] = {}
        summary = of_second.get((group, address))
        if summary is None:
            summary = of_second[group, address] = _Open()
        return summary

    def take(self, watermark: float | None) -> tuple[Summary, ...]:
        """Summaries of the seconds that are over at the watermark, late additions included, oldest first.

        Beyond `open_seconds_max` open seconds the oldest are given out as they are, final or not: summaries add up. So are all where the
        watermark goes back, for the clock was set back and the time that they were opened in is gone.
        """
        seconds = sorted(self._open)
        surplus = seconds[: max(len(seconds) - self._open_seconds_max, 0)]
        if watermark is not None:
            surplus = seconds if int(watermark) < self._final_before else surplus
            self._final_before = int(watermark)
        due = [second for second in seconds if second < self._final_before or second in surplus]
        taken = tuple(
            summary.closed(group, address, second)
            for second in due
            for (group, address), summary in self._open.pop(second).items()
        )
        for one in taken if self._skipped else ():
            self._skipped[one.group] -= one.skipped
        self._skipped = +self._skipped  # without those of which nothing is left
        return taken
