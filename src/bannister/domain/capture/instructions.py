"""What the capture process is to do: sent whole by the control plane when it connects, and again after every change."""

from __future__ import annotations

from dataclasses import dataclass

from bannister.domain.capture.data_capture import DataCapture
from bannister.domain.comparison.rules import Rules


@dataclass(frozen=True, slots=True)
class CapturedGroup:
    """One group whose exchanges arrive at the capture process."""

    group: str
    endpoint: str
    variant: str
    config_name: str
    #: Written to storage as this says; None: not written.
    capture: DataCapture | None
    #: Share of the exchanges that arrive which is written, so that of all of the variant's requests the configured share is; 0 to 1.
    written_share: float = 1.0


@dataclass(frozen=True, slots=True)
class ComparedGroups:
    """A shadow's group, and the production group whose answers its answers are compared with."""

    #: Of a noise copy, production's own.
    shadow: str
    production: str
    rules: Rules
    endpoint: str = ""
    #: Production is compared with a copy of its own.
    noise: bool = False


@dataclass(frozen=True, slots=True)
class Instructions:
    """Everything, for all endpoints. What is not named is neither written nor compared."""

    groups: tuple[CapturedGroup, ...] = ()
    #: Of an endpoint's shadows the one that gets copies now comes first; copies for another may still be under way.
    pairs: tuple[ComparedGroups, ...] = ()
