"""Requirements of artifacts are installed for real, by pip, from wheels made here."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from tests.instances.conftest import LocalPlace
from tests.wheels import make_wheel

from bannister.clock import SystemClock
from bannister.domain.instance import GroupSpec, InstancePhase
from bannister.errors import Fenced
from bannister.instances import process
from bannister.instances.environments import Environments
from bannister.instances.installing import Wanted

pytestmark = pytest.mark.real
READY, FAILED, PENDING = InstancePhase.READY, InstancePhase.FAILED, InstancePhase.PENDING
MEBIBYTE = 2**20

#: A model that says which modules it finds, and where.
MODEL = """
import http.server, importlib, importlib.util, json, sys

found = {}
for name in sys.argv[2].split(","):
    spec = importlib.util.find_spec(name)
    version = getattr(importlib.import_module(name), "VERSION", "") if spec and name != "numpy" else ""
    found[name] = [version, spec.origin] if spec else None
print(json.dumps({"found": found, "prefix": sys.prefix, "path": __import__("os").environ["PATH"]}), flush=True)

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()
    def log_message(self, *args):
        pass

http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""
#: An interpreter that builds no environment while there is a file.
HELD = """#!/bin/sh
if [ "$2" = build ]; then while [ -e {gate} ]; do sleep 0.02; done; fi
exec {python} "$@"
"""


#: A backend that needs no other packages, and leaves a folder among the sources, as setuptools does: a second build there would fail.
BACKEND = """
import os, zipfile

def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    os.mkdir("build")
    name = "tiny-3.0-py3-none-any.whl"
    info = "tiny-3.0.dist-info/"
    with zipfile.ZipFile(os.path.join(wheel_directory, name), "w") as wheel:
        wheel.write("tiny.py")
        wheel.writestr(info + "METADATA", "Metadata-Version: 2.1\\nName: tiny\\nVersion: 3.0\\n")
        wheel.writestr(info + "WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr(info + "RECORD", "")
    return name
"""


class Models:
    """A place with an image whose models ask for what there is a wheel of."""

    def __init__(self, place: LocalPlace, folder: Path) -> None:
        self.place = place
        self.wheels = folder / "wheels"
        self.wheels.mkdir()
        self.gate = folder / "gate"
        self._folder = folder
        (folder / "model.py").write_text(MODEL)
        self.held = held = folder / "held"
        held.write_text(HELD.format(gate=self.gate, python=sys.executable))
        held.chmod(0o700)
        command = f'command = ["{{python}}", "{folder}/model.py", "{{port}}", "tiny,other,idna,numpy"]'
        rows = [
            f'[[image]]\nmatch = "requiring:1"\n{command}\n',
            f'[[image]]\nmatch = "held:1"\npython = "{held}"\n{command}\n',
            f'[[image]]\nmatch = "own:1"\n{command.replace("{python}", sys.executable)}\n',
        ]
        place.settings.images_path.write_text("\n".join(rows))

    def spec(self, name: str, requirements: str, *, image: str = "requiring:1", **files: Path) -> GroupSpec:
        """A group whose artifact has these requirements, and beside them `files`."""
        code = self._folder / "artifacts" / name / "code"
        code.mkdir(parents=True)
        (code / "requirements.txt").write_text(requirements)
        for place, file in files.items():
            (code / place).mkdir()
            shutil.copy(file, code / place)
        return GroupSpec(name, "shop", "AllTraffic", image, str(code.parent), {}, startup_timeout_seconds=120.0)

    def builds(self) -> bool:
        """An installer runs, and not only an interpreter that is asked what it is."""
        return any(not name.startswith("asked-") for name in process.marked(self.place.settings.data_dir).values())

    def environments(self) -> list[Path]:
        folder = self.place.settings.environments_dir
        return sorted(each for each in folder.iterdir() if not each.name.startswith(".gone-"))


