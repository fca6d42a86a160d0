"""What a caller sees through the real Envoy when all is well."""

from __future__ import annotations

import httpx
import pytest

pytestmark = pytest.mark.real


async def test_an_invocation_reaches_the_model_and_everything_else_the_control_plane(edge, steady):
    model = await edge.model("g1")
    await edge.serve(steady("flights", "g1"))
    async with httpx.AsyncClient(base_url=edge.url) as client:
        answer = await client.post("/endpoints/flights/invocations", content=b"[1]")
        listed = await client.get("/endpoints/flights/invocations")
    assert (answer.status_code, answer.text) == (200, "ok"), edge.log()
    assert listed.status_code == 200
    assert [request.path for request in model.invocations] == ["/invocations"]
    assert [request.method for request in edge.control.invocations] == ["GET"]
