"""What is decided about requirements and environments, without installing anything."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from bannister.domain.requirements import (
    Installer,
    Interpreter,
    Kept,
    build_variables,
    decisive_lines,
    environment_key,
    files_named,
    installer,
    is_editable,
    is_plain,
    reaches_files,
    to_evict,
    without_credentials,
)

PYTHON = Interpreter("/venv/bin/python", "3.11.7", "linux-x86_64", ("numpy-2.1.0.dist-info",))


@pytest.mark.parametrize(
    "line",
    [
        "",
        "# -r other.txt",
        "numpy",
        "numpy==2.1  # ./numpy",
        "numpy >=1, <3 ; python_version < '3.12'",
        "uvicorn[standard] ~= 0.30",
        "numpy (>=1)",
        "scikit-learn \\\n  == 1.5",
    ],
)
def test_names_and_versions_are_plain(line: str) -> None:
    assert is_plain(line)
    assert not reaches_files(line)


@pytest.mark.parametrize(
    "line",
    [
        "-i https://packages.example/simple",
        "--index-url=https://packages.example/simple?a=b",
        "--extra-index-url https://packages.example/simple --pre",
        "--no-index",
        "--no-binary :all:",
        "-f https://packages.example/wheels/",
        "numpy==2.1 --hash=sha256:0123",
        "tiny @ https://packages.example/tiny-1.0-py3-none-any.whl",
        "https://packages.example/tiny-1.0-py3-none-any.whl",
        "git+https://packages.example/tiny.git@v1",
    ],
)
def test_options_and_addresses_reach_no_file(line: str) -> None:
    assert not is_plain(line)
    assert not reaches_files(line)


@pytest.mark.parametrize(
    "line",
    [
        "-r other.txt",
        "-rother.txt",
        "--requirement=other.txt",
        "-c constraints.txt",
        "-f wheels",
        "--find-links ./wheels",
        "--index-url https://packages.example/simple -f wheels",
        "--index-url file:///srv/simple",
        "-e .",
        "./tiny",
        "wheels/tiny-1.0-py3-none-any.whl",
        "tiny-1.0-py3-none-any.whl",
        "./tiny-1.0-py3-none-any.whl --hash=sha256:0123",
        "tiny @ file:///srv/tiny-1.0-py3-none-any.whl",
        "tiny @ ./tiny",
        "numpy\n\n-r other.txt",
    ],
)
def test_what_lies_beside_the_text_is_reached(line: str) -> None:
    assert not is_plain(line)
    assert reaches_files(line)


@pytest.mark.parametrize(
    "text",
    [
        "a{}b",
        "a{}!",
        "a[b]{}!",
        "a [{}",
        "{}#",
        "#{}",
        "-r{}",
        "-r {}b",
        "a @ {}b",
        "://{}",
        "${{{}",
        "\\{}",
        "a --hash{}",
    ],
)
@pytest.mark.parametrize("filling", [" ", "a", "\t", "[", "$", "://", "\\\n", "-", "#", "="])
def test_no_text_takes_longer_than_its_length_asks_for(text: str, filling: str) -> None:
    text = text.format(filling * (100_000 // len(filling)))
    began = time.process_time()
    is_plain(text), reaches_files(text), files_named(text), build_variables(text, {"A": "b"})
    without_credentials(text), decisive_lines(text.splitlines())
    assert time.process_time() - began < 2.0


def test_the_same_requirements_of_two_artifacts_have_one_environment() -> None:
    assert environment_key("tiny==1", "a", PYTHON, {}) == environment_key("tiny==1", "b", PYTHON, {})


def test_what_may_differ_has_environments_of_its_own() -> None:
    keys = [
        environment_key("tiny==1", "a", PYTHON, {}),
        environment_key("tiny==2", "a", PYTHON, {}),
        environment_key("-r other.txt", "a", PYTHON, {}),
        environment_key("-r other.txt", "b", PYTHON, {}),
        environment_key("tiny==1", "a", PYTHON, {"PIP_FIND_LINKS": "wheels"}),
        environment_key("tiny==1", "b", PYTHON, {"PIP_FIND_LINKS": "wheels"}),
        environment_key("tiny==1", "a", replace(PYTHON, path="/other/bin/python"), {}),
        environment_key("tiny==1", "a", replace(PYTHON, version="3.12.0"), {}),
        environment_key("tiny==1", "a", replace(PYTHON, platform="linux-aarch64"), {}),
        environment_key("tiny==1", "a", replace(PYTHON, packages=("numpy-2.2.0.dist-info",)), {}),
        environment_key("tiny==1", "a", PYTHON, {}, ("PIP_INDEX_URL=https://a.example/simple",)),
        environment_key("tiny==1", "a", PYTHON, {}, ("PIP_INDEX_URL=https://b.example/simple",)),
    ]
    assert len(set(keys)) == len(keys)


def test_of_a_models_environment_only_what_installing_needs_is_taken() -> None:
    environment = {"PIP_INDEX_URL": "https://a/simple", "UV_OFFLINE": "1", "TOKEN": "t", "OTHER": "o", "VERSION": "7"}
    found = build_variables(["--index-url https://${TOKEN}@a/simple\n-r more.txt", "tiny==${VERSION}"], environment)
    assert found == {"PIP_INDEX_URL": "https://a/simple", "UV_OFFLINE": "1", "TOKEN": "t", "VERSION": "7"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("-e ./ours", True),
        ("tiny\n  --editable=./ours  # ours", True),
        ("-e.", True),
        ("./ours", False),
        ("-r more.txt", False),
        ("--extra-index-url https://a.example", False),
        ("# -e ./ours", False),
    ],
)
def test_what_is_used_where_it_lies(text: str, expected: bool) -> None:
    assert is_editable(text) is expected


@pytest.mark.parametrize(
    ("text", "has_uv", "pip_is_configured", "has_pip", "expected"),
    [
        ("tiny==1", True, False, True, Installer.UV),
        ("tiny==1", False, False, True, Installer.PIP),
        ("tiny==1", True, True, True, Installer.PIP),
        ("-f wheels\ntiny==1", True, False, True, Installer.PIP),
        ("-f wheels\ntiny==1", True, True, False, Installer.UV),
        ("tiny==1", False, False, False, Installer.PIP),  # which then says that there is none
    ],
)
def test_uv_installs_where_it_does_as_pip_would(
    text: str, has_uv: bool, pip_is_configured: bool, has_pip: bool, expected: Installer
) -> None:
    interpreter = replace(PYTHON, has_pip=has_pip)
    assert installer(text, interpreter, has_uv=has_uv, pip_is_configured=pip_is_configured) is expected


@pytest.mark.parametrize(
    ("bytes_max", "expected"),
    [(100, []), (60, []), (59, ["old"]), (50, ["old"]), (49, ["old", "new"]), (0, ["old", "new"])],
)
def test_the_longest_unused_go_first_and_those_in_use_never(bytes_max: int, expected: list[str]) -> None:
    kept = [Kept("new", 20, 3.0, False), Kept("used", 30, 1.0, True), Kept("old", 10, 2.0, False)]
    assert to_evict(kept, bytes_max) == expected


NOT_FOUND = """\
Looking in links: /wheels
ERROR: Could not find a version that satisfies the requirement nosuch==1 (from versions: none)
ERROR: No matching distribution found for nosuch==1
"""
UNREACHABLE = """\
WARNING: Retrying (Retry(total=1)) after connection broken by 'NewConnectionError(... [Errno 111] Connection refused')': /simple/tiny/
WARNING: Retrying (Retry(total=0)) after connection broken by 'NewConnectionError(... [Errno 111] Connection refused')': /simple/tiny/
ERROR: Could not find a version that satisfies the requirement tiny (from versions: none)
ERROR: No matching distribution found for tiny
"""
CONFLICT = """\
Processing ./b-1.0-py3-none-any.whl
INFO: pip is looking at multiple versions of b to determine which version is compatible with other requirements. This could take a while.
ERROR: Cannot install a==1 and b==1 because these package versions have conflicting dependencies.

