"""A full disk, for real: the alarm is judged, the rollback is written down and done, nothing is lost."""

import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
from botocore.exceptions import ClientError
from tests.crashes.harm import part, stopped
from tests.scenarios.world import Load, Server, World, wait_for

MIB = 1024 * 1024
CANARY = {
    "Type": "CANARY",
    "CanarySize": {"Type": "CAPACITY_PERCENT", "Value": 50},
    "WaitIntervalInSeconds": 60,
}


@contextmanager
def eater(disk: Path) -> Iterator[None]:
    """Takes every byte of the disk, and every byte that becomes free, until the end."""
    done = threading.Event()
    full = threading.Event()

    def _eat() -> None:
        with (disk / "eaten").open("wb", buffering=0) as file:
            size = 8 * MIB
            while not done.is_set():
                try:
                    file.write(b"x" * size)
                except OSError:
                    full.set()
                    size = max(size // 2, 4096)
                    if size == 4096:
                        done.wait(0.002)

    thread = threading.Thread(target=_eat)
    thread.start()
    try:
        assert full.wait(30)
        yield
    finally:
        done.set()
        thread.join()
        (disk / "eaten").unlink()


def free(disk: Path) -> int:
    found = os.statvfs(disk)
    return found.f_bavail * found.f_frsize


@pytest.mark.real
@pytest.mark.slow
def test_a_rollback_completes_on_a_full_disk(small_disk: Path, tmp_path: Path) -> None:
    settings = {
        "disk_reserve_bytes": 32 * MIB,
        "disk_free_bytes_min": 8 * MIB,
        "housekeeping_interval_seconds": 0.5,
        "blind_timeout_seconds": 600,
    }
    server = Server(small_disk / "data", **settings)
    reserve = small_disk / "data" / "reserve"
    try:
        world = World(server)
        world.config("good")
        world.config("bad", FAIL="0.5")
        world.endpoint("e", "good")
        world.error_alarm("errors", "e", "bad")
        assert reserve.stat().st_blocks * 512 >= 32 * MIB
        with Load(server, "e", tmp_path / "load.jsonl") as load:
            world.update("e", "bad", routing=CANARY, alarms=("errors",))
            # While telemetry stands still no alarm trips: the rollback is decided on the full disk.
            with ExitStack() as full:
                with stopped(part(server, "telemetry").pid):
                    wait_for("green serves", lambda: any(one.version == "bad" for one in load.answers()))
                    full.enter_context(eater(small_disk))
                    assert free(small_disk) < MIB
                    assert world.describe("e")["EndpointStatus"] == "Updating"
                settled = world.settled("e")
                assert settled["EndpointStatus"] == "InService"
                assert settled["EndpointConfigName"] == "good"
                assert 'Alarm "errors" tripped' in settled["FailureReason"]
                assert free(small_disk) < MIB, "it needed nothing of the disk"
                with pytest.raises(ClientError, match="is full") as refused:
                    world.sagemaker.create_endpoint_config(
                        EndpointConfigName="more",
                        ProductionVariants=[
                            {
                                "VariantName": "AllTraffic",
                                "ModelName": "good",
                                "InitialInstanceCount": 1,
                                "InstanceType": "ml.m5.large",
                            }
                        ],
                    )
                assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 503
                with pytest.raises(ClientError, match="is full"):
                    world.s3.put_object(Bucket="models", Key="more", Body=b"x" * 1000)
                world.sagemaker.delete_endpoint_config(EndpointConfigName="bad")
        answers = load.nothing_lost()
        assert {one.version for one in answers} == {"good", "bad"}
        assert answers[-1].version == "good"
        wait_for("the reserve is taken again", reserve.exists)
        world.config("better")
    finally:
        code = server.stop()
        assert code == 0
        assert server.leftovers() == []


@pytest.mark.real
@pytest.mark.slow
def test_a_server_starts_on_a_full_disk(small_disk: Path) -> None:
    """The reserve is what there is to start with; what served before serves again."""
    server = Server(small_disk / "data", disk_reserve_bytes=32 * MIB, disk_free_bytes_min=16 * MIB)
    try:
        world = World(server)
        world.endpoint("e", world.config("good", instances=1))
        assert server.stop() == 0
        filler = small_disk / "filler"
        with filler.open("wb", buffering=0) as file, suppress(OSError):
            while file.write(b"x" * 4096):
                pass
        assert free(small_disk) == 0
        server.start()
        assert world.invoke("e")["version"] == "good"
        # The largest thing that a user can delete to make room.
        world.s3.delete_object(Bucket="models", Key="good/model.tar.gz")
        world.sagemaker.delete_endpoint(EndpointName="e")
    finally:
        assert server.stop() == 0
        assert server.leftovers() == []