@pytest.fixture
async def models(
    local_place: LocalPlace, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Models:
    local_place.patience_seconds = 120.0  # each has an interpreter started three times, and pip
    found = Models(local_place, tmp_path_factory.mktemp("models"))
    for name, value in (("CONFIG_FILE", "/dev/null"), ("NO_INDEX", "1"), ("FIND_LINKS", str(found.wheels))):
        monkeypatch.setenv(f"PIP_{name}", value)
    return found


async def said(backend, instance: str) -> dict:
    """What a model said of itself."""
    for line in await backend.log_tail(instance, 1000):
        if line.startswith('{"found"'):
            return dict(json.loads(line))
    raise AssertionError(await backend.log_tail(instance, 1000))


async def test_what_is_required_is_installed_once_for_all_who_ask_for_it(models: Models) -> None:
    make_wheel(models.wheels, "tiny", "1.0")
    make_wheel(models.wheels, "idna", "99.0")
    backend = await models.place.started()
    await backend.ensure(models.spec("one", "tiny==1.0\nidna>=99\nnumpy\n"), 2, epoch=1)
    first, second = await models.place.until_all(backend, READY, 2)
    (environment,) = models.environments()
    for instance in (first, second):
        told = await said(backend, instance.id)
        assert told["prefix"] == str(environment)
        assert told["path"].startswith(f"{environment}/bin:")
        assert told["found"]["tiny"][0] == "1.0"
        assert told["found"]["idna"][0] == "99.0", "what is required comes before what the interpreter has"
        assert not told["found"]["numpy"][1].startswith(str(environment)), "what the interpreter has is not installed"
        output = "\n".join(await backend.log_tail(instance.id, 1000))
        assert "Installing requirements.txt with pip" in output
        assert "Successfully installed idna-99.0 tiny-1.0" in output
    await backend.ensure(models.spec("two", "tiny==1.0\nidna>=99\nnumpy\n"), 1, epoch=1)
    third = (await models.place.until_all(backend, READY, 3))[2]
    assert "is installed already" in (await backend.log_tail(third.id, 1000))[0]
    assert models.environments() == [environment]


async def test_options_and_files_are_relative_to_the_code(models: Models) -> None:
    loose = make_wheel(models.wheels / "a", "tiny", "1.0", requires=("other",))
    other = make_wheel(models.wheels / "b", "other", "2.0")
    text = "--find-links links\n-r more/more.txt\n./loose/tiny-1.0-py3-none-any.whl\n"
    more = models.wheels / "more.txt"
    more.write_text("other==2.0\n")
    backend = await models.place.started()
    await backend.ensure(models.spec("one", text, links=other, loose=loose, more=more), 1, epoch=1)
    (one,) = await models.place.until_all(backend, READY)
    found = (await said(backend, one.id))["found"]
    assert (found["tiny"][0], found["other"][0]) == ("1.0", "2.0")
    newer = make_wheel(models.wheels / "c", "other", "2.0", size=1)
    await backend.ensure(models.spec("two", text, links=newer, loose=loose, more=more), 1, epoch=1)
    await models.place.until_all(backend, READY, 2)
    assert len(models.environments()) == 2, "the text is the same, the files are not"


async def test_what_a_nested_file_names_is_taken_from_the_models_environment(models: Models) -> None:
    elsewhere = make_wheel(models.wheels.parent / "elsewhere", "tiny", "1.0").parent
    more = models.wheels / "more.txt"
    more.write_text("--find-links ${WHERE}\ntiny==1.0\n")
    spec = dataclasses.replace(
        models.spec("one", "-r more/more.txt\n", more=more), environment={"WHERE": str(elsewhere)}
    )
    backend = await models.place.started()
    await backend.ensure(spec, 1, epoch=1)
    (one,) = await models.place.until(backend, lambda found: [each.phase for each in found] in ([READY], [FAILED]))
    assert one.phase is READY, one.reason
    assert (await said(backend, one.id))["found"]["tiny"][0] == "1.0"


async def test_packages_are_built_beside_the_artifact_and_not_in_it(models: Models) -> None:
    """Two interpreters at once build from the same sources."""
    spec = models.spec("one", "./ours\n")
    sources = Path(spec.artifact_dir or "") / "code" / "ours"
    sources.mkdir()
    (sources / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    )
    (sources / "backend.py").write_text(BACKEND)
    (sources / "tiny.py").write_text("VERSION = '3.0'\n")
    backend = await models.place.started()
    await backend.ensure(spec, 1, epoch=1)
    await backend.ensure(dataclasses.replace(spec, id="two", image="held:1"), 1, epoch=1)
    found = await models.place.until(
        backend, lambda found: len(found) == 2 and all(each.phase in (READY, FAILED) for each in found)
    )
    assert [each.reason for each in found] == [None, None]
    assert [(await said(backend, each.id))["found"]["tiny"][0] for each in found] == ["3.0", "3.0"]
    assert len(models.environments()) == 2
    left = {each.name for each in sources.parent.rglob("*") if each.name != "__pycache__" and each.suffix != ".pyc"}
    assert left == {"requirements.txt", "ours", "pyproject.toml", "backend.py", "tiny.py"}


async def test_other_constraints_of_the_machine_have_another_environment(
    models: Models, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for version in ("1.0", "2.0"):
        make_wheel(models.wheels, "tiny", version)
    constraints = tmp_path / "constraints.txt"
    monkeypatch.setenv("PIP_CONSTRAINT", str(constraints))
    backend = await models.place.started()
    for count, version in enumerate(("1.0", "2.0"), start=1):
        constraints.write_text(f"tiny=={version}\n")
        await backend.ensure(models.spec(version, "tiny\n"), 1, epoch=1)
        instances = await models.place.until_all(backend, READY, count)
        assert (await said(backend, instances[-1].id))["found"]["tiny"][0] == version


async def test_a_failure_is_said_once_with_its_decisive_lines(models: Models) -> None:
    backend = await models.place.started()
    await backend.ensure(models.spec("one", "nosuch==1.0\n"), 2, epoch=1)
    for one in await models.place.until_all(backend, FAILED, 2):
        assert one.reason == (
            "The primary container for production variant AllTraffic did not pass the ping health check. "
            "The instance cannot be started: code/requirements.txt cannot be installed, the installer ended with exit status 1. "
            "From its log:\n"
            "ERROR: Could not find a version that satisfies the requirement nosuch==1.0 (from versions: none)\n"
            "ERROR: No matching distribution found for nosuch==1.0"
        )
        assert one.restarts == 0
        log = await backend.log_tail(one.id, 1000)
        assert [line for line in log if line.startswith("Looking in links")], "the whole output is in its log"
    assert models.environments() == []


async def test_what_addresses_hold_before_an_at_is_in_no_reason_and_no_log(models: Models) -> None:
    """git says whose password it could not read, with all that the address had."""
    models.held.write_text(
        f'#!/bin/sh\nif [ "$2" != build ]; then exec {sys.executable} "$@"; fi\n'
        'echo Cloning; printf "ERROR: no Password for \'https://me:ses"\n'
        f"while [ -e {models.gate} ]; do sleep 0.02; done\n"
        "echo \"ame@git.example/tiny'\"; printf 'no end of line: https://sesame@git.example'; exit 1\n"
    )
    models.gate.touch()
    backend = await models.place.started()
    await backend.ensure(models.spec("one", "tiny\n", image="held:1"), 1, epoch=1)
    (one,) = await models.place.until(backend, lambda found: found[0].reason is not None)
    log = models.place.settings.instances_dir / "running" / one.id / "log"
    await eventually(lambda: log.exists() and "Cloning" in log.read_text())
    models.gate.unlink()
    (one,) = await models.place.until_all(backend, FAILED)
    assert one.reason is not None
    said_lines = ["ERROR: no Password for 'https://git.example/tiny'", "no end of line: https://git.example"]
    assert one.reason.splitlines()[1:] == said_lines
    assert await backend.log_tail(one.id, 1000) == ["Cloning", *said_lines]


async def test_what_is_printed_at_once_is_in_the_log_whole(models: Models) -> None:
    count = 300_000
    models.held.write_text(
        f'#!/bin/sh\nif [ "$2" = build ]; then seq {count}; exit 1; fi\nexec {sys.executable} "$@"\n'
    )
    backend = await _with(models.place, instance_log_bytes_max=16 * MEBIBYTE).started()
    await backend.ensure(models.spec("one", "tiny\n", image="held:1"), 1, epoch=1)
    (one,) = await models.place.until_all(backend, FAILED)
    log = models.place.settings.instances_dir / "running" / one.id / "log"
    assert log.read_text().splitlines() == [str(number) for number in range(1, count + 1)]


async def test_an_image_with_a_command_of_its_own_is_left_alone(models: Models) -> None:
    backend = await models.place.started()
    await backend.ensure(models.spec("one", "nosuch==1.0\n", image="own:1"), 1, epoch=1)
    (one,) = await models.place.until_all(backend, READY)
    assert (await said(backend, one.id))["prefix"] == sys.prefix


async def test_installing_is_shown_takes_no_start_up_time_and_is_bounded_itself(models: Models) -> None:
    make_wheel(models.wheels, "tiny", "1.0")
    models.gate.touch()
    place = _with(models.place, environment_build_timeout_seconds=0.5, environment_check_seconds=0.05)
    backend = await place.started()
    await backend.ensure(models.spec("one", "tiny\n", image="held:1"), 1, epoch=1)
    (shown,) = await place.until(backend, lambda found: found[0].reason is not None)
    assert (shown.phase, shown.reason) == (PENDING, "The instance waits until its code/requirements.txt is installed.")
    (one,) = await place.until_all(backend, FAILED)
    assert "code/requirements.txt was not installed within 0.5 seconds" in one.reason
    assert process.marked(place.settings.data_dir) == {}
    assert models.environments() == []


async def test_who_no_longer_waits_ends_the_build(models: Models) -> None:
    models.gate.touch()
    backend = await models.place.started()
    await backend.ensure(models.spec("one", "tiny\n", image="held:1"), 2, epoch=1)
    await backend.ensure(models.spec("two", "tiny\n", image="held:1"), 1, epoch=1)
    await models.place.until(backend, lambda found: all(one.reason for one in found))
    await eventually(models.builds)
    await backend.remove("one", epoch=1)
    await models.place.until(backend, lambda found: len(found) == 1)
    assert process.marked(models.place.settings.data_dir), "the other group waits on"
    await backend.remove("two", epoch=1)
    await models.place.until(backend, lambda found: not found)
    assert process.marked(models.place.settings.data_dir) == {}
    assert models.environments() == []


async def test_a_restarted_instance_keeps_its_environment(models: Models) -> None:
    make_wheel(models.wheels, "tiny", "1.0")
    backend = await models.place.started()
    await backend.ensure(models.spec("one", "tiny\n"), 1, epoch=1)
    (one,) = await models.place.until_all(backend, READY)
    shutil.rmtree(models.wheels)
    models.place.crash(one.id)
    await models.place.until(backend, lambda found: found[0].phase is READY and found[0].restarts == 1)
    assert (await said(backend, one.id))["found"]["tiny"][0] == "1.0"


async def test_room_is_bounded_and_the_unused_make_it(models: Models) -> None:
    for name in ("tiny", "other"):
        make_wheel(models.wheels, name, "1.0", size=2 * MEBIBYTE)
    place = _with(models.place, environments_bytes_max=3 * MEBIBYTE)
    backend = await place.started()
    await backend.ensure(models.spec("one", "tiny\n"), 1, epoch=1)
    await place.until_all(backend, READY)
    (kept,) = models.environments()
    await backend.ensure(models.spec("two", "other\n"), 1, epoch=1)
    _, refused = await place.until(backend, lambda found: [one.phase for one in found] == [READY, FAILED])
    assert "takes more room than is left: environments may have 3145728 bytes" in refused.reason
    assert models.environments() == [kept]
    for group in ("one", "two"):
        await backend.remove(group, epoch=1)
    await place.until(backend, lambda found: not found)
    assert models.environments() == [kept], "unused, and there is room"
    await backend.ensure(models.spec("three", "other\n"), 1, epoch=1)
    await place.until_all(backend, READY)
    (left,) = models.environments()
    assert left != kept


async def test_one_that_was_replaced_finishes_nothing(models: Models) -> None:
    make_wheel(models.wheels, "tiny", "1.0")
    models.gate.touch()
    settings, fenced = models.place.settings, False

    def fence() -> None:
        if fenced:
            raise Fenced("Another one has taken over.")

    artifact = models.spec("one", "tiny\n").artifact_dir
    assert artifact is not None
    environments = Environments(settings, SystemClock(), fence, set)
    wanted = Wanted(Path(artifact), str(models.held), {}, os.environ["PATH"])
    building = asyncio.create_task(environments.obtained(wanted, models.gate.with_name("log"), lambda why: None))
    await eventually(models.builds)
    fenced = True
    models.gate.unlink()
    with pytest.raises(Fenced):
        await building
    assert list(settings.environments_dir.glob("*/bannister-environment.json")) == []
    with pytest.raises(Fenced):
        await environments.obtained(wanted, models.gate.with_name("log"), lambda why: None)
    assert len(models.environments()) == 1, "the half that was there, and nothing new"


async def test_a_full_disk_is_said_and_room_on_it_waited_for(models: Models, monkeypatch: pytest.MonkeyPatch) -> None:
    make_wheel(models.wheels, "tiny", "1.0")
    free = 3 * MEBIBYTE
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=free))
    place, spec = models.place, models.spec("one", "tiny\n")
    backend = await place.started()
    await backend.ensure(spec, 1, epoch=1)
    (one,) = await place.until(backend, lambda found: "started again" in (found[0].reason or ""))
    folder = place.settings.environments_dir
    assert one.reason.startswith(
        f"The instance cannot be started now: code/requirements.txt cannot be installed, because the disk of {folder} is full (3 MiB are free); it is "
    )
    assert one.phase is PENDING
    assert models.environments() == []
    free = 2**40
    await place.until_all(backend, READY)
    free = 0
    other = dataclasses.replace(spec, id="two")
    await backend.ensure(other, 1, epoch=1)
    await place.until_all(backend, READY, 2)  # the environment is there
    late = dataclasses.replace(models.spec("three", "tiny>=1\n"), startup_timeout_seconds=0.5)
    await backend.ensure(late, 1, epoch=1)
    found = await place.until(backend, lambda found: found[-1].phase is FAILED)
    assert "is full (0 MiB are free); it was tried for 0.5 seconds." in found[-1].reason
    assert len(models.environments()) == 1


