"""The door: one ASGI application that tells apart everything that arrives on the one port and is not an invocation.

A request is judged in this order; the first that fits answers it:

0. Where this process cannot be sure that it may act, everything is answered with 503.
1. A foreign `Host` or `Origin` is refused: the server listens on loopback and has no access control yet, so a page in the
   user's browser must not reach it, neither directly nor through a name that resolves to 127.0.0.1.
2. `GET /-/ready` says whether the server serves.
3. `X-Amz-Target` names a JSON service and its operation.
4. `POST /endpoints/NAME/invocations` arrives here only where the proxy has no route for NAME: there is no such endpoint. The
   other ways to invoke one are not supported. The body is not read.
5. The signature's scope names the service: `s3` is for the objects; another gets an error in its wire format.
6. Anything else is a path of an object, unsigned.

An operation is parse, validate, call, serialise, and nothing else; whatever goes wrong becomes a `Fault` of the service, in the
service's wire format.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote

import msgspec

from bannister.aws.call import Call, Service
from bannister.aws.runtime_errors import unknown_endpoint
from bannister.aws.wire import body, fault, json, rest_json, validate
from bannister.aws.wire.answer import Answer
from bannister.aws.wire.fault import Fault, Place
from bannister.aws.wire.models import SIGNING_NAMES, TARGET_PREFIXES, operation_model, service_model
from bannister.errors import BannisterError, Unavailable

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from bannister.clock import Clock
    from bannister.ids import Ids
    from bannister.settings import Settings

log = logging.getLogger(__name__)

_INVOKE = "InvokeEndpoint"
#: The runtime's operations, by the end of their paths.
_INVOCATIONS = {
    "invocations": _INVOKE,
    "invocations-response-stream": "InvokeEndpointWithResponseStream",
    "async-invocations": "InvokeEndpointAsync",
    "invocations-bidirectional-stream": "InvokeEndpointWithBidirectionalStream",
}
_INVOCATION = re.compile(rf"/endpoints/([^/]+)/({'|'.join(_INVOCATIONS)})")
_LOCAL = r"(?:(?:[a-z0-9._-]+\.)?localhost|127\.0\.0\.1|\[::1\])(?::\d{1,5})?"
_LOCAL_HOST = re.compile(_LOCAL, re.IGNORECASE)
_LOCAL_ORIGIN = re.compile(r"https?://" + _LOCAL, re.IGNORECASE)
_SCOPE = re.compile(r"Credential=[^/,\s]*/[^/]*/[^/]*/([^/,\s]+)/aws4_request")

#: What the server still waits for before it can serve, in words; None once it serves.
WaitsFor = Callable[[], Awaitable[str | None]]


@dataclass(frozen=True, slots=True)
class _Request:
    """An HTTP request whose body is not read yet. Header names are lower-case; of a repeated one the last counts."""

    id: str
    method: str
    #: As it came: not percent-decoded, so that an encoded slash is part of a name.
    path: str
    query: str
    headers: dict[str, str]
    receive: Receive


class Gateway:
    """The ASGI application. `services` are the operations it performs; `objects_app` answers for S3. `fence` raises
    `Unavailable` when it cannot be told whether this process may act.
    """

    def __init__(
        self,
        settings: Settings,
        ids: Ids,
        clock: Clock,
        services: Sequence[Service],
        objects_app: ASGIApp,
        waits_for: WaitsFor,
        fence: Callable[[], None] = lambda: None,
    ) -> None:
        self._place = Place(settings.region, settings.account_id)
        self._body_bytes_max = settings.request_body_bytes_max
        self._ids = ids
        self._clock = clock
        self._handlers = {service.name: service.handlers for service in services}
        self._objects_app = objects_app
        self._waits_for = waits_for
        self._fence = fence

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise ValueError(f"The gateway speaks HTTP only, not {scope['type']}.")
        request = self._request(scope, receive)
        started_at = self._clock.monotonic()
        for step in (
            self._fenced,
            self._refuse_foreign,
            self._ready,
            self._operation,
            self._not_invocable,
            self._by_signature,
        ):
            try:
                answer = await step(request)
            except body.Disconnected:
                return
            if answer is not None:
                took = self._clock.monotonic() - started_at
                log.debug("%s %s %s: %d in %.4f s", request.id, request.method, request.path, answer.status, took)
                await _send(answer, request, send)
                return
        await self._objects_app(scope, receive, send)

    def _request(self, scope: Scope, receive: Receive) -> _Request:
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        query = scope["query_string"].decode("latin-1")
        path = (scope.get("raw_path") or scope["path"].encode()).decode("latin-1")
        return _Request(self._ids.request(), scope["method"], path, query, headers, receive)

    # --- the steps: each answers, or leaves the request to the next

    async def _fenced(self, request: _Request) -> Answer | None:
        try:
            self._fence()
        except Unavailable as error:
            return rest_json.render_fault(Fault("ServiceUnavailable", 503, str(error)))
        return None

    async def _refuse_foreign(self, request: _Request) -> Answer | None:
        host, origin = request.headers.get("host", ""), request.headers.get("origin")
        if not _LOCAL_HOST.fullmatch(host):
            return _refused(f"The host {host!r} is not this machine. Use localhost, 127.0.0.1 or [::1].")
        if origin is not None and not _LOCAL_ORIGIN.fullmatch(origin):
            return _refused(f"Pages of the origin {origin!r} may not use this server; only those of this machine may.")
        return None

    async def _ready(self, request: _Request) -> Answer | None:
        if request.path != "/-/ready" or request.method not in ("GET", "HEAD"):
            return None
        waits_for = await self._waits_for()
        if waits_for is None:
            return _document(200, {"status": "ready"})
        return _document(503, {"status": "starting", "waits_for": waits_for})

    async def _operation(self, request: _Request) -> Answer | None:
        target = request.headers.get("x-amz-target")
        if target is None or request.method != "POST":
            return None
        prefix, _, name = target.partition(".")
        service = TARGET_PREFIXES.get(prefix)
        if service is None:
            return self._unknown_service(prefix)
        try:
            return await self._performed(service, name, request)
        except body.TooLarge:
            found = fault.too_large(self._body_bytes_max)
        except (body.Undecodable, json.Malformed) as error:
            found = fault.malformed(str(error))
        except BannisterError as error:
            found = fault.of_error(service, error, self._place)
        except body.Disconnected:
            raise
        except Exception:  # the request boundary: one operation's bug is one request's 500
            log.exception("%s: %s of %s failed", request.id, name, service)
            found = fault.internal(service)
        if found.status >= 500:
            log.warning("%s: %s of %s answered %s: %s", request.id, name, service, found.code, found.message)
        return _in_json(service, found, request)

    async def _performed(self, service: str, name: str, request: _Request) -> Answer:
        """One operation, from the bytes of its input to those of its output."""
        handlers = self._handlers.get(service, {})
        operation = operation_model(service, name)
        handler = handlers.get(name)
        if operation is None or handler is None:
            return _in_json(service, fault.unknown_operation(service, name, handlers), request)
        content = await body.read(request.receive, request.headers, self._body_bytes_max)
        params = json.parse(operation.input_shape, content)
        if found := validate.violations(operation.input_shape, params):
            return _in_json(service, fault.of_violations(service, found), request)
        call = Call(service, name, params, request.id, self._place.region, self._place.account_id)
        return json.render(operation, await handler(call))

    async def _not_invocable(self, request: _Request) -> Answer | None:
        path = _INVOCATION.fullmatch(request.path)
        if path is None or request.method != "POST" or _signing_name(request) == "s3":
            return None
        operation = _INVOCATIONS[path[2]]
        if operation != _INVOKE:
            return rest_json.render_fault(fault.unknown_operation("sagemaker-runtime", operation, [_INVOKE]))
        return rest_json.render_reply(unknown_endpoint(unquote(path[1]), self._place.account_id))

    async def _by_signature(self, request: _Request) -> Answer | None:
        name = _signing_name(request)
        if name == "s3" or (name is None and (request.method, request.path) != ("POST", "/")):
            return None
        if name is None:
            return _unspoken("The request names no service: it has neither a signature nor X-Amz-Target.")
        service = SIGNING_NAMES.get(name)
        if service is None:
            return self._unknown_service(name)
        return _in_json(service, fault.unknown_operation(service, "", self._handlers.get(service, {})), request)

    def _unknown_service(self, name: str) -> Answer:
        spoken = ", ".join(sorted({*self._handlers, "sagemaker-runtime", "s3"}))
        return _unspoken(f"Bannister does not speak the service {name!r}. It speaks: {spoken}.")


def _signing_name(request: _Request) -> str | None:
    """The service that a request was signed for, in its header or, presigned, in its query."""
    if scope := _SCOPE.search(request.headers.get("authorization", "")):
        return scope[1]
    presigned = parse_qs(request.query).get("X-Amz-Credential", [""])[0].split("/")
    return presigned[3] if len(presigned) == 5 else None


def _in_json(service: str, found: Fault, request: _Request) -> Answer:
    query_mode = request.headers.get("x-amzn-query-mode") == "true"
    return json.render_fault(service_model(service), found, query_mode=query_mode)


def _unspoken(sentence: str) -> Answer:
    return rest_json.render_fault(Fault("UnknownOperationException", 400, sentence))


def _refused(sentence: str) -> Answer:
    return rest_json.render_fault(Fault("AccessDeniedException", 403, sentence))


def _document(status: int, content: dict[str, Any]) -> Answer:
    return Answer(status, msgspec.json.encode(content), "application/json")


async def _send(answer: Answer, request: _Request, send: Send) -> None:
    headers = {
        "content-type": answer.content_type,
        "content-length": str(len(answer.body)),
        "x-amzn-requestid": request.id,
        **answer.headers,
    }
    encoded = [(name.encode("ascii"), value.encode("ascii")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": answer.status, "headers": encoded})
    await send({"type": "http.response.body", "body": answer.body})
