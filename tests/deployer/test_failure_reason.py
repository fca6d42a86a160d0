"""FailureReason: within AWS's 1,024 characters, and with all that somebody has to know."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.domain.deployment.worlds import deployment, fleet

from bannister.deployer.failure_reason import of_deployment
from bannister.deployer.loop import _settled
from bannister.domain.deployment.deployment import Phase
from bannister.domain.deployment.machine import BECAUSE
from bannister.domain.deployment.plan import steps
from bannister.domain.deployment.policy import CapacitySize, CapacityType, DeploymentPolicy, Routing
from bannister.domain.endpoint import Endpoint

LOG = "Its log: " + "line after line; " * 100 + "RuntimeError: the licence has run out"
ALARM = 'Alarm "errors" tripped at 2026-11-28T12:00:00Z: because.'


@pytest.mark.parametrize("log", ["It broke.", LOG], ids=["short", "long"])
@pytest.mark.parametrize("cause", [ALARM, LOG], ids=["an alarm", "a long log"])
def test_a_rollback_that_failed_says_why_it_did_and_why_there_was_one(log: str, cause: str) -> None:
    failed = replace(
        deployment(), phase=Phase.ROLLBACK_FAILED, reason=f"The old fleet could not be restored. {log}{BECAUSE}{cause}"
    )
    found = _settled(Endpoint("e", 0.0, 0.0, blue=failed.blue, deployment=failed), failed, 1.0).failure_reason or ""
    assert len(found) <= 1024
    assert found.startswith('The update to "v2" could not be rolled back to "v1"; both serve: "v1" with ')
    assert f"The old fleet could not be restored. {log[:20]}"[:50] in found
    assert BECAUSE + cause[:60] in found
    assert found.endswith(cause[-60:])
    assert found.partition(BECAUSE)[0].endswith(log[-60:]), "the last line of a log says most"


def test_a_rollback_that_failed_says_what_serves() -> None:
    """Of two variants with three instances each, green has two and blue still two: one is retired once the batch has baked."""
    policy = DeploymentPolicy(Routing.ROLLING, CapacitySize(CapacityType.INSTANCE_COUNT, 1), 10)
    blue, green = (fleet(name, instances=3, variants=("a", "b"), weights=(1.0, 2.0)) for name in ("v1", "v2"))
    failed = replace(
        deployment(policy, blue=blue),
        green=green,
        steps=steps(policy, {"a": 3, "b": 3}),
        phase=Phase.ROLLBACK_FAILED,
        step=1,
        reason="No.",
    )
    assert of_deployment(failed) == (
        'The update to "v2" could not be rolled back to "v1"; both serve: "v1" with 4 instance(s) and 33.3 % of the traffic, '
        '"v2" with 4 instance(s) and 66.7 % of the traffic. Call UpdateEndpoint with either. No.'
    )


def test_a_rollback_says_why_there_was_one() -> None:
    back = replace(deployment(), phase=Phase.ROLLED_BACK, reason=LOG)
    found = _settled(Endpoint("e", 0.0, 0.0, blue=back.blue, deployment=back), back, 1.0).failure_reason or ""
    assert len(found) == 1024
    assert found.endswith("RuntimeError: the licence has run out")
    assert found.startswith('The update to "v2" was rolled back to "v1". Its log: line')
