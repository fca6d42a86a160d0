from __future__ import annotations

from pathlib import Path

import pytest
from tests.aws.control import Control


@pytest.fixture
async def control(tmp_path: Path) -> Control:
    made = Control(tmp_path)
    await made.done("CreateModel", ModelName="m", PrimaryContainer={"Image": "i"})
    return made
