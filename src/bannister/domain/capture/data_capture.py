"""What a configuration says about capturing (AWS: DataCaptureConfig)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class CaptureMode(StrEnum):
    """AWS's CaptureMode."""

    INPUT = "Input"
    OUTPUT = "Output"
    INPUT_AND_OUTPUT = "InputAndOutput"


@dataclass(frozen=True, slots=True)
class DataCapture:
    """Which of a variant's requests are written to storage, and how. Applies to every variant of the configuration, its shadow included."""

    enabled: bool
    #: AWS: InitialSamplingPercentage, 0 to 100, of each variant's requests.
    sampling_percent: int
    #: `s3://bucket/prefix`.
    destination_url: str
    modes: tuple[CaptureMode, ...]
    #: Media types whose bodies are written as text; all others are written as BASE64 (AWS).
    csv_content_types: tuple[str, ...] = ()
    json_content_types: tuple[str, ...] = ()
    #: Stored and described; nothing is encrypted with it.
    kms_key_id: str | None = None

    @property
    def captures_input(self) -> bool:
        return CaptureMode.INPUT in self.modes or CaptureMode.INPUT_AND_OUTPUT in self.modes

    @property
    def captures_output(self) -> bool:
        return CaptureMode.OUTPUT in self.modes or CaptureMode.INPUT_AND_OUTPUT in self.modes
