"""What every protocol produces: an HTTP answer as a value."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP response, whole. The gateway adds the request id and the length."""

    status: int
    body: bytes
    #: Empty: there is no body that would have one.
    content_type: str
    headers: dict[str, str] = field(default_factory=dict)
