"""What no group uses is removed, and what cannot be removed harms nothing."""

from __future__ import annotations

import errno
import os
import shutil
import tarfile
from pathlib import Path

import pytest
from tests.supervisor.test_artifact import run_unprivileged

from bannister.errors import Fenced, Unavailable
from bannister.objects.memory import MemoryObjects
from bannister.settings import Settings
from bannister.supervisor.artifact import unpack
from bannister.supervisor.artifacts import Artifacts


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    settings = Settings(data_dir=tmp_path / "data")
    settings.artifacts_dir.mkdir(parents=True)
    return settings


async def unpacked(settings: Settings, tmp_path: Path, name: str) -> tuple[Path, Path]:
    """The archive, and its folder."""
    (tmp_path / name).mkdir()
    for file in ("a", "b"):
        (tmp_path / name / file).write_text(name)
    archive = tmp_path / f"{name}.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(tmp_path / name, ".")
    return archive, await unpack(archive, settings.artifacts_dir, settings)


async def sweep(settings: Settings, *used: Path) -> None:
    async def _used() -> set[str]:
        return {str(folder) for folder in used}

    await Artifacts(MemoryObjects(2**30), settings).sweep(_used)


async def test_what_cannot_be_removed_is_said_and_the_others_go(
    settings: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, used = await unpacked(settings, tmp_path, "used")
    archive, stubborn = await unpacked(settings, tmp_path, "stubborn")
    for name in ("other", "another"):
        await unpacked(settings, tmp_path, name)
    rmtree = shutil.rmtree

    def _half(folder: Path) -> None:
        if (folder / "a").exists() and (folder / "a").read_text() == "stubborn":
            (folder / "b").unlink(missing_ok=True)
            raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY), str(folder))
        rmtree(folder)

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", _half)
        for _ in range(2):  # the second time it is what the first has left
            await sweep(settings, used)
            assert used.is_dir()
            assert not stubborn.exists()
            assert len(list(settings.artifacts_dir.iterdir())) == 2
    assert caplog.text.count("artifacts.not_removed") == 2
    again = await unpack(archive, settings.artifacts_dir, settings)
    assert {path.name for path in again.iterdir()} == {"a", "b"}, "half of it is not taken for it"
    await sweep(settings, used)
    assert list(settings.artifacts_dir.iterdir()) == [used]


async def test_who_was_replaced_removes_nothing(settings: Settings, tmp_path: Path) -> None:
    """What no group used when it last looked may be one that its successor unpacks, or uses."""
    folders = [(await unpacked(settings, tmp_path, name))[1] for name in ("one", "two")]
    looked = False

    def fence() -> None:
        if looked:
            raise Fenced("closed")

    async def none() -> set[str]:
        nonlocal looked
        looked = True
        return set()

    with pytest.raises(Fenced):
        await Artifacts(MemoryObjects(2**30), settings, fence).sweep(none)
    assert all(folder.is_dir() for folder in folders)


class Replaced(MemoryObjects):
    """Objects that are replaced, as often as it is told, between being found and being opened."""

    def __init__(self, folder: Path, times: int) -> None:
        super().__init__(2**30)
        self._folder = folder
        self._times = times

    async def fetch(self, bucket: str, key: str) -> Path:
        self._times -= 1
        return self._folder / key if self._times < 0 else self._folder / "gone"


@pytest.mark.parametrize(("times", "ends"), [(2, ""), (3, "s3://b/x.tar.gz is replaced again and again")])
async def test_an_object_that_is_replaced_meanwhile_is_looked_for_again(
    settings: Settings, tmp_path: Path, times: int, ends: str
) -> None:
    await unpacked(settings, tmp_path, "x")
    artifacts = Artifacts(Replaced(tmp_path, times), settings)
    if ends:
        with pytest.raises(Unavailable, match=ends):
            async with artifacts.obtained("s3://b/x.tar.gz"):
                pass
    else:
        async with artifacts.obtained("s3://b/x.tar.gz") as folder:
            assert (folder / "a").read_text() == "x"


async def test_a_folder_without_artifacts_and_what_is_no_folder_are_left(settings: Settings) -> None:
    (settings.artifacts_dir / "file").write_text("")
    (settings.artifacts_dir / "link").symlink_to("/")
    await sweep(settings)
    assert {path.name for path in settings.artifacts_dir.iterdir()} == {"file", "link"}
    shutil.rmtree(settings.artifacts_dir)
    await sweep(settings)


async def test_folders_without_permissions_are_removed(settings: Settings, tmp_path: Path) -> None:
    _, folder = await unpacked(settings, tmp_path, "model")
    inner = folder / "cache" / "inner"
    inner.mkdir(parents=True)
    (inner / "file").write_text("")
    (folder / "cache" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").mkdir(mode=0o750)
    for directory in (inner, inner.parent, folder):
        directory.chmod(0)
    code = f"import pathlib; from bannister.supervisor.artifact import remove; remove(pathlib.Path({str(folder)!r}))"
    done = run_unprivileged(code, tmp_path)
    assert done.returncode == 0, done.stderr
    assert list(settings.artifacts_dir.iterdir()) == []
    assert (tmp_path / "elsewhere").stat().st_mode & 0o777 == 0o750, "no link is followed"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
async def test_what_another_user_owns_stays_and_the_sweep_ends(settings: Settings, tmp_path: Path) -> None:
    _, folder = await unpacked(settings, tmp_path, "model")
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "inference.pyc").write_text("")
    os.chown(folder / "__pycache__", 12345, 12345)
    code = (
        "import pathlib; from bannister.supervisor.artifacts import _folders, _remove\n"
        f"[_remove(folder) for folder in _folders(pathlib.Path({str(settings.artifacts_dir)!r}))]"
    )
    done = run_unprivileged(code, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "cannot be removed" in done.stderr
    assert not folder.exists()
    assert len(list(settings.artifacts_dir.iterdir())) == 1
