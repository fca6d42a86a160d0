"""Which headers reach a model, and which come back: all that AWS documents, one by one, and what must not pass."""

from __future__ import annotations

import pytest

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
