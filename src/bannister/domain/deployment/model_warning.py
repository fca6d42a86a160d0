"""What a model's server says against its model when it comes up: that another version of a library pickled it, say.

A server says it in its answer to `/ping` (`bannister.instances.ping`). All instances of a version say the same, and each start says it again; a deployment records it once,
before any traffic moves. Nothing is refused for it (docs/decisions/0025).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

#: What is wrong, in a few words.
KIND: Final = "the model warns of itself"
REMEDY: Final = "It serves all the same: compare what it answers before you trust it, with a shadow for example."
#: Of one deployment: a server that never says the same twice is not listened to for ever.
MODEL_WARNINGS_MAX: Final = 10


@dataclass(frozen=True, slots=True)
class ModelWarning:
    """Said by the instances of one variant."""

    variant: str
    #: One or more whole sentences.
    text: str

    def __str__(self) -> str:
        return f'The model of variant "{self.variant}" says: {self.text}'
