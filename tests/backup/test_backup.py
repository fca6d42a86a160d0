"""Backup and restore: of a running server, for real, and of files nobody should trust."""

import errno
import gzip
import io
import json
import os
import random
import shutil
import sqlite3
import stat
import subprocess
import sys
import tarfile
import threading
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from tests.scenarios.world import BANNISTER, Server, World

from bannister.backup import making
from bannister.backup.making import back_up
from bannister.backup.restoring import restore
from bannister.domain.fleet import Group
from bannister.domain.model import Container
from bannister.errors import BannisterError, Invalid, Unavailable
from bannister.ids import RandomIds
from bannister.objects.folder import FolderObjects
from bannister.settings import Settings
from bannister.state.group_record import GroupRecord
from bannister.state.sqlite import SqliteState
from bannister.state.store import Put, Record
from bannister.state.tables import GROUPS


def group(identifier: str) -> Group:
    return Group(identifier, "e", "v", "c", "m", Container("image"), 1, 1.0, 60.0)


async def chunks(data: bytes):
    yield data


@pytest.fixture
async def settings(tmp_path: Path) -> Settings:
    """A data directory with a bit of everything."""
    settings = Settings(data_dir=tmp_path / "data")
    settings.data_dir.mkdir()
    (settings.data_dir / "bannister.toml").write_text('region = "eu-central-1"\n')
    artifact = settings.artifacts_dir / ("a" * 64)
    artifact.mkdir(parents=True)
    (artifact / "model.bin").write_bytes(b"weights")
    (artifact / "model.bin").chmod(0o444)
    (artifact / "link").symlink_to("model.bin")
    (settings.environments_dir / "k-1").mkdir(parents=True)
    state = SqliteState(settings.state_path)
    here = GroupRecord(group("here"), artifact_dir=str(artifact), prepared=True)
    gone = GroupRecord(group("gone"), artifact_dir=str(settings.artifacts_dir / "gone"), prepared=True)
    await state.commit([Put(GROUPS, "here", here, 0), Put(GROUPS, "gone", gone, 0)], [Record(1.0, "s", "k")])
    await state.close()
    objects = FolderObjects(settings.objects_dir, RandomIds(), 10**9)
    await objects.create_bucket("bkt", 1.0)
    await objects.put("bkt", "x/y", chunks(b"content"), 1.0)
    objects.close()
    return settings


async def test_what_was_backed_up_is_there_again(settings: Settings, tmp_path: Path) -> None:
    back_up(settings, tmp_path / "b.tar.gz", 5.0)
    again = Settings(data_dir=tmp_path / "new")
    assert restore(tmp_path / "b.tar.gz", again.data_dir)["created_at"] == 5.0
    state = SqliteState(again.state_path)
    assert await state.sequence() == 1
    here, gone = [await state.get(GROUPS, key) for key in ("here", "gone")]
    assert here is not None
    assert gone is not None
    folder = Path(here.value.artifact_dir or "")
    assert folder == again.artifacts_dir / ("a" * 64)
    assert (folder / "link").read_bytes() == b"weights"
    assert (folder / "model.bin").stat().st_mode & 0o777 == 0o444, "a container may read it as another user"
    assert (gone.value.artifact_dir, gone.value.prepared) == (None, False), "to be fetched again"
    await state.close()
    objects = FolderObjects(again.objects_dir, RandomIds(), 10**9)
    assert (await objects.fetch("bkt", "x/y")).read_bytes() == b"content"
    objects.close()
    assert (again.data_dir / "bannister.toml").read_text() == (settings.data_dir / "bannister.toml").read_text()
    assert again.data_dir.stat().st_mode & 0o777 == 0o700
    assert not again.environments_dir.exists(), "what can be built again"


