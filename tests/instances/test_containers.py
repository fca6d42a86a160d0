"""What holds for containers beyond what every backend promises: SageMaker's contract, the pinned image, an engine that comes and goes."""

from __future__ import annotations

import asyncio
import dataclasses
import errno
import json
import os
import socket
import time
import urllib.request
from pathlib import Path

import pytest
from tests.instances.conftest import TIMEOUT_SECONDS
from tests.instances.container_engine import LARGE

from bannister.clock import SystemClock
from bannister.domain.instance import InstancePhase
from bannister.errors import Unavailable
from bannister.instances.container_images import trouble_in
from bannister.instances.container_request import capability, limits_of, told
from bannister.instances.engine import NONE, Engine, EngineRefused, Engines
from bannister.instances.folder_logs import FolderLogs
from bannister.instances.images import ImageTable
from bannister.instances.records import FolderRecords, PinnedImage
from bannister.settings import Settings

READY = InstancePhase.READY
real = pytest.mark.real


@real
async def test_it_is_run_as_sagemaker_runs_it(container_place):
    place = container_place
    backend = await place.started()
    await backend.ensure(place.spec(), 1, epoch=1)
    (one,) = await place.until_all(backend, READY)
    found = place.container(one.id)
    assert found["Name"].startswith(f"/bannister-{one.id}-")
    config, host = found["Config"], found["HostConfig"]
    assert config["Cmd"] == ["python3", "/opt/ml/model/model_server.py", "good", "8080", "0.0.0.0"]
    assert {"COLOUR=green", "SAGEMAKER_BIND_TO_PORT=8080"} <= set(config["Env"])
    assert not [each for each in config["Env"] if each.startswith(("BANNISTER_", "HOME=", "AWS_"))] or place.is_real
    labels = {name: value for name, value in config["Labels"].items() if name.startswith("bannister.")}
    assert labels == {
        "bannister.data-dir": str(place.settings.data_dir),
        "bannister.instance": one.id,
        "bannister.epoch": "7",
    }
    (mount,) = found["Mounts"]
    assert (mount["Source"], mount["Destination"], mount["RW"]) == (str(place.folder), "/opt/ml/model", False)
    assert host["PortBindings"] == {"8080/tcp": [{"HostIp": "127.0.0.1", "HostPort": str(one.port)}]}


@real
async def test_it_has_a_small_share_of_the_processor_until_it_is_ready(container_place):
    place = container_place
    backend = await place.started()
    await backend.ensure(place.spec("silent"), 1, epoch=1)
    await backend.ensure(place.spec(), 1, epoch=1)
    silent, good = await place.until(
        backend, lambda found: [one.phase for one in found] == [InstancePhase.STARTING, READY]
    )
    await _until(lambda: place.container(good.id)["HostConfig"]["CpuShares"] in (0, 1024))
    share = place.container(silent.id)["HostConfig"]["CpuShares"]
    # Podman learned late to give it back: there it starts with the whole.
    assert share == round(1024 / 1.25**5) or (place.is_real and share == 0)


@real
async def test_its_type_limits_it(container_place):
    place = container_place
    limits = limits_of("ml.t2.medium", capability(place.ask("GET", "/info")))
    backend = await place.started()
    await backend.ensure(dataclasses.replace(place.spec(), instance_type="ml.t2.medium"), 1, epoch=1)
    (one,) = await place.until_all(backend, READY)
    host = place.container(one.id)["HostConfig"]
    assert host.get("Memory", 0) == host.get("MemorySwap", 0) == (limits.memory_bytes or 0)
    assert host.get("NanoCpus", 0) == (limits.cores or 0) * 10**9
    sentence = told("ml.t2.medium", limits)
    assert (await backend.log_tail(one.id, 100))[:1] == ([f"[bannister] {sentence}"] if sentence else [])
    used = await backend.usage()
    assert used[one.id].memory_bytes == limits.memory_bytes
    found = await backend.memory()
    assert found is None or found.used == {one.group: pytest.approx(used[one.id].resident_bytes, rel=0.5)}


