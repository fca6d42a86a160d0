"""What an installer is given, when pip counts as configured, and what of its configuration decides."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from bannister.clock import SystemClock
from bannister.domain.requirements import Interpreter
from bannister.instances.installer_environment import configuration, environment, what_configures_pip
from bannister.instances.installing import Plan, Wanted, install
from bannister.settings import Settings


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
    home, requirements = tmp_path / "home", tmp_path / "requirements.txt"
    given = {"HOME": str(home), "XDG_CONFIG_DIRS": str(tmp_path)}
    assert configuration(given, python, requirements, tmp_path) == ()
    of_no_consequence = {"PIP_CACHE_DIR": "/c", "PIP_PROXY": "http://p.example", "HTTPS_PROXY": "x", "UV_OFFLINE": "1"}
    assert configuration(given | of_no_consequence, python, requirements, tmp_path) == ()
    (home / ".pip").mkdir(parents=True)
    (home / ".pip" / "pip.conf").write_text("[global]\nindex-url = https://me:secret@a.example/simple\n")
    (tmp_path / "named.conf").write_text("[install]\npre = true\n")
    given |= {"PIP_INDEX_URL": "https://token@b.example/simple", "UV_INDEX": "https://c.example/simple"}
    options = ("PIP_INDEX_URL=https://b.example/simple", "UV_INDEX=https://c.example/simple")
    of_the_user = "[global]\nindex-url = https://a.example/simple\n"
    assert configuration(given, python, requirements, tmp_path) == (*options, of_the_user), (
        "another password is the same index"
    )
    named = str(tmp_path / "named.conf")
    assert configuration(given | {"PIP_CONFIG_FILE": named}, python, requirements, tmp_path) == (
        f"PIP_CONFIG_FILE={named}",
        *options,
        of_the_user,
        "[install]\npre = true\n",
    )
    assert configuration(given | {"PIP_CONFIG_FILE": "/dev/null"}, python, requirements, tmp_path) == (
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
def test_pip_is_configured_by_a_variable_or_a_file(
    tmp_path: Path, variables: dict[str, str], file: str | None, expected: bool
) -> None:
    if file is not None:
        (tmp_path / file).parent.mkdir(parents=True)
        (tmp_path / file).touch()
    given = {"HOME": str(tmp_path / "home"), "XDG_CONFIG_DIRS": str(tmp_path / "machine"), **variables}
    assert bool(what_configures_pip(given, str(tmp_path / "venv" / "bin" / "python"), tmp_path)) is expected


@pytest.fixture
def code(tmp_path: Path) -> Path:
    """The folder `code` of an artifact; elsewhere there is one of the machine's files."""
    for folder in ("artifact/code", "machine", "home/.pip"):
        (tmp_path / folder).mkdir(parents=True)
    return tmp_path / "artifact" / "code"


@pytest.mark.parametrize(
    ("variables", "of_pip", "text"),
    [
        ({"PIP_CONSTRAINT": "{machine}/c.txt"}, "", ""),
        ({"PIP_CONSTRAINT": "https://a.example/c.txt {machine}/c.txt"}, "", ""),
        ({"PIP_BUILD_CONSTRAINT": "../../machine/c.txt"}, "", ""),
        ({"PIP_REQUIREMENT": "file://{machine}/c.txt"}, "", ""),
        ({"UV_OVERRIDE": "{machine}/c.txt"}, "", ""),
        ({"UV_CONFIG_FILE": "{machine}/c.txt"}, "", ""),
        ({}, "[install]\nconstraint = {machine}/c.txt\n", ""),
        ({}, "[global]\nbuild_constraint =\n  ../../machine/none.txt\n  ../../machine/c.txt\n", ""),
        ({}, "", "tiny\n-c {machine}/c.txt  # of the machine\n"),
        ({}, "", "--constraint=../../machine/c.txt"),
        ({}, "", "-r more.txt"),
        ({"PIP_CONSTRAINT": "{machine}/more.txt"}, "", ""),
    ],
)
def test_what_is_in_files_that_are_named_is_known_too(
    tmp_path: Path, code: Path, variables: dict[str, str], of_pip: str, text: str
) -> None:
    machine = str(tmp_path / "machine")
    given = {"HOME": str(tmp_path / "home"), "XDG_CONFIG_DIRS": str(tmp_path)}
    given |= {name: value.replace("{machine}", machine) for name, value in variables.items()}
    (code / "requirements.txt").write_text(text.replace("{machine}", machine))
    (code / "more.txt").write_text("-c ../../machine/c.txt\n-r more.txt\n")
    (tmp_path / "machine" / "more.txt").write_text("other\n-cc.txt\n")
    (tmp_path / "home" / ".pip" / "pip.conf").write_text(of_pip.replace("{machine}", machine))

    def told(content: str) -> tuple[str, ...]:
        (tmp_path / "machine" / "c.txt").write_text(content)
        return configuration(given, "/no/bin/python", code / "requirements.txt", tmp_path)

    before = told("tiny @ https://me:secret@a.example/tiny.whl\n")
    assert told("tiny @ https://me:other@a.example/tiny.whl\n") == before, "with another password it is the same"
    after = told("tiny==2\n")
    assert after[:-1] == before[:-1]
    assert after != before


