"""The launcher may not import the packages whose processes it ends, so the names they share are compared here."""

from __future__ import annotations

from bannister.instances import process
from bannister.launcher import parts


def test_launcher_and_instances_mean_the_same_marks() -> None:
    assert parts.INSTANCE_VARIABLE == process.MARK_INSTANCE
    assert parts.DATA_DIR_VARIABLE == process.MARK_DATA_DIR
