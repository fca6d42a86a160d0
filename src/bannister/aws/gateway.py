"""The door: one ASGI application that tells apart everything that arrives on the one port and is not an invocation.

A request is judged in this order; the first that fits answers it:

0. Where this process cannot be sure that it may act, everything is answered with 503.
1. A foreign `Host` or `Origin` is refused: the server listens on loopback and has no access control yet, so a page in the
   user's browser must not reach it, neither directly nor through a name that resolves to 127.0.0.1.
2. What the proxy has refused, and gives here because of its long body, gets the answer that the proxy names (`runtime_texts`).
3. `GET /-/ready` says whether the server serves; `GET /metrics`, unsigned, is a Prometheus server's (signed for S3 it is a bucket's).
4. A POST that is written in one of AWS's protocols is for an operation. `smithy-protocol` (or CBOR sent to a path of RPC v2) says RPC v2,
   and the path names service and operation; `X-Amz-Target` says JSON and names both; a form says query: its signature names the service,
   its `Action` the operation. Whatever is then wrong is answered in that protocol.
5. `POST /endpoints/NAME/invocations`, and `…-response-stream`, arrive here only where the proxy has no route for NAME: there is no such
   endpoint, and there may be none of this name. The other ways to invoke one are not supported. The body is not looked at.
6. The signature's scope names the service: `s3` is for the objects; another gets an error in its wire format.
7. Anything else is a path of an object, unsigned.

An answer begins when the request has been read to its end (`unread`).

An operation is parse, validate, call, serialise, and nothing else; whatever goes wrong becomes a `Fault` of the service, in the
wire format of the request. The three protocols differ in the first and the last of these only. A long body takes up to a second to parse and
validate, so it is given to a thread, of which there is one: requests with short bodies, and decisions, wait a few milliseconds for the
interpreter and not for the body; those with long bodies wait for each other.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs, unquote

import msgspec

from bannister.aws.call import Call, Service
from bannister.aws.members import Refusals
from bannister.aws.runtime_errors import unknown_endpoint
from bannister.aws.unread import Unread
from bannister.aws.wire import body, fault, json, query, rest_json, rpc_v2_cbor, validate
from bannister.aws.wire.answer import Answer
from bannister.aws.wire.fault import Fault, Place
from bannister.aws.wire.models import SIGNING_NAMES, TARGET_PREFIXES, UNSIGNED_FORMS, operation_model, service_model
from bannister.aws.wire.protocol import Wire
from bannister.aws.wire.values import Malformed
from bannister.domain.runtime_texts import REFUSAL_HEADER, read_refusal
from bannister.errors import BannisterError, Unavailable

if TYPE_CHECKING:
    from botocore.model import OperationModel
    from starlette.types import ASGIApp, Receive, Scope, Send

    from bannister.clock import Clock
    from bannister.ids import Ids
    from bannister.settings import Settings

log = logging.getLogger(__name__)

_INVOKE = "InvokeEndpoint"
_STREAM = "InvokeEndpointWithResponseStream"
#: The runtime's operations, by the end of their paths.
_INVOCATIONS = {
    "invocations": _INVOKE,
    "invocations-response-stream": _STREAM,
    "async-invocations": "InvokeEndpointAsync",
    "invocations-bidirectional-stream": "InvokeEndpointWithBidirectionalStream",
}
_INVOCATION = re.compile(rf"/endpoints/([^/]+)/({'|'.join(_INVOCATIONS)})")
#: RPC v2; a prefix of the path, as an endpoint's URL may have one, is passed over.
_RPC = re.compile(r"(?:/.*)?/service/([^/]+)/operation/([^/]+)")
_LOCAL = r"(?:(?:[a-z0-9._-]+\.)?localhost|127\.0\.0\.1|\[::1\])(?::\d{1,5})?"
_LOCAL_HOST = re.compile(_LOCAL, re.IGNORECASE)
_LOCAL_ORIGIN = re.compile(r"https?://" + _LOCAL, re.IGNORECASE)
# Each part has a bound: a long header in which it begins again and again must not be read to its end each time.
_SCOPE = re.compile(r"Credential=[^/,\s]{0,512}/[^/]{0,64}/[^/]{0,64}/([^/,\s]{1,64})/aws4_request")

#: A longer body is parsed outside of the event loop: one of this length takes about 10 ms at worst.
_LONG_BODY_BYTES: Final = 16 * 1024

#: What the server still waits for before it can serve, in words; None once it serves.
WaitsFor = Callable[[], Awaitable[str | None]]
#: From what a Prometheus server accepts to the content type and the text that it gets.
Scrape = Callable[[str], Awaitable[tuple[str, bytes]]]


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


@dataclass(frozen=True, slots=True)
class _Addressed:
    """What a request in one of AWS's protocols is meant for."""

    wire: Wire
    #: The service as the request names it, and its name in botocore; None where it is none that is spoken.
    named: str
    service: str | None
    #: Empty where it is named in the body, or nowhere.
    operation: str


