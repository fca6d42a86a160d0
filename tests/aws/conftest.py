"""The door that several modules knock on."""

from collections.abc import Iterator

import pytest
from tests.aws.door import Backend, Door, opened


@pytest.fixture(scope="module")
def served() -> Iterator[Door]:
    with opened() as door:
        yield door


@pytest.fixture
def door(served: Door) -> Door:
    fresh = Backend()
    served.backend.calls, served.backend.objects = fresh.calls, fresh.objects
    served.backend.answers, served.backend.waits_for = fresh.answers, fresh.waits_for
    return served
