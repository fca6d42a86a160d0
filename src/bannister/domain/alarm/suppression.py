"""Whether the actions of a composite alarm are held back, and until when.

A suppressor in ALARM holds them back. It may come late and leave early: after a transition of the composite alarm its actions wait `wait_seconds` for the
suppressor, and after the suppressor has left ALARM they wait `extension_seconds`. When that is over, the actions of the state that the alarm is in then are run, if it has
gone to another state in the meantime. The state itself never waits.
"""

from __future__ import annotations

from dataclasses import replace

from bannister.domain.alarm.alarm import AlarmValue, CompositeRule, SuppressedBy, Suppression


def suppressed(
    rule: CompositeRule, current: Suppression | None, suppressor: AlarmValue | None, at: float, *, moved: bool
) -> Suppression | None:
    """How actions are held back after a transition of the composite alarm or of its suppressor; None: they are not.

    Args:
        rule: The alarm's configuration.
        current: How they were held back until now.
        suppressor: The suppressor's state now; None: there is none, so nothing is held back any more.
        at: The time of the transition.
        moved: The composite alarm itself went to another state.
    """
    if suppressor is None:
        return None
    pending = moved or (current is not None and current.pending)
    if suppressor is AlarmValue.ALARM:
        return Suppression(SuppressedBy.ALARM, pending=pending)
    if current is not None and current.by is SuppressedBy.ALARM:
        return _until(SuppressedBy.EXTENSION, at, rule.extension_seconds, pending=pending)
    if current is not None and current.by is SuppressedBy.EXTENSION:
        return replace(current, pending=pending)
    if moved:
        return _until(SuppressedBy.WAIT, at, rule.wait_seconds, pending=True)
    return current


def _until(by: SuppressedBy, at: float, seconds: int, *, pending: bool) -> Suppression | None:
    return Suppression(by, at + seconds, pending) if seconds else None


def suppression_reason(suppression: Suppression) -> str:
    """AWS's ActionsSuppressedReason."""
    return f"Actions suppressed by {suppression.by.value}"