@real
async def test_a_shadows_yields_for_good(container_place):
    place = container_place
    backend = await place.started()
    await backend.ensure(dataclasses.replace(place.spec(), is_shadow=True), 1, epoch=1)
    (one,) = await place.until_all(backend, READY)
    assert place.container(one.id)["HostConfig"]["OomScoreAdj"] == 500
    await asyncio.sleep(0.5)  # pings after which it would have been given more
    assert place.container(one.id)["HostConfig"]["CpuShares"] == round(1024 / 1.25**10)


@real
async def test_a_login_that_a_helper_keeps_is_said_where_the_registry_refuses(container_place, tmp_path, monkeypatch):
    place = container_place
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    (tmp_path / "config.json").write_text('{"credHelpers": {"docker.io": "desktop"}}')
    place.settings.images_path.write_text('[[image]]\nmatch = "bannister-test-nobody/*"\ncontainer = true\n')
    backend = await place.started()
    await backend.ensure(dataclasses.replace(place.spec(), image="bannister-test-nobody/has:1"), 1, epoch=1)
    (one,) = await place.until_all(backend, InstancePhase.FAILED)
    assert "cannot be pulled (" in one.reason
    assert "). The login for docker.io is kept by a credential helper (desktop, in " in one.reason


@real
async def test_all_of_a_group_run_the_image_that_its_first_one_ran(container_place):
    """The tag moves while the group runs, as after a `docker pull`; the next group gets what the tag means then."""
    place = container_place
    backend = await place.started()
    await backend.ensure(place.spec(), 1, epoch=1)
    (one,) = await place.until_all(backend, READY)
    first = place.container(one.id)["Image"]
    place.move("bannister-test/good:1")
    await backend.close(stop_instances=False)
    backend = await place.started()
    place.crash(one.id)
    await place.until(backend, lambda found: found[0].phase is READY and found[0].restarts == 1)
    await backend.ensure(place.spec(), 2, epoch=1)
    await backend.ensure(dataclasses.replace(place.spec(), id="shop-good/2"), 1, epoch=1)
    found = await place.until_all(backend, READY, 3)
    images = [place.container(each.id)["Image"] for each in found]
    assert images[:2] == [first, first]
    assert images[2] != first


@real
@pytest.mark.parametrize("policy", ["missing", "always"])
async def test_a_pinned_image_that_was_removed_is_pulled_again_by_its_digest(place_of_own_engine, policy):
    place, _ = place_of_own_engine
    place.settings = dataclasses.replace(place.settings, container_pull=policy)
    backend, one = await _ready(place)
    first = place.container(one.id)["Image"]
    place.move("bannister-test/good:1")
    place.ask("DELETE", f"/images/{first}")
    place.crash(one.id)
    await place.until(backend, lambda found: found[0].phase is READY and found[0].restarts == 1)
    assert place.container(one.id)["Image"] == first


@real
@pytest.mark.parametrize(
    ("policy", "forgotten", "expected"),
    [
        ("missing", True, "was removed, and the image 'bannister-test/good@sha256:"),
        ("never", False, "was removed, and container_pull is never: docker pull bannister-test/good@sha256:"),
    ],
)
async def test_a_pinned_image_that_cannot_be_had_again_is_said_with_what_to_do(
    place_of_own_engine, policy, forgotten, expected
):
    """Although its name means an image that is there: another."""
    place, _ = place_of_own_engine
    backend, one = await _ready(place)
    first = place.container(one.id)["Image"]
    await backend.close(stop_instances=False)
    place.settings = dataclasses.replace(place.settings, container_pull=policy, startup_attempts_max=1)
    backend = await place.started()
    place.move("bannister-test/good:1")
    place.ask("DELETE", f"/images/{first}")
    if forgotten:
        place.ask("POST", "/test/forget-digests")
    place.crash(one.id)
    (one,) = await place.until(backend, lambda found: "was removed" in (found[0].reason or ""))
    assert f"the image {first} that this fleet runs, 'bannister-test/good:1' when it began, {expected}" in one.reason
    assert "or update the endpoint: a new fleet takes what the name means now" in one.reason


