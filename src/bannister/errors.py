"""Every error that Bannister raises on purpose, and what each asks of its reader.

    BannisterError
    ├── Refused                 the caller can mend it; the request changed nothing
    │   ├── Invalid                 a value is not acceptable
    │   ├── NotFound                a named resource does not exist
    │   ├── AlreadyExists           the name is taken
    │   ├── Busy                    a change of this resource is in progress
    │   └── Unsupported             outside Bannister's scope, or not built
    ├── Conflict                a row changed since it was read: read again and decide again
    ├── Fenced                  another process has taken over: stop writing
    └── Unavailable             a part of Bannister does not answer now; retrying may help

Nothing here knows HTTP or AWS: the door (`bannister.aws`) alone translates a type to a code, a status
and an exact text. `NotFound`, `AlreadyExists` and `Busy` therefore carry the resource instead of a sentence.
"""

from __future__ import annotations

import errno
from enum import StrEnum

#: Exit code of a part that cannot start as things are (a damaged state file, say): the last line of its log says why, and trying again is of no use.
EXIT_CANNOT_START = 4


def disk_is_full(error: OSError) -> bool:
    """Whether a disk, or what this user may have of it, is full: with room the same would succeed."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


class Resource(StrEnum):
    """What a name can stand for; the value is the word used in sentences."""

    MODEL = "model"
    ENDPOINT_CONFIG = "endpoint configuration"
    ENDPOINT = "endpoint"
    ALARM = "alarm"
    BUCKET = "bucket"
    OBJECT = "object"
    DEPLOYMENT = "deployment"
    EXPERIMENT = "inference experiment"
    LOG_GROUP = "log group"
    LOG_STREAM = "log stream"


class BannisterError(Exception):
    """The root: `except BannisterError` catches all that is raised on purpose."""


class Refused(BannisterError):
    """The request was refused and changed nothing; the message says what is wrong and what to do."""


class Invalid(Refused):
    """A value is not acceptable. `code` names a more exact AWS code where a service has one."""

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        self.code = code


class _AboutResource(Refused):
    _sentence = "{resource} {name}"

    def __init__(self, resource: Resource, name: str) -> None:
        super().__init__(self._sentence.format(resource=resource.value, name=name))
        self.resource = resource
        self.name = name


class NotFound(_AboutResource):
    """A named resource does not exist."""

    _sentence = 'Could not find {resource} "{name}".'


class AlreadyExists(_AboutResource):
    """The name is taken."""

    _sentence = 'Cannot create already existing {resource} "{name}".'


class Busy(_AboutResource):
    """A change of this resource is in progress."""

    _sentence = 'Cannot update in-progress {resource} "{name}".'


class Unsupported(Refused):
    """Outside Bannister's scope; the message says what is supported instead."""


class Conflict(BannisterError):
    """A row changed since it was read: read again and decide again."""


class Fenced(BannisterError):
    """Another process has taken over (its epoch is higher): stop writing."""


class Unavailable(BannisterError):
    """A part of Bannister does not answer now; retrying may help."""
