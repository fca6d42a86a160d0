"""The ASGI application that answers S3's requests.

A request is read (`request`), its operation found in one table (`_OPERATIONS` of the constructor), and the reply sent;
whatever goes wrong on the way becomes one of S3's errors (`faults`). Bodies are streamed in both directions.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import AsyncExitStack
from typing import Any, Final

from bannister.aws.s3.buckets import Buckets
from bannister.aws.s3.enumerations import check_values
from bannister.aws.s3.faults import ClientGone, Fault, fault_of
from bannister.aws.s3.members import refuse
from bannister.aws.s3.objects import Objects
from bannister.aws.s3.patience import Patience
from bannister.aws.s3.reply import Reply, fault_document
from bannister.aws.s3.request import Message, Receive, Request, Send, read_request
from bannister.aws.s3.uploads import Uploads
from bannister.clock import Clock
from bannister.ids import Ids
from bannister.objects.store import ObjectStore
from bannister.settings import Settings

_Operation = Callable[[Request], Awaitable[Reply]]
_NO_BODY: Final = (204, 304)

#: Query parameters that make a call another operation; all others are arguments of it, or not for us (`x-id`).
_SUBRESOURCES: Final = frozenset(
    [
        "accelerate",
        "acl",
        "analytics",
        "attributes",
        "cors",
        "delete",
        "encryption",
        "intelligent-tiering",
        "inventory",
        "legal-hold",
        "lifecycle",
        "list-type",
        "location",
        "logging",
        "metadataConfiguration",
        "metadataTable",
        "metrics",
        "notification",
        "object-lock",
        "ownershipControls",
        "partNumber",
        "policy",
        "policyStatus",
        "publicAccessBlock",
        "renameObject",
        "replication",
        "requestPayment",
        "restore",
        "retention",
        "select",
        "session",
        "tagging",
        "torrent",
        "uploadId",
        "uploads",
        "versionId",
        "versioning",
        "versions",
        "website",
    ]
)


class S3Door:
    """S3 over an `ObjectStore`. Handed to the gateway, which has already refused foreign hosts and origins."""

    def __init__(self, objects: ObjectStore, clock: Clock, ids: Ids, settings: Settings) -> None:
        self._ids = ids
        patience = Patience(settings.object_answer_quiet_seconds)
        bucket = Buckets(objects, clock, settings)
        single = Objects(objects, clock, settings, patience)
        upload = Uploads(objects, clock, ids, settings, patience)
        #: What the call is about, its method (COPY: a PUT that names a source) and subresource.
        self._operations: dict[tuple[str, str, str], _Operation] = {
            ("service", "GET", ""): bucket.list_buckets,
            ("bucket", "PUT", ""): bucket.create,
            ("bucket", "HEAD", ""): bucket.head,
            ("bucket", "DELETE", ""): bucket.delete,
            ("bucket", "GET", "location"): bucket.location,
            ("bucket", "GET", ""): bucket.list_objects,
            ("bucket", "GET", "list-type"): bucket.list_objects_v2,
            ("bucket", "POST", "delete"): bucket.delete_objects,
            ("object", "PUT", ""): single.put,
            ("object", "GET", ""): single.get,
            ("object", "GET", "tagging"): single.tags,
            ("object", "PUT", "tagging"): single.put_tags,
            ("object", "DELETE", "tagging"): single.delete_tags,
            ("object", "HEAD", ""): single.get,
            ("object", "DELETE", ""): single.delete,
            ("object", "COPY", ""): single.copy,
            ("object", "POST", "uploads"): upload.create,
            ("object", "PUT", "uploadId"): upload.put_part,
            ("object", "COPY", "uploadId"): upload.copy_part,
            ("object", "GET", "uploadId"): upload.list_parts,
            ("object", "DELETE", "uploadId"): upload.abort,
            ("object", "POST", "uploadId"): upload.complete,
        }

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer one HTTP request."""
        request_id = self._ids.request()
        body_begun = False

        async def receive_noted() -> Message:
            nonlocal body_begun
            body_begun = True
            return await receive()

        async with AsyncExitStack() as held:
            try:
                request = read_request(scope, receive_noted, request_id, held)
                operation = self._operation(request)
                check_values(request)
                refuse(request)
                reply = await operation(request)
            except ClientGone:
                return
            except Exception as error:  # noqa: BLE001  the request boundary: every error becomes an answer
                reply = _fault_reply(fault_of(error), scope, request_id)
            if not body_begun and _awaits_continue(scope):
                # The client will not send the body now, but the server would take what comes next for it.
                reply.headers["connection"] = "close"
            await _send(reply, scope["method"] == "HEAD", request_id, receive, send)

    def _operation(self, request: Request) -> _Operation:
        about = "object" if request.key else "bucket" if request.bucket else "service"
        method = "COPY" if request.method == "PUT" and "x-amz-copy-source" in request.headers else request.method
        subresources = _subresources(request)
        name = subresources[0] if len(subresources) == 1 else ""
        operation = self._operations.get((about, method, name))
        if operation is None or len(subresources) > 1:
            raise _unknown(about, request.method, subresources)
        return operation


def _awaits_continue(scope: MutableMapping[str, Any]) -> bool:
    return any(name.lower() == b"expect" for name, _ in scope["headers"])


def _subresources(request: Request) -> list[str]:
    found = _SUBRESOURCES & request.query.keys()
    if "uploadId" in found:
        found -= {"partNumber"}
    if request.query.get("versionId") == "null":
        # The version that an object has in a bucket without versions.
        found -= {"versionId"}
    return sorted(found)


def _unknown(about: str, method: str, subresources: list[str]) -> Fault:
    if subresources:
        called = " and ".join(f"?{name}" for name in subresources)
        what = "an object" if about == "object" else f"a {about}"
        return Fault("NotImplemented", f"{method} of {what} with {called} is not supported by this object store.")
    if about == "bucket" and method == "POST":
        return Fault("NotImplemented", "Uploads from browser forms are not supported: use PUT.")
    return Fault("MethodNotAllowed", f"The specified method {method} is not allowed against this resource.")


def _fault_reply(fault: Fault, scope: MutableMapping[str, Any], request_id: str) -> Reply:
    resource = (scope.get("raw_path") or b"").decode("latin-1")
    headers = {"content-type": "application/xml"} | fault.headers
    return Reply(fault.status, headers, fault_document(fault, resource, request_id))


async def _send(reply: Reply, head_only: bool, request_id: str, receive: Receive, send: Send) -> None:
    # S3 has the first, other services the second, which the proxy would add with an id of its own, and boto3 would show.
    headers = {"x-amz-request-id": request_id, "x-amzn-requestid": request_id} | reply.headers
    if isinstance(reply.body, bytes) and reply.status not in _NO_BODY:
        headers.setdefault("content-length", str(len(reply.body)))
    raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": reply.status, "headers": raw})
    if isinstance(reply.body, bytes):
        await send({"type": "http.response.body", "body": b"" if head_only else reply.body})
    else:
        await _stream(reply.body, receive, send)


async def _stream(body: AsyncIterator[bytes], receive: Receive, send: Send) -> None:
    """Send chunk by chunk; stop when the client has gone (`send` itself does not say so)."""
    gone = asyncio.create_task(_disconnect(receive))
    try:
        async for chunk in body:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
            if gone.done():
                return
        await send({"type": "http.response.body", "body": b""})
    finally:
        gone.cancel()


async def _disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