async def _ready(place):
    backend = await place.started()
    await backend.ensure(place.spec(), 1, epoch=1)
    (one,) = await place.until_all(backend, READY)
    return backend, one


@pytest.mark.parametrize("content", ['"sha256:1"', '{"id":"sha256:1"}'])
def test_an_image_that_an_earlier_version_pinned_stays_pinned(tmp_path, content):
    records = FolderRecords(tmp_path, FolderLogs(tmp_path, SystemClock(), 1, 1))
    (tmp_path / "groups").mkdir()
    (tmp_path / "groups" / "shop-good%2F1.image").write_text(content)
    assert records.pinned_image("shop-good/1") == PinnedImage("sha256:1")


@real
async def test_an_image_that_nobody_has_is_said(container_place):
    place = container_place
    place.settings.images_path.write_text('[[image]]\nmatch = "bannister-test-nobody/*"\ncontainer = true\n')
    backend = await place.started()
    spec = dataclasses.replace(place.spec(), image="bannister-test-nobody/has:1")
    await backend.ensure(spec, 1, epoch=1)
    (one,) = await place.until_all(backend, InstancePhase.FAILED)
    assert "cannot be started: the image 'bannister-test-nobody/has:1' cannot be pulled (" in one.reason


@real
async def test_a_pull_may_tell_any_amount(place_of_own_engine):
    """An hour's progress of large layers is more than any other answer may have."""
    place, _ = place_of_own_engine
    row = f'[[image]]\nmatch = "*/{LARGE}:*"\ncontainer = true\ncommand = ["python3", "{{model_dir}}/model_server.py", "good", "{{port}}", "0.0.0.0"]\n'
    place.settings.images_path.write_text(row)
    backend = await place.started()
    await backend.ensure(dataclasses.replace(place.spec(), image=f"bannister-test/{LARGE}:1"), 1, epoch=1)
    (one,) = await place.until_all(backend, READY)
    assert one.restarts == 0


@pytest.mark.parametrize("size", [1, 7, 1000])
@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (b'{"status": "Pulling"}\r\n{"status": "Complete"}\r\n', None),
        (b'{"status": "Pulling"}\r\n{"errorDetail": {"message": "m"}, "error": "no\\nspace"}\r\n', "no space"),
        (b'{"error": "unauthorized"}', "unauthorized"),
        (b'no JSON\n[1]\n{"error": "unauthorized"}\n{"status": "x"}', "unauthorized"),
        (b"", None),
    ],
)
async def test_what_goes_wrong_in_a_pull_is_told_in_a_line(size, told, expected):
    async def pieces():
        for start in range(0, len(told), size):
            yield told[start : start + size]

    assert await trouble_in(pieces()) == expected


@real
async def test_an_image_that_must_not_be_pulled_is_not(container_place):
    place = container_place
    place.settings.images_path.write_text(
        '[[image]]\nmatch = "bannister-test-nobody/*"\ncontainer = true\npull = "never"\n'
    )
    backend = await place.started()
    await backend.ensure(dataclasses.replace(place.spec(), image="bannister-test-nobody/has:1"), 1, epoch=1)
    (one,) = await place.until_all(backend, InstancePhase.FAILED)
    assert "the container engine has no image 'bannister-test-nobody/has:1', and container_pull is never" in one.reason


@real
async def test_what_it_printed_is_in_the_log_once_also_over_a_restart(container_place):
    place = container_place
    backend = await place.started()
    await backend.ensure(place.spec("environment"), 1, epoch=1)
    (one,) = await place.until_all(backend, READY)
    await _until(lambda: backend.logs.tail(one.id, 10))
    await backend.close(stop_instances=False)
    second = await place.started()
    await second.remove(one.group, epoch=1)
    await place.until(second, lambda found: not found)
    lines = await second.log_tail(one.id, 10)
    assert len([line for line in lines if "SAGEMAKER_BIND_TO_PORT" in line]) == 1
    assert lines[-1] == "SIGTERM seen"


