"""Which versions of which libraries wrote a model file, read from its bytes: nothing of the file is run.

Libraries leave their version in what they write, in places that can be found without understanding the rest:

    scikit-learn    each pickled estimator's state ends with the text `_sklearn_version` and, behind it, the version
    XGBoost         each Booster, pickled or in its own file, has `"version": [3, 4, 1]` in JSON or in its binary form UBJSON
    LightGBM        only the version of its text format, which all releases since 2019 read: nothing is known

joblib's compressed files are read as they are decompressed, a piece at a time: neither what is read nor what comes out of it, nor the memory for that, grows with what a file claims to be.
"""

from __future__ import annotations

import bz2
import contextlib
import lzma
import pickletools
import re
import sys
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

#: More of a file, or of what it was before it was compressed, is not looked through.
SCAN_BYTES_MAX = 1 << 30
#: What a decompressor may use; more is asked for by files that no library writes by default (xz -9 needs 65 MiB).
_DECOMPRESSOR_BYTES_MAX = 128 << 20
_CHUNK_BYTES = 1 << 20
#: Longer than anything that is looked for: so much of a chunk is looked through again with the next.
_OVERLAP_BYTES = 256

_SKLEARN = b"_sklearn_version"
_XGBOOST_JSON = re.compile(rb'"version"\s*:\s*\[\s*(\d{1,4})\s*,\s*(\d{1,4})\s*,\s*(\d{1,4})\s*\]')
_MEMORY = ("MEMOIZE", "PUT", "BINPUT", "LONG_BINPUT")
#: UBJSON: a key of seven characters, and behind it an array of three numbers, each with a letter for its width in bytes.
_WIDTHS = {"i": 1, "U": 1, "I": 2, "l": 4}
_UBJSON_KEY = b"L\0\0\0\0\0\0\0\x07version[#L\0\0\0\0\0\0\0\x03"


def written_by(file: Path) -> dict[str, str]:
    """By module name, the version of each library that a file tells of; a file that cannot be read tells nothing."""
    found: dict[str, str] = {}
    with contextlib.suppress(OSError, EOFError, zlib.error, lzma.LZMAError):
        for window in _windows(file):
            if "sklearn" not in found and (version := _sklearn(window)):
                found["sklearn"] = version
            if "xgboost" not in found and (version := _xgboost(window)):
                found["xgboost"] = version
    return found


def imported(module: str) -> str | None:
    """The version of a library that this process has imported; None: it has not, or does not say."""
    version = getattr(sys.modules.get(module), "__version__", None)
    return version if isinstance(version, str) else None


def release(version: str) -> tuple[int, int]:
    """The first two numbers of a version, to compare."""
    first, second, *_ = [*map(int, re.findall(r"\d+", version)), 0, 0]
    return first, second


def _sklearn(window: bytes) -> str | None:
    place = window.find(_SKLEARN)
    while place >= 0:
        behind = place + len(_SKLEARN)
        if version := _text_at(window[behind : behind + 64]):
            return version
        place = window.find(_SKLEARN, behind)
    return None


def _text_at(pickled: bytes) -> str | None:
    """The text that a pickle goes on with; what was remembered of the text before is passed over."""
    with contextlib.suppress(ValueError, IndexError):
        for operation, argument, _ in pickletools.genops(pickled.lstrip(b"\n")):
            if operation.name not in _MEMORY:
                return argument if isinstance(argument, str) else None
    return None


def _xgboost(window: bytes) -> str | None:
    if found := _XGBOOST_JSON.search(window):
        return ".".join(number.decode() for number in found.groups())
    place = window.find(_UBJSON_KEY)
    if place < 0:
        return None
    numbers = []
    place += len(_UBJSON_KEY)
    for _ in range(3):
        width = _WIDTHS.get(window[place : place + 1].decode("latin-1"), 0)
        if not width:
            return None
        numbers.append(int.from_bytes(window[place + 1 : place + 1 + width], "big"))
        place += 1 + width
    return ".".join(map(str, numbers))


def _windows(file: Path) -> Iterator[bytes]:
    """The file's content, or what it was before it was compressed, in overlapping pieces of at most a chunk and what they have in common."""
    kept = b""
    with file.open("rb") as stream:
        for piece in _pieces(stream):
            window = kept + piece
            yield window
            kept = window[-_OVERLAP_BYTES:]


def _pieces(stream: BinaryIO) -> Iterator[bytes]:
    decompress = _decompressor(stream.read(6))
    stream.seek(0)
    given = 0
    for _ in range(SCAN_BYTES_MAX // _CHUNK_BYTES):
        chunk = stream.read(_CHUNK_BYTES)
        if not chunk:
            return
        for piece in [chunk] if decompress is None else decompress(chunk):
            yield piece
            given += len(piece)
            if given >= SCAN_BYTES_MAX:
                return


def _decompressor(start: bytes) -> Callable[[bytes], Iterator[bytes]] | None:
    """By the first bytes; None: not compressed, or by what the standard library does not know."""
    if start.startswith(b"\x1f\x8b") or (start[:1] == b"\x78" and int.from_bytes(start[:2], "big") % 31 == 0):
        return partial(_by_zlib, zlib.decompressobj(wbits=47))  # either header
    if start.startswith(b"BZh"):
        return partial(_by_others, bz2.BZ2Decompressor())
    if start.startswith((b"\xfd7zXZ\0", b"\x5d\0\0")):
        return partial(_by_others, lzma.LZMADecompressor(memlimit=_DECOMPRESSOR_BYTES_MAX))
    return None


def _by_zlib(decompressor: Any, chunk: bytes) -> Iterator[bytes]:
    """What comes out, never more than a chunk at once: a megabyte may stand for a gigabyte."""
    piece = decompressor.decompress(chunk, _CHUNK_BYTES)
    while piece:
        yield piece
        piece = decompressor.decompress(decompressor.unconsumed_tail, _CHUNK_BYTES)


def _by_others(decompressor: Any, chunk: bytes) -> Iterator[bytes]:
    piece = decompressor.decompress(chunk, _CHUNK_BYTES)
    while piece:
        yield piece
        if decompressor.eof or decompressor.needs_input:
            return
        piece = decompressor.decompress(b"", _CHUNK_BYTES)