async def test_an_installer_that_finds_no_room_is_tried_again(models: Models) -> None:
    """Where its cache is, for example: another disk than that of the environments."""
    make_wheel(models.wheels, "tiny", "1.0")
    script = (
        f'#!/bin/sh\nif [ "$2" = build ] && [ -e {models.gate} ]; then\n'
        "  echo \"ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device: '/cache/x'\"; exit 1\nfi\n"
        f'exec {sys.executable} "$@"\n'
    )
    models.held.write_text(script)
    models.gate.touch()
    backend = await models.place.started()
    await backend.ensure(models.spec("one", "tiny\n", image="held:1"), 1, epoch=1)
    (one,) = await models.place.until(backend, lambda found: "started again" in (found[0].reason or ""))
    assert "because a disk is full (" in one.reason
    assert "No space left on device: '/cache/x'" in one.reason
    models.gate.unlink()
    await models.place.until_all(backend, READY)


async def test_an_interpreter_that_is_not_there_is_said(models: Models) -> None:
    models.place.settings.images_path.write_text('[[image]]\nmatch = "held:1"\npython = "/no/such/python"\n')
    backend = await models.place.started()
    await backend.ensure(models.spec("one", "tiny\n", image="held:1"), 1, epoch=1)
    (one,) = await models.place.until_all(backend, FAILED)
    assert "There is no interpreter '/no/such/python' to install code/requirements.txt for." in one.reason


