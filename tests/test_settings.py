"""Where settings come from, and what is refused."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest

from bannister import settings
from bannister.errors import Invalid
from bannister.launcher.parts import part_environment
from bannister.settings import Settings, Timing, load

NAMES = {
    field.name: str(field.type)
    for field in dataclasses.fields(Settings)
    if field.name not in ("data_dir", "event_webhooks")  # a list: see test_event_webhooks.py
}


@pytest.fixture(autouse=True)
def no_settings_of_our_own(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in os.environ:
        if variable.startswith("BANNISTER_"):
            monkeypatch.delenv(variable)


def written(data_dir: Path, text: str) -> Path:
    (data_dir / "bannister.toml").write_text(text)
    return data_dir


def refusal(data_dir: Path) -> str:
    with pytest.raises(Invalid) as refused:
        load(data_dir)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_the_later_source_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path, "port = 1\naccount_id = '1'\nregion = 'r'\nturn_seconds = 5\nproxy_workers = 2.0\ntiming = 'aws'")
    monkeypatch.setenv("BANNISTER_PORT", "2")
    monkeypatch.setenv("BANNISTER_ACCOUNT_ID", "2")
    found = load(tmp_path, port=3, region=None)
    assert found == Settings(
        tmp_path, port=3, account_id="2", region="r", turn_seconds=5.0, proxy_workers=2, timing=Timing.AWS
    )
    assert isinstance(found.turn_seconds, float)
    assert isinstance(found.proxy_workers, int)


@pytest.mark.parametrize("name", NAMES)
def test_every_default_is_acceptable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(f"BANNISTER_{name.upper()}", str(getattr(Settings(tmp_path), name)))
    assert load(tmp_path) == Settings(tmp_path)


@pytest.mark.parametrize(
    "name", [name for name, kind in NAMES.items() if kind not in ("str", "Timing", "Switch", "Pull")]
)
def test_no_number_is_below_zero_or_not_finite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    for text in ("-1", "nan", "inf", "", "none"):
        monkeypatch.setenv(f"BANNISTER_{name.upper()}", text)
        assert refusal(tmp_path).startswith(f"environment variable BANNISTER_{name.upper()}: {name} must be a ")


def test_what_may_be_zero(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    accepted = set()
    for name, kind in NAMES.items():
        if kind in ("str", "Timing", "Switch", "Pull"):
            continue
        with monkeypatch.context() as patch:
            patch.setenv(f"BANNISTER_{name.upper()}", "0")
            try:
                load(tmp_path)
            except Invalid:
                continue
        accepted.add(name)
    assert accepted == {
        "startup_niceness",
        "shadow_niceness",
        "startup_yield_seconds",
        "stop_grace_seconds",
        "proxy_workers",
        "bake_requests_min",
        "disk_reserve_bytes",
        "disk_free_bytes_min",
        "capture_disk_free_bytes_min",
    }


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("proxy_workers = 2.9", "proxy_workers must be a whole number, at least 0, not 2.9."),
        ("startup_parallel_max = 0", "startup_parallel_max must be a whole number, at least 1, not 0."),
        ("startup_parallel_max = true", "startup_parallel_max must be a whole number, at least 1, not True."),
        ("startup_parallel_max = []", "startup_parallel_max must be a whole number, at least 1, not []."),
        ("startup_parallel_max = inf", "startup_parallel_max must be a whole number, at least 1, not inf."),
        ("turn_seconds = true", "turn_seconds must be a number, at least 0.001, not True."),
        ("turn_seconds = nan", "turn_seconds must be a number, at least 0.001, not nan."),
        ("turn_seconds = 1e-9", "turn_seconds must be a number, at least 0.001, not 1e-09."),
        (f"turn_seconds = 1{'0' * 400}", f"turn_seconds must be a number, at least 0.001, not 1{'0' * 400}."),
        ("port = 65536", "port must be a whole number from 1 to 65535, not 65536."),
        ("startup_niceness = 20", "startup_niceness must be a whole number from 0 to 19, not 20."),
        ("account_id = true", "account_id must be text, not True."),
        ("account_id = 1.5", "account_id must be text, not 1.5."),
        ("timing = 'azure'", "timing must be one of bannister, aws, not 'azure'."),
        ("container_pull = 'often'", "container_pull must be one of missing, always, never, not 'often'."),
        ("timing = 1", "timing must be one of bannister, aws, not 1."),
        ("turn_second = 1", "there is no setting called 'turn_second'; the closest is 'turn_seconds'."),
        ("data_dir = '/x'", "there is no setting called 'data_dir'."),
        ("[deployments]", "there is no setting called 'deployments'; the closest is 'past_deployments_max'."),
    ],
)
def test_what_the_file_may_not_say(tmp_path: Path, line: str, sentence: str) -> None:
    assert refusal(written(tmp_path, line)) == f"{tmp_path}/bannister.toml: {sentence}"


def test_an_account_may_be_written_as_a_number(tmp_path: Path) -> None:
    assert load(written(tmp_path, "account_id = 123456789012")).account_id == "123456789012"


def test_what_kubernetes_says_of_a_service_of_the_same_name_is_no_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (
        "SERVICE_HOST",
        "SERVICE_PORT",
        "SERVICE_PORT_HTTP",
        "PORT_3594_TCP",
        "PORT_3594_TCP_ADDR",
        "CONSOLE_SERVICE_HOST",
        "CONSOLE_PORT",
        "RUNTIME_THREADS",
    ):
        monkeypatch.setenv(f"BANNISTER_{name}", "10.0.0.1")
    monkeypatch.setenv("BANNISTER_PORT", "tcp://10.0.0.1:3594")
    assert load(tmp_path) == Settings(tmp_path)
    monkeypatch.setenv("BANNISTER_PORT", "4000")
    assert load(tmp_path).port == 4000


def test_a_number_that_would_become_another_is_not_taken_from_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BANNISTER_PROXY_WORKERS", "2.9")
    assert "proxy_workers must be a whole number" in refusal(tmp_path)


def test_the_ports_of_instances_are_some(tmp_path: Path) -> None:
    assert load(written(tmp_path, "instance_port_first = 29999")).instance_port_first == 29999
    assert refusal(written(tmp_path, "instance_port_first = 30000")) == (
        "instance_port_first, 30000, is above instance_port_last, 29999: no instance could get a port."
    )


def test_a_file_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    file = tmp_path / "bannister.toml"
    file.write_text("port = ")
    assert refusal(tmp_path).startswith(f"{file} is not valid TOML: ")
    file.write_text(f"port = {'9' * 5000}")
    assert refusal(tmp_path).startswith(f"{file} is not valid TOML: ")
    file.write_text(f"port = {'[' * 100_000}")
    assert refusal(tmp_path).startswith(f"{file} is not valid TOML: ")
    file.write_bytes("port = 4000".encode("utf-16"))
    assert refusal(tmp_path) == f"{file} is not in UTF-8, as TOML must be: save it in that encoding."
    file.unlink()
    file.mkdir()
    assert refusal(tmp_path) == f"{file} cannot be read: Is a directory."


def test_a_data_directory_that_is_no_directory_is_not_the_settings_concern(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    assert load(file) == Settings(file)


def test_a_variable_that_is_no_setting_is_refused_with_the_closest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BANNISTER_ALARM_CLEAR_TIMEOUT", "6")
    assert refusal(tmp_path) == (
        "environment variable BANNISTER_ALARM_CLEAR_TIMEOUT: there is no setting called 'alarm_clear_timeout'; "
        "the closest is 'alarm_clear_timeout_seconds'."
    )


def test_what_bannister_puts_into_environments_is_accepted_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = part_environment(Settings(tmp_path), {"BANNISTER_PORT": "4000"})
    given |= {settings.PART_VARIABLE: "telemetry", settings.INSTANCE_VARIABLE: "i-1"}
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert load(tmp_path) == Settings(tmp_path, port=4000)


@pytest.mark.parametrize(
    "text",
    [
        "shadow_bytes_max = 1000000000",
        "shadow_bytes_max = 805306368\ncapture_streams_max = 5000",
        "shadow_bytes_max = 805306368\ncapture_large_streams_max = 32",
    ],
)
def test_copies_and_captured_exchanges_must_leave_production_room(tmp_path: Path, text: str) -> None:
    said = refusal(written(tmp_path, text))
    assert said.startswith("shadow_bytes_max, ")
    assert "production is never refused because of them" in said
    written(tmp_path, f"{text}\nproxy_heap_bytes_max = 16000000000")
    load(tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "proxy_heap_bytes_max = 1000000000",
        "proxy_heap_bytes_max = 268435456",
        "capture_streams_max = 5000",
        "capture_large_streams_max = 32",
        "capture_body_bytes_max = 10000000",
        "invocation_body_bytes_max = 100000000",
    ],
)
def test_bounds_that_nobody_gave_are_smaller_where_they_would_not_fit(tmp_path: Path, text: str) -> None:
    """A data directory with such a setting started before there was one bound for all copies."""
    assert load(tmp_path) == Settings(tmp_path)
    found = load(written(tmp_path, text))
    assert found.shadow_bytes_max > 0
    assert found.capture_large_streams_max >= 1
    together = found.shadow_bytes_max + settings.capture_bytes_max(found)
    assert together <= (settings.PROXY_SHEDDING_SHARE - settings.PRODUCTION_SHARE) * found.proxy_heap_bytes_max


def test_what_capture_may_hold_is_what_its_streams_may_hold(tmp_path: Path) -> None:
    found = settings.capture_bytes_max(Settings(tmp_path))
    assert found == 1024 * 2 * 64 * 1024 + 16 * (25 + 6) * 1024 * 1024


def test_the_documented_settings_for_a_smaller_proxy_fit(tmp_path: Path) -> None:
    text = Path(__file__).parents[1].joinpath("docs/shadow.md").read_text("utf-8")
    (line,) = (line for line in text.splitlines() if line.startswith("With less memory for the proxy"))
    named = [part for part in line.split("`")[1::2] if " = " in part]
    assert len(named) == 4
    written(tmp_path, "\n".join(named))
    load(tmp_path)
