"""Operations on the in-memory stores, with a clock that is set by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.operations.hand_clock import HandClock

from bannister.ids import SeededIds
from bannister.metrics.memory import MemoryMetrics
from bannister.objects.memory import MemoryObjects
from bannister.operations.context import Context
from bannister.settings import Settings
from bannister.state.memory import MemoryState


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def context(tmp_path: Path, clock: HandClock) -> Context:
    settings = Settings(tmp_path)
    return Context(
        state=MemoryState(),
        metrics=MemoryMetrics(settings),
        objects=MemoryObjects(settings.object_bytes_max),
        clock=clock,
        ids=SeededIds(1),
        settings=settings,
        image_refusal=lambda image: None,
        ready_instances=dict,
    )
