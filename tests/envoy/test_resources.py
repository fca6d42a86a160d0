"""The pure parts: what is shared how, and that Envoy accepts the documents we start it with."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from bannister.domain.routing import Weight
from bannister.envoy.resources.listener import _lua_string
from bannister.envoy.resources.routes import Share, groups_named, variant_shares, weighted_shares
from bannister.envoy.snapshot import Inconsistent, Resource, Snapshot
from bannister.launcher.bootstrap import bootstrap_document, envoy_binary
from bannister.settings import Settings

SPLIT = (Weight("blue", "a", 900), Weight("green", "a", 100), Weight("idle", "b", 0))


def test_only_groups_with_parts_share_what_names_no_variant():
    assert weighted_shares(SPLIT) == (Share("blue", "a", 900), Share("green", "a", 100))


def test_a_variant_of_weight_zero_can_still_be_named():
    assert variant_shares(SPLIT) == {
        "a": (Share("blue", "a", 900), Share("green", "a", 100)),
        "b": (Share("idle", "b", 1),),
    }


def test_all_groups_that_routes_name_are_found():
    assert groups_named(SPLIT) == {"blue", "green", "idle"}
    assert groups_named((Weight("blue", "a", 0),)) == frozenset(), "without parts there is no route"


@pytest.mark.parametrize("text", ['"', "\\", "]]", "\n\x00", "é🛫", 'a" .. os.exit() .. "'])
def test_no_text_can_end_a_lua_string(text):
    inside = _lua_string(text)[1:-1]
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