@dataclass(frozen=True, slots=True)
class _Limit:
    """The longest body that a request may have."""

    bytes_max: int
    #: The operation whose own limit it is; empty: it is that of all.
    operation: str


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
        scrape: Scrape | None = None,
    ) -> None:
        self._scrape = scrape
        self._place = Place(settings.region, settings.account_id)
        self._body_bytes_max = settings.request_body_bytes_max
        #: As long as the proxy would wait for the client.
        self._unread_seconds_max = settings.downstream_close_seconds
        self._ids = ids
        self._clock = clock
        self._handlers = {service.name: service.handlers for service in services}
        self._members = {service.name: service.members for service in services}
        #: By service and operation, once it was asked for: its model is not loaded earlier.
        self._refusals: dict[tuple[str, str], Refusals] = {}
        self._own_bytes_max = {service.name: service.body_bytes_max for service in services}
        self._long_bodies = ThreadPoolExecutor(1, thread_name_prefix="long-bodies")
        self._objects_app = objects_app
        self._waits_for = waits_for
        self._fence = fence

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise ValueError(f"The gateway speaks HTTP only, not {scope['type']}.")
        unread = Unread(receive)
        request = self._request(scope, unread)
        send = unread.before_answer(send, self._unread_seconds_max)
        started_at = self._clock.monotonic()
        for step in (
            self._fenced,
            self._refuse_foreign,
            self._refused_by_proxy,
            self._ready,
            self._metrics,
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
        await self._objects_app(scope, unread, send)

    def _request(self, scope: Scope, receive: Receive) -> _Request:
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        path = (scope.get("raw_path") or scope["path"].encode()).decode("latin-1")
        return _Request(
            self._ids.request(), scope["method"], path, scope["query_string"].decode("latin-1"), headers, receive
        )

    # --- the steps: each answers, or leaves the request to the next

    async def _fenced(self, request: _Request) -> Answer | None:
        try:
            self._fence()
        except Unavailable as error:
            return _refusal(request, Fault("ServiceUnavailable", 503, str(error)))
        return None

    async def _refuse_foreign(self, request: _Request) -> Answer | None:
        host, origin = request.headers.get("host", ""), request.headers.get("origin")
        if not _LOCAL_HOST.fullmatch(host):
            return _foreign(request, f"The host {host!r} is not this machine. Use localhost, 127.0.0.1 or [::1].")
        if origin is not None and not _LOCAL_ORIGIN.fullmatch(origin):
            sentence = f"Pages of the origin {origin!r} may not use this server; only those of this machine may."
            return _foreign(request, sentence)
        return None

    async def _refused_by_proxy(self, request: _Request) -> Answer | None:
        # Who sends the header himself refuses his own request.
        given = request.headers.get(REFUSAL_HEADER)
        reply = read_refusal(given) if given is not None else None
        return rest_json.render_reply(reply) if reply is not None else None

    async def _ready(self, request: _Request) -> Answer | None:
        if request.path != "/-/ready" or request.method not in ("GET", "HEAD"):
            return None
        waits_for = await self._waits_for()
        if waits_for is None:
            return _document(200, {"status": "ready"})
        return _document(503, {"status": "starting", "waits_for": waits_for})

    async def _metrics(self, request: _Request) -> Answer | None:
        if request.path != "/metrics" or request.method not in ("GET", "HEAD") or _signing_name(request) is not None:
            return None
        if self._scrape is None:
            return None
        try:
            content_type, text = await self._scrape(request.headers.get("accept", ""))
        except Unavailable as error:
            return rest_json.render_fault(Fault("ServiceUnavailable", 503, str(error)))
        return Answer(200, text, content_type)

    async def _operation(self, request: _Request) -> Answer | None:
        addressed = _addressed(request)
        if addressed is None:
            return None
        service = addressed.service
        if service is None:
            return _refusal(request, self._unknown_service(addressed.named))
        operation = addressed.operation
        limit = self._limit(service, operation)
        try:
            if addressed.wire.PROTOCOL not in fault.protocols(service_model(service)):
                return _refusal(request, fault.unspoken_protocol(service, addressed.wire.PROTOCOL))
            content = await body.read(request.receive, request.headers, limit.bytes_max)
            if addressed.wire.PROTOCOL == query.PROTOCOL:
                operation, version = query.asked(content)
                if version not in ("", service_model(service).api_version):
                    return _refusal(request, fault.unknown_version(service, version))
            return await self._performed(addressed.wire, service, operation, content, request)
        except body.TooLarge:
            found = fault.too_large(limit.bytes_max, limit.operation)
        except (body.Undecodable, Malformed) as error:
            found = fault.malformed(str(error))
        except BannisterError as error:
            found = fault.of_error(service, error, self._place)
        except body.Disconnected:
            raise
        except Exception:  # the request boundary: one operation's bug is one request's 500
            log.exception("%s: %s of %s failed", request.id, operation, service)
            found = fault.internal(service)
        if found.status >= 500:
            log.warning("%s: %s of %s answered %s: %s", request.id, operation, service, found.code, found.message)
        return _refusal(request, found)

    async def _performed(self, wire: Wire, service: str, name: str, content: bytes, request: _Request) -> Answer:
        """One operation, from the bytes of its input to those of its output."""
        handlers = self._handlers.get(service, {})
        operation = operation_model(service, name)
        handler = handlers.get(name)
        if operation is None or handler is None:
            return _refusal(request, fault.unknown_operation(service, name, handlers))
        if len(content) > (limit := self._limit(service, name)).bytes_max:  # a form names its operation within
            return _refusal(request, fault.too_large(limit.bytes_max, limit.operation))
        if wire.PROTOCOL == rpc_v2_cbor.PROTOCOL:
            _check_rpc(request)
        if len(content) > _LONG_BODY_BYTES:
            loop = asyncio.get_running_loop()
            params, found = await loop.run_in_executor(self._long_bodies, _input, wire, operation, content)
        else:
            params, found = _input(wire, operation, content)
        if found is not None:
            return _refusal(request, fault.of_violations(service, found))
        self._refusals_of(service, operation).check(params)
        call = Call(service, name, params, request.id, self._place.region, self._place.account_id)
        return wire.render(operation, await handler(call), request.id)

    def _refusals_of(self, service: str, operation: OperationModel) -> Refusals:
        key = (service, operation.name)
        if key not in self._refusals:
            self._refusals[key] = Refusals(operation.input_shape, self._members[service])
        return self._refusals[key]

    def _limit(self, service: str, operation: str) -> _Limit:
        own = self._own_bytes_max.get(service, {}).get(operation)
        if own is None or own > self._body_bytes_max:
            return _Limit(self._body_bytes_max, "")
        return _Limit(own, operation)

    async def _not_invocable(self, request: _Request) -> Answer | None:
        path = _INVOCATION.fullmatch(request.path)
        if path is None or request.method != "POST" or _signing_name(request) == "s3":
            return None
        operation = _INVOCATIONS[path[2]]
        if operation not in (_INVOKE, _STREAM):
            return rest_json.render_fault(fault.unknown_operation("sagemaker-runtime", operation, [_INVOKE, _STREAM]))
        name, model = unquote(path[1]), service_model("sagemaker-runtime").operation_model(operation)
        given = rest_json.without_body(model, {"EndpointName": name}, request.headers)
        if found := validate.violations(model.input_shape, given):
            return rest_json.render_fault(fault.of_violations("sagemaker-runtime", found))
        return rest_json.render_reply(unknown_endpoint(name, self._place.account_id))

    async def _by_signature(self, request: _Request) -> Answer | None:
        name = _signing_name(request)
        if name == "s3" or (name is None and (request.method, request.path) != ("POST", "/")):
            return None
        service = SIGNING_NAMES.get(name or "")
        if service is None:
            return _refusal(request, self._unknown_service(name or ""))
        return _refusal(request, fault.unknown_operation(service, "", self._handlers.get(service, {})), service)

    def _unknown_service(self, name: str) -> Fault:
        if not name:
            sentence = "The request names no service: it has no signature, no X-Amz-Target, and not a path of RPC v2."
        else:
            spoken = ", ".join(sorted({*self._handlers, "sagemaker-runtime", "s3"}))
            sentence = f"Bannister does not speak the service {name!r}. It speaks: {spoken}."
        return Fault("UnknownOperationException", 400, sentence, query_code="InvalidAction")


def _addressed(request: _Request) -> _Addressed | None:
    """The protocol, service and operation of a request; None where it is in none of AWS's protocols for operations."""
    if request.method != "POST":
        return None
    headers = request.headers
    content_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    rpc = _RPC.fullmatch(request.path)
    if headers.get(rpc_v2_cbor.HEADER) == rpc_v2_cbor.HEADER_VALUE or (
        rpc and content_type == rpc_v2_cbor.CONTENT_TYPE
    ):
        named, operation = rpc.groups() if rpc else ("", "")
        return _Addressed(rpc_v2_cbor, named, TARGET_PREFIXES.get(named), operation)
    target = headers.get("x-amz-target")
    if target is not None:
        named, _, operation = target.partition(".")
        return _Addressed(json, named, TARGET_PREFIXES.get(named), operation)
    if content_type == query.FORM and not _INVOCATION.fullmatch(request.path):
        signed = _signing_name(request)
        if signed is None and request.path == "/":
            return _Addressed(query, UNSIGNED_FORMS, UNSIGNED_FORMS, "")
        if signed is not None and signed != "s3":
            return _Addressed(query, signed, SIGNING_NAMES.get(signed), "")
    return None


def _input(wire: Wire, operation: OperationModel, content: bytes) -> tuple[dict[str, Any], validate.Violations | None]:
    """An operation's input, and what of it breaks the model.

    Raises:
        Malformed: It cannot be read, or a value has not the type that the model asks for.
    """
    params = wire.parse(operation.input_shape, content)
    return params, validate.violations(operation.input_shape, params)


def _check_rpc(request: _Request) -> None:
    """What RPC v2 asks of a request's headers.

    Raises:
        Malformed: The protocol is not named, or a second one is.
    """
    if request.headers.get(rpc_v2_cbor.HEADER) != rpc_v2_cbor.HEADER_VALUE:
        raise Malformed(f"The request needs the header {rpc_v2_cbor.HEADER}: {rpc_v2_cbor.HEADER_VALUE}.")
    if "x-amz-target" in request.headers:
        raise Malformed("A request in RPC v2 must not have the header X-Amz-Target: it would name two operations.")


def _signing_name(request: _Request) -> str | None:
    """The service that a request was signed for, in its header or, presigned, in its query."""
    if scope := _SCOPE.search(request.headers.get("authorization", "")):
        return scope[1]
    presigned = parse_qs(request.query).get("X-Amz-Credential", [""])[0].split("/")
    return presigned[3] if len(presigned) == 5 else None


def _refusal(request: _Request, found: Fault, service: str | None = None) -> Answer:
    """A fault in the wire format of the request, also where that is all that is known of the request."""
    addressed = _addressed(request)
    service = service or (addressed.service if addressed else None)
    wire: Wire = addressed.wire if addressed else json
    if service is None and wire.PROTOCOL == json.PROTOCOL:
        return rest_json.render_fault(found)
    model = service_model(service) if service else None
    query_mode = request.headers.get("x-amzn-query-mode") == "true"
    return wire.render_fault(model, found, request.id, query_mode=query_mode)


def _foreign(request: _Request, sentence: str) -> Answer:
    return _refusal(request, Fault("AccessDeniedException", 403, sentence))


def _document(status: int, content: dict[str, Any]) -> Answer:
    return Answer(status, msgspec.json.encode(content), "application/json")


async def _send(answer: Answer, request: _Request, send: Send) -> None:
    headers = {"content-length": str(len(answer.body)), "x-amzn-requestid": request.id, **answer.headers}
    if answer.content_type:
        headers["content-type"] = answer.content_type
    encoded = [(name.encode("ascii"), value.encode("ascii")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": answer.status, "headers": encoded})
    await send({"type": "http.response.body", "body": answer.body})
