"""Which headers reach a model, and which come back: all that AWS documents, one by one, and what must not pass."""

from __future__ import annotations

import asyncio
import json

import pytest

from bannister.aws.runtime_errors import HEADER_LIMITS

pytestmark = pytest.mark.real

WAYS = ("invocations", "invocations-response-stream")
#: As a model must see them.
SEEN = {
    "content-type": "text/csv",
    "x-amzn-sagemaker-custom-attributes": "trace=7",
    "x-amzn-sagemaker-inference-id": "id-1",
    "x-amzn-sagemaker-prefix-aware-id": "prefix-1",
}
#: Documented, and for us alone.
OURS = {"x-amzn-sagemaker-target-variant": "AllTraffic"}
UNSEEN = {
    "authorization": "AWS4-HMAC-SHA256 Credential=a/20260101/us-east-1/sagemaker/aws4_request",
    "x-amz-date": "20260101T000000Z",
    "x-amz-security-token": "secret",
    "amz-sdk-invocation-id": "x",
    "user-agent": "Boto3/1.44",
    "cookie": "session=secret",
    "accept-encoding": "gzip",
    "x-forwarded-for": "10.0.0.1",
    "x-envoy-original-path": "/forged",
    "x-bannister-copy-group": "forged",
    "x-bannister-stream-elapsed": "5",
    "x-anything": "1",
    "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
}
ANSWER_SECONDS_MAX = 5
#: What HTTP and the proxy say.
FRAMING = {"host", "content-length", "x-request-id"}


@pytest.mark.parametrize("way", WAYS)
async def test_only_documented_headers_reach_the_model(edge, steady, way):
    model = await edge.model("g1")
    await edge.serve(steady("flights", "g1"))
    accept = {"accept": "a/b"} if way == "invocations" else {"x-amzn-sagemaker-accept": "a/b", "accept": "*/*"}
    headers = {**SEEN, **OURS, **UNSEEN, **accept}
    assert (await edge.client().call(f"/endpoints/flights/{way}", b"1", headers)).status == 200
    found = model.invocations[0].headers
    assert {name: found[name] for name in found.keys() - FRAMING} == {**SEEN, "accept": "a/b"}


@pytest.mark.parametrize("way", WAYS)
async def test_only_documented_headers_come_back(edge, steady, answer, way):
    async def says(request):
        return answer(
            200,
            b"ok",
            {
                "content-type": "a/b",
                "x-amzn-sagemaker-custom-attributes": "t=1",
                "x-amzn-sagemaker-content-type": "forged",
                "x-amzn-sagemaker-new-session-id": "forged; Expires=2030-01-01T00:00:00Z",
                "x-amzn-sagemaker-closed-session-id": "forged",
                "x-amzn-invoked-production-variant": "forged",
                "x-amzn-errortype": "forged",
                "x-amzn-requestid": "forged",
                "server": "uvicorn",
                "set-cookie": "a=b",
                "access-control-allow-origin": "*",
                "location": "http://elsewhere",
                "x-anything": "1",
                "x-bannister-model-microseconds": "1",
                "trailer": "x",
            },
        )

    await edge.model("g1", says)
    await edge.serve(steady("flights", "g1"))
    found = (await edge.client().call(f"/endpoints/flights/{way}", b"1")).headers
    assert len(found.pop("x-amzn-requestid")) == 36
    assert found.pop("date")
    assert int(found.pop("content-length")) > 0
    about = {"x-amzn-invoked-production-variant": "AllTraffic", "x-amzn-sagemaker-custom-attributes": "t=1"}
    if way == "invocations":
        assert found == {**about, "content-type": "a/b"}
    else:
        streamed = {
            "content-type": "application/vnd.amazon.eventstream",
            "x-amzn-sagemaker-content-type": "a/b",
        }
        assert found == {**about, **streamed}


async def test_a_models_error_brings_nothing_of_its_own_either(edge, steady, answer):
    async def fails(request):
        return answer(500, b"no", {"content-type": "text/html", "set-cookie": "a=b", "retry-after": "5"})

    await edge.model("g1", fails)
    await edge.serve(steady("flights", "g1"))
    found = (await edge.client().invoke("flights", b"1")).headers
    assert found.keys() == {
        "content-type",
        "content-length",
        "date",
        "x-amzn-errortype",
        "x-amzn-invoked-production-variant",
        "x-amzn-requestid",
    }


