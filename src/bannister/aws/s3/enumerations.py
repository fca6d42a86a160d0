"""Headers and arguments of which S3 knows every value: another one is refused, and not taken for one that was not given.

So `MetadataDirective=REPALCE` copies nothing, instead of copying with the metadata of the source. The values are those of botocore's model.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from functools import cache
from typing import Any, Final

from bannister.aws.s3.faults import Fault
from bannister.aws.s3.members import SUPPORTED
from bannister.aws.s3.request import Request
from bannister.aws.wire.models import service_model

#: What S3 calls the error; `InvalidArgument` where a header is not listed.
_CODES: Final = {
    "x-amz-storage-class": "InvalidStorageClass",
    "x-amz-server-side-encryption": "InvalidEncryptionAlgorithmError",
    "x-amz-checksum-algorithm": "InvalidRequest",
    "x-amz-sdk-checksum-algorithm": "InvalidRequest",
    "x-amz-checksum-type": "InvalidRequest",
}


@cache
def values() -> Mapping[str, tuple[str, ...]]:
    """By the name of a header or argument: what it may say. Of every operation that is supported."""
    model = service_model("s3")
    found: dict[str, dict[str, None]] = defaultdict(dict)
    for operation in SUPPORTED:
        shape: Any = model.operation_model(operation).input_shape if operation in model.operation_names else None
        for member in shape.members.values() if shape is not None else ():
            if member.serialization.get("location") in ("header", "querystring"):
                found[member.serialization["name"].lower()] |= dict.fromkeys(member.metadata.get("enum", ()))
    return {name: tuple(allowed) for name, allowed in found.items() if allowed}


def check_values(request: Request) -> None:
    """Raises `Fault`: a header or argument has a value that S3 does not know."""
    for name, allowed in values().items():
        given = request.headers.get(name) or request.query.get(name)
        if given and given.casefold() not in (one.casefold() for one in allowed):
            listed = ", ".join(allowed)
            raise Fault(
                _CODES.get(name, "InvalidArgument"), f"{given[:100]!r} is no value of {name}. Give one of: {listed}."
            )
