"""What boto3 raises when there is no answer of the model to give: every case, through the real Envoy."""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import replace

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from bannister.domain.instance import Instance, InstancePhase
from bannister.domain.routing import RoutePlan
from bannister.domain.runtime_texts import REFUSAL_HEADER, read_refusal

pytestmark = pytest.mark.real

MIB = 1024 * 1024


@pytest.fixture
def settings(settings):
    return replace(settings, invocation_timeout_seconds=0.5)


@pytest.fixture
def invoke(edge):
    """InvokeEndpoint by boto3, without retries; the answer, or the error's whole response."""
    client = boto3.client(
        "sagemaker-runtime",
        endpoint_url=edge.url,
        region_name="us-east-1",
        aws_access_key_id="a",
        aws_secret_access_key="b",
        config=Config(retries={"total_max_attempts": 1}, read_timeout=60),
    )

    def call(**arguments):
        try:
            answer = client.invoke_endpoint(**{"EndpointName": "flights", "Body": b"1", **arguments})
        except ClientError as error:
            return error.response
        return {**answer, "Body": answer["Body"].read()}

    return lambda **arguments: asyncio.to_thread(call, **arguments)


def status(response) -> int:
    return response["ResponseMetadata"]["HTTPStatusCode"]


@pytest.mark.parametrize(
    ("code", "kind", "error_code"),
    [
        (400, "client", "CLIENT_ERROR_FROM_MODEL"),
        (499, "client", "CLIENT_ERROR_FROM_MODEL"),
        (500, "server", "INTERNAL_FAILURE_FROM_MODEL"),
        (503, "server", "INTERNAL_FAILURE_FROM_MODEL"),
        (302, "server", "INTERNAL_FAILURE_FROM_MODEL"),
    ],
)
async def test_what_the_model_refuses_is_a_model_error(edge, steady, answer, invoke, code, kind, error_code):
    async def refuses(request):
        return answer(code, b"Tailnum is missing")

    await edge.model("g1", refuses)
    await edge.serve(steady("flights", "g1"))
    response = await invoke()
    assert status(response) == 424
    assert response["Error"]["Code"] == "ModelError"
    assert response["OriginalStatusCode"] == code
    assert response["OriginalMessage"] == "Tailnum is missing"
    assert response["ErrorCode" if "ErrorCode" in response else "Error"]
    message = response["Error"]["Message"]
    assert message.startswith(f'Received {kind} error ({code}) from primary with message "Tailnum is missing"')
    assert "flights" in message
    assert response["ResponseMetadata"]["RequestId"]
    assert response["ResponseMetadata"]["HTTPHeaders"]["x-amzn-invoked-production-variant"] == "AllTraffic"


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(bytes(range(256)), id="every byte"),
        pytest.param('quotes " \\ \r\n\t\x7f\u2028 and {endpoint} {status} %REQ(X)%'.encode(), id="escapes"),
        pytest.param("Zürich 東京 🛫 \ufffd \U0010ffff".encode(), id="well-formed UTF-8"),
        pytest.param(
            b"\xed\xa0\x80 \xc0\xaf \xf4\x90\x80\x80 \xe2 end", id="surrogates, overlong and cut-off sequences"
        ),
        pytest.param(b"\x00\x00", id="zero bytes"),
        pytest.param(b"\xff" * 70_000, id="longer than what is repeated"),
    ],
)
async def test_any_bytes_can_be_repeated_in_a_model_error(edge, steady, answer, invoke, body):
    async def fails(request):
        return answer(500, body)

    await edge.model("g1", fails)
    await edge.serve(steady("flights", "g1"))
    response = await invoke()
    kept = body[: edge.texts.model_server_error.original_bytes_max]
    assert response["OriginalMessage"] == kept.decode("utf-8", "replace")


async def test_a_compressed_error_is_not_announced_as_compressed(edge, steady, answer, invoke):
    async def fails(request):
        return answer(500, b"not really gzip", {"content-encoding": "gzip", "content-type": "text/html"})

    await edge.model("g1", fails)
    await edge.serve(steady("flights", "g1"))
    assert (await invoke())["OriginalMessage"] == "not really gzip"