The conflict is caused by:
    a 1 depends on c==1
    b 1 depends on c==2

To fix this you could try to:
1. loosen the range of package versions you've specified
2. remove package versions to allow pip attempt to solve the dependency conflict

ERROR: ResolutionImpossible: for help visit https://pip.pypa.io/en/latest/topics/dependency-resolution/
"""
OWN_BUILD = """\
  Preparing metadata (setup.py): started
  error: subprocess-exited-with-error

  × python setup.py egg_info did not run successfully.
  │ exit code: 1
  ╰─> [5 lines of output]
      Traceback (most recent call last):
        File "<string>", line 2, in <module>
        File "setup.py", line 3, in <module>

      RuntimeError: a compiler is needed
      [end of output]

  note: This error originates from a subprocess, and is likely not a problem with pip.
error: metadata-generation-failed

× Encountered error while generating package metadata.
╰─> See above for output.

note: This is an issue with the package mentioned above, not pip.
"""
GIT = """\
  Running command git clone --filter=blob:none --quiet http://127.0.0.1:1/none.git /tmp/x
  fatal: unable to access 'http://127.0.0.1:1/none.git/': Failed to connect to 127.0.0.1 port 1
  error: subprocess-exited-with-error

  × git clone --filter=blob:none --quiet http://127.0.0.1:1/none.git /tmp/x did not run successfully.
  │ exit code: 128
  ╰─> See above for output.

  note: This error originates from a subprocess, and is likely not a problem with pip.
error: subprocess-exited-with-error

× git clone --filter=blob:none --quiet http://127.0.0.1:1/none.git /tmp/x did not run successfully.
│ exit code: 128
╰─> See above for output.

note: This error originates from a subprocess, and is likely not a problem with pip.
"""
FULL = "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device\n"
OF_UV = """\
Using Python 3.11.7 environment at: /e
  × No solution found when resolving dependencies:
  ╰─▶ Because nosuch was not found in the package registry and you require
      nosuch==1, we can conclude that your requirements are unsatisfiable.
"""


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        (NOT_FOUND, NOT_FOUND.splitlines()[1:]),
        (UNREACHABLE, UNREACHABLE.splitlines()[1:]),
        (CONFLICT, [CONFLICT.splitlines()[number] for number in (2, 4, 5, 6, 12)]),
        (OWN_BUILD, [OWN_BUILD.splitlines()[number] for number in (3, 5 + 2, 5 + 3, 5 + 5)]),
        (GIT, [GIT.splitlines()[number] for number in (1, 4)]),
        (FULL, FULL.splitlines()),
        (OF_UV, OF_UV.splitlines()[1:]),
        ("a\n\nb\nc\n", ["b", "c"]),
        ("", []),
    ],
    ids=[
        "not found",
        "unreachable",
        "conflict",
        "own build",
        "git",
        "full disk",
        "uv",
        "nothing recognised",
        "silence",
    ],
)
def test_the_decisive_lines_of_what_was_printed(output: str, expected: list[str]) -> None:
    assert decisive_lines(output.splitlines(), 2) == expected
