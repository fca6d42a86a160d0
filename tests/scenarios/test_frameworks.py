"""Model servers of others, unchanged, as models: MLflow's by its port, LitServe also by its paths.

They run in an environment of their own, which `make frameworks` makes; without it, these tests are skipped.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest
from botocore.exceptions import ClientError
from tests.scenarios.world import World

pytestmark = [pytest.mark.real, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
BIN = Path(os.environ.get("FRAMEWORKS", ROOT / ".frameworks" / "bin"))
#: As the page says, but for where they are installed.
ROWS = re.sub(
    "/opt/(mlflow|litserve)/bin",
    str(BIN),
    "".join(re.findall(r"```toml\n(.*?)```", (ROOT / "docs" / "model-servers.md").read_text(), re.DOTALL)[1:3]),
)


def has(package: str) -> bool:
    python = BIN / "python"
    return python.exists() and subprocess.run([python, "-c", f"import {package}"], capture_output=True).returncode == 0


def needs(package: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(not has(package), reason=f"{BIN} has no {package}: make frameworks")


@pytest.fixture(autouse=True)
def _rows(world: World) -> None:
    (world.server.data_dir / "images.toml").write_text(ROWS)


def config(world: World, name: str, files: dict[str, bytes], image: str, **environment: str) -> str:
    world.model(name, files=files, image=image, **environment)
    return world.config(name, model=name, instances=1)


@needs("mlflow")
def test_mlflow_serves_what_it_saved(world: World, tmp_path: Path) -> None:
    names = []
    for factor in (2, 3):
        folder = tmp_path / f"times-{factor}"
        script = Path(__file__).with_name("mlflow_model.py")
        subprocess.run([BIN / "python", script, str(factor), folder], check=True, capture_output=True)
        files = {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
        names.append(config(world, f"mlflow-{factor}", files, "mlflow"))
    endpoint = world.endpoint("mlflow", names[0])
    asked = json.dumps({"dataframe_split": {"columns": ["x"], "data": [[7.0]]}}).encode()
    assert world.invoke(endpoint, asked)["predictions"] == pytest.approx([14.0])
    with pytest.raises(ClientError, match="ModelError") as refusal:
        world.invoke(endpoint, b'{"unknown": 1}')
    assert refusal.value.response["OriginalStatusCode"] == 400
    world.update(endpoint, names[1], routing={"Type": "ALL_AT_ONCE", "WaitIntervalInSeconds": 0})
    assert world.settled(endpoint)["EndpointConfigName"] == names[1]
    assert world.invoke(endpoint, asked)["predictions"] == pytest.approx([21.0])


@needs("litserve")
def test_litserve_serves_at_its_own_paths(world: World) -> None:
    server = Path(__file__).with_name("litserve_server.py").read_bytes()
    names = [
        config(world, f"litserve-{factor}", {"server.py": server}, "litserve", FACTOR=str(factor)) for factor in (2, 3)
    ]
    endpoint = world.endpoint("litserve", names[0])
    assert world.invoke(endpoint, b'{"x": 7}') == {"output": 14.0}
    with pytest.raises(ClientError, match="ModelError") as refusal:
        world.invoke(endpoint, b'{"y": 7}')
    assert refusal.value.response["OriginalStatusCode"] in (400, 500)
    world.update(endpoint, names[1], routing={"Type": "ALL_AT_ONCE", "WaitIntervalInSeconds": 0})
    assert world.settled(endpoint)["EndpointConfigName"] == names[1]
    assert world.invoke(endpoint, b'{"x": 7}') == {"output": 21.0}
