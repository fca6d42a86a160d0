"""Artifacts come from people one need not trust."""

from __future__ import annotations

import asyncio
import gzip
import io
import os
import stat
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from bannister.errors import Invalid
from bannister.settings import Settings
from bannister.supervisor.artifact import remove, unpack

LIMITS = Settings(data_dir=Path("unused"), artifact_bytes_max=1_000_000, artifact_files_max=20)


def member(name: str, content: bytes | None = b"", kind: bytes = tarfile.REGTYPE, link: str = "", mode: int = 0o644):
    info = tarfile.TarInfo(name)
    info.type = kind
    info.linkname = link
    info.mode = mode
    info.size = len(content) if kind == tarfile.REGTYPE else 0
    return info, content


def archive(folder: Path, *members, how: str = "w:gz", format: int = tarfile.PAX_FORMAT) -> Path:  # noqa: A002
    path = folder / "model.tar.gz"
    with tarfile.open(path, how, format=format) as tar:
        for info, content in members:
            tar.addfile(info, io.BytesIO(content))
    return path


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def into(tmp_path):
    folder = tmp_path / "artifacts"
    yield folder
    for each in folder.glob("*"):
        remove(each)


def second(folder: Path, *members) -> Path:
    """An archive of code, beside the model's."""
    (folder / "source").mkdir(exist_ok=True)
    return archive(folder / "source", *members)


async def test_code_of_an_archive_of_its_own_goes_into_the_folder_code(tmp_path, into):
    code = second(tmp_path, member("inference.py", b"new"), member("./lib/more.py", b"more"))
    model = archive(
        tmp_path, member("model.joblib", b"model"), member("code/inference.py", b"old"), member("code/kept")
    )
    folder = await unpack(model, into, LIMITS, code)
    assert contents(folder) == {
        "model.joblib": b"model",
        "code/inference.py": b"new",
        "code/lib/more.py": b"more",
        "code/kept": b"",
    }
    alone = await unpack(model, into, LIMITS)
    assert contents(alone)["code/inference.py"] == b"old"
    assert await unpack(model, into, LIMITS, code) == folder != alone
    other = await unpack(model, into, LIMITS, second(tmp_path, member("inference.py", b"newer")))
    assert contents(other)["code/inference.py"] == b"newer"
    assert contents(folder)["code/inference.py"] == b"new"


@pytest.mark.parametrize(
    ("members", "says"),
    [
        ([member("../inference.py")], "points outside the archive"),
        ([member("link", kind=tarfile.SYMTYPE, link="../../outside")], "outside the archive"),
        ([member("big", bytes(600_000))], "larger than 1000000 bytes"),
        ([member(f"{number}") for number in range(15)], "more than 20 files"),
    ],
)
async def test_code_is_trusted_no_more_and_counts_with_the_model(tmp_path, into, members, says):
    code = second(tmp_path, *members)
    model = archive(tmp_path, member("weights", bytes(500_000)), *(member(f"f{number}") for number in range(9)))
    with pytest.raises(Invalid, match=says):
        await unpack(model, into, LIMITS, code)
    assert list(into.iterdir()) == []


async def test_a_link_for_the_folder_code_is_never_written_through(tmp_path, into):
    (tmp_path / "outside").mkdir()
    code = second(tmp_path, member("inference.py", b"new"))
    model = archive(tmp_path, member("code", kind=tarfile.SYMTYPE, link=str(tmp_path / "outside")))
    with pytest.raises(Invalid, match="is a link to"):
        await unpack(model, into, LIMITS, code)
    assert list((tmp_path / "outside").iterdir()) == []


@pytest.mark.parametrize("how", ["w:gz", "w"])
@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
async def test_an_artifact_is_unpacked(tmp_path, into, how, form):
    files = {
        "model.joblib": os.urandom(70_000),
        "code/inference.py": b"def model_fn(): ...",
        "empty": b"",
        "b" * 90: b"x",
    }
    path = archive(tmp_path, *(member(f"./{name}", data) for name, data in files.items()), how=how, format=form)
    folder = await unpack(path, into, LIMITS)
    assert contents(folder) == files
    assert folder.parent == into
    assert len(folder.name) == 64


async def test_files_are_read_only_and_folders_are_not(tmp_path, into):
    path = archive(
        tmp_path,
        member("code/run", b"#!/bin/sh", mode=0o6777),
        member("data", b"1", mode=0o666),
        member("d", kind=tarfile.DIRTYPE),
    )
    folder = await unpack(path, into, LIMITS)
    modes = {str(each.relative_to(into)): stat.S_IMODE(each.stat().st_mode) for each in [folder, *folder.rglob("*")]}
    name = folder.name
    assert modes == {
        name: 0o755,
        f"{name}/code": 0o755,
        f"{name}/code/run": 0o555,
        f"{name}/data": 0o444,
        f"{name}/d": 0o755,
    }


