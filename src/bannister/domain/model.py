"""A model: how to run it (image), what it loads (artifact) and its environment."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from bannister.domain.tags import Tags


@dataclass(frozen=True, slots=True)
class Container:
    """One container definition."""

    image: str
    #: `s3://bucket/key` of a `model.tar.gz`; None: the image brings its own model.
    artifact_url: str | None = None
    environment: dict[str, str] = field(default_factory=dict)
    hostname: str | None = None
    #: What else the client gave, which has no effect here: described as it came, and never looked into.
    as_given: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Model:
    """What CreateModel stores. Immutable but for its tags: AWS has no UpdateModel."""

    name: str
    container: Container
    created_at: float
    execution_role: str | None = None
    #: The client gave `Containers` (a list of one) and not `PrimaryContainer`; describing it gives back the same form.
    given_as_list: bool = False
    network_isolation: bool = False
    tags: Tags = ()
    #: As a container's.
    as_given: dict[str, Any] = field(default_factory=dict)
