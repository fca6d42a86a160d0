"""A summary of many samples from which any percentile can be read, and which merges with others of its kind.

While there are few distinct values (up to `EXACT_VALUES_MAX`) a sketch keeps them all and its percentiles are exact. Beyond that it keeps
how many samples fell into each of a row of buckets whose width grows with the value (Masson, Rim and Lee: "DDSketch", VLDB 2019): bucket
i holds the values in (g^(i-1), g^i] with g = (1 + a) / (1 - a), so its middle, 2·g^i / (g + 1), is at most `RELATIVE_ERROR` = a away from
any of them. Count, sum, minimum and maximum are exact either way.

The number of distinct values never falls by merging, so whether a merge is exact depends only on the samples: sketches may be merged in
any order and grouping, with the same result.

A percentile is the *nearest rank*: the smallest sample such that at least the share q of all samples is not greater than it (numpy calls it
`inverted_cdf`). It is always a value that was measured, and it is defined for weighted samples. CloudWatch does not publish its rule.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# numpy is imported by the functions that compute: whoever only names the type does not wait for it at start.

#: Up to so many distinct values, all are kept.
EXACT_VALUES_MAX = 512
#: Of a percentile beyond that, against the exact nearest rank.
RELATIVE_ERROR = 0.005
#: Of more buckets than this the lowest are joined: the error holds for values within a factor of 10^17 of the largest.
BUCKETS_MAX = 4096

_LOG_GROWTH = math.log((1 + RELATIVE_ERROR) / (1 - RELATIVE_ERROR))
#: The bucket of the value zero, below that of the smallest float (-74,448).
_ZERO_BUCKET = -75_000
#: Shares such as 0.07 · 100 miss their whole number by a rounding error; a rank is not moved by one.
_RANK_SLACK = 1e-12
#: Up to so many bytes of keys, whole values are merged without numpy, which takes longer to call than these to count.
_FEW_KEYS_BYTES_MAX = 128


@dataclass(frozen=True, slots=True)
class Sketch:
    """Samples, none of them negative. At least one: no samples is no sketch (None)."""

    count: float
    sum: float
    minimum: float
    maximum: float
    #: What `keys` holds, as numpy names it: "u4" whole values, "f8" values, "i4" bucket numbers. Little-endian, ascending.
    form: str
    keys: bytes
    #: How often each key occurred, "f8"; empty: each once.
    weights: bytes = b""

    @staticmethod
    def of(values: Sequence[float], counts: Sequence[float] | None = None) -> Sketch:
        """The sketch of samples; `counts` says how often each occurred (default once).

        Raises:
            ValueError: There is no value, or one is negative or not finite.
        """
        import numpy as np

        keys = np.asarray(values, dtype="f8")
        if keys.size == 0 or not np.isfinite(keys).all() or keys.min() < 0:
            raise ValueError("A sketch needs at least one sample, all of them finite and none negative.")
        weights = None if counts is None else np.asarray(counts, dtype="f8")
        count = float(keys.size if weights is None else weights.sum())
        total = float(sum(values) if weights is None else np.dot(keys, weights))
        return Sketch(count, total, float(keys.min()), float(keys.max()), *_of_values(keys, weights))

    @staticmethod
    def constant(value: float, count: float) -> Sketch:
        """`count` samples, all of the same value; as `of`, without numpy."""
        if not (math.isfinite(value) and value >= 0):
            raise ValueError("A sketch needs samples that are finite and not negative.")
        whole = value < 2**32 and value == int(value)
        keys = struct.pack("<I", int(value)) if whole else struct.pack("<d", value)
        weights = b"" if count == 1 else struct.pack("<d", count)
        return Sketch(float(count), value * count, float(value), float(value), "u4" if whole else "f8", keys, weights)

    @staticmethod
    def zeros_and_ones(zeros: float, ones: float) -> Sketch:
        """So many samples of 0 and of 1, some of either; as `of`, without numpy."""
        weights = b"" if zeros == ones == 1 else struct.pack("<2d", zeros, ones)
        return Sketch(float(zeros + ones), float(ones), 0.0, 1.0, "u4", struct.pack("<2I", 0, 1), weights)

    @property
    def exact(self) -> bool:
        """Every sample is kept, so percentiles are exact."""
        return self.form != "i4"

    def quantile(self, q: float) -> float:
        """The nearest-rank quantile for a share q in [0, 1]; 0 is the minimum, 1 the maximum."""
        import numpy as np

        if q <= 0:
            return self.minimum
        if q >= 1:
            return self.maximum
        keys = np.frombuffer(self.keys, "<" + self.form)
        rank = q * self.count * (1 - _RANK_SLACK)
        if self.weights:
            index = int(np.searchsorted(np.cumsum(np.frombuffer(self.weights, "<f8")), rank))
        else:
            index = math.ceil(rank) - 1
        key = float(keys[min(max(index, 0), keys.size - 1)])
        if self.exact:
            return key
        return min(max(_middle(key), self.minimum), self.maximum)

    def samples(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Values, ascending, and how often each occurred; beyond exactness the middles of buckets."""
        import numpy as np

        keys = _keys(self).astype("f8")
        if not self.exact:
            middles = 2 * np.exp(keys * _LOG_GROWTH) / (math.exp(_LOG_GROWTH) + 1)
            keys = np.clip(np.where(keys == _ZERO_BUCKET, 0.0, middles), self.minimum, self.maximum)
        return keys, _weights(self)