async def test_what_a_model_wrote_beside_its_artifact_is_left_out(settings: Settings, tmp_path: Path) -> None:
    """It may be half written; and a pipe or a link out of the folder would be refused when it is restored."""
    artifact = settings.artifacts_dir / ("a" * 64)
    (artifact / "__pycache__").mkdir()
    (artifact / "__pycache__" / "inference.pyc").write_bytes(b"half")
    (artifact / "again").hardlink_to(artifact / "__pycache__" / "inference.pyc")
    (artifact / "out").symlink_to("/etc/passwd")
    os.mkfifo(artifact / "pipe")
    os.mkfifo(artifact / "read-only", 0o400)
    os.mknod(artifact / "socket", stat.S_IFSOCK | 0o600)
    back_up(settings, tmp_path / "b.tar.gz", 5.0)
    restore(tmp_path / "b.tar.gz", tmp_path / "new")
    folder = tmp_path / "new" / "artifacts" / artifact.name
    assert {path.name for path in folder.rglob("*") if not path.is_dir()} == {"model.bin", "link"}
    assert {path.stat().st_mode & 0o777 for path in (folder, folder / "__pycache__")} == {0o755}


async def test_a_link_out_of_the_artifact_does_not_spoil_the_backup(settings: Settings, tmp_path: Path) -> None:
    artifact = settings.artifacts_dir / ("a" * 64)
    (artifact / "deep" / "er" / "and" / "deeper").mkdir(parents=True)
    for name, target in {
        "hosts": "../../../../etc/hosts",
        "far": "../" * 20 + "etc/hosts",
        "sibling": "../other",
        "absolute": str(artifact / "model.bin"),
        "deep/er/top": "../..",
        "deep/loop": "loop",
        "deep/gone": "nothing",
        "folder": "deep/er",
        # Inside only as long as the link on its way is there: `zz` comes after it.
        "around": "zz/../../../../model.bin",
        "zz": "deep/er/and/deeper",
    }.items():
        (artifact / name).symlink_to(target)
    back_up(settings, tmp_path / "b.tar.gz", 5.0)
    restore(tmp_path / "b.tar.gz", tmp_path / "new")
    folder = tmp_path / "new" / "artifacts" / artifact.name
    links = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_symlink()}
    assert links >= {"link", "deep/er/top", "deep/gone", "folder", "around", "zz"}
    assert not links & {"hosts", "far", "sibling", "absolute"}
    assert (folder / "around").read_bytes() == b"weights"
    assert (folder / "deep" / "er" / "top").resolve() == folder
    assert (folder / "folder").resolve() == folder / "deep" / "er"


async def test_an_artifacts_folder_on_another_disk_is_backed_up(settings: Settings, tmp_path: Path) -> None:
    settings.artifacts_dir.rename(tmp_path / "elsewhere")
    settings.artifacts_dir.symlink_to(tmp_path / "elsewhere")
    back_up(settings, tmp_path / "b.tar.gz", 5.0)
    restore(tmp_path / "b.tar.gz", tmp_path / "new")
    assert (tmp_path / "new" / "artifacts" / ("a" * 64) / "link").read_bytes() == b"weights"


async def test_hard_links_of_an_artifact_are_kept(settings: Settings, tmp_path: Path) -> None:
    artifact = settings.artifacts_dir / ("a" * 64)
    (artifact / "same").hardlink_to(artifact / "model.bin")
    back_up(settings, tmp_path / "b.tar.gz", 5.0)
    restore(tmp_path / "b.tar.gz", tmp_path / "new")
    folder = tmp_path / "new" / "artifacts" / artifact.name
    assert (folder / "same").samefile(folder / "model.bin")


