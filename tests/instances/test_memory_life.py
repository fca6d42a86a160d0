"""Faults of Bannister itself in looking after an instance end where people look."""

from pathlib import Path

from tests.instances.conftest import MemoryPlace

from bannister.domain.instance import InstancePhase
from bannister.instances.memory import MemoryMachine


class ShortOfEverything(MemoryMachine):
    """A machine that starts nothing, in a way nobody foresaw."""

    def start(self, instance: str, image: str, now: float = 0.0):
        raise RuntimeError("out of what it takes")


async def test_a_fault_nobody_foresaw_fails_the_instance_with_its_words(tmp_path: Path):
    place = MemoryPlace(tmp_path)
    place.machine = ShortOfEverything()
    backend = await place.started()
    await backend.ensure(place.spec("good"), 1, epoch=1)
    (one,) = await place.until_all(backend, InstancePhase.FAILED)
    assert "out of what it takes" in one.reason
    await backend.close(stop_instances=True)
