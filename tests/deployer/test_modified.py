"""LastModifiedTime is the time of the last change of an endpoint's status."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.domain.deployment.worlds import deployment, fleet

from bannister.deployer.loop import _settled
from bannister.domain.deployment.deployment import Phase
from bannister.domain.deployment.progress import EndpointStatus, status_of
from bannister.domain.endpoint import Endpoint


@pytest.mark.parametrize(
    ("phase", "status"),
    [
        (Phase.ROLLING_BACK, EndpointStatus.ROLLING_BACK),
        (Phase.COMPLETED, EndpointStatus.IN_SERVICE),
        (Phase.ROLLED_BACK, EndpointStatus.IN_SERVICE),
    ],
)
def test_a_decision_that_changes_the_status_changes_the_time(phase: Phase, status: EndpointStatus) -> None:
    running = Endpoint("e", created_at=1.0, modified_at=1000.0, blue=fleet("v1"), deployment=deployment())
    assert status_of(running) is EndpointStatus.UPDATING
    after = _settled(running, replace(deployment(), phase=phase), now=1060.0)
    assert (status_of(after), after.modified_at, after.created_at) == (status, 1060.0, 1.0)


def test_a_creation_that_fails_changes_it_too() -> None:
    creating = Endpoint("e", 1.0, 1.0, deployment=deployment(creation=True))
    after = _settled(creating, replace(deployment(creation=True), phase=Phase.ROLLED_BACK), now=1060.0)
    assert (status_of(after), after.modified_at) == (EndpointStatus.FAILED, 1060.0)