@real
async def test_nothing_is_left_at_the_engine(container_place):
    place = container_place
    backend = await place.started()
    await backend.ensure(place.spec(), 2, epoch=1)
    await backend.ensure(place.spec("broken"), 1, epoch=1)
    await place.until(backend, lambda found: [one.phase for one in found] == [READY, READY, InstancePhase.FAILED])
    await backend.close(stop_instances=True)
    label = json.dumps({"label": [f"bannister.data-dir={place.settings.data_dir}"]})
    assert place.ask("GET", "/containers/json", {"all": 1, "filters": label}) == []


@real
async def test_one_that_was_made_and_never_started_is_made_again(container_place):
    """The control plane ended in between: the name was recorded, and the engine has a container under it."""
    place = container_place
    backend = await place.started()
    await backend.ensure(place.spec("silent"), 1, epoch=1)
    (one,) = await place.until_all(backend, InstancePhase.STARTING)
    await _until(lambda: place.container(one.id)["State"]["Running"])
    await backend.close(stop_instances=False)
    found = place.container(one.id)
    place.ask("DELETE", f"/containers/{found['Id']}", {"force": 1})
    config, ports = found["Config"], found["HostConfig"]["PortBindings"]
    definition = {name: config[name] for name in ("Image", "Cmd", "Env", "Labels")}
    definition["HostConfig"] = {"PortBindings": ports, "Mounts": []}
    place.ask("POST", "/containers/create", {"name": found["Name"].lstrip("/")}, definition)
    second = await place.started()
    await place.until(second, lambda now: now[0].phase is InstancePhase.STARTING and now[0].restarts == 1)


@real
async def test_containers_serve_on_while_the_engine_is_away(place_of_own_engine):
    place, engine = place_of_own_engine
    backend = await place.started()
    await backend.ensure(place.spec(), 1, epoch=1)
    (one,) = await place.until_all(backend, READY)
    engine.pause()
    await asyncio.sleep(1.0)  # several pings
    assert backend.snapshot() == (one,)
    await backend.close(stop_instances=False)
    second = await place.started()
    assert second.snapshot() == (one,)
    engine.resume()
    place.crash(one.id)
    await place.until(second, lambda found: found[0].phase is READY and found[0].restarts == 1)


@real
async def test_a_signal_that_the_engine_cannot_send_is_sent_again(place_of_own_engine):
    """The first of a stop, well before the grace is over and it would be killed."""
    place, _ = place_of_own_engine
    place.settings = dataclasses.replace(place.settings, stop_grace_seconds=1000.0)
    backend = await place.started()
    await backend.ensure(place.spec(), 1, epoch=1)
    await place.until_all(backend, READY)
    place.ask("POST", "/test/refuse-kills", {"times": 2})
    await backend.remove("shop-good/1", epoch=1)
    await place.until(backend, lambda found: not found)


@real
async def test_trouble_of_the_engines_own_ends_no_container(place_of_own_engine, caplog):
    place, _ = place_of_own_engine
    backend = await place.started()
    await backend.ensure(place.spec(), 1, epoch=1)
    (one,) = await place.until_all(backend, READY)
    container = place.container(one.id)["Id"]
    await backend.close(stop_instances=False)
    place.ask("POST", "/test/trouble", {"times": 2})
    backend = await place.started()
    (again,) = await place.until_all(backend, READY)
    async with asyncio.timeout(place.patience_seconds):
        while caplog.text.count("database is locked") < 2:
            await asyncio.sleep(0.05)
    assert place.container(one.id)["Id"] == container
    place.crash(one.id)  # it is still looked after
    await place.until(backend, lambda found: found[0].restarts == 1 and found[0].phase is READY)
    assert (again.id, again.restarts) == (one.id, 0)
    assert place.container(one.id)["Id"] != container


