"""An answer before it is sent, and how dates and checksums are written in one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import formatdate

from bannister.aws.s3 import xml
from bannister.aws.s3.faults import Fault
from bannister.aws.s3.request import Request


@dataclass(frozen=True, slots=True)
class Reply:
    """Status, headers, and a body at once or in chunks (with `content-length` among the headers where it is known)."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | AsyncIterator[bytes] = b""


def xml_reply(root: str, node: xml.Node, *, headers: dict[str, str] | None = None) -> Reply:
    return Reply(200, {"content-type": "application/xml"} | (headers or {}), xml.document(root, node))


def fault_document(fault: Fault, resource: str, request_id: str) -> bytes:
    """S3's error body, which alone has no namespace."""
    node = [("Code", fault.code), ("Message", fault.message), ("Resource", resource), ("RequestId", request_id)]
    return xml.document("Error", node, namespace="")


def iso_date(at: float) -> str:
    """As in listings."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def http_date(at: float) -> str:
    """As in headers."""
    return formatdate(at, usegmt=True)


def checksum_headers(checksums: dict[str, str]) -> dict[str, str]:
    """As in the headers of an object's answer."""
    headers = {f"x-amz-checksum-{algorithm.lower()}": value for algorithm, value in checksums.items()}
    return headers | ({"x-amz-checksum-type": checksum_type(checksums)} if checksums else {})


def checksum_members(checksums: dict[str, str]) -> list[xml.Child]:
    """As in the XML about an object or a part."""
    members: list[xml.Child] = [(f"Checksum{algorithm}", value) for algorithm, value in checksums.items()]
    return members + ([("ChecksumType", checksum_type(checksums))] if checksums else [])


def checksum_type(checksums: dict[str, str]) -> str:
    """Of the whole object, or of the checksums of its parts (`…-N`)."""
    return "COMPOSITE" if any("-" in value for value in checksums.values()) else "FULL_OBJECT"


def query_or_none(request: Request, name: str) -> str | None:
    """A member that an answer repeats only if the request had it."""
    return request.query.get(name) or None
