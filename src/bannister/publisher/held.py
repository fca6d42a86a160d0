"""Whether a proxy still holds requests that it has given to nobody: told from looks that are a little off.

What is held is what has come less what was given on. The proxy reads these gauges one after the other, and meanwhile requests come and end: under load a look may be too small, or below
zero, or too large, as often as not. One look of zero says nothing then; many of them, on average, do.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

#: Looks that are remembered: a minute's, `drain_poll_seconds` apart.
LOOKS_MAX: Final = 1200
#: So many that all say nothing is held are enough, where they are all that there are.
LOOKS_ALIKE: Final = 8
#: From so many on their average is trusted.
LOOKS_MIN: Final = 16
#: … to lie within so many of its standard errors: it is looked at again and again, and must hardly ever be wrong.
_ERRORS: Final = 5.0
#: A few looks that agree by chance are no more exact than this.
_OFF_MIN: Final = 0.5


class Held:
    """Looks at one proxy, since something was no longer given to anybody by it."""

    def __init__(self) -> None:
        self._looks: deque[int] = deque(maxlen=LOOKS_MAX)
        #: It has been seen to hold nothing, once: whatever it holds now came later.
        self.was_empty = False

    def note(self, held: int) -> None:
        """One look."""
        self._looks.append(held)
        self.was_empty = self.was_empty or is_empty(self._looks)


def is_empty(looks: Sequence[int]) -> bool:
    """Whether the newest looks, as many as it takes, say that at some time in them not even one request was held."""
    known = list(looks)
    if len(known) < LOOKS_MIN:
        return len(known) >= LOOKS_ALIKE and not any(known)
    # By how much one look differs from the next: that many requests were held before, and have ended, is not how exact a look is.
    steps = sum((later - earlier) ** 2 for earlier, later in pairwise(known)) / (len(known) - 1)
    off = max(math.sqrt(steps / 2), _OFF_MIN)
    counts = {len(known), *(LOOKS_MIN << power for power in range(len(known).bit_length()))}
    return any(
        sum(known[-count:]) / count + _ERRORS * off / math.sqrt(count) < 1.0 for count in counts if count <= len(known)
    )
