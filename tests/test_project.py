"""The promises of the files around the code: README's Python runs, its links lead somewhere, `make` explains its verbs."""

from __future__ import annotations

import ast
import os
import re
import signal
import socket
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import bannister

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
PYTHON_BLOCKS = re.findall(r"^```python\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """A server of its own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        Path(sys.executable).with_name("bannister"),
        "up",
        "--port",
        str(port),
        "--data-dir",
        str(tmp_path / "data"),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip().removeprefix("ready ")
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


def run_python(code: str, address: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """As a user who has set AWS_ENDPOINT_URL."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")} | {
        "AWS_ENDPOINT_URL": address,
        "AWS_ACCESS_KEY_ID": "any",
        "AWS_SECRET_ACCESS_KEY": "any",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.real
def test_the_python_of_the_readme_runs(address: str, tmp_path: Path) -> None:
    follow_up = (
        'sagemaker.get_waiter("endpoint_in_service").wait(EndpointName="iris", WaiterConfig={"Delay": 1})\n'
        'print(sagemaker.describe_endpoint(EndpointName="iris")["EndpointConfigName"])\n'
    )
    answer = run_python("\n".join([*PYTHON_BLOCKS, follow_up]), address, tmp_path)
    assert answer.returncode == 0, answer.stderr
    prediction, configuration = answer.stdout.splitlines()
    assert "0" in prediction
    assert configuration == "iris-2"


@pytest.mark.real
@pytest.mark.parametrize("name", ["metrics", "models"])
def test_the_python_of_a_page_prints_what_it_says(name: str, address: str, tmp_path: Path) -> None:
    if name == "models":
        pytest.importorskip("xgboost", reason="only installed on Linux")
    page = (ROOT / "docs" / f"{name}.md").read_text()
    [block] = re.findall(r"^```python\n(.*?)^```$", page, flags=re.MULTILINE | re.DOTALL)
    answer = run_python(block, address, tmp_path)
    assert answer.returncode == 0, answer.stderr
    assert f"This prints `{answer.stdout.strip()}`" in page


@pytest.mark.real
def test_the_python_of_the_page_on_instances_prints_what_it_says(address: str, tmp_path: Path) -> None:
    page = (ROOT / "docs/instances.md").read_text()
    [block] = re.findall(r"^```python\n(.*?)^```$", page, flags=re.MULTILINE | re.DOTALL)
    answer = run_python(block, address, tmp_path)
    assert answer.returncode == 0, answer.stderr
    assert f"This prints `{answer.stdout.strip()}`" in page


def test_the_lines_for_ones_own_model_are_eight() -> None:
    statements = [node for node in ast.parse(PYTHON_BLOCKS[1]).body if not isinstance(node, ast.Import)]
    assert len(statements) == 8


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\((?!https?:)([^)#]+)\)", README))))
def test_links_of_the_readme_lead_somewhere(target: str) -> None:
    assert (ROOT / target).exists()


def test_make_alone_explains_every_verb() -> None:
    shown = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    assert phony is not None
    for verb in phony[1].split():
        assert re.search(rf"^  make {verb} +\S", shown, flags=re.MULTILINE), verb


def test_the_version_is_the_same_everywhere() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert version == bannister.__version__
    assert f"## [{version}]" in (ROOT / "CHANGELOG.md").read_text()


def test_continuous_integration_can_be_run() -> None:
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
    subprocess.run(["bash", "-n", ROOT / ".ci" / "run"], check=True)


def test_every_dependency_is_among_the_tested_versions() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [
        *project["dependencies"],
        *(each for extra in project["optional-dependencies"].values() for each in extra),
    ]
    files = (ROOT / "constraints.txt", ROOT / "constraints-frameworks.txt")
    names = {re.split(r"[\[<>=]", each)[0].lower() for each in wanted} - {"bannister"}
    tested = {line.partition("==")[0].lower() for file in files for line in file.read_text().splitlines()}
    assert names <= tested
