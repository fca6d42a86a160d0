"""Which names buckets and objects may have: S3's rules, the same for every store."""

from __future__ import annotations

import re
from typing import Final

from bannister.errors import Invalid
from bannister.objects.store import UPLOADS_BUCKET

KEY_BYTES_MAX: Final = 1024
METADATA_BYTES_MAX: Final = 2048

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_IP_ADDRESS = re.compile(r"\d{1,3}(\.\d{1,3}){3}")
_RESERVED_STARTS = ("xn--", "sthree-", "amzn-s3-demo-")
_RESERVED_ENDS = ("-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3")


def bucket_limitation(bucket: str) -> str | None:
    """Why S3 would not take this bucket name; None if it would."""
    if not _BUCKET.fullmatch(bucket):
        return (
            "A bucket name has 3 to 63 characters, lower-case letters, digits, dots and hyphens, "
            "and begins and ends with a letter or digit."
        )
    if ".." in bucket or _IP_ADDRESS.fullmatch(bucket):
        return "A bucket name has no two dots in a row and does not look like an IP address."
    if bucket.startswith(_RESERVED_STARTS) or bucket.endswith(_RESERVED_ENDS):
        return "The bucket name begins or ends with a part that S3 reserves."
    return None


def check_bucket(bucket: str) -> None:
    """Raises `Invalid` (code `InvalidBucketName`) for a name that no store creates."""
    limitation = None if bucket == UPLOADS_BUCKET else bucket_limitation(bucket)
    if limitation is not None:
        raise Invalid(f"The specified bucket is not valid. {limitation}", code="InvalidBucketName")


def key_bytes(key: str) -> bytes:
    """The key as it is ordered and stored.

    Raises:
        Invalid: It is empty, longer than S3's 1024 bytes, or has no UTF-8 form.
    """
    try:
        encoded = key.encode()
    except UnicodeEncodeError:
        raise Invalid("An object key must be text that UTF-8 can express.", code="InvalidURI") from None
    if not encoded:
        raise Invalid("An object key must not be empty.", code="InvalidURI")
    if len(encoded) > KEY_BYTES_MAX:
        raise Invalid(f"Your key is too long: {len(encoded)} bytes of {KEY_BYTES_MAX}.", code="KeyTooLongError")
    return encoded
