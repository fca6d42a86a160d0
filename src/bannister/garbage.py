"""When Python looks for unreachable cycles.

A full collection looks at every object there is: with ten thousand alarms and the metrics they look at, for some tenths of a second in which nothing else happens, and by itself Python does that
whenever enough was allocated, so mostly in the middle of an evaluation. Here young objects are collected as always, only in larger portions; everything is looked at when housekeeping has its
turn, and what was there at the start not at all.
"""

from __future__ import annotations

import gc
from typing import Final

#: Objects that may be added before the young ones are looked at; how many times that before the middle-aged are; and never by itself the old ones.
_THRESHOLDS: Final = (20_000, 10, 1_000_000)


def begin() -> None:
    """What is there now stays: it is not looked at again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)


def sweep() -> None:
    """Look at everything that came since."""
    gc.collect()
