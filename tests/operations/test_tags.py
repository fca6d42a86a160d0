"""Tags of models, endpoint configurations, endpoints and inference experiments: kept in what they belong to."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.domain.deployment.worlds import fleet
from tests.operations.hand_clock import HandClock

from bannister.domain.deployment.admission import Retention
from bannister.domain.endpoint import Endpoint, Variant
from bannister.domain.experiment.experiment import ExperimentVariant
from bannister.domain.model import Container
from bannister.domain.scaling import Desired
from bannister.domain.tags import TAGS_MAX, Tags
from bannister.errors import Busy, Invalid, NotFound, Resource
from bannister.operations.context import Context
from bannister.operations.endpoint_configs import create_endpoint_config, delete_endpoint_config
from bannister.operations.endpoints import (
    create_endpoint,
    delete_endpoint,
    describe_endpoint,
    update_endpoint,
    update_weights_and_capacities,
)
from bannister.operations.experiments import ExperimentRequest, create_experiment
from bannister.operations.models import create_model, delete_model
from bannister.operations.tags import TAGGABLE, add_tags, delete_tags, list_tags
from bannister.state.memory import MemoryState
from bannister.state.store import Put, Remove, Row, Table
from bannister.state.tables import ENDPOINTS, EXPERIMENTS, MODELS

TEAM: Tags = (("team", "flights"), ("cost", ""))
EXPERIMENT = ExperimentRequest(
    "fresh", ExperimentVariant("a", "m", "ml.m5.large", 1), ExperimentVariant("b", "m", "ml.m5.large", 1), 50, tags=TEAM
)


@pytest.fixture
async def everything(context: Context) -> Context:
    """One of each kind, named after it, with tags."""
    await create_model(context, "m", Container("i"), tags=TEAM)
    await create_endpoint_config(context, "c", [Variant("v", "m", 1)], tags=TEAM)
    await create_endpoint(context, "e", "c", tags=TEAM)
    await create_experiment(context, "x", EXPERIMENT)
    return context


NAMES = {
    Resource.MODEL: "m",
    Resource.ENDPOINT_CONFIG: "c",
    Resource.ENDPOINT: "e",
    Resource.EXPERIMENT: "x",
}


async def present(context: Context, kind: Resource, name: str | None = None) -> Tags:
    return (await list_tags(context, kind, name or NAMES[kind], limit=50)).items


@pytest.mark.parametrize("kind", TAGGABLE)
async def test_tags_from_creation_on(everything: Context, clock: HandClock, kind: Resource) -> None:
    name = NAMES[kind]
    assert await present(everything, kind) == (("cost", ""), ("team", "flights"))
    before = await everything.state.get(TAGGABLE[kind], name)
    assert before is not None
    clock.time += 5
    assert await add_tags(everything, kind, name, (("team", "weather"), ("ö", "ü"))) == (
        ("team", "weather"),
        ("cost", ""),
        ("ö", "ü"),
    )
    await delete_tags(everything, kind, name, ["cost", "never"])
    assert await present(everything, kind) == (("team", "weather"), ("ö", "ü"))
    after = await everything.state.get(TAGGABLE[kind], name)
    assert after is not None
    assert replace(after.value, tags=before.value.tags) == before.value, "nothing else changed"


@pytest.mark.parametrize("kind", TAGGABLE)
async def test_what_cannot_be_changes_nothing(everything: Context, kind: Resource) -> None:
    name, before = NAMES[kind], await present(everything, kind)
    many = tuple((f"k{number}", "") for number in range(TAGS_MAX - 1))
    for tags, says in (
        (many, f"at most {TAGS_MAX} tags, not {TAGS_MAX + 1}"),
        ((("AWS:x", ""),), "reserved"),
        ((("a", "1"), ("a", "2")), "more than once"),
    ):
        with pytest.raises(Invalid, match=says):
            await add_tags(everything, kind, name, tags)
    assert await present(everything, kind) == before
    assert len(await add_tags(everything, kind, name, many[1:])) == TAGS_MAX
    assert len(await add_tags(everything, kind, name, (("team", "again"),))) == TAGS_MAX


@pytest.mark.parametrize("kind", TAGGABLE)
async def test_nothing_is_created_with_tags_that_cannot_be(everything: Context, kind: Resource) -> None:
    bad: Tags = (("aws:x", ""),)
    create: dict[Resource, Any] = {
        Resource.MODEL: lambda: create_model(everything, "n", Container("i"), tags=bad),
        Resource.ENDPOINT_CONFIG: lambda: create_endpoint_config(everything, "n", [Variant("v", "m", 1)], tags=bad),
        Resource.ENDPOINT: lambda: create_endpoint(everything, "n", "c", tags=bad),
        Resource.EXPERIMENT: lambda: create_experiment(everything, "n", replace(EXPERIMENT, endpoint="n", tags=bad)),
    }
    with pytest.raises(Invalid, match="reserved"):
        await create[kind]()
    assert await everything.state.get(TAGGABLE[kind], "n") is None


@pytest.mark.parametrize("kind", TAGGABLE)
async def test_what_is_not_there_has_no_tags(everything: Context, kind: Resource) -> None:
    for call in (
        list_tags(everything, kind, "nope", limit=50),
        add_tags(everything, kind, "nope", TEAM),
        delete_tags(everything, kind, "nope", ["team"]),
    ):
        with pytest.raises(NotFound):
            await call


async def test_tags_go_with_what_they_belong_to(everything: Context) -> None:
    await delete_model(everything, "m")
    await delete_endpoint_config(everything, "c")
    for table, key in ((ENDPOINTS, "e"), (EXPERIMENTS, "x")):  # which the loops forget, or is not stopped so soon
        row = await everything.state.get(table, key)
        assert row is not None
        await everything.state.commit([Remove(table, key, row.revision)])
    for kind in TAGGABLE:
        with pytest.raises(NotFound):
            await present(everything, kind)
    await create_model(everything, "m", Container("i"))
    await create_endpoint_config(everything, "c", [Variant("v", "m", 1)])
    await create_endpoint(everything, "e", "c")
    await create_experiment(everything, "x", replace(EXPERIMENT, tags=()))
    for kind in TAGGABLE:
        assert await present(everything, kind) == ()


async def test_an_arn_has_the_name_in_lower_case(context: Context) -> None:
    await create_model(context, "Delay", Container("i"), tags=TEAM)
    assert await present(context, Resource.MODEL, "delay") == await present(context, Resource.MODEL, "Delay") != ()
    await create_model(context, "delay", Container("i"))
    with pytest.raises(Invalid, match='could mean each of "Delay", "delay"'):
        await add_tags(context, Resource.MODEL, "delay", TEAM)
    assert await present(context, Resource.MODEL, "Delay") != ()


async def test_fifty_tags_are_one_page(everything: Context) -> None:
    await add_tags(everything, Resource.MODEL, "m", tuple((f"k{number:02}", "") for number in range(TAGS_MAX - 2)))
    page = await list_tags(everything, Resource.MODEL, "m", limit=50)
    assert (len(page.items), page.token) == (TAGS_MAX, None)


class Interrupted(MemoryState):
    """A store in which somebody writes a tag between any two steps of a request, so often."""

    def __init__(self, table: Table[Any], key: str) -> None:
        super().__init__()
        self.table, self.key, self.left = table, key, 0

    async def get(self, table: Table[Any], key: str) -> Row[Any] | None:
        row = await super().get(table, key)
        if (table, key) == (self.table, self.key) and self.left and row is not None:
            self.left -= 1
            tagged = replace(row.value, tags=(("written", str(self.left)),))
            await self.commit([Put(table, key, tagged, row.revision)])
        return row


@pytest.fixture
async def served(context: Context) -> Context:
    state = Interrupted(ENDPOINTS, "e")
    disturbed = replace(context, state=state)
    await create_model(disturbed, "m", Container("i"))
    await create_endpoint_config(disturbed, "c", [Variant("v", "m", 1)])
    await state.commit([Put(ENDPOINTS, "e", Endpoint("e", 0.0, 0.0, blue=fleet("v1")), 0)])
    state.left = 3
    return disturbed


async def test_an_update_is_not_refused_because_a_tag_was_written_meanwhile(served: Context) -> None:
    updated = await update_endpoint(served, "e", "c", retention=Retention())
    assert updated.deployment is not None
    assert (await describe_endpoint(served, "e")).tags == (("written", "0"),)
    with pytest.raises(Busy):
        await update_endpoint(served, "e", "c")


async def test_a_change_of_capacities_is_not_refused_because_a_tag_was_written_meanwhile(served: Context) -> None:
    scaled = await update_weights_and_capacities(served, "e", [Desired("AllTraffic", instance_count=3)])
    assert scaled.scaling is not None
    assert (await describe_endpoint(served, "e")).tags == (("written", "0"),)


async def test_a_deletion_is_not_refused_because_a_tag_was_written_meanwhile(served: Context) -> None:
    await delete_endpoint(served, "e")
    assert (await describe_endpoint(served, "e")).deleting


async def test_a_model_is_deleted_although_a_tag_was_written_meanwhile(context: Context) -> None:
    state = Interrupted(MODELS, "m")
    disturbed = replace(context, state=state)
    await create_model(disturbed, "m", Container("i"))
    state.left = 3
    await delete_model(disturbed, "m")
    assert await state.get(MODELS, "m") is None