async def test_what_a_model_deletes_meanwhile_is_left_out(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact = settings.artifacts_dir / ("a" * 64)
    (artifact / "cache").mkdir()
    for name in ("again", "cache/file"):
        (artifact / name).write_bytes(b"x")
        (artifact / name).chmod(0o444)
    add_unpacked = making._add_unpacked

    def _deleting(tar: tarfile.TarFile, path: Path, root: Path, name: str) -> None:
        (artifact / "again").unlink(missing_ok=True)
        shutil.rmtree(artifact / "cache", ignore_errors=True)
        add_unpacked(tar, path, root, name)

    monkeypatch.setattr(making, "_add_unpacked", _deleting)
    back_up(settings, tmp_path / "b.tar.gz", 5.0)
    restore(tmp_path / "b.tar.gz", tmp_path / "new")
    folder = tmp_path / "new" / "artifacts" / artifact.name
    assert {path.name for path in folder.iterdir()} == {"model.bin", "link"}


@pytest.mark.parametrize("replaced", [False, True])
async def test_an_artifact_that_is_removed_meanwhile_is_fetched_again(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, replaced: bool
) -> None:
    artifact = settings.artifacts_dir / ("a" * 64)
    add_unpacked = making._add_unpacked

    def _removing(tar: tarfile.TarFile, path: Path, root: Path, name: str) -> None:
        add_unpacked(tar, path, root, name)
        if path.name == "link":
            artifact.rename(artifact.with_name("away"))
            if replaced:
                artifact.mkdir()

    monkeypatch.setattr(making, "_add_unpacked", _removing)
    back_up(settings, tmp_path / "b.tar.gz", 5.0)
    restore(tmp_path / "b.tar.gz", tmp_path / "new")
    assert not (tmp_path / "new" / "artifacts" / artifact.name).exists(), "half of it is not taken for it"


@pytest.mark.parametrize("mode", [0o700, 0o000, 0o400, 0o300])
def test_what_cannot_be_read_is_left_out(settings: Settings, tmp_path: Path, mode: int) -> None:
    artifact = settings.artifacts_dir / ("a" * 64)
    (artifact / "locked" / "inner").mkdir(parents=True)
    (artifact / "locked").chmod(0)
    (artifact / "secret").write_bytes(b"x")
    (artifact / "secret").chmod(0)
    artifact.chmod(mode)
    setpriv = Path("/usr/bin/setpriv")
    if os.geteuid() == 0 and not setpriv.exists():
        pytest.skip("root may read anything")
    # Without its capabilities even root is held to permissions.
    drop = [str(setpriv), "--bounding-set=-all", "--inh-caps=-all"] if os.geteuid() == 0 else []
    code = (
        "from pathlib import Path; from bannister.backup.making import back_up; from bannister.settings import Settings\n"
        f"back_up(Settings(data_dir=Path({str(settings.data_dir)!r})), Path({str(tmp_path / 'b.tar.gz')!r}), 5.0)"
    )
    done = subprocess.run(
        [*drop, sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path, timeout=60
    )
    artifact.chmod(0o700)
    (artifact / "locked").chmod(0o700)
    assert done.returncode == 0, done.stderr
    restore(tmp_path / "b.tar.gz", tmp_path / "new")
    folder = tmp_path / "new" / "artifacts" / artifact.name
    found = {path.name for path in folder.iterdir()} if folder.exists() else None
    assert found == ({"model.bin", "link"} if mode == 0o700 else None), "without a look into it it is fetched again"


@pytest.mark.parametrize(("where", "name"), [(making, "_open_file"), (os, "scandir")], ids=["file", "folder"])
async def test_a_disk_that_fails_is_no_model(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: ModuleType, name: str
) -> None:
    """A backup without what cannot be read because of it would pass for whole."""

    def _failing(path: str | Path, *_: object) -> Any:
        if str(settings.artifacts_dir) not in str(path):
            return original(path, *_)
        raise OSError(errno.EIO, os.strerror(errno.EIO), path)

    original = getattr(where, name)
    with monkeypatch.context() as patch:
        patch.setattr(where, name, _failing)
        with pytest.raises(Unavailable, match="Input/output error"):
            back_up(settings, tmp_path / "b.tar.gz", 5.0)
    assert not (tmp_path / "b.tar.gz").exists()


async def test_objects_replaced_meanwhile_are_whole_in_the_backup(settings: Settings, tmp_path: Path) -> None:
    """Every backup taken while an object is overwritten again and again has one whole version of it."""
    objects = FolderObjects(settings.objects_dir, RandomIds(), 10**9)
    errors: list[BannisterError] = []

    def _back_up() -> None:
        try:
            for number in range(5):
                back_up(settings, tmp_path / f"{number}.tar.gz", 0.0)
        except BannisterError as error:
            errors.append(error)

    thread = threading.Thread(target=_back_up)
    thread.start()
    version = 0
    while thread.is_alive():
        version += 1
        await objects.put("bkt", "x/y", chunks(f"{version:08}".encode() * 10_000), 1.0)
    thread.join()
    objects.close()
    assert errors == []
    for number in range(5):
        restore(tmp_path / f"{number}.tar.gz", tmp_path / f"restored-{number}")
        again = FolderObjects(tmp_path / f"restored-{number}" / "objects", RandomIds(), 10**9)
        data = (await again.fetch("bkt", "x/y")).read_bytes()
        assert data in (b"content", data[:8] * 10_000)
        assert (await again.head("bkt", "x/y")).size == len(data)
        again.close()


async def test_a_damaged_state_is_not_backed_up(settings: Settings, tmp_path: Path) -> None:
    with settings.state_path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * 4096)
    with pytest.raises(Unavailable, match="damaged"):
        back_up(settings, tmp_path / "b.tar.gz", 0.0)
    assert not (tmp_path / "b.tar.gz").exists()


async def test_backup_refuses_what_is_no_data_directory_and_what_exists(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(Invalid, match=r"no Bannister data"):
        back_up(Settings(data_dir=tmp_path / "nothing"), tmp_path / "b.tar.gz", 0.0)
    back_up(settings, tmp_path / "b.tar.gz", 0.0)
    with pytest.raises(Invalid, match="exists already"):
        back_up(settings, tmp_path / "b.tar.gz", 0.0)


async def test_restore_never_writes_over_anything(settings: Settings, tmp_path: Path) -> None:
    back_up(settings, tmp_path / "b.tar.gz", 0.0)
    with pytest.raises(Invalid, match="is not empty"):
        restore(tmp_path / "b.tar.gz", settings.data_dir)
    (tmp_path / "empty").mkdir()
    restore(tmp_path / "b.tar.gz", tmp_path / "empty")


def _rewritten(
    source: Path, target: Path, change: Callable[[tarfile.TarInfo, bytes], list[tuple[tarfile.TarInfo, bytes]]]
) -> None:
    with tarfile.open(source) as old, tarfile.open(target, "w:gz") as new:
        for member in old:
            data = (old.extractfile(member) or io.BytesIO()).read() if member.isreg() else b""
            for info, content in change(member, data):
                info.size = len(content)
                new.addfile(info, io.BytesIO(content))


def _with(
    name: str, *, kind: bytes = tarfile.REGTYPE, link: str = ""
) -> Callable[[tarfile.TarInfo, bytes], list[tuple[tarfile.TarInfo, bytes]]]:
    def _change(member: tarfile.TarInfo, data: bytes) -> list[tuple[tarfile.TarInfo, bytes]]:
        extra = tarfile.TarInfo(name)
        extra.type, extra.linkname = kind, link
        return [(member, data)] if member.name != "state.db" else [(extra, b""), (member, data)]

    return _change


def _later(member: tarfile.TarInfo, data: bytes) -> list[tuple[tarfile.TarInfo, bytes]]:
    if member.name == "manifest.json":
        data = json.dumps(json.loads(data) | {"schema": 99, "bannister": "9.9"}).encode()
    return [(member, data)]


def _damaged(member: tarfile.TarInfo, data: bytes) -> list[tuple[tarfile.TarInfo, bytes]]:
    if member.name == "state.db":
        data = data[:4096] + b"\xff" * 4096 + data[8192:]
    return [(member, data)]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (_with("../outside"), "does not belong"),
        (_with("/etc/outside"), "does not belong"),
        (_with("objects/../../outside"), "does not belong"),
        (_with("objects/bkt/link", kind=tarfile.SYMTYPE, link="/etc/passwd"), "is not a file"),
        (_with("artifacts/x/link", kind=tarfile.SYMTYPE, link="../../../../etc/passwd"), "outside the archive"),
        (_with("artifacts/x/link", kind=tarfile.SYMTYPE, link="/etc/passwd"), "outside the archive"),
        (_with("artifacts/x/again", kind=tarfile.LNKTYPE, link="/etc/passwd"), "absolute path"),
        (_with("artifacts/x/again", kind=tarfile.LNKTYPE, link="../../../etc/passwd"), "outside the archive"),
        (_with("artifacts/x/pipe", kind=tarfile.FIFOTYPE), "is a device or a pipe"),
        (_with("run/sock"), "does not belong"),
        (lambda member, data: [] if member.name == "end.json" else [(member, data)], "too early"),
        (lambda member, data: [] if member.name == "manifest.json" else [(member, data)], "should be"),
        (lambda member, data: [] if member.name.endswith("@y") else [(member, data)], "missing"),
        (_damaged, "damaged"),
        (_later, "later version"),
    ],
)
async def test_an_untrustworthy_backup_leaves_nothing(
    settings: Settings,
    tmp_path: Path,
    change: Callable[[tarfile.TarInfo, bytes], list[tuple[tarfile.TarInfo, bytes]]],
    sentence: str,
) -> None:
    back_up(settings, tmp_path / "b.tar.gz", 0.0)
    _rewritten(tmp_path / "b.tar.gz", tmp_path / "bad.tar.gz", change)
    place = tmp_path / "place"
    place.mkdir()
    with pytest.raises(Invalid, match=sentence):
        restore(tmp_path / "bad.tar.gz", place / "new")
    assert list(place.iterdir()) == []


