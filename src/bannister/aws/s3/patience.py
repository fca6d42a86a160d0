"""Answers that take long, without the client giving up.

Putting parts together or copying a large object may take longer than a client waits for the first byte (boto3: 60 s).
S3 begins such an answer early, with status 200 and white space, and SDKs look for an error inside it. So do we.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine

from bannister.aws.s3 import xml
from bannister.aws.s3.faults import fault_of
from bannister.aws.s3.reply import Reply, fault_document
from bannister.aws.s3.request import Request


class Patience:
    """How long an answer may keep a client waiting in silence."""

    def __init__(self, quiet_seconds: float) -> None:
        self._quiet_seconds = quiet_seconds

    async def answer(self, request: Request, work: Coroutine[None, None, Reply]) -> Reply:
        """The reply of `work` (an XML document), begun early if it is not there in time."""
        task = asyncio.create_task(work)
        request.held.push_async_callback(_end, task)
        done, _ = await asyncio.wait([task], timeout=self._quiet_seconds)
        if done:
            return task.result()
        return Reply(200, {"content-type": "application/xml"}, self._begun(request, task))

    async def _begun(self, request: Request, task: asyncio.Task[Reply]) -> AsyncIterator[bytes]:
        yield xml.DECLARATION
        while not (await asyncio.wait([task], timeout=self._quiet_seconds))[0]:
            yield b" "
        error = task.exception()
        if error is None:
            body = task.result().body
        elif isinstance(error, Exception):
            body = fault_document(fault_of(error), request.resource, request.id)
        else:
            raise error
        assert isinstance(body, bytes)
        yield body.removeprefix(xml.DECLARATION)


async def _end(task: asyncio.Task[Reply]) -> None:
    """The request has ended; if the client left before its answer, so does the work."""
    task.cancel()
    await asyncio.wait([task])
