"""The record that is written of a captured exchange, and where it goes: AWS's format, exactly.

One JSON object a line, under `<destination>/<endpoint>/<variant>/yyyy/mm/dd/hh/` by the UTC hour of the invocation. The event's id is the request's id, so the
records of both sides of a copied request have the same, and may be joined.
"""

from __future__ import annotations

import base64
import hashlib
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import msgspec

from bannister.domain.capture.data_capture import DataCapture
from bannister.domain.capture.exchange import Exchange, Message
from bannister.domain.capture.instructions import CapturedGroup

_EVENT_VERSION = "0"
#: A hash of a request id is one of so many.
_HASHES = 2**64


def is_chosen(request_id: str, share: float) -> bool:
    """Whether a request is among the share that is written. The same for a request and its copies, and what a smaller share chooses a larger one does too."""
    digest = hashlib.blake2b(request_id.encode(), digest_size=8).digest()
    return int.from_bytes(digest) < share * _HASHES


def record_line(exchange: Exchange, capture: DataCapture) -> bytes:
    """The record of one exchange, as a line."""
    data: dict[str, Any] = {}
    if capture.captures_input:
        data["endpointInput"] = _side(exchange.request, "INPUT", capture)
    if capture.captures_output and exchange.response is not None:
        data["endpointOutput"] = _side(exchange.response, "OUTPUT", capture)
    about: dict[str, Any] = {"eventId": exchange.request_id}
    if exchange.inference_id is not None:
        about["inferenceId"] = exchange.inference_id
    if exchange.custom_attributes is not None:
        about["customAttributes"] = [exchange.custom_attributes]
    about["inferenceTime"] = datetime.fromtimestamp(exchange.started_at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return msgspec.json.encode({"captureData": data, "eventMetadata": about, "eventVersion": _EVENT_VERSION}) + b"\n"


def _side(message: Message, mode: str, capture: DataCapture) -> dict[str, Any]:
    encoding, data = _encoded(message, capture)
    side = {"mode": mode, "data": data, "encoding": encoding}
    return side if message.content_type is None else {"observedContentType": message.content_type, **side}


def _encoded(message: Message, capture: DataCapture) -> tuple[str, str]:
    """Text where the media type is listed, parameters aside; everything else as BASE64, and what is listed but no text."""
    media_type = _media_type(message.content_type or "")
    for encoding, listed in (("CSV", capture.csv_content_types), ("JSON", capture.json_content_types)):
        if media_type in map(_media_type, listed):
            try:
                return encoding, message.body.decode()
            except UnicodeDecodeError:
                break
    return "BASE64", base64.b64encode(message.body).decode()


def _media_type(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


def destination(capture: DataCapture) -> tuple[str, str]:
    """The bucket, and what all keys begin with ("" or ending in a slash)."""
    parts = urlsplit(capture.destination_url, allow_fragments=False)
    prefix = parts.path.strip("/")
    return parts.netloc, f"{prefix}/" if prefix else ""


def key_prefix(group: CapturedGroup, capture: DataCapture, started_at: float) -> str:
    """What the keys of the hour's files begin with."""
    hour = datetime.fromtimestamp(started_at, UTC).strftime("%Y/%m/%d/%H")
    return f"{destination(capture)[1]}{group.endpoint}/{group.variant}/{hour}/"


def source_of(key: str) -> tuple[str, str]:
    """The endpoint and the variant whose records are under a key; "": it does not say."""
    parts = key.split("/")
    return (parts[-7], parts[-6]) if len(parts) >= 7 else ("", "")


def file_name(opened_at: float, unique: str) -> str:
    """As AWS calls the files: minute, second, millisecond, and what no other file has."""
    at = datetime.fromtimestamp(opened_at, UTC)
    return f"{at:%M-%S}-{at.microsecond // 1000:03d}-{unique}.jsonl"
