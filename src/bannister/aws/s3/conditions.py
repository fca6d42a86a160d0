"""What a reader's headers ask of an object before its bytes: `If-Match` and its kin, and `Range`."""

from __future__ import annotations

import re
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Final

from bannister.aws.s3.faults import Fault
from bannister.objects.store import ObjectInfo

_COPIED_RANGE: Final = re.compile(r"bytes=([0-9]{1,18})-([0-9]{1,18})")
_RANGE: Final = re.compile(r"\s*bytes=([0-9]{0,18})-([0-9]{0,18})\s*")


def is_unmodified(headers: dict[str, str], info: ObjectInfo) -> bool:
    """Whether the reader has this version already (304).

    Raises:
        Fault: `PreconditionFailed`: he wants another version, or none this new.
    """
    if "if-match" in headers:
        wanted = _names(headers["if-match"], info.etag)
    else:
        since = _seconds(headers.get("if-unmodified-since", ""))
        wanted = since is None or int(info.modified_at) <= since
    if not wanted:
        raise Fault("PreconditionFailed", "At least one of the pre-conditions you specified did not hold")
    if "if-none-match" in headers:
        return _names(headers["if-none-match"], info.etag)
    since = _seconds(headers.get("if-modified-since", ""))
    return since is not None and int(info.modified_at) <= since


def byte_range(headers: dict[str, str], info: ObjectInfo) -> tuple[int, int] | None:
    """The part asked for, as [start, end); None: all of it, also for a range that S3 ignores.

    Raises:
        Fault: `InvalidRange`.
    """
    found = _RANGE.fullmatch(headers.get("range", ""))
    if found is None or not (found[1] or found[2]) or headers.get("if-range", info.etag) != info.etag:
        return None
    if not found[1]:
        start, end = max(0, info.size - int(found[2])), info.size
    else:
        start, end = int(found[1]), min(info.size, int(found[2] or info.size) + 1)
        if found[2] and int(found[2]) < start:
            return None
    if start >= info.size:
        raise Fault(
            "InvalidRange",
            "The requested range is not satisfiable",
            headers={"content-range": f"bytes */{info.size}"},
        )
    return start, end


def copied_range(headers: dict[str, str], info: ObjectInfo) -> tuple[int, int]:
    """The part of its source that a copy into a part takes, as [start, end). Unlike a reader's it must be all there: nothing says afterwards what was taken.

    Raises:
        Fault: `InvalidArgument`.
    """
    given = headers.get("x-amz-copy-source-range")
    if given is None:
        return 0, info.size
    found = _COPIED_RANGE.fullmatch(given)
    if found is None:
        raise Fault(
            "InvalidArgument",
            "The x-amz-copy-source-range value must be of the form bytes=first-last, the offsets of the first and the last byte to copy",
        )
    start, end = int(found[1]), int(found[2]) + 1
    if not start < end <= info.size:
        raise Fault("InvalidArgument", f"Range specified is not valid for source object of size: {info.size}")
    return start, end


def _names(header: str, etag: str) -> bool:
    tags = (tag.strip().removeprefix("W/").strip('"') for tag in header.split(","))
    return any(tag in ("*", etag.strip('"')) for tag in tags)


def _seconds(date: str) -> float | None:
    """None for what is no date; HTTP ignores it then."""
    try:
        parsed = parsedate_to_datetime(date)
        return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None
