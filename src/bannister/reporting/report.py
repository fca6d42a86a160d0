"""What all reports have in common."""

from __future__ import annotations

from typing import Any, ClassVar, Protocol, TypeVar


class Numbered(Protocol):
    """A frozen dataclass that begins like this. It is sent again until it is acknowledged, and counts once."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def run(self) -> str:
        """Changes whenever the process that reports starts."""
        ...

    @property
    def sequence(self) -> int:
        """1, 2, 3 … within a run."""
        ...

    @property
    def watermark(self) -> float | None:
        """Everything before this moment is in the reports up to this one. None: the path is not proven yet."""
        ...

    @property
    def covered_since(self) -> float | None:
        """Since when this run has seen everything without a gap. None: the path is not proven yet."""
        ...


ReportT = TypeVar("ReportT", bound=Numbered)