@real
async def test_a_log_is_copied_on_after_a_disk_was_full(place_of_own_engine, monkeypatch):
    place, _ = place_of_own_engine
    backend = await place.started()
    await backend.ensure(place.spec(), 1, epoch=1)
    (one,) = await place.until_all(backend, READY)
    honest, refused = FolderLogs.copy, []

    def full(self, *args):
        if len(refused) < 2:
            refused.append(args)
            raise OSError(errno.ENOSPC, "No space left on device")
        return honest(self, *args)

    monkeypatch.setattr(FolderLogs, "copy", full)
    said = [f"says {number}" for number in range(3)]
    for each in said:
        request = urllib.request.Request(f"http://127.0.0.1:{one.port}/invocations", each.encode(), {"accept": "*/*"})
        await asyncio.to_thread(urllib.request.urlopen, request, timeout=TIMEOUT_SECONDS)

    async def found():
        return [line.partition(" says ")[1:] for line in await backend.log_tail(one.id, 100) if " says " in line]

    async with asyncio.timeout(place.patience_seconds):
        while len(await found()) < len(said):
            await asyncio.sleep(0.05)
    assert ["".join(each).strip() for each in await found()] == said
    assert len(refused) == 2


@real
async def test_what_must_be_started_waits_for_the_engine(place_of_own_engine):
    """However many times it is tried: that is no attempt."""
    place, engine = place_of_own_engine
    backend = await place.started()
    engine.pause()
    await backend.ensure(place.spec(), 1, epoch=1)
    # Four times by then: more often than a start may fail.
    (one,) = await place.until(backend, lambda found: "again in 0.16 seconds" in (found[0].reason or ""))
    assert "cannot be started now: No container engine answers here" in one.reason
    engine.resume()
    (ready,) = await place.until_all(backend, READY)
    assert ready.restarts == 0


# --- where the engine is, and what is said where there is none


def test_an_engine_that_somebody_names_is_the_only_one(tmp_path):
    engines = Engines(environment={"DOCKER_HOST": f"unix://{tmp_path}/d.sock", "XDG_RUNTIME_DIR": str(tmp_path)})
    with pytest.raises(
        Unavailable, match=rf"^No container engine answers here: looked for Docker or Podman at {tmp_path}/d.sock.$"
    ):
        engines.find()


def test_one_of_another_machine_is_refused():
    with pytest.raises(
        Unavailable, match=r"DOCKER_HOST is tcp://10\.0\.0\.1:2375; models run in containers of this machine's engine"
    ):
        Engines(environment={"DOCKER_HOST": "tcp://10.0.0.1:2375"}).find()


def test_sockets_are_looked_for_where_engines_listen():
    engines = Engines(environment={"HOME": "/h", "XDG_RUNTIME_DIR": "/run/user/7"})
    assert list(map(str, engines._candidates())) == [
        "/var/run/docker.sock", "/run/user/7/docker.sock", "/run/user/7/podman/podman.sock", "/h/.docker/run/docker.sock", "/run/podman/podman.sock",
    ]  # fmt: skip


def test_a_file_that_nobody_listens_on_is_no_engine(tmp_path):
    (tmp_path / "docker.sock").touch()
    with pytest.raises(Unavailable, match="No container engine answers here"):
        Engines(str(tmp_path / "docker.sock")).find()


def test_an_engine_that_hangs_is_looked_at_ever_less_often_than_one_that_is_not_there(tmp_path):
    later = 0.0
    engines = Engines(os.path.relpath(tmp_path / "s"), now=lambda: time.monotonic() + later)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.path.relpath(tmp_path / "s"))
        listener.listen(16)
        listener.setblocking(False)
        looks = []
        for passed in (
            0.0,
            2.5,
            2.0,
            5.0,
        ):  # in all: 0, 2.5, 4.5 and 9.5 s after a look that took a quarter of a second
            later += passed
            with pytest.raises(Unavailable):
                engines.find()
            try:
                listener.accept()
                looks.append(True)
            except BlockingIOError:
                looks.append(False)
        assert looks == [True, False, False, True]


