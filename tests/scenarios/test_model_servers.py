"""An ordinary ASGI app as a model, with paths of its own: behind a whole server, over its restart and over changes of `images.toml`."""

from __future__ import annotations

import os
import re
import signal
import time
from pathlib import Path

import pytest
from botocore.exceptions import BotoCoreError, ClientError
from tests.scenarios.shadow import total, variant
from tests.scenarios.world import Load, World, wait_for

pytestmark = pytest.mark.real

#: What its author would run with `uvicorn app:app`. It knows nothing of Bannister.
APP = """
import os

from starlette.applications import Starlette
from starlette.responses import JSONResponse, PlainTextResponse, StreamingResponse
from starlette.routing import Route

PINGS = []


async def up(request):
    PINGS.append(request.url.path)
    return PlainTextResponse("fine")


async def score(request):
    body = await request.json()
    if body.get("tokens"):
        return StreamingResponse((f"{n} " for n in range(body["tokens"])), media_type="text/plain")
    return JSONResponse({"version": os.environ["VERSION"], "pid": os.getpid(), "path": request.url.path, "pings": sorted(set(PINGS))})


app = Starlette(routes=[Route("/healthz", up), Route("/v1/score", score, methods=["POST"])])
"""
#: As the page says.
PAGE = (Path(__file__).parents[2] / "docs" / "model-servers.md").read_text()
ROW = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)[0]


def images(world: World, text: str) -> None:
    (world.server.data_dir / "images.toml").write_text(text)


def pid_of(world: World, module: str) -> int | None:
    return next((int(line.split()[0]) for line in world.server.leftovers() if module in line), None)


def pids(world: World, endpoint: str) -> set[int]:
    """Of the processes that answer, by asking often enough."""
    return {world.invoke(endpoint)["pid"] for _ in range(40)}


def describes(world: World, endpoint: str) -> bool:
    try:
        return bool(world.describe(endpoint))
    except (BotoCoreError, ClientError):
        return False


def test_an_asgi_app_is_a_model(world: World, record: Path) -> None:
    images(world, ROW)
    app = {"app.py": APP.encode()}
    for version in ("asgi-1", "asgi-2"):
        world.model(version, files=app, image="team/ranker:7")
        world.config(version, model=version)
    endpoint = world.endpoint("ranker", "asgi-1")
    found = world.invoke(endpoint)
    assert (found["version"], found["path"], found["pings"]) == ("asgi-1", "/v1/score", ["/healthz"])
    stream = world.runtime.invoke_endpoint_with_response_stream(EndpointName=endpoint, Body=b'{"tokens": 5}')
    assert b"".join(event["PayloadPart"]["Bytes"] for event in stream["Body"]) == b"0 1 2 3 4 "
    with pytest.raises(ClientError, match="ModelError"):
        world.runtime.invoke_endpoint(EndpointName=endpoint, Body=b"no JSON")

    with Load(world.server, endpoint, record, rate=50) as load:
        world.update(endpoint, "asgi-2", routing={"Type": "ALL_AT_ONCE", "WaitIntervalInSeconds": 0})
        assert world.settled(endpoint)["EndpointConfigName"] == "asgi-2"
        wait_for("the new version answers", lambda: load.answers()[-1].version == "asgi-2")
        # The control plane is killed, and meanwhile the row says something else: what runs is asked where it answers.
        before = pids(world, endpoint)
        images(world, ROW.replace("/healthz", "/elsewhere").replace("/v1/score", "/nowhere"))
        control = pid_of(world, "bannister.app")
        os.kill(control, signal.SIGKILL)
        wait_for(
            "the next control plane answers",
            lambda: pid_of(world, "bannister.app") != control and describes(world, endpoint),
        )
        time.sleep(2)  # several pings and health checks by whoever would ask elsewhere
        assert pids(world, endpoint) == before
        assert world.describe(endpoint)["EndpointStatus"] == "InService"
    answers = load.nothing_lost()
    assert {one.version for one in answers} == {"asgi-1", "asgi-2"}


def test_a_shadow_and_production_may_answer_at_different_paths(world: World) -> None:
    images(world, ROW)
    world.model("ranker-own", files={"app.py": APP.encode()}, image="team/ranker:7")
    world.model("ranker-built-in")
    world.sagemaker.create_endpoint_config(
        EndpointConfigName="mixed",
        ProductionVariants=[variant("AllTraffic", "ranker-built-in")],
        ShadowProductionVariants=[variant("Shadow-01", "ranker-own")],
    )
    endpoint = world.endpoint("mixed", "mixed")
    for _ in range(20):
        assert world.invoke(endpoint)["version"] == "ranker-built-in"
    wait_for("copies counted", lambda: total(world, endpoint, "Shadow-01") >= 20)
    assert total(world, endpoint, "Shadow-01", "Invocation4XXErrors") == 0


def test_a_path_that_is_none_is_refused_when_the_model_is_created(world: World) -> None:
    images(world, ROW)
    with pytest.raises(
        ClientError, match="BANNISTER_PING_PATH in Environment is 'healthz'; it must be the path of a URL"
    ) as refusal:
        world.sagemaker.create_model(
            ModelName="nowhere",
            PrimaryContainer={"Image": "team/ranker:7", "Environment": {"BANNISTER_PING_PATH": "healthz"}},
        )
    assert refusal.value.response["Error"]["Code"] == "ValidationException"


def test_a_row_that_changed_its_paths_says_so_instead_of_starting_what_nobody_would_ask(world: World) -> None:
    images(world, ROW)
    world.model("moved", files={"app.py": APP.encode()}, image="team/ranker:7")
    images(world, ROW.replace("/healthz", "/up"))
    world.config("moved", model="moved", instances=1)
    world.sagemaker.create_endpoint(EndpointName="moved", EndpointConfigName="moved")
    found = world.settled("moved")
    assert found["EndpointStatus"] == "Failed"
    assert (
        "answers at /up and /v1/score, and its model was created when it was /healthz and /v1/score"
        in found["FailureReason"]
    )
