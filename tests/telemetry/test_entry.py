"""Log entries as Envoy 1.40 writes them (shortened from real ones), by outcome."""

from __future__ import annotations

from typing import Any

import pytest
from envoy.data.accesslog.v3 import accesslog_pb2
from google.protobuf import json_format

from bannister.telemetry.entry import Heartbeat, Invocation, read_entry

START = "2026-11-23T14:40:01.900000Z"  # 1795444801.9
SECOND = 1795444801


def entry(common: dict[str, Any], response: dict[str, Any] | None = None, path: str = "/x") -> Any:
    message = {
        "common_properties": {
            "start_time": START,
            "route_name": "invocation",
            "upstream_cluster": "green",
            "upstream_remote_address": {"socket_address": {"address": "127.0.0.1", "port_value": 20001}},
            "time_to_first_upstream_tx_byte": "0.000300999s",
            "time_to_last_upstream_rx_byte": "0.002302000s",
            "time_to_last_downstream_tx_byte": "0.002500999s",
            "upstream_request_attempt_count": 1,
            **common,
        },
        "request": {"path": path},
        "response": {"response_code": 200, "response_code_details": "via_upstream", **(response or {})},
    }
    for part in ("common_properties", "response"):
        message[part] = {name: value for name, value in message[part].items() if value is not None}
    return json_format.ParseDict(message, accesslog_pb2.HTTPAccessLogEntry())


def local(code: int, details: str, *flags: str, **common: Any) -> Any:
    """An answer that Envoy made by itself."""
    unset = {"time_to_first_upstream_tx_byte": None, "time_to_last_upstream_rx_byte": None}
    return entry(
        {**unset, "response_flags": dict.fromkeys(flags, True), **common},
        {"response_code": code, "response_code_details": details},
    )


def invocation(message: Any) -> Invocation:
    found = read_entry(message)
    assert isinstance(found, Invocation)
    return found


def test_a_good_answer() -> None:
    found = invocation(entry({}))
    assert found == Invocation(
        group="green",
        address="127.0.0.1:20001",
        second=SECOND,
        status=200,
        unreachable=False,
        abandoned=False,
        retries=0,
        model_latency=2001,
        overhead_latency=499,
    )


def test_a_request_belongs_to_the_second_in_which_it_ended() -> None:
    assert invocation(entry({"time_to_last_downstream_tx_byte": "0.099999999s"})).second == SECOND
    assert invocation(entry({"time_to_last_downstream_tx_byte": "0.100000s"})).second == SECOND + 1
    assert invocation(entry({"time_to_last_downstream_tx_byte": "59.2s"})).second == SECOND + 60


@pytest.mark.parametrize("status", [500, "500"])
def test_the_models_own_status_counts_not_the_callers(status: object) -> None:
    metadata = {"filter_metadata": {"bannister": {"original_status": status}}}
    assert invocation(entry({"metadata": metadata}, {"response_code": 424})).status == 500


def test_an_error_too_large_to_wrap_is_the_models_too() -> None:
    metadata = {"filter_metadata": {"bannister": {"original_status": 503}}}
    message = entry(
        {"metadata": metadata}, {"response_code": 424, "response_code_details": "response_payload_too_large"}
    )
    assert invocation(message).status == 503


@pytest.mark.parametrize("body", [{}, {"original_status": "nonsense"}, {"other": 1}])
def test_metadata_that_says_nothing_is_ignored(body: dict[str, object]) -> None:
    message = entry({"metadata": {"filter_metadata": {"bannister": body}}}, {"response_code": 404})
    assert invocation(message).status == 404


@pytest.mark.parametrize(
    ("message", "unreachable"),
    [
        (local(424, "response_timeout", "upstream_request_timeout"), False),
        (local(424, "upstream_reset_before_response_started{x}", "upstream_connection_termination"), False),
        (local(503, "upstream_reset_before_response_started{x}", "upstream_remote_reset"), False),
        (local(503, "upstream_reset_before_response_started{x}", "upstream_connection_failure"), True),
        (local(503, "upstream_reset_before_response_started{x}", "upstream_overflow"), True),
        (local(503, "overload", "overload_manager"), True),
        (local(500, "something_new"), False),
    ],
)
def test_no_answer(message: Any, unreachable: bool) -> None:
    found = invocation(message)
    assert (found.status, found.unreachable, found.abandoned) == (None, unreachable, False)
    assert found.model_latency is found.overhead_latency is None


