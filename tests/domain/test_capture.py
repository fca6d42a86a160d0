"""AWS's record, the choice of what is written, and what the capture process is told."""

from __future__ import annotations

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.domain.deployment.worlds import fleet

from bannister.domain.capture.data_capture import CaptureMode, DataCapture
from bannister.domain.capture.exchange import Exchange, Message
from bannister.domain.capture.instructing import instructions_of
from bannister.domain.capture.instructions import CapturedGroup, Instructions
from bannister.domain.capture.record import destination, file_name, is_chosen, key_prefix, record_line
from bannister.domain.comparison.rules import Rules
from bannister.domain.deployment.construction import new_deployment
from bannister.domain.deployment.deployment import Phase
from bannister.domain.deployment.policy import DeploymentPolicy
from bannister.domain.endpoint import Endpoint
from bannister.domain.fleet import Fleet, Group, Shadow
from bannister.domain.model import Container
from bannister.domain.routing import plan_of
from bannister.domain.traffic import TRAFFIC_PARTS

CAPTURE = DataCapture(
    True,
    30,
    "s3://bucket/a/b/",
    (CaptureMode.INPUT_AND_OUTPUT,),
    csv_content_types=("text/csv",),
    json_content_types=("application/json", "application/vnd.custom+json"),
)
AT = 1764041405.9  # 2025-11-25T03:30:05.9Z


def exchange(request: Message, response: Message | None = None, **members: object) -> Exchange:
    made = Exchange("id-1", "e", "g", AT, AT + 1, request, response or Message(b"ok"), 200, 5)
    return dataclasses.replace(made, **members)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("content_type", "body", "encoding", "data"),
    [
        ("text/csv", b"1,2", "CSV", "1,2"),
        ("Text/CSV ; header=absent", b"1,2", "CSV", "1,2"),
        ("application/json; charset=utf-8", b"[1]", "JSON", "[1]"),
        ("application/vnd.custom+json", b"[1]", "JSON", "[1]"),
        ("application/json", b"\xff", "BASE64", "/w=="),
        ("text/plain", b"1,2", "BASE64", "MSwy"),
        (None, b"1,2", "BASE64", "MSwy"),
    ],
)
def test_text_is_what_is_listed_and_all_else_is_base64(
    content_type: str | None, body: bytes, encoding: str, data: str
) -> None:
    record = json.loads(record_line(exchange(Message(body, content_type)), CAPTURE))
    side = record["captureData"]["endpointInput"]
    assert (side["encoding"], side["data"], side["mode"]) == (encoding, data, "INPUT")
    assert side.get("observedContentType") == content_type


def test_the_record_is_awss() -> None:
    line = record_line(
        exchange(Message(b"1", "text/csv"), Message(b"2", "text/csv"), inference_id="mine", custom_attributes="c=1"),
        CAPTURE,
    )
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert json.loads(line) == {
        "captureData": {
            "endpointInput": {"observedContentType": "text/csv", "mode": "INPUT", "data": "1", "encoding": "CSV"},
            "endpointOutput": {"observedContentType": "text/csv", "mode": "OUTPUT", "data": "2", "encoding": "CSV"},
        },
        "eventMetadata": {
            "eventId": "id-1",
            "inferenceId": "mine",
            "customAttributes": ["c=1"],
            "inferenceTime": "2025-11-25T03:30:05Z",
        },
        "eventVersion": "0",
    }


@pytest.mark.parametrize(
    ("modes", "sides"),
    [
        ((CaptureMode.INPUT,), {"endpointInput"}),
        ((CaptureMode.OUTPUT,), {"endpointOutput"}),
        ((CaptureMode.INPUT, CaptureMode.OUTPUT), {"endpointInput", "endpointOutput"}),
    ],
)
def test_only_what_is_asked_for_is_in_it(modes: tuple[CaptureMode, ...], sides: set[str]) -> None:
    capture = dataclasses.replace(CAPTURE, modes=modes)
    assert json.loads(record_line(exchange(Message(b"1")), capture))["captureData"].keys() == sides


def test_keys_are_by_the_utc_hour_of_the_invocation() -> None:
    group = CapturedGroup("g", "e", "v", "c", CAPTURE)
    assert destination(CAPTURE) == ("bucket", "a/b/")
    assert key_prefix(group, CAPTURE, AT) == "a/b/e/v/2025/11/25/03/"
    bare = dataclasses.replace(CAPTURE, destination_url="s3://bucket")
    assert key_prefix(group, bare, AT) == "e/v/2025/11/25/03/"
    assert file_name(AT, "unique") == "30-05-900-unique.jsonl"


@given(st.text(max_size=40), st.floats(0, 1), st.floats(0, 1))
def test_what_a_smaller_share_chooses_a_larger_one_does_too(identity: str, one: float, other: float) -> None:
    if is_chosen(identity, min(one, other)):
        assert is_chosen(identity, max(one, other))
    assert not is_chosen(identity, 0.0)
    assert is_chosen(identity, 1.0)


