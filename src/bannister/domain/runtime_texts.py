"""What a caller of InvokeEndpoint reads when there is no answer of the model to give: finished texts, handed down as values.

Envoy sends these on its own, so it must be told them beforehand, and the packages that configure it must not know AWS's
wire format. `bannister.aws.runtime_errors` renders them; the publisher and `bannister.envoy` only carry them.

Placeholders are plain words in braces, filled by replacement (`Reply.about`), never by `str.format`: the texts are JSON and
full of braces. What is filled in must need no JSON escape; names of endpoints and variants never do. The texts contain no
percent sign, so they are safe inside Envoy's format strings.

    {endpoint}   the endpoint's name
    {variant}    in `unknown_variant`: the variant that the request named, where the sender can know it; else the text
                 `unknown_variant_unnamed` is used
    {status}     in `ModelErrorText`: the model's own HTTP status, in digits
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import msgspec

#: With which the proxy gives a request that it refuses to the control plane, to be read to its end and answered as the header says.
REFUSAL_HEADER: Final = "x-bannister-refusal"


@dataclass(frozen=True, slots=True)
class Reply:
    """One whole answer. The content type is always `application/json`."""

    status: int
    #: For the header `x-amzn-errortype`, from which clients take the error's code.
    error_type: str
    #: The whole body: JSON, with placeholders.
    body: str

    def about(self, **names: str) -> Reply:
        """With placeholders filled, e.g. `about(endpoint="flights")`; one not given stays as it is."""
        body = self.body
        for placeholder, name in names.items():
            body = body.replace("{" + placeholder + "}", name)
        return replace(self, body=body)


def written_refusal(reply: Reply) -> str:
    """For the header `REFUSAL_HEADER`."""
    return msgspec.json.encode(reply).decode()


def read_refusal(value: str) -> Reply | None:
    """What `written_refusal` wrote; None: that is something else. A caller may have written it, so it is a refusal, and fits into headers."""
    try:
        reply = msgspec.json.decode(value, type=Reply)
    except msgspec.MsgspecError:
        return None
    return reply if 400 <= reply.status <= 599 and reply.error_type.isascii() and reply.error_type.isalnum() else None


@dataclass(frozen=True, slots=True)
class ModelErrorText:
    """The answer to a request that the model itself answered with an error, in three pieces around the model's body.

    The whole is `opening + text + middle + text + closing`, where `text` is the model's body as the inside of a JSON string
    (escaped once), cut to `original_bytes_max` before it is escaped. Fill the placeholders in the pieces before joining
    them, so that a body which happens to contain one is left alone.
    """

    status: int
    error_type: str
    opening: str
    middle: str
    closing: str
    original_bytes_max: int
    content_type: str = "application/json"

    def about(self, **names: str) -> ModelErrorText:
        """With placeholders filled, e.g. `about(endpoint="flights")`; one not given stays as it is."""
        pieces = [self.opening, self.middle, self.closing]
        for placeholder, name in names.items():
            pieces = [piece.replace("{" + placeholder + "}", name) for piece in pieces]
        return replace(self, opening=pieces[0], middle=pieces[1], closing=pieces[2])


@dataclass(frozen=True, slots=True)
class StreamErrorText:
    """What ends a streamed answer that has begun; it has no status any more."""

    #: From which clients take the error's code.
    exception_type: str
    #: The whole body: JSON, without placeholders.
    body: str


@dataclass(frozen=True, slots=True)
class HeaderLimit:
    """What a request's header may hold, and what is answered where it holds something else."""

    length_max: int
    too_long: Reply
    #: What all of its value matches, as Google's RE2 has regular expressions.
    pattern: str
    malformed: Reply


@dataclass(frozen=True, slots=True)
class RuntimeTexts:
    """All of them. Every text may name {endpoint}."""

    #: TargetVariant names no variant of the endpoint, {variant}.
    unknown_variant: Reply
    #: The same, for a sender that does not know which name was asked for.
    unknown_variant_unnamed: Reply
    #: The session that a request names is over, or nobody here holds it.
    unknown_session: Reply
    #: A session cannot begin with a streamed answer.
    no_session_by_stream: Reply
    #: By header: it asks for what no endpoint here has.
    unsupported_headers: Mapping[str, Reply]
    #: By header: what the member that it carries may be.
    header_limits: Mapping[str, HeaderLimit]
    #: The endpoint exists and has no instance that could be asked: none is healthy, or none accepted the connection.
    no_healthy_instance: Reply
    #: The request's body is over the limit.
    body_too_large: Reply
    #: The model did not answer within the time allowed. OriginalStatusCode is 0.
    timed_out: Reply
    #: The model's process took the request and broke the connection without a whole answer. OriginalStatusCode is 0.
    model_exited: Reply
    #: The request is not one that the runtime can read (a bad path, a malformed header).
    malformed_request: Reply
    #: The model answered with a status from 400 to 499.
    model_client_error: ModelErrorText
    #: The model answered with any other status that is not a success.
    model_server_error: ModelErrorText
    #: The model is still sending a streamed answer when its time is over.
    stream_timed_out: StreamErrorText
