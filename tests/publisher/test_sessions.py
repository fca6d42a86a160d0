"""Sessions through the real Envoy, as boto3 uses them, with a model that keeps them in its memory."""

from __future__ import annotations

import asyncio
import re
import time
from dataclasses import dataclass, field, replace
from itertools import count

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from bannister.domain.routing import Membership, RoutePlan, Weight
from bannister.envoy.resources.sessions import digest

pytestmark = pytest.mark.real

PATTERN = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9])*;\sExpires=[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")


@dataclass
class Stateful:
    """Counts the requests of each of its sessions; the body of a request says what is to be done."""

    answer: type
    name: str
    lifetime_seconds: float = 60.0
    sessions: dict[str, int] = field(default_factory=dict)
    _ids: count = field(default_factory=count)

    async def __call__(self, request):
        headers = {"content-type": "text/plain"}
        asked = request.headers.get("x-amzn-sagemaker-session-id")
        if asked is None:
            return self.answer(
                200, b"none", headers | {"x-amzn-sagemaker-new-session-id": "s; Expires=2099-01-01T00:00:00Z"}
            )
        if asked == "NEW_SESSION":
            asked = f"{self.name}-{next(self._ids)}"
            expires = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + self.lifetime_seconds))
            headers["x-amzn-sagemaker-new-session-id"] = f"{asked}; Expires={expires}"
            self.sessions[asked] = 0
        if asked not in self.sessions:
            return self.answer(400, b"no such session", headers)
        self.sessions[asked] += 1
        if request.body == b"close":
            headers["x-amzn-sagemaker-closed-session-id"] = asked
        return self.answer(200, f"{self.name} {self.sessions[asked]}".encode(), headers)


@pytest.fixture
def invoke(edge):
    client = boto3.client(
        "sagemaker-runtime",
        endpoint_url=edge.url,
        region_name="us-east-1",
        aws_access_key_id="a",
        aws_secret_access_key="b",
        config=Config(retries={"total_max_attempts": 1}, read_timeout=30),
    )

    def call(session=None, body=b"1", **more):
        arguments = {"EndpointName": "flights", "Body": body, **more}
        if session is not None:
            arguments["SessionId"] = session
        try:
            answer = client.invoke_endpoint(**arguments)
        except ClientError as error:
            return error.response
        return {**answer, "Body": answer["Body"].read().decode()}

    return lambda *some, **more: asyncio.to_thread(call, *some, **more)


def identity(answer) -> str:
    assert PATTERN.fullmatch(answer["NewSessionId"]), answer
    return answer["NewSessionId"].partition(";")[0]


async def test_requests_of_a_session_go_to_the_instance_that_holds_it(edge, steady, answer, invoke):
    models = [Stateful(answer, f"m{number}") for number in range(3)]
    for one in models:
        await edge.model("g1", one)
    await edge.serve(steady("flights", "g1", count=3))
    sessions = {}
    for _ in range(9):
        begun = await invoke("NEW_SESSION")
        sessions[identity(begun)] = begun["Body"].split()[0]
    assert len(set(sessions.values())) > 1, "they are spread"
    for turn in range(2, 5):
        for session, name in sessions.items():
            found = await invoke(session)
            assert found["Body"] == f"{name} {turn}"
            assert "NewSessionId" not in found
    assert "NewSessionId" not in await invoke(), "nobody asked for one"


async def test_a_session_is_closed_by_the_model_under_the_callers_name_for_it(edge, steady, answer, invoke):
    await edge.model("g1", Stateful(answer, "m"))
    await edge.serve(steady("flights", "g1"))
    session = identity(await invoke("NEW_SESSION"))
    assert (await invoke(session, b"close"))["ClosedSessionId"] == session


@pytest.mark.parametrize("said", ["m-1", "m-1; Expires=tomorrow", "m_1; Expires=2099-01-01T00:00:00Z"])
async def test_a_session_whose_id_cannot_be_read_is_said_in_the_log_and_not_again_and_again(
    edge, steady, answer, invoke, until, said
):
    async def begins(request):
        return answer(200, b"ok", {"x-amzn-sagemaker-new-session-id": said})

    model = await edge.model("g1", begins)
    await edge.serve(steady("flights", "g1"))
    for _ in range(20):
        assert "NewSessionId" not in await invoke("NEW_SESSION")
    sentence = f"The model at 127.0.0.1:{model.port} began a session that its caller is not told of"
    await until(lambda: sentence in edge.log(), "it is said")
    assert f'is "{said}", and not an id' in edge.log()
    assert edge.log().count(sentence) <= 8, "threads of Envoy's"


@pytest.mark.parametrize("lifetime", [60.0, -1.0], ids=["lives", "is over"])
async def test_a_session_lives_until_it_expires(edge, steady, answer, invoke, lifetime):
    await edge.model("g1", Stateful(answer, "m", lifetime_seconds=lifetime))
    await edge.serve(steady("flights", "g1"))
    found = await invoke(identity(await invoke("NEW_SESSION")))
    if lifetime > 0:
        assert found["Body"] == "m 2"
    else:
        assert found["Error"]["Code"] == "ValidationError"
        assert "NEW_SESSION" in found["Error"]["Message"]


@pytest.mark.parametrize(
    "session",
    [
        "unknown",
        f"m-0-{digest('g1')}ffffffff" + b"127.0.0.1:1".hex(),
        f"m-0-{digest('g1')}ffffffff" + b"nowhere".hex(),
        f"m-0-{digest('g1')}ffffffff" + b"127.0.0.1:1".hex()[:-1],
        f"m-0-{digest('other')}ffffffff" + b"127.0.0.1:1".hex(),
    ],
    ids=["a word", "no instance", "no address", "half a character", "no group"],
)
async def test_an_id_that_nobody_gave_out_is_refused(edge, steady, answer, invoke, session):
    model = await edge.model("g1", Stateful(answer, "m"))
    await edge.serve(steady("flights", "g1"))
    found = await invoke(session)
    assert (found["ResponseMetadata"]["HTTPStatusCode"], found["Error"]["Code"]) == (400, "ValidationError")
    assert "flights" in found["Error"]["Message"]
    assert not model.invocations


