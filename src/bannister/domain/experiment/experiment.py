"""An inference experiment (AWS: InferenceExperiment, Type ShadowMode), as a value.

For a time an endpoint runs a configuration that Bannister makes: its production variant, and a shadow that gets copies of the requests. Then
it runs what it ran before, or the shadow, promoted.

An experiment that has begun *holds* its endpoint (`Endpoint.experiment`): nobody else may update or delete it until the experiment
has ended. It keeps a copy of the fleet that it found, which is what "as it was" means.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from bannister.domain.capture.data_capture import DataCapture
from bannister.domain.fleet import Fleet
from bannister.domain.tags import Tags

DAY_SECONDS: Final = 86_400.0
#: AWS: without an end time an experiment runs for a week.
DEFAULT_SECONDS: Final = 7 * DAY_SECONDS
#: AWS: at most thirty days.
SECONDS_MAX: Final = 30 * DAY_SECONDS
#: AWS: StatusReason.
REASON_CHARACTERS_MAX: Final = 1024


class Status(StrEnum):
    """AWS's InferenceExperimentStatus. There is no Failed: what failed is Cancelled, with the reason."""

    #: Accepted; not yet looked at.
    CREATING = "Creating"
    #: Waits for its start time.
    CREATED = "Created"
    #: The sampling that was asked for is not yet what the endpoint does.
    UPDATING = "Updating"
    #: The endpoint is being brought to the experiment's configuration.
    STARTING = "Starting"
    #: The shadow gets copies.
    RUNNING = "Running"
    #: The endpoint is being brought to what it should be afterwards.
    STOPPING = "Stopping"
    COMPLETED = "Completed"
    CANCELLED = "Cancelled"


ENDED: Final = frozenset({Status.COMPLETED, Status.CANCELLED})


class Ending(StrEnum):
    """What becomes of the endpoint."""

    #: It runs what it ran before (production Retain, shadow Remove).
    RESTORE = "restore"
    #: The shadow takes all traffic (production Remove, shadow Promote).
    PROMOTE = "promote"
    #: It goes on with production and shadow as in the experiment (both Retain).
    RETAIN = "retain"


@dataclass(frozen=True, slots=True)
class ExperimentVariant:
    """One variant of an experiment (AWS: ModelVariantConfig)."""

    name: str
    model_name: str
    instance_type: str
    instance_count: int


@dataclass(frozen=True, slots=True)
class Stop:
    """How an experiment is to end."""

    ending: Ending
    #: Completed or Cancelled.
    state: Status
    #: Becomes StatusReason.
    reason: str | None = None
    #: Instances after the end, where they are not to be the variant's own (AWS: DesiredModelVariants).
    desired: tuple[ExperimentVariant, ...] = ()

    def desired_of(self, variant: str) -> ExperimentVariant | None:
        return next((one for one in self.desired if one.name == variant), None)


@dataclass(frozen=True, slots=True)
class Experiment:
    """One experiment's whole truth. Immutable; `machine.advance` returns the next one."""

    name: str
    endpoint: str
    created_at: float
    modified_at: float
    #: Takes all requests (AWS: SourceModelVariantName).
    production: ExperimentVariant
    shadow: ExperimentVariant
    #: The share of production's requests that is copied, 0 to 100.
    sampling_percent: int
    starts_at: float
    ends_at: float
    #: There was no endpoint of this name: the experiment makes it.
    creates_endpoint: bool = False
    description: str | None = None
    role: str | None = None
    #: How both variants are captured; None: as the endpoint is captured anyway.
    capture: DataCapture | None = None
    #: Stored and described; nothing is encrypted with it.
    kms_key: str | None = None
    status: Status = Status.CREATING
    status_since: float = 0.0
    #: AWS: StatusReason.
    reason: str | None = None
    #: The deployment that brought, or brings, the experiment's configuration; None: the endpoint was not touched.
    begun: str | None = None
    #: What the endpoint ran when the experiment began; None: there was no endpoint.
    found: Fleet | None = None
    #: How it ends, once that is known.
    stop: Stop | None = None
    #: The deployment that brings what comes after the experiment; None: none is under way.
    ending: str | None = None
    #: How often that was tried without success, and when it is tried again.
    failures: int = 0
    retry_at: float = 0.0
    #: Why the end is not the one that was asked for.
    failure: str | None = None
    completed_at: float | None = None
    tags: Tags = ()

    @property
    def variants(self) -> tuple[ExperimentVariant, ...]:
        return (self.production, self.shadow)

    def holds(self, endpoint_holder: str | None) -> bool:
        """Whether an endpoint with this `Endpoint.experiment` is this experiment's."""
        return self.begun is not None and endpoint_holder == self.name
