"""Events as they are read, and what is known of the addresses that are told of them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.domain.deployment.worlds import fleet

from bannister.domain.endpoint import Endpoint
from bannister.domain.event_delivery import EventDelivery
from bannister.errors import Invalid, NotFound
from bannister.operations.context import Context
from bannister.operations.endpoints import delete_endpoint
from bannister.operations.events import describe_webhooks, list_events
from bannister.state.endpoint_change import endpoint_change, endpoint_removal
from bannister.state.store import Put
from bannister.state.tables import ENDPOINTS, EVENT_DELIVERIES


async def happen(context: Context, *names: str) -> None:
    for number, name in enumerate(names):
        change = endpoint_change(None, Endpoint(name, 1.0, 1.0, blue=fleet("v1")), float(number), {})
        await context.state.commit([change.write], change.events)


async def test_they_come_by_pages_and_after_a_place(context: Context) -> None:
    await happen(context, "a", "b", "c")
    one = await list_events(context, limit=2)
    assert [found.endpoint for found in one.items] == ["a", "b"]
    two = await list_events(context, limit=2, token=one.token)
    assert ([found.endpoint for found in two.items], two.token) == (["c"], None)
    later = await list_events(context, limit=9, after=one.items[0].sequence)
    assert [found.event["id"] for found in later.items] == [one.items[1].event["id"], two.items[0].event["id"]]
    new = await list_events(context, limit=2, newest_first=True)
    old = await list_events(context, limit=2, newest_first=True, token=new.token)
    assert [found.endpoint for found in (*new.items, *old.items)] == ["c", "b", "a"]
    assert old.token is None
    some = await list_events(context, limit=9, newest_first=True, after=one.items[0].sequence)
    assert [found.endpoint for found in some.items] == ["c", "b"]
    with pytest.raises(Invalid):
        await list_events(context, limit=2, token="x")


async def test_those_of_one_endpoint_also_when_it_is_gone(context: Context) -> None:
    await happen(context, "a", "b")
    await delete_endpoint(context, "a")
    row = await context.state.get(ENDPOINTS, "a")
    assert row is not None
    gone = endpoint_removal(row, 9.0)
    await context.state.commit([gone.write], gone.events)
    found = await list_events(context, endpoint="a", limit=9)
    assert [one.event["detail"]["EndpointStatus"] for one in found.items] == ["IN_SERVICE", "DELETING", "DELETED"]
    assert (await list_events(context, endpoint="a", after=found.items[-1].sequence, limit=9)).items == ()
    with pytest.raises(NotFound):
        await list_events(context, endpoint="c", limit=9)


async def test_of_an_address_its_host_is_shown_and_what_waits(context: Context) -> None:
    url = "https://hooks.example.com/secret"
    context = replace(context, settings=replace(context.settings, event_webhooks=(url, "http://new/")))
    await happen(context, "a", "b")
    told = EventDelivery(url, position=1, delivered=1, failing_since=3.0, error="Connection refused.")
    await context.state.commit([Put(EVENT_DELIVERIES, url, told, 0)])
    (one,) = await describe_webhooks(context)  # the other has no row yet
    assert (one.address, one.waiting, one.delivered, one.error) == (
        "https://hooks.example.com/…",
        1,
        1,
        "Connection refused.",
    )