async def test_what_was_not_finished_is_never_used_and_removed(models: Models) -> None:
    make_wheel(models.wheels, "tiny", "1.0")
    backend = await models.place.started()
    await backend.ensure(models.spec("one", "tiny\n"), 1, epoch=1)
    await models.place.until_all(backend, READY)
    (whole,) = models.environments()
    await backend.close(stop_instances=True)
    half = whole.with_name(f"{whole.name[:-8]}00000000")  # comes first among those of its key
    shutil.copytree(whole, half, symlinks=True)
    (half / "bannister-environment.json").unlink()
    half.with_name(f"{half.name}.log").write_text("Installing")
    (whole.with_name(".gone-1")).mkdir()
    second = await models.place.started()
    assert models.environments() == [whole]
    await second.ensure(models.spec("two", "tiny\n"), 1, epoch=2)
    (one,) = await models.place.until_all(second, READY)
    assert (await said(second, one.id))["prefix"] == str(whole)


def _with(place: LocalPlace, **changes: object) -> LocalPlace:
    place.settings = dataclasses.replace(place.settings, **changes)
    return place


async def eventually(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.01)


async def test_one_that_served_without_goes_on_without_where_nothing_can_be_installed(models: Models) -> None:
    """An earlier version ignored what its artifact requires; a restart years later must not be its end."""
    place = models.place
    spec = models.spec("one", "tiny\n")
    requirements = Path(spec.artifact_dir or "") / "code" / "requirements.txt"
    requirements.rename(requirements.with_suffix(".later"))
    backend = await place.started()
    await backend.ensure(spec, 1, epoch=1)
    (one,) = await place.until_all(backend, READY)
    requirements.with_suffix(".later").rename(requirements)
    place.crash(one.id)
    await place.until(backend, lambda found: found[0].phase is READY and found[0].restarts == 1)
    assert any("is started without, as it was before" in line for line in await backend.log_tail(one.id, 1000))