@pytest.mark.parametrize("change", ["a bit", "its last bytes"])
async def test_a_backup_of_which_something_has_changed_is_refused(
    settings: Settings, tmp_path: Path, change: str
) -> None:
    """On a disk, or on its way: what an object holds no structure shows."""
    objects = FolderObjects(settings.objects_dir, RandomIds(), 10**9)
    await objects.put("bkt", "large", chunks(random.Random(1).randbytes(400_000)), 1.0)
    objects.close()
    back_up(settings, tmp_path / "b.tar.gz", 0.0)
    data = bytearray((tmp_path / "b.tar.gz").read_bytes())
    middle = len(data) // 2
    data[middle] ^= 1
    (tmp_path / "b.tar.gz").write_bytes(data if change == "a bit" else data[:-8])
    with pytest.raises(Invalid, match="not a complete backup"):
        restore(tmp_path / "b.tar.gz", tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("cut", [10, 2000])
async def test_a_cut_or_foreign_file_is_refused(settings: Settings, tmp_path: Path, cut: int) -> None:
    back_up(settings, tmp_path / "b.tar.gz", 0.0)
    data = (tmp_path / "b.tar.gz").read_bytes()
    for name, content in (("cut", data[:cut]), ("text", b"hello" * 99), ("zipped", gzip.compress(b"hello" * 999))):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(Invalid, match="not a complete backup"):
            restore(tmp_path / name, tmp_path / "new")
        assert not (tmp_path / "new").exists()


@pytest.mark.real
@pytest.mark.slow
def test_a_backup_of_a_running_server_serves_the_same_endpoints(tmp_path: Path) -> None:
    file = tmp_path / "backup.tar.gz"
    server = Server(tmp_path / "data")
    try:
        world = World(server)
        world.endpoint("e", world.config("v1", instances=1))
        world.error_alarm("errors", "e", "v1")
        # What runs has its own copy: it is served again although its model and object have gone.
        world.sagemaker.delete_model(ModelName="v1")
        world.s3.delete_object(Bucket="models", Key="v1/model.tar.gz")
        done = subprocess.run(
            [str(BANNISTER), "backup", "--metrics", "--data-dir", str(server.data_dir), str(file)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert world.invoke("e")["version"] == "v1"
        refused = subprocess.run(
            [str(BANNISTER), "restore", str(file), "--data-dir", str(server.data_dir)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert refused.returncode == 2
        assert "is not empty" in refused.stderr
    finally:
        assert server.stop() == 0
    server.data_dir.rename(tmp_path / "away")
    done = subprocess.run(
        [str(BANNISTER), "restore", str(file), "--data-dir", str(tmp_path / "new")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    with sqlite3.connect(tmp_path / "new" / "metrics.db") as metrics:
        assert metrics.execute("SELECT count(*) FROM groups").fetchone() == (1,)
    server = Server(tmp_path / "new")
    try:
        runtime = server.client("sagemaker-runtime")
        answer = runtime.invoke_endpoint(EndpointName="e", ContentType="application/json", Body=b"{}")
        assert json.loads(answer["Body"].read())["version"] == "v1"
        [alarm] = server.client("cloudwatch").describe_alarms()["MetricAlarms"]
        assert alarm["AlarmName"] == "errors"
    finally:
        assert server.stop() == 0
        assert server.leftovers() == []
