"""Endpoint configurations, fleets, and endpoints.

An endpoint is the stable name that callers invoke. What serves it is a *fleet*: a copy of one configuration with one *group*
of instances per variant. A running deployment (`bannister.domain.deployment`) brings a second, green fleet.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from bannister.domain.capture.data_capture import DataCapture
from bannister.domain.deployment.deployment import Deployment
from bannister.domain.deployment.policy import DeploymentPolicy
from bannister.domain.fleet import Fleet, RoutingStrategy
from bannister.domain.scaling import Scaling
from bannister.domain.tags import Tags
from bannister.domain.unserved import AsyncInference, Serverless


@dataclass(frozen=True, slots=True)
class Variant:
    """One variant of a configuration."""

    name: str
    model_name: str
    instance_count: int
    #: Relative to the other variants' weights; a shadow's to production's, as the share of requests that is copied.
    weight: float = 1.0
    instance_type: str | None = None
    startup_timeout_seconds: float | None = None
    #: It has no instances of its own, and is not served.
    serverless: Serverless | None = None
    routing: RoutingStrategy | None = None
    #: What else the client gave, which has no effect here: described as it came, and never looked into.
    as_given: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class EndpointConfig:
    """What CreateEndpointConfig stores. Immutable but for its tags."""

    name: str
    variants: tuple[Variant, ...]
    created_at: float
    #: AWS: where there is a shadow variant, there is exactly one, and one production variant.
    shadow_variants: tuple[Variant, ...] = ()
    data_capture: DataCapture | None = None
    tags: Tags = ()
    #: It is for asynchronous invocations, and is not served.
    async_inference: AsyncInference | None = None
    #: As a variant's.
    as_given: dict[str, Any] = field(default_factory=dict)

    @property
    def why_not_served(self) -> str | None:
        """Why no endpoint can have it, as a sentence; None: it can be served."""
        serverless = next((variant.name for variant in self.variants if variant.serverless is not None), None)
        if serverless is not None:
            what, instead = (
                f'serverless: its variant "{serverless}" has a ServerlessConfig',
                "variants with InitialInstanceCount and InstanceType",
            )
        elif self.async_inference is not None:
            what, instead = "for asynchronous inference: it has an AsyncInferenceConfig", "no AsyncInferenceConfig"
        else:
            return None
        return (
            f'Endpoint configuration "{self.name}" is {what}. It is kept and described; endpoints and their guarded updates are '
            f"real-time only here. Create one with {instead}."
        )


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An endpoint's whole truth: who is in production, and the deployment that is changing that."""

    name: str
    created_at: float
    modified_at: float
    #: The fleet in production; None before the first deployment has completed, and when that failed.
    blue: Fleet | None = None
    #: The running deployment; at creation, from nothing to the first fleet.
    deployment: Deployment | None = None
    #: Why the last update (or the creation) failed; kept until the next accepted update.
    failure_reason: str | None = None
    #: AWS: LastDeploymentConfig, stored when an update is accepted, not when it succeeds.
    last_policy: DeploymentPolicy | None = None
    #: The configuration a creation was asked for, while there is no fleet yet.
    requested_config: str = ""
    deleting: bool = False
    #: The inference experiment that has changed what runs here; until it has ended nobody else updates or deletes the endpoint.
    experiment: str | None = None
    #: A change of weights and instance counts that is under way; `blue` is then what it asks for at present.
    scaling: Scaling | None = None
    tags: Tags = ()

    @property
    def changing(self) -> bool:
        """Something changes what runs, or takes it away; nobody else may meanwhile."""
        return self.deleting or self.deployment is not None or self.scaling is not None