async def test_an_error_too_large_to_hold_is_still_a_model_error(edge, steady, answer, invoke):
    async def fails(request):
        return answer(500, b"x" * 4 * MIB)

    await edge.model("g1", fails)
    await edge.serve(steady("flights", "g1"))
    response = await invoke()
    assert (status(response), response["Error"]["Code"]) == (424, "ModelError")
    assert response["OriginalStatusCode"] == 500


@pytest.mark.parametrize("code", [200, 201, 204])
async def test_a_success_passes_untouched(edge, steady, answer, invoke, code):
    async def succeeds(request):
        return answer(
            code,
            b"" if code == 204 else b'{"a": "\xff"}',
            {"content-type": "x/y", "x-amzn-sagemaker-custom-attributes": "t=1"},
        )

    await edge.model("g1", succeeds)
    await edge.serve(steady("flights", "g1"))
    response = await invoke()
    assert status(response) == code
    assert response["Body"] == (b"" if code == 204 else b'{"a": "\xff"}')
    assert (response["ContentType"], response["CustomAttributes"]) == ("x/y", "t=1")
    assert response["InvokedProductionVariant"] == "AllTraffic"


async def test_no_answer_in_time(edge, steady, invoke):
    forever = asyncio.Event()

    async def hangs(request):
        await forever.wait()

    await edge.model("g1", hangs)
    await edge.serve(steady("flights", "g1"))
    response = await invoke()
    assert status(response) == 424
    assert response["Error"]["Code"] == "ModelError"
    assert response["OriginalStatusCode"] == 0
    assert "timed out while waiting" in response["OriginalMessage"]
    assert "flights" in response["Error"]["Message"]


async def test_a_connection_that_the_model_breaks(edge, steady, invoke):
    async def breaks(request):
        return None

    model = await edge.model("g1", breaks)
    await edge.serve(steady("flights", "g1"))
    response = await invoke()
    assert (status(response), response["Error"]["Code"]) == (424, "ModelError")
    assert response["OriginalStatusCode"] == 0
    assert "the model process exited" in response["OriginalMessage"]
    assert len(model.invocations) == 1, "a request that the model has seen is never sent again"


async def test_nobody_listens_where_the_instance_was(edge, steady, invoke, until):
    model = await edge.model("g1")
    await edge.serve(steady("flights", "g1"))
    assert status(await invoke()) == 200
    await model.stop()

    async def unreachable() -> bool:
        return status(await invoke()) == 503

    await until(unreachable, "the proxy has noticed that its kept connection is closed")
    response = await invoke()
    assert (status(response), response["Error"]["Code"]) == (503, "ServiceUnavailable")
    assert "flights" in response["Error"]["Message"]


async def test_no_instance_is_ready(edge, steady, invoke):
    await edge.model("g1", ready=False)
    await edge.serve(steady("flights", "g1"))
    response = await invoke()
    assert (status(response), response["Error"]["Code"]) == (503, "ServiceUnavailable")
    assert "Endpoint flights has no healthy instance" in response["Error"]["Message"]


async def test_a_second_instance_takes_what_the_first_cannot(edge, steady, invoke, until):
    model = await edge.model("g1")
    edge.instances.put(Instance("gone", "g1", InstancePhase.READY, "127.0.0.1", 9, started_at=0.0))
    await edge.serve(steady("flights", "g1", count=2))

    async def answers() -> bool:
        return status(await invoke()) == 200

    await until(answers, "the instance that listens is known to be healthy")
    for _ in range(20):
        assert status(await invoke()) == 200
    assert len(model.invocations) >= 21