@pytest.mark.parametrize("way", WAYS)
async def test_a_header_that_is_too_long_is_refused_before_a_model_sees_it(edge, steady, way):
    model = await edge.model("g1")
    await edge.serve(steady("flights", "g1"))
    for header, (member, most, _) in HEADER_LIMITS.items():
        path = f"/endpoints/flights/{way}"
        assert (await edge.client().call(path, b"1", {header: "a" * most})).status == 200, header
        for length in (most + 1, 40_000):
            found = await edge.client().call(path, b"1", {header: "a" * length})
            assert (found.status, found.headers["x-amzn-errortype"]) == (400, "ValidationError"), header
            assert f"Value at '{member}' failed" in str(found.json["Message"])
            assert str(found.json["Message"]).endswith(f"less than or equal to {most}")
    assert len(model.invocations) == len(HEADER_LIMITS)


@pytest.mark.parametrize("way", WAYS)
async def test_a_header_that_has_not_its_form_is_refused_before_a_model_sees_it(edge, steady, way):
    model = await edge.model("g1")
    await edge.serve(steady("flights", "g1"))
    path, passed = f"/endpoints/flights/{way}", 0
    for header, (member, most, pattern) in HEADER_LIMITS.items():
        good, wrong = ["a b~", "a" * most], ["a\xc3\xa9", "a\xff", "a" * (most - 1) + "\x80"]
        # Characters that can be seen, or all of ASCII; of its control characters no header may have another than the tab.
        (wrong if "Print" in pattern else good).extend(["", "a\tb"])
        for value in wrong:
            found = await edge.client().call(path, b"1", {header: value})
            assert (found.status, found.headers.get("x-amzn-errortype")) == (400, "ValidationError"), (header, value)
            assert found.json["Message"] == (
                f"1 validation error detected: Value at '{member}' failed to satisfy constraint: "
                f"Member must satisfy regular expression pattern: {pattern}"
            )
        assert len(model.invocations) == passed
        for value in good:
            assert (await edge.client().call(path, b"1", {header: value})).status == 200, (header, value)
        passed += len(good)


async def test_elsewhere_a_header_may_be_as_long_as_it_likes(edge, steady):
    await edge.model("g1")
    await edge.serve(steady("flights", "g1"))
    found = await edge.client().call("/bucket/key", b"1", {"content-type": "a" * 2000}, method="PUT")
    assert "failed to satisfy constraint" not in found.body.decode()


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        ([b"x-large: " + b"a" * 61 * 1024], 431),
        ([b"x-%d: 1" % number for number in range(201)], 431),
        ([b"x-amzn-sagemaker-custom-attributes: a\x01b"], 400),
        ([b"no colon"], 400),
        ([b"transfer-encoding: something"], 501),
    ],
    ids=["large", "many", "control character", "malformed", "unknown coding"],
)
@pytest.mark.parametrize("path", ["/endpoints/flights/invocations", "/"])
async def test_headers_that_cannot_be_read_are_refused_in_awss_words(edge, steady, lines, status, path):
    await edge.model("g1")
    await edge.serve(steady("flights", "g1"))
    reader, writer = await asyncio.open_connection("127.0.0.1", edge.settings.port)
    head = [b"POST %b HTTP/1.1" % path.encode(), b"host: localhost", b"connection: close", *lines]
    writer.write(b"\r\n".join(head) + b"\r\n\r\n")
    # The answer alone: the connection is kept open for ten seconds, for what the client may still be sending.
    async with asyncio.timeout(ANSWER_SECONDS_MAX):
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        body = await reader.readexactly(int(head.partition("content-length: ")[2].split()[0]))
    writer.close()
    assert head.startswith(f"HTTP/1.1 {status} ")
    assert "x-amzn-errortype: ValidationError" in head
    assert "content-type: application/json" in head
    told = json.loads(body)
    assert told["__type"] == "ValidationError", "for the clients of other services"
    assert told["Message"].startswith("The request cannot be read")