def merge(sketches: Sequence[Sketch]) -> Sketch:
    """The sketch of all samples of at least one sketch."""
    if len(sketches) == 1:
        return sketches[0]
    return Sketch(
        sum(one.count for one in sketches),
        sum(one.sum for one in sketches),
        min(one.minimum for one in sketches),
        max(one.maximum for one in sketches),
        *_merged(sketches),
    )


def _merged(sketches: Sequence[Sketch]) -> tuple[str, bytes, bytes]:
    """Form, keys and weights of all samples."""
    whole = all(one.form == "u4" for one in sketches)
    if whole and sum(len(one.keys) for one in sketches) <= _FEW_KEYS_BYTES_MAX:
        return _of_few(sketches)
    import numpy as np

    weights = np.concatenate([_weights(one) for one in sketches]) if any(one.weights for one in sketches) else None
    if whole:
        return _of_values(np.frombuffer(b"".join([one.keys for one in sketches]), "<u4"), weights)
    if all(one.exact for one in sketches):
        return _of_values(np.concatenate([_keys(one) for one in sketches]), weights)
    buckets = [_buckets(_keys(one)) if one.exact else _keys(one) for one in sketches]
    return _of_buckets(np.concatenate(buckets), weights)


def _keys(sketch: Sketch) -> NDArray[Any]:
    import numpy as np

    return np.frombuffer(sketch.keys, "<" + sketch.form)


def _weights(sketch: Sketch) -> NDArray[np.float64]:
    import numpy as np

    if sketch.weights:
        return np.frombuffer(sketch.weights, "<f8")
    return np.ones(len(sketch.keys) // int(sketch.form[1]))


def _of_values(values: NDArray[Any], weights: NDArray[np.float64] | None) -> tuple[str, bytes, bytes]:
    """Form, keys and weights for values in any order; weights None: each value given weighs one."""
    import numpy as np

    ordered = np.sort(values)
    starts = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
    if starts.size > EXACT_VALUES_MAX:
        return _of_buckets(_buckets(values), weights)
    distinct = ordered[starts]
    if weights is None:
        tallied = np.diff(starts, append=ordered.size)
    else:
        tallied = np.bincount(np.searchsorted(distinct, values), weights)
    whole = distinct[-1] < 2**32 and bool((distinct == distinct.astype("<u4")).all())
    return _stored("u4" if whole else "f8", distinct, tallied)


def _of_few(sketches: Sequence[Sketch]) -> tuple[str, bytes, bytes]:
    """As `_of_values`, for few whole values."""
    tallied: dict[int, float] = {}
    for one in sketches:
        keys = struct.unpack(f"<{len(one.keys) // 4}I", one.keys)
        weights = struct.unpack(f"<{len(keys)}d", one.weights) if one.weights else (1.0,) * len(keys)
        for key, weight in zip(keys, weights, strict=True):
            tallied[key] = tallied.get(key, 0.0) + weight
    distinct = sorted(tallied)
    counts = [tallied[key] for key in distinct]
    once = all(count == 1 for count in counts)
    count = len(distinct)
    return "u4", struct.pack(f"<{count}I", *distinct), b"" if once else struct.pack(f"<{count}d", *counts)


def _of_buckets(buckets: NDArray[Any], weights: NDArray[np.float64] | None) -> tuple[str, bytes, bytes]:
    """Form, keys and weights for bucket numbers in any order."""
    import numpy as np

    lowest = int(buckets.min())
    row = np.bincount(buckets - lowest, weights)
    filled = np.flatnonzero(row)
    surplus = max(filled.size - BUCKETS_MAX, 0)
    tallied = row[filled[surplus:]]
    tallied[0] += row[filled[:surplus]].sum()
    return _stored("i4", filled[surplus:] + lowest, tallied)


def _stored(form: str, keys: NDArray[Any], weights: NDArray[Any]) -> tuple[str, bytes, bytes]:
    once = bool((weights == 1).all())
    return form, keys.astype("<" + form).tobytes(), b"" if once else weights.astype("<f8").tobytes()


def _buckets(values: NDArray[Any]) -> NDArray[np.int32]:
    import numpy as np

    buckets = np.full(values.size, _ZERO_BUCKET, dtype="i4")
    positive = values > 0
    buckets[positive] = np.ceil(np.log(values[positive].astype("f8")) / _LOG_GROWTH)
    return buckets


def _middle(bucket: float) -> float:
    if bucket == _ZERO_BUCKET:
        return 0.0
    return 2 * math.exp(bucket * _LOG_GROWTH) / (math.exp(_LOG_GROWTH) + 1)
