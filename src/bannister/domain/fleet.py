"""A fleet: all groups of one configuration on one endpoint, with their weights.

A fleet is the endpoint's own copy of what it runs: deleting or recreating a model or a configuration never changes it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from bannister.domain.capture.data_capture import DataCapture
from bannister.domain.model import CONTRACT, Container, Paths
from bannister.domain.traffic import TRAFFIC_PARTS
from bannister.errors import Invalid

#: AWS: a weight is a number of 32 bits.
WEIGHT_MAX: Final = (2 - 2.0**-23) * 2.0**127


def check_weight(member: str, variant: str, weight: float) -> None:
    """Turn down what is no weight: a negative number, NaN, an infinite one. `member`: what AWS calls it in this request.

    Raises:
        Invalid: It is none.
    """
    if not 0 <= weight <= WEIGHT_MAX:  # NaN compares with nothing
        raise Invalid(f'{member} of variant "{variant}" is {weight:g}; it must be a number from 0 to {WEIGHT_MAX:g}.')


def check_count(member: str, variant: str, count: int, most: int) -> None:
    """Turn down more instances than the setting allows, which is what a quota of the account is on AWS. `member`: what AWS calls it in this request.

    Raises:
        Invalid: (ResourceLimitExceeded) There are more.
    """
    if count > most:
        raise Invalid(
            f'{member} of variant "{variant}" is {count}; the setting instances_per_variant_max allows {most}.',
            code="ResourceLimitExceeded",
        )


class RoutingStrategy(StrEnum):
    """How a group's instances share its requests. Where none is given: the less busy of two that are drawn."""

    #: The one with the fewest requests in flight.
    LEAST_OUTSTANDING_REQUESTS = "LEAST_OUTSTANDING_REQUESTS"
    RANDOM = "RANDOM"


@dataclass(frozen=True, slots=True)
class Traits:
    """What the proxies must know of a group beside its instances; the same as long as it exists."""

    routing: RoutingStrategy | None = None
    paths: Paths = CONTRACT


#: Of most groups.
PLAIN: Final = Traits()


@dataclass(frozen=True, slots=True)
class Group:
    """The instances of one variant of one configuration on one endpoint: a copy of all they need."""

    #: Unique for ever; the name of the proxies' cluster and the key of its metrics.
    id: str
    endpoint: str
    variant: str
    config_name: str
    model_name: str
    container: Container
    instance_count: int
    weight: float
    startup_timeout_seconds: float
    instance_type: str | None = None
    routing: RoutingStrategy | None = None

    @property
    def traits(self) -> Traits:
        return Traits(self.routing, self.container.paths)


@dataclass(frozen=True, slots=True)
class Shadow:
    """A group that gets copies of production's requests, and whose answers no caller sees."""

    group: Group
    #: The share of production's requests that is copied, in parts of `TRAFFIC_PARTS`.
    sampled_parts: int


def sampled_parts(shadow_weight: float, production_weight: float) -> int:
    """The share of requests that is copied: min(1, shadow's weight / production's), in parts. A weight above zero is at least one part."""
    if shadow_weight <= 0:
        return 0
    share = min(1.0, shadow_weight / production_weight)
    return max(1, round(share * TRAFFIC_PARTS))


@dataclass(frozen=True, slots=True)
class Fleet:
    """One configuration, running."""

    config_name: str
    #: The production groups.
    groups: tuple[Group, ...]
    #: When its configuration came into production (or began to be prepared, for green).
    since: float
    shadow: Shadow | None = None
    capture: DataCapture | None = None

    @property
    def all_groups(self) -> tuple[Group, ...]:
        """Production's, and the shadow's."""
        return self.groups if self.shadow is None else (*self.groups, self.shadow.group)

    @property
    def mixed(self) -> bool:
        """It has groups of two configurations: a rolling update could not be taken back."""
        return (
            len({group.variant for group in self.groups}) < len(self.groups)
            or len({group.config_name for group in self.groups}) > 1
        )

    def group_of(self, variant: str) -> Group | None:
        """The group of a variant, if the fleet has it; where it is mixed, the first with the instances and the weight of all."""
        found = [group for group in self.groups if group.variant == variant]
        if len(found) <= 1:
            return found[0] if found else None
        counts, weights = sum(one.instance_count for one in found), sum(one.weight for one in found)
        return replace(found[0], instance_count=counts, weight=weights)
