"""What an installer is given, and when pip counts as configured."""

from __future__ import annotations

from pathlib import Path

import pytest

from bannister.instances.installing import Wanted, _environment, _pip_is_configured


def test_an_installer_gets_how_to_reach_packages_and_no_other_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    monkeypatch.setenv("https_proxy", "http://proxy.example")
    monkeypatch.setenv("PIP_INDEX_URL", "https://machine.example/simple")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "https://more.example/simple")
    wanted = Wanted(tmp_path, "python", {}, "/bin")
    given = _environment(wanted, {"PIP_INDEX_URL": "https://model.example/simple", "PIP_USER": "1", "TOKEN": "t"})
    assert given["https_proxy"] == "http://proxy.example"
    assert given["PIP_INDEX_URL"] == "https://model.example/simple", "the model's own comes first"
    assert given["PIP_EXTRA_INDEX_URL"] == "https://more.example/simple"
    assert given["TOKEN"] == "t"
    assert given["PIP_USER"] == "0"
    assert not {"AWS_SECRET_ACCESS_KEY", "PYTHONPATH"} & set(given)


@pytest.mark.parametrize(
    ("variables", "file", "expected"),
    [
        ({}, None, False),
        ({"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_CACHE_DIR": "/c", "UV_OFFLINE": "1"}, None, False),
        ({"PIP_INDEX_URL": "https://a.example/simple"}, None, True),
        ({}, "home/.config/pip/pip.conf", True),
        ({}, "home/.pip/pip.conf", True),
        ({}, "machine/pip/pip.conf", True),
        ({}, "etc/pip.conf", True),
        ({}, "venv/pip.conf", True),
        ({}, "home/pip.conf", False),
    ],
)
def test_pip_is_configured_by_a_variable_or_a_file(
    tmp_path: Path, variables: dict[str, str], file: str | None, expected: bool
) -> None:
    if file is not None:
        (tmp_path / file).parent.mkdir(parents=True)
        (tmp_path / file).touch()
    environment = {"HOME": str(tmp_path / "home"), "XDG_CONFIG_DIRS": str(tmp_path / "machine"), **variables}
    assert _pip_is_configured(environment, str(tmp_path / "venv" / "bin" / "python"), tmp_path) is expected
