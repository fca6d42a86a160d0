"""Experiments and endpoints to start tests from."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.domain.deployment.worlds import fleet

from bannister.domain.capture.data_capture import CaptureMode, DataCapture
from bannister.domain.deployment.deployment import Phase
from bannister.domain.endpoint import Endpoint
from bannister.domain.experiment.experiment import Experiment, ExperimentVariant
from bannister.domain.experiment.machine import Decision, Limits, Noticed, Observation, advance, notice
from bannister.domain.fleet import Fleet
from bannister.domain.model import Container

LIMITS = Limits(deployment_timeout_seconds=600.0, startup_timeout_seconds=60.0, retry_seconds=5.0)
CAPTURE = DataCapture(True, 100, "s3://captured/x", (CaptureMode.INPUT, CaptureMode.OUTPUT))
OTHER_CAPTURE = DataCapture(True, 20, "s3://captured/before", (CaptureMode.INPUT,))
CONTAINERS = {"model-v1": Container("bannister/python"), "candidate": Container("bannister/python", "s3://m/c")}


def experiment(**changes: Any) -> Experiment:
    """A shadow of two instances beside one that the endpoint `e` has two of, from 1000 to 5000."""
    return replace(
        Experiment(
            name="x",
            endpoint="e",
            created_at=900.0,
            modified_at=900.0,
            production=ExperimentVariant("AllTraffic", "model-v1", "ml.m5.large", 3),
            shadow=ExperimentVariant("Shadow-01", "candidate", "ml.m5.xlarge", 2),
            sampling_percent=50,
            starts_at=1000.0,
            ends_at=5000.0,
            capture=CAPTURE,
        ),
        **changes,
    )


def endpoint(**changes: Any) -> Endpoint:
    return replace(Endpoint("e", 0.0, 0.0, blue=replace(fleet("v1"), capture=OTHER_CAPTURE)), **changes)


class World:
    """An endpoint, an experiment, and a clock; deployments end as the test says."""

    def __init__(self, one: Experiment | None = None, at: Endpoint | None = None, *, now: float = 1000.0) -> None:
        self.experiment = one or experiment()
        self.endpoint: Endpoint | None = at or endpoint()
        self.now = now
        self.containers = dict(CONTAINERS)
        self.ids = 0
        self.events: list[str] = []
        self.configs: dict[str, object] = {}

    def seen(self) -> Observation:
        self.ids += 1
        return Observation(self.now, self.endpoint, self.containers, f"id{self.ids}")

    def turn(self) -> Noticed | None:
        """One decision; None: there is none to make."""
        seen = self.seen()
        noticed = notice(self.experiment, seen, LIMITS)
        if noticed is not None:
            self.take(advance(self.experiment, noticed, seen, LIMITS))
            self.events.append(noticed.event.value)
        return noticed

    def take(self, decision: Decision) -> None:
        self.experiment = decision.experiment
        self.endpoint = decision.endpoint or self.endpoint
        if decision.config is not None:
            assert decision.config.name not in self.configs
            self.configs[decision.config.name] = decision.config

    def settle(self) -> None:
        """Decide until there is nothing to decide."""
        for _ in range(20):
            if self.turn() is None:
                return
        raise AssertionError(f"It does not come to rest: {self.events}")

    def deployed(self) -> Fleet:
        """The running deployment completes."""
        assert self.endpoint is not None
        running = self.endpoint.deployment
        assert running is not None
        self.endpoint = replace(self.endpoint, blue=running.green, deployment=None)
        return running.green

    def rolled_back(self, why: str = "It did not start.") -> None:
        assert self.endpoint is not None
        assert self.endpoint.deployment is not None
        self.endpoint = replace(self.endpoint, deployment=None, failure_reason=why)

    def in_phase(self, phase: Phase) -> None:
        assert self.endpoint is not None
        assert self.endpoint.deployment is not None
        self.endpoint = replace(self.endpoint, deployment=replace(self.endpoint.deployment, phase=phase))

    def running(self) -> World:
        """Until the experiment runs."""
        self.settle()
        self.deployed()
        self.settle()
        return self