async def test_a_session_stays_while_traffic_is_shifted_and_ends_with_its_fleet(edge, steady, split, answer, invoke):
    await edge.model("blue", Stateful(answer, "blue"))
    await edge.model("green", Stateful(answer, "green"))
    await edge.serve(steady("flights", "blue"))
    session = identity(await invoke("NEW_SESSION"))
    for parts in (500_000, 1_000_000, 0, 1_000_000):  # there, back and there again
        await edge.serve(split("flights", "blue", "green", parts))
        assert (await invoke(session))["Body"].startswith("blue")
    assert identity(begun := await invoke("NEW_SESSION"))
    assert begun["Body"].startswith("green"), "new ones follow the traffic"
    await edge.serve(steady("flights", "green"))
    assert (await invoke(session))["Error"]["Code"] == "ValidationError"
    assert (await invoke(identity(begun)))["Body"] == "green 2"


async def test_a_variant_can_be_named_for_a_session_to_begin_on(edge, answer, invoke):
    await edge.model("a", Stateful(answer, "a"))
    await edge.model("b", Stateful(answer, "b"))
    memberships = (Membership("a", 1, 0), Membership("b", 1, 0))
    await edge.serve(
        RoutePlan("flights", memberships, (Weight("a", "A", 1_000_000, 1_000_000), Weight("b", "B", 0, 1_000_000)))
    )
    session = identity(begun := await invoke("NEW_SESSION", TargetVariant="B"))
    assert (begun["Body"], begun["InvokedProductionVariant"]) == ("b 1", "B")
    assert (await invoke(session))["Body"] == "b 2"
    found = await invoke("NEW_SESSION", TargetVariant="C")
    assert "TargetVariant was not found" in found["Error"]["Message"]


async def test_the_instance_of_a_session_is_gone(edge, steady, answer, invoke, until):
    await edge.model("g1", Stateful(answer, "first"), name="one")
    await edge.serve(steady("flights", "g1", count=2))
    session = identity(await invoke("NEW_SESSION"))
    await edge.model("g1", Stateful(answer, "second"), name="two")
    edge.instances.remove("one")

    async def is_over() -> bool:
        found = await invoke(session)
        return "Error" in found and found["Error"]["Code"] == "ValidationError"

    await until(is_over, "the instance has left the proxy's list")
    assert (await invoke("NEW_SESSION"))["Body"] == "second 1"


@pytest.mark.parametrize(("change", "goes_on"), [("drains", False), ("is late with its pings", True)])
async def test_the_instance_of_a_session(edge, steady, answer, invoke, until, change, goes_on):
    server = await edge.model("g1", Stateful(answer, "first"), name="one")
    await edge.serve(steady("flights", "g1", count=2))
    session = identity(await invoke("NEW_SESSION"))
    await edge.model("g1", Stateful(answer, "second"), name="two")
    address = f"127.0.0.1:{server.port}"
    if goes_on:
        server.healthy = False
    else:
        (one,) = [one for one in edge.instances.snapshot() if one.id == "one"]
        edge.instances.put(replace(one, draining=True, answered=True))

    async def is_seen() -> bool:
        hosts = (await edge.admin.clusters())["g1"]
        return len(hosts) == 2 and not hosts[address].healthy

    await until(is_seen, "the proxy takes it for no good one")
    found = await invoke(session)
    if goes_on:
        assert found["Body"] == "first 2"
    else:
        assert found["Error"]["Code"] == "ValidationError"

    async def is_left_alone() -> bool:
        # Envoy's main thread, which answers the look above, knows it before the last of its workers does.
        bodies = [(await invoke("NEW_SESSION"))["Body"] for _ in range(8)]
        return bodies == ["second 1"] * 8

    await until(is_left_alone, "new sessions begin on the other one alone")


async def test_a_stream_may_use_a_session_and_not_begin_one(edge, steady, answer):
    model = await edge.model("g1", Stateful(answer, "m"))
    await edge.serve(steady("flights", "g1"))
    path, name = "/endpoints/flights/invocations", "x-amzn-sagemaker-session-id"
    begun = await edge.client().call(path, b"1", {name: "NEW_SESSION"})
    session = begun.headers["x-amzn-sagemaker-new-session-id"].partition(";")[0]
    found = await edge.client().call(f"{path}-response-stream", b"1", {name: session})
    assert found.status == 200
    assert b"m 2" in found.body
    refused = await edge.client().call(f"{path}-response-stream", b"1", {name: "NEW_SESSION"})
    assert (refused.status, refused.headers["x-amzn-errortype"]) == (400, "ValidationError")
    assert "cannot begin a session" in str(refused.json["Message"])
    assert len(model.invocations) == 2


async def test_nobody_chooses_a_group_by_a_header_of_ours(edge, steady, split, answer):
    blue, green = await edge.model("blue"), await edge.model("green")
    await edge.serve(split("flights", "blue", "green", 0))
    forged = {"x-bannister-session-group": digest("green"), "x-bannister-session-address": "x"}
    found = await edge.client().invoke("flights", b"1", forged)
    assert (found.status, len(blue.invocations), len(green.invocations)) == (200, 1, 0)
    assert not [name for name in (*found.headers, *blue.invocations[0].headers) if "bannister" in name]
