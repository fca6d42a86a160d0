"""What `bannister.instances` marks processes with is what the launcher ends, and what is no setting."""

from __future__ import annotations

from bannister import settings
from bannister.cli import data_dir
from bannister.instances import process


def test_launcher_and_instances_mean_the_same_marks() -> None:
    assert settings.INSTANCE_VARIABLE == process.MARK_INSTANCE
    assert settings.DATA_DIR_VARIABLE == process.MARK_DATA_DIR
    assert settings.DATA_DIR_VARIABLE == data_dir.VARIABLE
