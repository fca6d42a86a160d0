"""The parts of an upload: as the client lists them, as they are stored, and what the whole is called after them."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import AsyncIterator
from typing import Final
from xml.etree.ElementTree import Element

import msgspec

from bannister.aws.s3 import xml
from bannister.aws.s3.checksums import ALGORITHMS, HASHERS, base64_of, digest_of
from bannister.aws.s3.faults import Fault
from bannister.objects.store import ObjectInfo

#: S3's own bounds.
PARTS_MAX: Final = 10_000
PART_BYTES_MIN: Final = 5 * 1024 * 1024


class Part(msgspec.Struct, frozen=True):
    """A part as the client lists it when it completes the upload."""

    number: int
    #: Hexadecimal MD5, without quotes.
    etag: str
    checksums: dict[str, str]


def listed_parts(body: bytes) -> list[Part]:
    """The parts of a `CompleteMultipartUpload` document. Raises `Fault`."""
    root = xml.parse(body)
    parts = [_listed_part(element) for element in root.findall("Part")]
    if root.tag != "CompleteMultipartUpload" or not 0 < len(parts) <= PARTS_MAX:
        raise Fault("MalformedXML", f"A CompleteMultipartUpload document names 1 to {PARTS_MAX} parts.")
    if any(later.number <= earlier.number for earlier, later in itertools.pairwise(parts)):
        raise Fault("InvalidPartOrder", "The list of parts was not in ascending order.")
    return parts


def _listed_part(element: Element) -> Part:
    checksums = {name: text for name in ALGORITHMS if (text := element.findtext(f"Checksum{name}"))}
    etag = (element.findtext("ETag") or "").strip().strip('"')
    return Part(part_number((element.findtext("PartNumber") or "").strip()), etag, checksums)


def part_number(text: str) -> int:
    """Raises `Fault` (`InvalidArgument`)."""
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and 1 <= int(text) <= PARTS_MAX):
        raise Fault("InvalidArgument", f"Part number must be an integer between 1 and {PARTS_MAX}, inclusive")
    return int(text)


def chosen_parts(listed: list[Part], stored: dict[int, ObjectInfo]) -> list[ObjectInfo]:
    """What is stored of the parts listed. Raises `Fault`: one is another, missing, or too small."""
    chosen = []
    for part in listed:
        info = stored.get(part.number)
        if info is None or info.etag.strip('"') != part.etag or not part.checksums.items() <= info.checksums.items():
            raise Fault(
                "InvalidPart",
                f"Part {part.number} could not be found. It may not have been uploaded, or its entity tag or "
                "checksum is not the one listed.",
            )
        chosen.append(info)
    for info in chosen[:-1]:
        if info.size < PART_BYTES_MIN:
            raise Fault("EntityTooSmall", "Your proposed upload is smaller than the minimum allowed object size.")
    return chosen


def etag_of(listed: list[Part]) -> str:
    """The tag of the whole: the MD5 of its parts' MD5s, and their number. Raises `Fault` (`InvalidPart`)."""
    digest = hashlib.md5(usedforsecurity=False)
    for part in listed:
        try:
            digest.update(bytes.fromhex(part.etag))
        except ValueError:
            raise Fault(
                "InvalidPart",
                f"The ETag given for part {part.number} is not one: take it from the answer to UploadPart.",
            ) from None
    return f'"{digest.hexdigest()}-{len(listed)}"'


def composite_checksum(algorithm: str, parts: list[ObjectInfo]) -> dict[str, str]:
    """The checksum of the parts' checksums, and their number; empty where a part has none."""
    if algorithm not in HASHERS or not all(algorithm in part.checksums for part in parts):
        return {}
    hasher = HASHERS[algorithm]()
    for part in parts:
        hasher.update(digest_of(algorithm, part.checksums[algorithm]))
    return {algorithm: f"{base64_of(hasher.digest())}-{len(parts)}"}


async def hashed(
    content: AsyncIterator[bytes], algorithm: str, checksums: dict[str, str], given: str | None = None
) -> AsyncIterator[bytes]:
    """The content, unchanged; behind it `checksums` has that of the whole.

    Raises:
        Fault: `BadDigest`, at the end: it is not the one given.
    """
    hasher = HASHERS[algorithm]() if algorithm in HASHERS else None
    async for chunk in content:
        if hasher is not None:
            hasher.update(chunk)
        yield chunk
    if hasher is not None:
        checksums[algorithm] = base64_of(hasher.digest())
    elif given is not None:
        checksums[algorithm] = given
    if given is not None and checksums[algorithm] != given:
        raise Fault("BadDigest", f"The {algorithm} you specified did not match the calculated checksum.")
