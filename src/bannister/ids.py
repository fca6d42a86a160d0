"""The one place that makes identifiers, so that a simulation can replay them."""

from __future__ import annotations

import random
import secrets
import uuid
from typing import Protocol


class Ids(Protocol):
    """Makes identifiers."""

    def request(self) -> str:
        """A request id as AWS prints them: a UUID."""
        ...

    def short(self) -> str:
        """Eight lower-case hexadecimal digits, for deployments and instances; unique within a data directory."""
        ...


class RandomIds:
    """Identifiers nobody can guess."""

    def request(self) -> str:
        return str(uuid.uuid4())

    def short(self) -> str:
        return secrets.token_hex(4)


class SeededIds:
    """The same identifiers for the same seed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def request(self) -> str:
        return str(uuid.UUID(int=self._random.getrandbits(128), version=4))

    def short(self) -> str:
        return f"{self._random.getrandbits(32):08x}"
