"""How many requests are under way on an instance, as SageMaker's metric for auto scaling says it.

At each look every instance that is in the proxies' lists gives one value: its requests in flight at that moment. Here a model has one copy on each instance, and no inference
components, whose metric would be ConcurrentRequestsPerCopy.

Source: "Define a scaling policy" in the developer guide: a high-resolution metric of AWS/SageMaker, every ten seconds, for endpoint and variant.
"""

from __future__ import annotations

from typing import Final

from bannister.domain.fleet import Group
from bannister.domain.metric.endpoint import endpoint_identities
from bannister.domain.metric.identity import MetricIdentity

CONCURRENCY: Final = "ConcurrentRequestsPerModel"
UNIT: Final = "None"
#: AWS's.
INTERVAL_SECONDS: Final = 10.0


def identities(group: Group) -> list[MetricIdentity]:
    """Where the values of a group are published."""
    return endpoint_identities(group.endpoint, group.variant, group.config_name, names=(CONCURRENCY,))