async def test_an_unknown_variant(edge, steady, invoke):
    model = await edge.model("g1")
    await edge.serve(steady("flights", "g1"))
    response = await invoke(TargetVariant="nobody")
    assert (status(response), response["Error"]["Code"]) == (400, "ValidationError")
    assert "flights" in response["Error"]["Message"]
    assert not model.invocations


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (
            {"TargetModel": "a.tar.gz"},
            "Endpoint flights is not a multi-model endpoint and does not support target model",
        ),
        ({"TargetContainerHostname": "second"}, "does not support target container hostname"),
        ({"InferenceComponentName": "one"}, "has no inference components"),
        ({"EnableExplanations": "`true`"}, "has no explainer"),
    ],
    ids=lambda one: next(iter(one)) if isinstance(one, dict) else "",
)
async def test_what_no_endpoint_here_has_is_refused(edge, steady, invoke, arguments, says):
    model = await edge.model("g1")
    await edge.serve(steady("flights", "g1"))
    response = await invoke(**arguments)
    assert (status(response), response["Error"]["Code"]) == (400, "ValidationError")
    assert says in response["Error"]["Message"]
    assert not model.invocations


@pytest.mark.parametrize("extra", [0, 1])
async def test_25_mebibytes_and_not_a_byte_more(edge, steady, invoke, answer, extra):
    async def refuses_when_read(request):
        reply = read_refusal(request.headers[REFUSAL_HEADER])
        headers = {"x-amzn-errortype": reply.error_type, "content-type": "application/json"}
        return answer(reply.status, reply.body.encode(), headers)

    edge.control.behaviour = refuses_when_read
    model = await edge.model("g1")
    await edge.serve(steady("flights", "g1"))
    response = await invoke(Body=b"x" * (25 * MIB + extra))
    if extra:
        assert (status(response), response["Error"]["Code"]) == (413, "ValidationError")
        assert str(25 * MIB) in response["Error"]["Message"]
        assert not model.invocations
    else:
        assert status(response) == 200
        assert len(model.invocations[0].body) == 25 * MIB


@pytest.mark.parametrize("extra", [0, 1])
async def test_the_limit_holds_for_chunked_bodies(edge, steady, extra):
    model = await edge.model("g1")
    await edge.serve(steady("flights", "g1"))
    with contextlib.suppress(ConnectionError):  # the proxy may close before all is sent
        answer = await edge.client().call("/endpoints/flights/invocations", b"x" * (25 * MIB + extra), chunked=True)
        assert answer.status == (413 if extra else 200)
        if extra:
            assert answer.headers["x-amzn-errortype"] == "ValidationError"
            assert str(25 * MIB) in str(answer.json["Message"])
    assert len(model.invocations) == (0 if extra else 1)


async def test_an_endpoint_that_is_not_invocable_is_the_control_planes_to_refuse(edge, invoke, answer):
    async def refuses(request):
        body = json.dumps({"Message": "Endpoint flights of account 000000000000 not found."}).encode()
        return answer(400, body, {"x-amzn-errortype": "ValidationError", "content-type": "application/json"})

    edge.control.behaviour = refuses
    await edge.serve(RoutePlan("flights"))
    response = await invoke()
    assert (status(response), response["Error"]["Code"]) == (400, "ValidationError")
    assert "not found" in response["Error"]["Message"]


async def test_a_control_plane_that_is_away(edge, steady):
    await edge.model("g1")
    await edge.serve(steady("flights", "g1"))
    await edge.control.stop()
    edge.settings.api_socket.unlink(missing_ok=True)
    response = await edge.client().call("/", b"{}")
    assert (response.status, response.headers["x-amzn-errortype"]) == (503, "ServiceUnavailable")
    assert "Endpoints go on serving" in str(response.json["message"])
    too_long = await edge.client().call("/endpoints/flights/invocations", b"x" * (25 * MIB + 1))
    assert (too_long.status, too_long.headers["x-amzn-errortype"]) == (503, "ServiceUnavailable")
    assert (await edge.client().invoke("flights")).status == 200


async def test_a_request_that_is_no_http(edge):
    response = await edge.client().call("/", headers={"a b": "x"})
    assert response.status == 400
    assert response.headers["x-amzn-errortype"] == "ValidationError"
    assert response.json["Message"]
