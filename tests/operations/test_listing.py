"""Listings: filters, orders, pages. Each goes on only where it stopped itself."""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
from tests.domain.deployment.worlds import fleet
from tests.operations.hand_clock import NOW

from bannister.domain.endpoint import Endpoint, EndpointConfig, Variant
from bannister.domain.experiment.experiment import Experiment, ExperimentVariant, Status
from bannister.domain.model import Container, Model
from bannister.errors import Invalid
from bannister.operations.context import Context
from bannister.operations.endpoint_configs import list_endpoint_configs
from bannister.operations.endpoints import list_endpoints
from bannister.operations.experiments import list_experiments
from bannister.operations.listing import ListRequest, Page
from bannister.operations.models import list_models
from bannister.state.store import Put, Remove, Table
from bannister.state.tables import ENDPOINT_CONFIGS, ENDPOINTS, EXPERIMENTS, MODELS


def _endpoint(name: str, created: float, modified: float) -> Endpoint:
    return Endpoint(name, created, modified, blue=None if "failed" in name else fleet("v1"))


def _experiment(name: str, created: float, modified: float) -> Experiment:
    production, shadow = (ExperimentVariant(one, "m", "ml.m5.large", 1) for one in ("AllTraffic", "Shadow-01"))
    experiment = Experiment(name, "e", created, modified, production, shadow, 100, created, created + 3600)
    return replace(experiment, status=Status.CANCELLED if "failed" in name else Status.RUNNING)


@dataclass(frozen=True)
class Kind:
    table: Table[Any]
    make: Callable[[str, float, float], Any]
    list: Callable[[Context, ListRequest], Awaitable[Page[Any]]]
    #: Of what is called "failed", and of the rest.
    statuses: tuple[str, str] = ("", "")


KINDS = {
    "models": Kind(MODELS, lambda name, at, _: Model(name, Container("i"), at), list_models),
    "configurations": Kind(
        ENDPOINT_CONFIGS, lambda name, at, _: EndpointConfig(name, (Variant("v", "m", 1),), at), list_endpoint_configs
    ),
    "endpoints": Kind(ENDPOINTS, _endpoint, list_endpoints, ("Failed", "InService")),
    "experiments": Kind(EXPERIMENTS, _experiment, list_experiments, ("Cancelled", "Running")),
}
WITH_STATUS = ["endpoints", "experiments"]


class Listing:
    def __init__(self, context: Context, kind: Kind) -> None:
        self._context = context
        self.kind = kind

    async def add(self, name: str, created: float, modified: float | None = None) -> None:
        """Times are seconds after `NOW`."""
        value = self.kind.make(name, NOW + created, NOW + (created if modified is None else modified))
        await self._context.state.commit([Put(self.kind.table, name, value, 0)])

    async def remove(self, name: str) -> None:
        row = await self._context.state.get(self.kind.table, name)
        assert row is not None
        await self._context.state.commit([Remove(self.kind.table, name, row.revision)])

    async def page(self, **asked: Any) -> tuple[list[str], str | None]:
        found = await self.kind.list(self._context, ListRequest(**asked))
        return [one.name for one in found.items], found.token

    async def names(self, **asked: Any) -> list[str]:
        return (await self.page(**asked))[0]


@pytest.fixture(params=KINDS)
def listing(request: pytest.FixtureRequest, context: Context) -> Listing:
    return Listing(context, KINDS[request.param])


async def test_the_newest_first_ten_at_a_time_unless_told_otherwise(listing: Listing) -> None:
    for number in range(12):
        await listing.add(f"n{number:02}", float(number))
    assert await listing.names() == [f"n{number:02}" for number in range(11, 1, -1)]
    assert await listing.names(ascending=True, limit=2) == ["n00", "n01"]
    assert await listing.names(sort_by="Name", ascending=True, limit=2) == ["n00", "n01"]
    assert await listing.names(sort_by="Name", limit=2) == ["n11", "n10"]


async def test_what_is_as_old_is_in_the_order_of_names(listing: Listing) -> None:
    for name in ("b", "a", "c"):
        await listing.add(name, 0)
    first, token = await listing.page(limit=1)
    second, token = await listing.page(limit=1, token=token)
    assert (first, second, await listing.names(limit=1, token=token)) == (["c"], ["b"], ["a"])


