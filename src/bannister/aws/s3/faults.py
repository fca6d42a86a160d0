"""S3's error codes, and which of them an error of ours is."""

from __future__ import annotations

import logging
from typing import Final

from bannister.errors import Invalid, NotFound, Refused, Resource, Unavailable, Unsupported

_log = logging.getLogger(__name__)

#: The status of each code this door gives; 400 where a code is not listed.
_STATUSES: Final = {
    "BucketNotEmpty": 409,
    "EntityTooLarge": 400,
    "InternalError": 500,
    "InvalidRange": 416,
    "MethodNotAllowed": 405,
    "MissingContentLength": 411,
    "NoSuchBucket": 404,
    "NoSuchKey": 404,
    "NoSuchUpload": 404,
    "NotImplemented": 501,
    "PreconditionFailed": 412,
    "ServiceUnavailable": 503,
}


class Fault(Exception):
    """A request is answered with an error: S3's code, and a sentence."""

    def __init__(self, code: str, message: str, *, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.headers = headers or {}

    @property
    def status(self) -> int:
        return _STATUSES.get(self.code, 400)


class ClientGone(Exception):
    """The client closed the connection before its request was complete: nobody waits for an answer."""


def fault_of(error: Exception) -> Fault:
    """What the client is told; an error nobody foresaw is logged with its traceback."""
    match error:
        case Fault():
            return error
        case NotFound(resource=Resource.BUCKET):
            return Fault("NoSuchBucket", "The specified bucket does not exist")
        case NotFound():
            return Fault("NoSuchKey", "The specified key does not exist.")
        case Invalid():
            return Fault(error.code or "InvalidArgument", str(error))
        case Unsupported():
            return Fault("NotImplemented", str(error))
        case Refused():
            return Fault("InvalidRequest", str(error))
        case Unavailable():
            return Fault("ServiceUnavailable", str(error))
        case _:
            _log.error("s3.request_failed", exc_info=error)
            return Fault("InternalError", "We encountered an internal error. Please try again.")
