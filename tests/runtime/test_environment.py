"""The program that makes environments, as it is run, by each of its installers."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tests.wheels import make_wheel

import bannister

pytestmark = pytest.mark.real
PROGRAM = Path(bannister.__file__).parent / "runtime" / "environment.py"
UV = shutil.which("uv")


@pytest.mark.parametrize(
    "uv",
    [None, pytest.param(UV, marks=pytest.mark.skipif(UV is None, reason="uv is not installed"))],
    ids=["pip", "uv"],
)
def test_what_the_interpreter_has_is_used_unless_another_version_is_required(tmp_path: Path, uv: str | None) -> None:
    for name, version in (("tiny", "1.0"), ("idna", "99.0"), ("numpy", "0.1")):
        make_wheel(tmp_path / "wheels", name, version)
    code = tmp_path / "code"
    code.mkdir()
    (code / "typing.py").write_text("raise RuntimeError('this is the artifact, not the library')")
    requirements = code / "requirements.txt"
    requirements.write_text("numpy\ntiny==1.0\nidna>=99\n")
    options = {"PIP_CONFIG_FILE": "/dev/null", "UV_CACHE_DIR": str(tmp_path / "cache")}
    for installer in ("PIP", "UV"):
        options |= {f"{installer}_NO_INDEX": "1", f"{installer}_FIND_LINKS": str(tmp_path / "wheels")}
    command = [sys.executable, PROGRAM, "build", tmp_path / "environment", requirements, *([] if uv is None else [uv])]
    subprocess.run(command, cwd=code, env=os.environ | options, check=True)
    asked = "import idna, json, numpy, tiny; print(json.dumps([idna.VERSION, tiny.VERSION, numpy.__version__]))"
    said = subprocess.run(
        [tmp_path / "environment" / "bin" / "python", "-I", "-c", asked], capture_output=True, check=True
    ).stdout

    assert json.loads(said) == ["99.0", "1.0", np.__version__]
    (packages,) = (tmp_path / "environment" / "lib").glob("python*/site-packages")
    assert {each.name for each in packages.glob("*.dist-info")} == {"idna-99.0.dist-info", "tiny-1.0.dist-info"}