async def test_filters(listing: Listing) -> None:
    for number, name in enumerate(["Alpha", "beta", "alphabet"]):
        await listing.add(name, 10.0 * number)
    assert await listing.names(name_contains="alpha") == ["alphabet", "Alpha"]
    assert await listing.names(name_contains="ALPHAB") == ["alphabet"]
    assert await listing.names(created_before=NOW + 10) == ["Alpha"]
    assert await listing.names(created_after=NOW + 10) == ["alphabet", "beta"]
    assert await listing.names(created_after=NOW + 10, created_before=NOW + 20) == ["beta"]
    assert await listing.names(name_contains="gamma") == []


@pytest.mark.parametrize("listing", WITH_STATUS, indirect=True)
async def test_filters_of_what_changes(listing: Listing) -> None:
    failed, served = listing.kind.statuses
    await listing.add("old", 0, modified=50)
    await listing.add("failed", 10, modified=20)
    assert await listing.names(modified_before=NOW + 50) == ["failed"]
    assert await listing.names(modified_after=NOW + 50) == ["old"]
    assert await listing.names(status=failed) == ["failed"]
    assert await listing.names(status=served) == ["old"]
    assert await listing.names(sort_by="Status", ascending=failed < served) == ["failed", "old"]


@pytest.mark.parametrize("fraction", [0.0004, 0.0006])
async def test_a_time_that_was_told_finds_what_it_was_told_of(listing: Listing, fraction: float) -> None:
    """Clients are told milliseconds."""
    await listing.add("one", fraction)
    told = round(NOW + fraction, 3)
    assert await listing.names(created_after=told) == ["one"]
    assert await listing.names(created_before=told) == []
    assert await listing.names(created_after=told + 0.001) == []


@pytest.mark.parametrize("ascending", [True, False])
@pytest.mark.parametrize("sort_by", ["Name", "CreationTime"])
async def test_pages_are_stable_while_others_come_and_go(listing: Listing, sort_by: str, ascending: bool) -> None:
    for number in range(6):
        await listing.add(f"n{number}", float(number))
    asked = {"sort_by": sort_by, "ascending": ascending, "limit": 2}
    first, token = await listing.page(**asked)
    await listing.remove(first[-1])  # the one that the token was made of
    await listing.add("n00", 0.5)  # between the first and the second
    rest: list[str] = []
    while token is not None:
        more, token = await listing.page(**asked, token=token)
        rest += more
    behind = ["n2", "n3"]
    assert [name for name in rest if name in behind] == (behind if ascending else behind[::-1])
    assert not set(first) & set(rest)
    assert len(rest) == len(set(rest))
    assert set(rest) - {"n00"} == {f"n{number}" for number in range(6)} - set(first)


def _rewritten(token: str) -> str:
    return base64.urlsafe_b64encode(base64.urlsafe_b64decode(token).replace(b"n1", b'n1"')).decode()


@pytest.mark.parametrize(
    "spoilt",
    [
        lambda _: "",
        lambda _: "n1",
        lambda _: "☃",
        lambda _: "\ud800",
        lambda token: token[1:],
        lambda token: token[:-6],
        _rewritten,
        lambda _: base64.urlsafe_b64encode(b"[1,2,3]").decode(),
        lambda _: base64.urlsafe_b64encode(b'["model by CreationTime downwards",1e999,"n"]').decode(),
        lambda _: base64.urlsafe_b64encode(b"[" * 3000).decode(),
    ],
    ids=["empty", "name", "snow", "surrogate", "cut", "short", "rewritten", "numbers", "huge", "deep"],
)
async def test_what_is_no_token_is_refused(listing: Listing, spoilt: Callable[[str], str]) -> None:
    for number in range(2):
        await listing.add(f"n{number}", float(number))
    _, token = await listing.page(limit=1)
    assert token is not None
    with pytest.raises(Invalid, match="NextToken"):
        await listing.page(limit=1, token=spoilt(token))
    assert await listing.names(limit=1, token=token) == ["n0"]


async def test_a_token_is_good_for_its_listing_and_order_only(listing: Listing, context: Context) -> None:
    for number in range(3):
        await listing.add(f"n{number}", float(number))
    _, token = await listing.page(sort_by="Name", limit=1)
    assert await listing.names(sort_by="Name", limit=1, token=token) == ["n1"]
    for other in ({"sort_by": "CreationTime"}, {"sort_by": "Status"}, {"sort_by": "Name", "ascending": True}):
        with pytest.raises(Invalid, match="NextToken"):
            await listing.page(**other, limit=1, token=token)
    for kind in KINDS.values():
        if kind is not listing.kind:
            with pytest.raises(Invalid, match="NextToken"):
                await kind.list(context, ListRequest("Name", limit=1, token=token))
