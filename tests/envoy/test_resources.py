"""The pure parts: what is shared how, and that Envoy accepts the documents we start it with."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from envoy.config.cluster.v3 import cluster_pb2

from bannister.aws.runtime_errors import runtime_texts
from bannister.domain.routing import Forwarding, Mirror, Weight
from bannister.envoy.resources.clusters import group_cluster
from bannister.envoy.resources.lua import lua_string
from bannister.envoy.resources.names import INVOCATION, INVOCATION_COPIED, TARGET_VARIANT_HEADER
from bannister.envoy.resources.routes import (
    EndpointRoutes,
    Share,
    clusters_named,
    groups_named,
    variant_shares,
    weighted_shares,
)
from bannister.envoy.resources.sessions import GROUP_HEADER, SESSION_HEADER
from bannister.envoy.snapshot import Inconsistent, Resource, Snapshot
from bannister.launcher.bootstrap import bootstrap_document, envoy_binary
from bannister.settings import Settings

SPLIT = (Weight("blue", "a", 900, 700), Weight("green", "a", 100, 300), Weight("idle", "b", 0, 1000))


def test_only_groups_with_parts_share_what_names_no_variant():
    assert weighted_shares(SPLIT) == (Share("blue", "a", 900), Share("green", "a", 100))


def test_a_variant_of_weight_zero_can_still_be_named():
    assert variant_shares(SPLIT) == {
        "a": (Share("blue", "a", 700), Share("green", "a", 300)),
        "b": (Share("idle", "b", 1000),),
    }


def test_all_groups_that_routes_name_are_found():
    assert groups_named(SPLIT) == {"blue", "green", "idle"}
    assert groups_named((Weight("blue", "a", 0, 0),)) == frozenset(), "without parts there is no route"


def forwarding_routes(forwarding: Forwarding) -> list[Any]:
    settings = Settings(Path("/data"))
    routes = EndpointRoutes(settings, runtime_texts("0", settings.invocation_body_bytes_max))
    found = list(routes._routes("flights", forwarding, routes._plain))
    return [one for one in found if one.name in (INVOCATION, *INVOCATION_COPIED.values()) and not _is_special(one)]


def _is_special(route: Any) -> bool:
    return any(one.name in (TARGET_VARIANT_HEADER, SESSION_HEADER, GROUP_HEADER) for one in route.match.headers)


def test_a_request_goes_by_its_length_where_it_is_copied_and_captured_routes_come_first():
    mirror = Mirror("shadow", "s", 250_000, "blue")
    plain = forwarding_routes(Forwarding(SPLIT))
    assert [len(one.route.request_mirror_policies) for one in plain] == [0, 0]
    mirrored = forwarding_routes(Forwarding(SPLIT, (mirror,)))
    hops = [one.route.request_mirror_policies[0].cluster for one in mirrored]
    assert hops == ["shadow/shadow/large", "shadow/shadow/large", "shadow/shadow/small"]
    captured = forwarding_routes(Forwarding(SPLIT, (mirror,), 400_000))
    fractions = [(one.name, one.match.runtime_fraction.default_value.numerator) for one in captured]
    observed, others = captured[:-3], captured[-3:]
    half = len(observed) // 2
    copied, plain_ones = ("invocation-copied", 250_000), (INVOCATION, 400_000)
    assert fractions == [copied] * half + [plain_ones] * half + [(INVOCATION, 0)] * 3, (
        "those that are observed come first"
    )
    assert half > 3, "and are told apart by their lengths"
    assert [one.route.request_mirror_policies[0].cluster for one in others] == hops
    assert {one.route.request_mirror_policies[0].cluster for one in observed} == set(hops)
    assert not any(one.match.HasField("runtime_fraction") for one in others)
    shares = {one.route.request_mirror_policies[0].runtime_fraction.default_value.numerator for one in captured}
    assert shares == {250_000}


@pytest.mark.parametrize(
    ("shadow", "noise", "captured", "names"),
    [
        (1_000_000, 0, 1_000_000, [("invocation-copied", 1_000_000)]),
        (200_000, 50_000, 200_000, [("invocation-copied-both", 50_000), ("invocation-copied", 200_000)]),
        (200_000, 200_000, 200_000, [("invocation-copied-both", 200_000)]),
        (
            100_000,
            300_000,
            500_000,
            [("invocation-copied-both", 100_000), ("invocation-copied-noise", 300_000), (INVOCATION, 500_000)],
        ),
    ],
)
def test_the_route_of_a_captured_request_says_which_copies_are_made_of_it(shadow, noise, captured, names):
    mirrors = [Mirror("shadow", "s", shadow, "blue")]
    mirrors += [Mirror("blue", "a", noise, "blue", noise=True)] if noise else []
    found = forwarding_routes(Forwarding(SPLIT, tuple(mirrors), captured))
    observed = [(one.name, one.match.runtime_fraction.default_value.numerator) for one in found[:-3]]
    assert list(dict.fromkeys(observed)) == names


def test_all_clusters_on_the_way_of_a_copy_are_needed():
    forwarding = Forwarding(SPLIT, (Mirror("shadow", "s", 1, "blue"),))
    assert clusters_named(forwarding) == {*groups_named(SPLIT), "shadow", "shadow/shadow/small", "shadow/shadow/large"}
    routes = {"edge": Resource("edge", None, {}, clusters_named(forwarding))}
    known = {name: Resource(name, None) for name in clusters_named(forwarding) - {"shadow/shadow/large"}}
    with pytest.raises(Inconsistent, match="shadow/shadow/large"):
        Snapshot(1, clusters=known, routes=routes).check()


@pytest.mark.parametrize("text", ['"', "\\", "]]", "\n\x00", "é🛫", 'a" .. os.exit() .. "'])
def test_no_text_can_end_a_lua_string(text):
    inside = lua_string(text)[1:-1]
    assert '"' not in inside
    assert inside.isascii()


def test_a_snapshot_whose_routes_name_an_unknown_cluster_is_refused():
    routes = {"edge": Resource("edge", None, {}, frozenset({"blue"}))}
    with pytest.raises(Inconsistent, match="blue"):
        Snapshot(1, routes=routes).check()
    Snapshot(1, clusters={"blue": Resource("blue", None)}, routes=routes).check()


def test_a_snapshot_with_endpoints_of_no_cluster_is_refused():
    with pytest.raises(Inconsistent, match="stray"):
        Snapshot(1, endpoints={"stray": Resource("stray", None, ())}).check()


@pytest.mark.real
def test_without_a_strategy_the_less_busy_of_two_that_are_drawn_gets_a_request(tmp_path: Path):
    cluster = group_cluster("g1", Settings(tmp_path))
    assert cluster.lb_policy == cluster_pb2.Cluster.LEAST_REQUEST
    assert not cluster.HasField("load_balancing_policy"), "which would say how many are looked at: two, by default"
    assert not cluster.HasField("least_request_lb_config")


async def test_envoy_accepts_the_bootstrap_document(tmp_path: Path):
    document = json.dumps(bootstrap_document(Settings(data_dir=tmp_path)))
    process = await asyncio.create_subprocess_exec(
        str(envoy_binary()),
        "--mode",
        "validate",
        "--config-yaml",
        document,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
