"""What an engine is asked for: limits by type, priority by niceness, and nothing more."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from bannister.domain.instance import GroupSpec
from bannister.domain.instance_type import GIB, Allowance
from bannister.instances.container_request import (
    Capability,
    Order,
    capability,
    definition,
    limits_of,
    shares,
    told,
)
from bannister.instances.images import RunCommand

SPEC = GroupSpec("e.v.1", "e", "v", "chat:1", "/artifacts/a", {"COLOUR": "green", "B": "model"})
RUN = RunCommand(("serve", "--port={port}"), "", {"A": "image", "B": "image"}, container=True)


def order(*, limits: Allowance | None = None, niceness: int = 0, is_shadow: bool = False) -> Order:
    spec = dataclasses.replace(SPEC, is_shadow=is_shadow)
    return Order(spec, RUN, "abc", "sha256:1", 20001, "/data", 7, limits or Allowance(), niceness)


def test_a_container_is_asked_for_as_sagemaker_runs_one() -> None:
    assert definition(order()) == {
        "Image": "sha256:1",
        "Cmd": ["serve", "--port=8080"],
        "Env": ["A=image", "B=model", "COLOUR=green", "SAGEMAKER_BIND_TO_PORT=8080"],
        "Labels": {"bannister.data-dir": "/data", "bannister.instance": "abc", "bannister.epoch": "7"},
        "ExposedPorts": {"8080/tcp": {}},
        "HostConfig": {
            "Mounts": [{"Type": "bind", "Source": "/artifacts/a", "Target": "/opt/ml/model", "ReadOnly": True}],
            "PortBindings": {"8080/tcp": [{"HostIp": "127.0.0.1", "HostPort": "20001"}]},
            "RestartPolicy": {"Name": "no"},
            "LogConfig": {"Type": "json-file", "Config": {"max-size": "16m"}},
        },
    }


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (order(), {}),
        (order(limits=Allowance(2, 4 * GIB)), {"Memory": 4 * GIB, "MemorySwap": 4 * GIB, "NanoCpus": 2_000_000_000}),
        (order(limits=Allowance(None, 4 * GIB)), {"Memory": 4 * GIB, "MemorySwap": 4 * GIB}),
        (order(limits=Allowance(2, None)), {"NanoCpus": 2_000_000_000}),
        (order(niceness=5), {"CpuShares": 336}),
        (order(niceness=10, is_shadow=True), {"CpuShares": 110, "OomScoreAdj": 500}),
    ],
    ids=["nothing", "both", "memory", "cores", "starting", "a shadow"],
)
def test_limits_and_priority_are_the_engines(given: Order, expected: dict[str, int]) -> None:
    plain, found = definition(order())["HostConfig"], definition(given)["HostConfig"]
    assert {name: value for name, value in found.items() if name not in plain} == expected


@pytest.mark.parametrize(("niceness", "expected"), [(0, 1024), (5, 336), (10, 110), (19, 15)])
def test_a_niceness_is_a_share(niceness: int, expected: int) -> None:
    assert shares(niceness) == expected


MACHINE = {"NCPU": 4, "MemTotal": 16 * GIB}


@pytest.mark.parametrize(
    ("info", "instance_type", "expected"),
    [
        (MACHINE, "ml.t2.medium", Allowance(2, 4 * GIB)),
        (MACHINE, "ml.m5.24xlarge", Allowance()),
        (MACHINE, "ml.g7.2xlarge", Allowance()),
        (MACHINE, None, Allowance()),
        (MACHINE | {"CpuCfsQuota": False}, "ml.t2.medium", Allowance(None, 4 * GIB)),
        (MACHINE | {"MemoryLimit": False}, "ml.t2.medium", Allowance(2, None)),
        ({}, "ml.t2.medium", Allowance()),
        ({"NCPU": "many", "MemTotal": None}, "ml.t2.medium", Allowance()),
    ],
    ids=["a type", "a larger one", "unknown", "none", "no cores", "no memory", "says nothing", "says nonsense"],
)
def test_a_type_limits_as_far_as_the_engines_machine_has_more(
    info: dict[str, Any], instance_type: str | None, expected: Allowance
) -> None:
    assert limits_of(instance_type, capability(info)) == expected


def test_what_is_enforced_is_said() -> None:
    assert (
        told("ml.t2.medium", Allowance(2, 4 * GIB))
        == "This instance has 2 core(s) and 4 GiB of memory, as ml.t2.medium."
    )
    assert told("ml.m5.24xlarge", limits_of("ml.m5.24xlarge", Capability(4, GIB))) == ""
    assert told(None, Allowance()) == ""
    assert told("ml.z9.large", Allowance()) == "Nothing limits this instance: what ml.z9.large has is not known here."
