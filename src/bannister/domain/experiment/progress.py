"""What DescribeInferenceExperiment says of each variant."""

from __future__ import annotations

from enum import StrEnum

from bannister.domain.endpoint import Endpoint
from bannister.domain.experiment.experiment import ENDED, Experiment, Status
from bannister.domain.fleet import Fleet


class VariantStatus(StrEnum):
    """AWS's ModelVariantStatus."""

    CREATING = "Creating"
    IN_SERVICE = "InService"
    UPDATING = "Updating"
    DELETING = "Deleting"
    DELETED = "Deleted"


def variant_status(experiment: Experiment, endpoint: Endpoint | None, variant: str) -> VariantStatus:
    """Where a variant of an experiment is, as the endpoint shows it."""
    if endpoint is None:
        waits = experiment.creates_endpoint and experiment.begun is None and experiment.status not in ENDED
        return VariantStatus.CREATING if waits else VariantStatus.DELETED
    deployment = endpoint.deployment
    now = _has(endpoint.blue, variant)
    if deployment is None:
        if now:
            return VariantStatus.DELETING if endpoint.deleting else VariantStatus.IN_SERVICE
        gone = experiment.status in ENDED or experiment.status is Status.STOPPING
        return VariantStatus.DELETED if gone else VariantStatus.CREATING
    later = _has(deployment.green, variant)
    if now and later:
        return VariantStatus.UPDATING
    if now:
        return VariantStatus.DELETING
    if later:
        return VariantStatus.CREATING
    return VariantStatus.DELETED if experiment.status in ENDED else VariantStatus.CREATING


def _has(fleet: Fleet | None, variant: str) -> bool:
    return fleet is not None and any(group.variant == variant for group in fleet.all_groups)
