"""What an installer is given, when pip counts as configured, and what of its configuration decides."""

from __future__ import annotations

from pathlib import Path

import pytest

from bannister.instances.installer_environment import configuration, environment, pip_is_configured


def test_an_installer_gets_how_to_reach_packages_and_no_other_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    secrets = (
        "AWS_SECRET_ACCESS_KEY",
        "SSH_AUTH_SOCK",
        "UV_PUBLISH_TOKEN",
        "PIP_TOKEN",
        "GITHUB_TOKEN",
        "DOCKER_CONFIG",
    )
    for name in (*secrets, "PYTHONPATH", "UV_CONFIG_FILE"):
        monkeypatch.setenv(name, "not for it")
    monkeypatch.setenv("https_proxy", "http://proxy.example")
    monkeypatch.setenv("SSL_CERT_FILE", "/certificates.pem")
    monkeypatch.setenv("PIP_INDEX_URL", "https://machine.example/simple")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "https://more.example/simple")
    monkeypatch.setenv("UV_INDEX_OURS_PASSWORD", "of the index")
    given = environment(
        "/bin", {"PIP_INDEX_URL": "https://model.example/simple", "PIP_USER": "1", "TOKEN": "t", "UV_ANYTHING": "1"}
    )
    assert given["PATH"] == "/bin"
    assert given["https_proxy"] == "http://proxy.example"
    assert given["SSL_CERT_FILE"] == "/certificates.pem"
    assert given["PIP_INDEX_URL"] == "https://model.example/simple", "the model's own comes first"
    assert given["PIP_EXTRA_INDEX_URL"] == "https://more.example/simple"
    assert given["UV_INDEX_OURS_PASSWORD"] == "of the index"
    assert given["TOKEN"] == "t"
    assert given["UV_ANYTHING"] == "1", "a model brings what it likes"
    assert given["PIP_USER"] == "0"
    assert "not for it" not in given.values()


def test_uv_reads_a_configuration_file_only_where_the_model_names_one(monkeypatch: pytest.MonkeyPatch) -> None:
    assert environment("/bin", {})["UV_NO_CONFIG"] == "1"
    assert "UV_NO_CONFIG" not in environment("/bin", {"UV_CONFIG_FILE": "uv.toml"})


def test_what_decides_which_packages_are_taken_is_known(tmp_path: Path) -> None:
    python = str(tmp_path / "venv" / "bin" / "python")
    home = tmp_path / "home"
    given = {"HOME": str(home), "XDG_CONFIG_DIRS": str(tmp_path)}
    assert configuration(given, python, tmp_path) == ()
    of_no_consequence = {"PIP_CACHE_DIR": "/c", "PIP_PROXY": "http://p.example", "HTTPS_PROXY": "x", "UV_OFFLINE": "1"}
    assert configuration(given | of_no_consequence, python, tmp_path) == ()
    (home / ".pip").mkdir(parents=True)
    (home / ".pip" / "pip.conf").write_text("[global]\nindex-url = https://me:secret@a.example/simple\n")
    (tmp_path / "named.conf").write_text("[install]\npre = true\n")
    given |= {"PIP_INDEX_URL": "https://token@b.example/simple", "UV_INDEX": "https://c.example/simple"}
    options = ("PIP_INDEX_URL=https://b.example/simple", "UV_INDEX=https://c.example/simple")
    of_the_user = "[global]\nindex-url = https://a.example/simple\n"
    assert configuration(given, python, tmp_path) == (*options, of_the_user), "another password is the same index"
    named = str(tmp_path / "named.conf")
    assert configuration(given | {"PIP_CONFIG_FILE": named}, python, tmp_path) == (
        f"PIP_CONFIG_FILE={named}",
        *options,
        of_the_user,
        "[install]\npre = true\n",
    )
    assert configuration(given | {"PIP_CONFIG_FILE": "/dev/null"}, python, tmp_path) == (
        "PIP_CONFIG_FILE=/dev/null",
        *options,
    )


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
def testpip_is_configured_by_a_variable_or_a_file(
    tmp_path: Path, variables: dict[str, str], file: str | None, expected: bool
) -> None:
    if file is not None:
        (tmp_path / file).parent.mkdir(parents=True)
        (tmp_path / file).touch()
    given = {"HOME": str(tmp_path / "home"), "XDG_CONFIG_DIRS": str(tmp_path / "machine"), **variables}
    assert pip_is_configured(given, str(tmp_path / "venv" / "bin" / "python"), tmp_path) is expected