def run_unprivileged(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Without its capabilities even root is held to permissions."""
    setpriv = Path("/usr/bin/setpriv")
    if os.geteuid() == 0 and not setpriv.exists():
        pytest.skip("root may write and delete anything")
    drop = [str(setpriv), "--bounding-set=-all", "--inh-caps=-all"] if os.geteuid() == 0 else []
    return subprocess.run(
        [*drop, sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=folder, timeout=60
    )


async def test_its_user_can_delete_it_like_any_folder(tmp_path, into):
    path = archive(tmp_path, member("code/inference.py", b"1"), member("d", kind=tarfile.DIRTYPE))
    await unpack(path, into, LIMITS)
    done = run_unprivileged(f"import shutil; shutil.rmtree({str(into)!r})", tmp_path)
    assert done.returncode == 0, done.stderr
    assert not into.exists()


async def test_one_instance_cannot_write_into_what_another_loads(tmp_path, into):
    """Beside it, it can: that is its own affair, and nothing that was unpacked is changed by it."""
    folder = await unpack(archive(tmp_path, member("code/inference.py", b"x = 1\n")), into, LIMITS)
    code = (
        "import sys, pathlib; sys.path.insert(0, 'code'); import inference; pathlib.Path('beside').write_text('x')\n"
        "try: open('code/inference.py', 'r+')\n"
        "except PermissionError: print('refused')"
    )
    done = run_unprivileged(code, folder)
    assert done.stdout == "refused\n", done.stderr
    assert (folder / "code" / "inference.py").read_bytes() == b"x = 1\n"
    assert (await unpack(tmp_path / "model.tar.gz", into, LIMITS)) == folder


async def test_the_same_artifact_is_unpacked_once_also_at_the_same_time(tmp_path, into):
    path = archive(tmp_path, *(member(f"{number}", os.urandom(1000)) for number in range(20)))
    folders = await asyncio.gather(*(unpack(path, into, LIMITS) for _ in range(8)))
    assert len(set(folders)) == 1
    assert list(into.iterdir()) == [folders[0]]
    before = folders[0].stat().st_ino
    assert (await unpack(path, into, LIMITS)).stat().st_ino == before


async def test_links_inside_are_kept(tmp_path, into):
    path = archive(
        tmp_path,
        member("latest", kind=tarfile.SYMTYPE, link="v1/model"),
        member("v1/model", b"weights"),
        member("v1/up", kind=tarfile.SYMTYPE, link="../v1"),
        member("again", kind=tarfile.LNKTYPE, link="v1/model"),
    )
    folder = await unpack(path, into, LIMITS)
    assert (folder / "latest").read_bytes() == (folder / "again").read_bytes() == b"weights"
    assert (folder / "v1/up").is_symlink()


async def test_a_later_member_takes_the_place_of_a_link(tmp_path, into):
    link = member("code/inference.py", kind=tarfile.SYMTYPE, link="../serve.py")
    model = archive(
        tmp_path,
        link,
        member("serve.py", b"old"),
        member("a", kind=tarfile.SYMTYPE, link="serve.py"),
        member("a", b"a"),
    )
    folder = await unpack(model, into, LIMITS, second(tmp_path, member("inference.py", b"new")))
    assert contents(folder) == {"code/inference.py": b"new", "serve.py": b"old", "a": b"a"}
    again = archive(tmp_path, member("a", b"a"), member("b", b"b"), member("a", kind=tarfile.SYMTYPE, link="b"))
    assert (await unpack(again, into, LIMITS) / "a").read_bytes() == b"b"


REFUSED = {
    "absolute": ([member("/etc/cron.d/x", b"x")], "'/etc/cron.d/x' has an absolute path"),
    "parent": ([member("a/../../x", b"x")], r"'a/../../x' points outside the archive \('..'\)"),
    "symlink out": ([member("up", kind=tarfile.SYMTYPE, link="../..")], "'up' is a link to '../..', outside"),
    "symlink absolute": (
        [member("passwd", kind=tarfile.SYMTYPE, link="/etc/passwd")],
        "'passwd' is a link to '/etc/passwd'",
    ),
    "hard link out": ([member("x", kind=tarfile.LNKTYPE, link="../../x")], "'../../x' points outside"),
    "hard link absolute": (
        [member("x", kind=tarfile.LNKTYPE, link="/etc/passwd")],
        "'/etc/passwd' has an absolute path",
    ),
    "hard link to nothing": (
        [member("x", kind=tarfile.LNKTYPE, link="y")],
        "'x' is a link to 'y', which does not come",
    ),
    "hard link to a folder": (
        [member("d", kind=tarfile.DIRTYPE), member("x", kind=tarfile.LNKTYPE, link="d")],
        "'x' is a hard link to the folder 'd'",
    ),
    "no name": ([member(".", b"x")], "'.' has no name"),
    "device": ([member("null", kind=tarfile.CHRTYPE)], "'null' is a device or a pipe"),
    "block device": ([member("sda", kind=tarfile.BLKTYPE)], "'sda' is a device or a pipe"),
    "pipe": ([member("pipe", kind=tarfile.FIFOTYPE)], "'pipe' is a device or a pipe"),
    "through a symlink": (
        [member("d", kind=tarfile.SYMTYPE, link="."), member("d/x", b"x")],
        "'d' is both a link and something else",
    ),
    "links that lead out together": (
        [
            member("a/b/c", kind=tarfile.SYMTYPE, link="../.."),
            member("z", kind=tarfile.SYMTYPE, link="a/b/c/../.."),
        ],
        "'z' is a link to 'a/b/c/../..', outside",
    ),
    "loop": ([member("l", kind=tarfile.SYMTYPE, link="l")], "'l' is a link to 'l', in a circle"),
    "file and folder": ([member("m", b"x"), member("m/x", b"x")], "'m/x' is both a file and a folder"),
    "too many": ([member(str(number)) for number in range(21)], "more than 20 files"),
    "too large": ([member("a", b"0" * 600_000), member("b", b"0" * 600_000)], "larger than 1000000 bytes"),
    "long name": ([member("x" * 300, b"x")], "has a name that the file system does not take"),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_what_may_not_be_in_an_artifact_is_refused_by_name(tmp_path, into, case):
    members, sentence = REFUSED[case]
    path = archive(tmp_path, *members)
    with pytest.raises(Invalid, match=sentence):
        await unpack(path, into, LIMITS)
    assert list(into.iterdir()) == []
    assert {each.name for each in tmp_path.iterdir()} == {"model.tar.gz", "artifacts"}


def _zip() -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as target:
        target.writestr("model.joblib", "x")
    return data.getvalue()


@pytest.mark.parametrize(
    "data",
    [b"", b"\x80\x04joblib", b"text" * 1000, gzip.compress(b"text" * 1000), b"\x1f\x8b", _zip(), gzip.compress(b"")],
    ids=["empty", "joblib", "text", "zipped text", "gzip's first bytes", "zip", "zipped nothing"],
)
async def test_what_is_no_archive_is_refused(tmp_path, into, data):
    path = tmp_path / "model.tar.gz"
    path.write_bytes(data)
    with pytest.raises(Invalid, match=r"is not a complete tar.gz archive"):
        await unpack(path, into, LIMITS)
    assert list(into.iterdir()) == []


@pytest.mark.parametrize("how", ["w:gz", "w"])
@pytest.mark.parametrize("keep", [0.3, 0.85])
async def test_a_truncated_archive_is_refused(tmp_path, into, how, keep):
    path = archive(tmp_path, *(member(str(number), os.urandom(20_000)) for number in range(3)), how=how)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * keep)])
    with pytest.raises(Invalid, match=r"is not a complete tar.gz archive"):
        await unpack(path, into, LIMITS)


async def test_a_damaged_archive_is_refused(tmp_path, into):
    path = archive(tmp_path, *(member(str(number), os.urandom(20_000)) for number in range(3)))
    data = bytearray(path.read_bytes())
    data[30_000] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(Invalid, match=r"is not a complete tar.gz archive"):
        await unpack(path, into, LIMITS)


async def test_a_damaged_header_is_not_taken_for_the_end(tmp_path, into):
    path = archive(tmp_path, member("a", b"1" * 512), member("b", b"2" * 512), how="w")
    data = bytearray(path.read_bytes())
    data[1024 + 20] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(Invalid, match=r"is not a complete tar.gz archive"):
        await unpack(path, into, LIMITS)


async def test_a_bomb_is_refused_early(tmp_path, into):
    """64 GB of zeros, announced and never written out: refused by what the header says."""
    info = tarfile.TarInfo("zeros")
    info.size = 64 * 1024**3
    path = tmp_path / "bomb"
    path.write_bytes(gzip.compress(info.tobuf() + bytes(10_000_000)))
    with pytest.raises(Invalid, match="larger than 1000000 bytes"):
        await unpack(path, into, LIMITS)


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.XGLTYPE])
async def test_an_extended_header_does_not_swell_in_memory(tmp_path, into, kind):
    info = tarfile.TarInfo("header")
    info.type = kind
    info.size = 50_000_000
    path = tmp_path / "bomb"
    path.write_bytes(gzip.compress(info.tobuf(tarfile.GNU_FORMAT) + bytes(50_000_000)))
    with pytest.raises(Invalid, match="oversized header"):
        await unpack(path, into, LIMITS)