def test_the_share_is_right_in_expectation() -> None:
    chosen = sum(is_chosen(f"7ac1bbde-fa64-{number}", 0.3) for number in range(20_000))
    assert abs(chosen - 6000) < 3 * (20_000 * 0.3 * 0.7) ** 0.5


def group(variant: str) -> Group:
    return Group(f"e.{variant}.1", "e", variant, "c", "m", Container("i"), 1, 1.0, 60.0)


def endpoint(capture: DataCapture | None, sampled_parts: int | None) -> Endpoint:
    shadow = Shadow(group("Shadow"), sampled_parts) if sampled_parts is not None else None
    return Endpoint("e", 0.0, 0.0, blue=Fleet("c", (group("Main"),), 0.0, shadow, capture))


def told_of(endpoints: list[tuple[Endpoint, Rules]]) -> Instructions:
    return instructions_of((one, rules, plan_of(one, rules.noise_parts)) for one, rules in endpoints)


def test_nothing_is_captured_where_nothing_is_asked() -> None:
    assert told_of([(endpoint(None, None), Rules())]) == told_of([])


def test_each_variants_written_share_makes_up_for_what_is_observed() -> None:
    # 30 % of all requests are to be written; 60 % are copied and therefore observed: half of those.
    told = told_of([(endpoint(CAPTURE, 600_000), Rules())])
    assert {one.variant: round(one.written_share, 6) for one in told.groups} == {"Main": 0.5, "Shadow": 0.3}
    compared, _noise = told.pairs
    assert (compared.shadow, compared.production, compared.endpoint) == ("e.Shadow.1", "e.Main.1", "e")
    # 10 % are copied, 30 % observed: production's whole share is written, and most have no copy.
    told = told_of([(endpoint(CAPTURE, 100_000), Rules())])
    assert {one.variant: round(one.written_share, 6) for one in told.groups} == {"Main": 1.0, "Shadow": 0.3}


@pytest.mark.parametrize("noise_parts", [0, 50_000])
def test_the_noise_floor_is_a_pair_of_its_own(noise_parts: int) -> None:
    """Also where it was switched off: copies may be under way."""
    told = told_of([(endpoint(None, TRAFFIC_PARTS), Rules(noise_parts=noise_parts))])
    assert [(one.noise, one.shadow) for one in told.pairs] == [(False, "e.Shadow.1"), (True, "e.Main.1")]
    assert {one.capture for one in told.groups} == {None}


def test_the_noise_floor_is_not_asked_of_one_instance() -> None:
    one = endpoint(None, TRAFFIC_PARTS)
    asked = [mirror.noise for mirror in plan_of(one, 50_000).mirrors]
    assert asked == [False], "its one instance would take every request twice"


def test_switched_off_nothing_is_written() -> None:
    off = dataclasses.replace(CAPTURE, enabled=False)
    told = told_of([(endpoint(off, TRAFFIC_PARTS), Rules())])
    assert {one.capture for one in told.groups} == {None}


def with_shadow(config: str) -> Fleet:
    made = fleet(config)
    return dataclasses.replace(
        made, shadow=Shadow(dataclasses.replace(made.groups[0], id=f"shadow-{config}"), TRAFFIC_PARTS)
    )


@pytest.mark.parametrize(
    ("phase", "step"), [(Phase.PROVISIONING, -1), (Phase.SHIFTING, 0), (Phase.RETIRING, 0), (Phase.REMOVING, 0)]
)
@pytest.mark.parametrize(
    ("blue", "green"),
    [(with_shadow("v1"), fleet("v2")), (fleet("v1"), with_shadow("v2")), (with_shadow("v1"), with_shadow("v2"))],
    ids=["left", "new", "another"],
)
@pytest.mark.parametrize("deleting", [False, True])
def test_who_may_have_something_under_way_is_followed_until_it_is_gone(
    blue: Fleet, green: Fleet, phase: Phase, step: int, *, deleting: bool
) -> None:
    """Whatever is asked of the proxies now: they may still have an earlier split, and what they copied then is still under way."""
    deployment = new_deployment("d", "e", DeploymentPolicy(given=False), blue, green, 0.0, 600.0)
    deployment = dataclasses.replace(deployment, phase=phase, step=step)
    one = Endpoint("e", 0.0, 0.0, blue=blue, deployment=deployment, deleting=deleting)
    told = told_of([(one, Rules())])
    assert {each.group for each in told.groups} == {each.id for each in (*blue.all_groups, *green.all_groups)}
    shadows = {each.shadow.group.id: each.groups[0].id for each in (blue, green) if each.shadow is not None}
    assert {each.shadow: each.production for each in told.pairs if not each.noise} == shadows
    fed = [mirror.group for mirror in plan_of(one).mirrors]
    assert [each.shadow for each in told.pairs][: len(fed)] == fed, "the one that gets copies now comes first"


def test_a_fleet_that_is_gone_is_not_followed() -> None:
    told = told_of([(Endpoint("e", 0.0, 0.0, blue=fleet("v2")), Rules())])
    assert told == told_of([])