def test_an_answer_cut_off_in_its_middle_is_no_answer() -> None:
    found = invocation(entry({"response_flags": {"upstream_connection_termination": True}}))
    assert (found.status, found.model_latency, found.unreachable) == (None, None, False)


def test_a_group_without_healthy_instances_is_named_by_the_tag() -> None:
    message = local(
        503,
        "no_healthy_upstream",
        "no_healthy_upstream",
        upstream_cluster=None,
        upstream_remote_address=None,
        custom_tags={"group": "green"},
    )
    found = invocation(message)
    assert (found.group, found.address, found.unreachable, found.status) == ("green", "", True, None)


@pytest.mark.parametrize("flags", [{}, {"downstream_connection_termination": True}, {"upstream_request_timeout": True}])
def test_a_stream_whose_time_was_over_is_the_models_error_whoever_hung_up(flags: dict[str, bool]) -> None:
    metadata = {"filter_metadata": {"bannister": {"stream_broken": "timed_out"}}}
    found = invocation(entry({"metadata": metadata, "response_flags": flags}))
    assert (found.status, found.abandoned, found.model_latency) == (None, False, None)


@pytest.mark.parametrize("flag", ["downstream_connection_termination", "downstream_remote_reset", None])
def test_a_client_that_hung_up(flag: str | None) -> None:
    common = {
        "response_flags": {flag: True} if flag else {},
        "time_to_last_upstream_rx_byte": None,
        "time_to_last_downstream_tx_byte": None,
        "duration": "1.2s",
    }
    found = invocation(entry(common, {"response_code": 0, "response_code_details": "downstream_remote_disconnect"}))
    assert (found.abandoned, found.status, found.model_latency) == (True, None, None)
    assert found.second == SECOND + 2


def test_an_answer_that_the_client_did_not_wait_for_tells_no_latency() -> None:
    found = invocation(entry({"response_flags": {"downstream_connection_termination": True}}))
    assert (found.abandoned, found.status, found.model_latency, found.overhead_latency) == (True, 200, None, None)


def test_without_a_duration_the_last_known_moment_is_the_end() -> None:
    common = {
        "time_to_last_upstream_rx_byte": None,
        "time_to_last_downstream_tx_byte": None,
        "time_to_last_rx_byte": "3s",
    }
    assert invocation(entry(common, {"response_code": 0, "response_code_details": None})).second == SECOND + 3


def test_retries_are_attempts_beyond_the_first() -> None:
    assert invocation(entry({"upstream_request_attempt_count": 3})).retries == 2
    assert invocation(entry({"upstream_request_attempt_count": None})).retries == 0


@pytest.mark.parametrize(
    "message",
    [
        local(413, "request_payload_too_large"),
        local(400, "direct_response", upstream_cluster=None),
        local(503, "cluster_not_found", "no_cluster_found", upstream_cluster=None),
    ],
)
def test_what_the_proxy_refused_is_no_invocation(message: Any) -> None:
    assert read_entry(message) is None


def test_a_heartbeat() -> None:
    message = entry({"route_name": "heartbeat"}, path="/-/heartbeat?run=0a1b&n=17")
    found = read_entry(message)
    assert isinstance(found, Heartbeat)
    assert (found.run, found.number) == ("0a1b", 17)
    assert found.ended_at == pytest.approx(SECOND + 0.902501, abs=1e-6)


@pytest.mark.parametrize("path", ["/-/heartbeat", "/-/heartbeat?run=a", "/-/heartbeat?run=a&n=x", ""])
def test_a_request_that_is_not_ours_is_no_heartbeat(path: str) -> None:
    assert read_entry(entry({"route_name": "heartbeat"}, path=path)) is None


def test_an_empty_entry_is_nothing() -> None:
    assert read_entry(accesslog_pb2.HTTPAccessLogEntry()) is None
