"""What any test may ask for: CloudWatch spoken over each of its protocols."""

from collections.abc import Callable
from typing import Any

import boto3
import hypothesis
import pytest
from botocore.config import Config
from tests.wires import WIRES, session

# How long an example takes says more of what else runs than of the code.
hypothesis.settings.register_profile("bannister", deadline=None)
hypothesis.settings.load_profile("bannister")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests come first, else one worker is left alone with the last of them; within a file nothing moves."""
    slow = {item.path for item in items if item.get_closest_marker("slow") is not None}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session", params=WIRES)
def wire(request: pytest.FixtureRequest) -> str:
    """The name of a protocol. What uses it, itself or by way of the fixtures below, runs once for each of the three."""
    return str(request.param)


@pytest.fixture(scope="session")
def wire_session(wire: str) -> boto3.Session:
    """A boto3 session whose CloudWatch clients speak `wire`; all other services are spoken as always.

    It is shared, because each new one reads CloudWatch's model again.
    """
    return session(wire)


@pytest.fixture(scope="session")
def cloudwatch_at(wire_session: boto3.Session) -> Callable[[str], Any]:
    """A function from a server's URL to a CloudWatch client that speaks `wire` and tries once:

    def test_x(world: World, cloudwatch_at: Callable[[str], Any]) -> None:
        cloudwatch_at(world.server.url).put_metric_alarm(...)

    Several tests that share a server must name their alarms and metrics by `wire`, or clean up.
    """

    def client(url: str) -> Any:
        return wire_session.client("cloudwatch", endpoint_url=url, config=Config(retries={"total_max_attempts": 1}))

    return client