def test_files_that_name_each_other_without_end_end(tmp_path: Path, code: Path) -> None:
    for number in range(200):
        (tmp_path / f"{number}.txt").write_text(f"-r {number + 1}.txt\n-r ./{number}.txt\n")
    (code / "requirements.txt").write_text("-r ../../0.txt\n")
    assert len(configuration({}, "/no/bin/python", code / "requirements.txt", tmp_path)) == 64


def test_what_requirements_name_in_their_artifact_is_the_artifacts(tmp_path: Path, code: Path) -> None:
    (code / "more.txt").write_text("tiny\n")
    (code / "requirements.txt").write_text("-r more.txt\n-c ../code/more.txt\n")
    assert configuration({}, "/no/bin/python", code / "requirements.txt", tmp_path) == ()
    given = {"PIP_CONSTRAINT": "more.txt"}
    named, *contents = configuration(given, "/no/bin/python", code / "requirements.txt", tmp_path)
    assert named == "PIP_CONSTRAINT=more.txt"
    assert len(contents) == 1, "any artifact may have such requirements, and another file of this name"


def test_a_place_that_may_not_be_looked_at_holds_no_file_of_pips(tmp_path: Path) -> None:
    """As the home of another user, whom the server's variables still name."""
    (tmp_path / "closed").mkdir(mode=0)
    for home in (tmp_path / "closed", tmp_path / ("a" * 300)):
        given = {"HOME": str(home), "XDG_CONFIG_DIRS": str(tmp_path)}
        assert not what_configures_pip(given, "/no/bin/python", tmp_path)
        assert configuration(given, "/no/bin/python", tmp_path / "requirements.txt", tmp_path) == ()


@pytest.mark.real
@pytest.mark.parametrize("has_pip", [False, True])
async def test_where_uv_has_to_install_what_it_ignores_of_pips_configuration_is_said(
    tmp_path: Path, code: Path, has_pip: bool
) -> None:
    uv = tmp_path / "bin" / "uv"
    uv.parent.mkdir()
    uv.write_text("#!/bin/sh\necho uv installs\n")
    uv.chmod(0o700)
    text = "" if has_pip else "tiny==1\n"  # by pip, there is nothing to be installed
    (code / "requirements.txt").write_text(text)
    path = f"{uv.parent}:/usr/bin:/bin"
    configured = {"PIP_CONSTRAINT": "/c.txt", "PIP_CONFIG_FILE": "/dev/null"}
    given = {"PATH": path, "HOME": str(tmp_path / "home"), "PIP_NO_INDEX": "1", **({} if has_pip else configured)}
    interpreter = Interpreter(sys.executable, sys.version, "any", (), has_pip=has_pip)
    plan = Plan("key", Wanted(code.parent, sys.executable, {}, path), text, interpreter, given)
    output = tmp_path / "output"

    async def enough() -> None:
        pass

    settings = Settings(data_dir=tmp_path / "data")
    await install(plan, tmp_path / "environment", output, settings, SystemClock(), lambda: None, enough)
    printed = output.read_text()
    said = f"{sys.executable} has no pip, so uv installs, and uv heeds nothing of pip's configuration (PIP_CONFIG_FILE, PIP_CONSTRAINT, PIP_NO_INDEX)"
    assert (said in printed) is not has_pip
    assert ("uv installs" in printed.replace(said, "")) is not has_pip