@pytest.mark.parametrize("name", ["closed/podman.sock", f"{'a' * 300}/docker.sock"], ids=["closed", "no name"])
def test_a_place_that_may_not_be_looked_at_is_passed_over(tmp_path, name):
    """As Podman's for the whole machine, which only root may look into."""
    (tmp_path / "closed").mkdir(mode=0)
    engines = Engines(environment={"DOCKER_HOST": f"unix://{tmp_path}/{name}"})
    with pytest.raises(Unavailable, match="No container engine answers here") as refused:
        engines.find()
    says_why = str(refused.value).endswith(f"{name} (which this user may not use).")
    assert says_why == (name.startswith("closed") and os.geteuid() != 0), refused.value


@pytest.fixture
def table(tmp_path):
    settings = Settings(data_dir=tmp_path)
    settings.images_path.write_text(
        '[[image]]\nmatch = "chat:*"\ncontainer = true\nping_path = "/health"\ncommand = ["--model", "{model_dir}", "--port={port}"]\n'
        '[[image]]\nmatch = "mine:*"\ncommand = ["env"]\n'
    )
    return lambda engines: ImageTable(settings, engines)


def test_an_image_without_a_row_is_a_container(table):
    images = table(Engines("/nowhere/docker.sock"))
    assert images.resolve("nginx:1").container
    assert images.resolve("nginx:1").arguments() == ["serve"]
    assert not images.resolve("mine:1").container
    assert not images.resolve("a/sagemaker-scikit-learn:1").container
    run = images.resolve("chat:1")
    assert (run.container, run.paths.ping) == (True, "/health")
    assert run.arguments() == ["--model", "/opt/ml/model", "--port=8080"]


def test_without_an_engine_it_is_refused_with_where_it_was_looked_for(table):
    images = table(Engines("/nowhere/docker.sock"))
    assert images.why_not("mine:1") is None
    why = images.why_not("nginx:1")
    assert why.startswith(
        "Bannister does not know how to run the image 'nginx:1'. It runs chat:*, mine:*, bannister/python,"
    )
    assert why.endswith(
        "or start a container engine. No container engine answers here: looked for Docker or Podman at /nowhere/docker.sock."
    )
    assert images.why_not("chat:1") == (
        "The image 'chat:1' is to be run as a container. No container engine answers here: looked for Docker or Podman at /nowhere/docker.sock."
    )


def test_where_containers_are_switched_off_only_rows_count(table):
    images = table(Engines(NONE))
    assert "does not know how to run the image 'nginx:1'" in images.why_not("nginx:1")
    assert "container_engine is none" in images.why_not("chat:1")


@pytest.mark.parametrize(
    "row",
    [
        'container = true\npython = "/usr/bin/python3"',
        'container = true\ncommand = ["{python}", "-m", "server"]',
        'pull = "always"\ncommand = ["x"]',
        'container = true\npull = "sometimes"',
    ],
)
def test_a_row_that_contradicts_itself_is_refused(tmp_path, row):
    settings = Settings(data_dir=tmp_path)
    settings.images_path.write_text(f'[[image]]\nmatch = "x"\n{row}\n')
    assert "images.toml cannot be used: " in ImageTable(settings).why_not("x")


@real
async def test_what_the_engine_refuses_is_said_in_its_words(engine_program):
    with pytest.raises(EngineRefused, match="No such container: nobody") as refusal:
        await Engine(engine_program).call("GET", "/containers/nobody/json")
    assert refusal.value.status == 404


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200 OK\r\n", b"SSH-2.0\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"])  # fmt: skip
async def test_an_answer_that_breaks_off_is_none(tmp_path, answer):
    async def serve(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    path = Path(os.path.relpath(tmp_path / "s"))
    async with await asyncio.start_unix_server(serve, str(path)):
        with pytest.raises(Unavailable):
            await Engine(path).call("GET", "/info", timeout_seconds=5)


async def _until(condition, timeout_seconds=30.0):
    async with asyncio.timeout(timeout_seconds):
        while True:
            try:
                if found := condition():
                    return found
            except KeyError:
                pass
            await asyncio.sleep(0.02)
