"""The versions: what they score, and what their artifacts answer in the real model server."""

from __future__ import annotations

import http.client
import io
import json
import os
import socket
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bannister.demo.flights import Flight, Flights
from bannister.demo.training import Version, train
from bannister.extraction import Extraction

TIMEOUT_SECONDS = 60


def test_march_is_replayed_in_the_order_of_departure(flights: Flights) -> None:
    first, second, *rest = [json.loads(flight.body) for flight in flights.replay(500)]
    assert (first["departure_minute"], first["weekday"]) == (300, 4)  # Friday 1 March, 5:00
    assert second["departure_minute"] >= first["departure_minute"]
    assert len(rest) == 498


def test_callers_send_nothing_that_only_the_future_knows(flights: Flights) -> None:
    sent = json.loads(flights.replay(1)[0].body)
    assert not {"arr_delay", "arr_time", "late", "air_time", "plane_age"} & sent.keys()


def test_one_live_flight_in_six_has_an_aircraft_of_unknown_age(flights: Flights) -> None:
    replayed = flights.replay(10_000)
    assert sum(not flight.known_plane for flight in replayed) / len(replayed) == pytest.approx(0.17, abs=0.015)


def test_offline_each_version_looks_at_least_as_good_as_the_one_before(versions: dict[str, Version]) -> None:
    f1 = {name: version.offline.f1 for name, version in versions.items()}
    assert f1["v1"] < 0.15
    assert f1["v2"] > 0.75
    assert f1["v3"] > f1["v2"] - 0.01
    assert versions["v2"].offline.accuracy > versions["v1"].offline.accuracy + 0.1


def test_offline_v4_scores_exactly_what_v2_scores(versions: dict[str, Version]) -> None:
    assert versions["v4"].offline == versions["v2"].offline
    assert versions["v4"].artifact != versions["v2"].artifact


def test_another_seed_gives_another_model_that_is_as_good(versions: dict[str, Version]) -> None:
    assert versions["v5"].offline != versions["v2"].offline
    assert versions["v5"].offline.f1 == pytest.approx(versions["v2"].offline.f1, abs=0.01)


def test_training_again_gives_the_same_model(flights: Flights, versions: dict[str, Version]) -> None:
    assert train("v1", flights).offline == versions["v1"].offline


@pytest.fixture(scope="module", params=["v1", "v2", "v3", "v4", "v5"])
def served(
    request: pytest.FixtureRequest, versions: dict[str, Version], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, int]]:
    """A version's artifact in the real model server: its name and port."""
    folder = tmp_path_factory.mktemp(request.param)
    extraction = Extraction(folder)
    with tarfile.open(fileobj=io.BytesIO(versions[request.param].artifact)) as archive:
        for member in archive:
            extraction.take(archive, member)
    extraction.finish()
    port = free_port()
    process = start_runtime(folder, port)
    try:
        wait_open(process, port)
        yield request.param, port
    finally:
        process.kill()
        process.wait(TIMEOUT_SECONDS)


@pytest.mark.real
def test_every_version_answers_flights_of_known_aircraft(served: tuple[str, int], flights: Flights) -> None:
    name, port = served
    known = next(flight for flight in flights.replay(100) if flight.known_plane)
    status, answer = invoke(port, known)
    assert (status, answer["version"]) == (200, name)
    assert answer["late"] == (answer["probability"] > 0.5)


@pytest.mark.real
def test_only_v3_fails_on_unknown_aircraft(served: tuple[str, int], flights: Flights) -> None:
    name, port = served
    unknown = next(flight for flight in flights.replay(100) if not flight.known_plane)
    status, answer = invoke(port, unknown)
    if name == "v3":
        assert (status, answer) == (500, {"error": f"KeyError: {json.loads(unknown.body)['tailnum']!r}"})
    else:
        assert (status, answer["version"]) == (200, name)


@pytest.mark.real
def test_a_flight_with_unknown_weather_and_destination_is_answered(served: tuple[str, int], flights: Flights) -> None:
    name, port = served
    known = next(flight for flight in flights.replay(100) if flight.known_plane)
    body = json.dumps(json.loads(known.body) | {"pressure": None, "dest": "XXX"})
    status, answer = invoke(port, Flight(body, late=False, known_plane=True))
    assert (status, answer["version"]) == (200, name)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def start_runtime(folder: Path, port: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "bannister.runtime"],
        env=os.environ | {"SM_MODEL_DIR": str(folder), "SAGEMAKER_BIND_TO_PORT": str(port)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def wait_open(process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while True:
        assert process.poll() is None
        assert time.monotonic() < deadline
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except ConnectionRefusedError:
            time.sleep(0.05)


def invoke(port: int, flight: Flight) -> tuple[int, dict[str, object]]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_SECONDS)
    connection.request("POST", "/invocations", flight.body, {"content-type": "application/json"})
    response = connection.getresponse()
    try:
        return response.status, json.loads(response.read())
    finally:
        connection.close()
