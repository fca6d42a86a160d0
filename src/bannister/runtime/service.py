"""`/ping` and `/invocations`: what SageMaker asks of a model server, on top of a loaded artifact.

Status codes: 400, 406 and 415 are the client's mistakes, found by the built-in functions. Whatever user code raises is a 500 with the
exception's type and message (and the traceback in the log), unless the exception has a `status_code` of its own.
"""

from __future__ import annotations

import json
import sys
import threading
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bannister.runtime.artifact import Artifact
from bannister.runtime.content import CSV, JSON, SUPPORTED, Unacceptable, encode, media_type, negotiate
from bannister.runtime.messages import Request, Response

#: Characters of an exception's message that go into an answer; the log has all.
MESSAGE_CHARACTERS_MAX = 1000
#: Types whose body the toolkit gives to `input_fn` as text.
TEXT_TYPES = (JSON, CSV)
_OWN_FOLDER = Path(__file__).parent


class Context:
    """What user code may know and set beyond its arguments; the toolkit's interface, where the first argument is always 0."""

    def __init__(self, model_dir: str, headers: Mapping[str, str] | None = None) -> None:
        self.system_properties = {"model_dir": model_dir}
        self._request_headers = dict(headers or {})
        self.response_headers: dict[str, str] = {}
        self.response_content_type: str | None = None
        self.response_status = 200

    def get_request_header(self, index: int, name: str) -> str | None:
        """A header of the request in any case, such as `X-Amzn-SageMaker-Custom-Attributes`; None: not given."""
        return self._request_headers.get(name.lower())

    def get_all_request_header(self, index: int) -> dict[str, str]:
        return dict(self._request_headers)

    def set_response_header(self, index: int, name: str, value: str) -> None:
        if name.lower() == "content-type":  # there is one
            self.response_content_type = value
        else:
            self.response_headers[name] = value

    def set_response_content_type(self, index: int, value: str) -> None:
        self.response_content_type = value

    def set_response_status(self, code: int = 200, phrase: str = "", idx: int = 0) -> None:
        if not 200 <= code <= 599:
            raise ValueError(f"the status of an answer is 200 to 599, not {code}")
        self.response_status = code


class Service:
    """Answers requests from one artifact, at most `predictions_max` at a time; others wait in order."""

    def __init__(self, artifact: Artifact, model_dir: str, predictions_max: int, default_accept: str = JSON) -> None:
        self._artifact = artifact
        self._model_dir = model_dir
        self._default_accept = default_accept
        self._turn = threading.BoundedSemaphore(predictions_max)
        #: Whoever asks whether the model is up is told what may be wrong with it.
        self._up = json.dumps({"warnings": artifact.warnings}).encode() if artifact.warnings else b""

    def __call__(self, request: Request) -> Response:
        if request.path == "/invocations":
            return self._invoke(request) if request.method == "POST" else _method_refused("POST")
        if request.path == "/ping":
            return Response(200, self._up) if request.method in ("GET", "HEAD") else _method_refused("GET")
        return refuse(404, f"There is no {request.path[:200]}. There are GET /ping and POST /invocations.")

    def _invoke(self, request: Request) -> Response:
        context = Context(self._model_dir, request.headers)
        try:
            with self._turn:
                body, content_type = self._transform(request, context)
        except Unacceptable as problem:
            return refuse(problem.status, str(problem))
        # User code may raise anything, SystemExit included, and it must not end the connection.
        except BaseException as error:  # noqa: BLE001
            _log(error)
            return _failure(error)
        return Response(
            context.response_status, body, context.response_content_type or content_type, context.response_headers
        )

    def _transform(self, request: Request, context: Context) -> tuple[bytes, str]:
        loaded = self._artifact
        content_type = request.headers.get("content-type", "application/octet-stream")
        accept = request.headers.get("accept", "").strip()
        wanted = self._default_accept if accept in ("", "*/*") else accept
        if loaded.transform_fn:
            given = _text_or_bytes(request.body, content_type)
            result = loaded.transform_fn(loaded.model, given, content_type, wanted, context)
            return _body_and_type(result, wanted)
        # Before the work, so that nobody waits for an answer that cannot be given.
        chosen = wanted if loaded.output_fn else negotiate(wanted)
        if loaded.input_fn:
            data = loaded.input_fn(_text_or_bytes(request.body, content_type), content_type, context)
        else:
            data = loaded.decode(request.body, content_type)
        prediction = loaded.predict_fn(data, loaded.model, context) if loaded.predict_fn else loaded.predict(data)
        if loaded.output_fn:
            return _body_and_type(loaded.output_fn(prediction, chosen, context), chosen)
        return loaded.encode(prediction, chosen), chosen


def refuse(status: int, sentence: str) -> Response:
    """A sentence to the client."""
    return Response(status, json.dumps({"error": sentence}).encode())


def _method_refused(allowed: str) -> Response:
    response = refuse(405, f"Use {allowed}.")
    response.headers["allow"] = allowed
    return response


def _log(error: BaseException) -> None:
    """The traceback from the user's code on; our own frames above it would say nothing."""
    trace = error.__traceback__
    own = trace
    while own is not None and _OWN_FOLDER in Path(own.tb_frame.f_code.co_filename).parents:
        own = own.tb_next
    traceback.print_exception(type(error), error, own or trace)
    sys.stderr.flush()


def _failure(error: BaseException) -> Response:
    name = type(error).__name__
    try:
        text, status = str(error), getattr(error, "status_code", 500)
    except BaseException as unsaid:  # noqa: BLE001  # what user code raises may be code of the user's too
        text, status = f"(its text cannot be had: {type(unsaid).__name__})", 500
    valid = isinstance(status, int) and 400 <= status <= 599
    return refuse(status if valid else 500, f"{name}: {text}"[:MESSAGE_CHARACTERS_MAX])


def _text_or_bytes(body: bytes, content_type: str) -> str | bytes:
    if media_type(content_type) not in TEXT_TYPES:
        return body
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Unacceptable(400, f"The body is not UTF-8, as {media_type(content_type)} must be: {error}") from error


def _body_and_type(result: Any, wanted: str) -> tuple[bytes, str]:
    """User code may give bytes or text, with or without a type, or any value that the built-in encoder knows.

    Raises:
        TypeError: It gives what cannot be an answer: the model's mistake.
        Unacceptable: 406, the client asks for a type that this value cannot be given as.
    """
    named = None
    if isinstance(result, tuple) and len(result) == 2 and isinstance(result[1], str):
        result, named = result
    if isinstance(result, Iterator):
        raise TypeError(
            f"output_fn returned a {type(result).__name__}, and answers are given whole here: return text or bytes. To stream, bring a model "
            "server of your own."
        )
    if isinstance(result, str):
        return result.encode("utf-8"), named or wanted
    if isinstance(result, (bytes, bytearray, memoryview)):
        return bytes(result), named or wanted
    if (
        named is not None and named != wanted and media_type(named) not in SUPPORTED
    ):  # else it is what the client asked for
        raise TypeError(
            f"output_fn returned a {type(result).__name__} as {named!r}: return text or bytes, or one of the types {', '.join(SUPPORTED)}."
        )
    chosen = negotiate(named or wanted)
    return encode(result, chosen), chosen
