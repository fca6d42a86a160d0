"""How much of the past is kept, and what a running deployment keeps of it."""

from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from bannister.domain.deployment.deployment import Deployment
from bannister.domain.endpoint import Endpoint
from bannister.domain.event_delivery import EventDelivery
from bannister.settings import Settings
from bannister.state.memory import MemoryState
from bannister.state.retention import forget_history
from bannister.state.store import Put, Record, State
from bannister.state.tables import DEPLOYMENTS, ENDPOINTS, EVENT_DELIVERIES

DAY = 86400.0
SETTINGS = Settings(data_dir=Path("unused"))
FIXTURES = Path(__file__).with_name("fixtures")
[ENDED] = msgspec.json.decode((FIXTURES / "deployment.json").read_bytes(), type=list[Deployment])
[RUNNING, *_] = msgspec.json.decode((FIXTURES / "endpoint.json").read_bytes(), type=list[Endpoint])


@pytest.fixture
async def state() -> State:
    """An entry a day, for a hundred days."""
    state = MemoryState()
    await state.commit(records=[Record(day * DAY, "s", "k") for day in range(1, 101)])
    return state


async def first(state: State) -> int:
    return (await state.journal(limit=1))[0].sequence


async def running(state: State, started_at: float, alarms_seen: int | None) -> None:
    deployment = replace(RUNNING.deployment, started_at=started_at, alarms_seen=alarms_seen)
    await state.commit([Put(ENDPOINTS, "e", replace(RUNNING, deployment=deployment), 0)])


async def test_two_weeks_are_kept(state: State) -> None:
    assert await forget_history(state, 100 * DAY, SETTINGS) == 85
    assert await first(state) == 86


async def test_the_number_of_entries_is_bounded(state: State) -> None:
    await forget_history(state, 100 * DAY, replace(SETTINGS, journal_entries_max=5))
    assert await first(state) == 96


async def test_a_running_deployment_keeps_what_explains_it(state: State) -> None:
    await running(state, started_at=40.5 * DAY, alarms_seen=None)
    await forget_history(state, 100 * DAY, SETTINGS)
    assert await first(state) == 41


async def test_a_running_deployment_keeps_what_it_still_reads(state: State) -> None:
    await running(state, started_at=40.5 * DAY, alarms_seen=50)
    await forget_history(state, 100 * DAY, replace(SETTINGS, journal_entries_max=5))
    assert await first(state) == 51


async def test_ended_deployments_go_with_their_time_or_number(state: State) -> None:
    for day in (50, 90, 91, 92):
        await state.commit([Put(DEPLOYMENTS, f"d{day}", replace(ENDED, ended_at=day * DAY), 0)])
    await forget_history(state, 100 * DAY, SETTINGS)
    assert [row.key for row in await state.rows(DEPLOYMENTS)] == ["d90", "d91", "d92"]
    await forget_history(state, 100 * DAY, replace(SETTINGS, past_deployments_max=1))
    assert [row.key for row in await state.rows(DEPLOYMENTS)] == ["d92"]


async def test_events_that_an_address_is_still_to_be_told_of_are_kept(state: State) -> None:
    await state.commit(records=[Record(50.0, "endpoint/e", "endpoint.event", {"n": n}) for n in range(3)])
    await state.commit(records=[Record(200 * DAY, "s", "k")])
    told = EventDelivery("http://a/", position=101)
    await state.commit([Put(EVENT_DELIVERIES, told.url, told, 0)])
    await forget_history(state, 200 * DAY, SETTINGS)
    assert await first(state) == 102
    row = await state.get(EVENT_DELIVERIES, told.url)
    assert row is not None
    await state.commit([Put(EVENT_DELIVERIES, told.url, replace(told, position=103), row.revision)])
    await forget_history(state, 200 * DAY, SETTINGS)
    assert await first(state) == 104
