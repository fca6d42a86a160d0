"""Makes the environment of an artifact: run by its path, under the interpreter of the model's image.

    environment.py describe                            what must be known of this interpreter, as one line of JSON
    environment.py build FOLDER REQUIREMENTS [UV]      an environment in FOLDER, with REQUIREMENTS installed by UV, or by pip

The environment is a virtual one *over* this interpreter: what it has need not be installed, and what is installed comes first, as on an image of
SageMaker's. `venv --system-site-packages` would not do: where this interpreter is itself that of a virtual environment, it shows the packages of the installation
beneath, and hides those of the environment. So a `.pth` file names this interpreter's folders of packages, to be read as it reads them itself.

pip sees these packages as any program does. uv looks into the environment only; while it works, the environment has the metadata of each package of
this interpreter, as if it were installed there: uv leaves it where it satisfies, and takes it away where it installs another version.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import re
import shutil
import site
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

#: First among the `.pth` files of the environment.
_JOINING = "_bannister.pth"
_PRETENDED_BY = "bannister"
_METADATA_SUFFIXES = (".dist-info", ".egg-info", ".egg-link")


def describe() -> None:
    """Print what must be known of this interpreter."""
    folders = [Path(folder) for folder in sys.path if Path(folder).is_dir()]
    packages = {each.name for folder in folders for each in folder.iterdir() if each.suffix in _METADATA_SUFFIXES}
    has_pip = any(importlib.util.find_spec(name) is not None for name in ("pip", "ensurepip"))
    found = {
        "version": sys.version,
        "platform": sysconfig.get_platform(),
        "packages": sorted(packages),
        "has_pip": has_pip,
    }
    print(json.dumps(found), flush=True)


def build(folder: Path, requirements: Path, uv: str | None) -> int:
    """Make the environment and install; the installer's exit status."""
    print(f"Installing {requirements.name} with {'pip' if uv is None else 'uv'}, for {sys.executable}", flush=True)
    venv.EnvBuilder(symlinks=True).create(folder)
    packages = _packages(folder)
    _join(packages)
    _take_over_configuration(folder)
    python = str(folder / "bin" / "python")
    status = _with_pip(python, requirements) if uv is None else _with_uv(uv, python, requirements, packages)
    if status < 0:  # by this signal
        print(f"ERROR: The installer was ended by signal {-status}.", flush=True)
    return status if status >= 0 else 128 - status


def _packages(folder: Path) -> Path:
    """Where the environment's own packages are."""
    scheme = "venv" if "venv" in sysconfig.get_scheme_names() else "posix_prefix"
    return Path(sysconfig.get_path("purelib", scheme, {"base": str(folder), "platbase": str(folder)}))


def _join(packages: Path) -> None:
    folders = [*site.getsitepackages(), *([site.getusersitepackages()] if site.ENABLE_USER_SITE else [])]
    lines = [f"import site; site.addsitedir({each!a})\n" for each in folders if Path(each).is_dir()]
    (packages / _JOINING).write_text("".join(lines))


def _take_over_configuration(folder: Path) -> None:
    """A file that pip reads in the environment that it runs in: who configured this one so means that one, too."""
    configuration = Path(sys.prefix, "pip.conf")
    if configuration.is_file():
        shutil.copy(configuration, folder / "pip.conf")


def _with_pip(python: str, requirements: Path) -> int:
    # Isolated (-I): the folder that this runs in is the artifact's, and what it holds must not be taken for pip's modules.
    if importlib.util.find_spec("pip") is None:
        status = subprocess.call([python, "-I", "-u", "-m", "ensurepip"])
        if status != 0:
            print(f"ERROR: {sys.executable} has no pip, and cannot make one: install pip there, or uv.", flush=True)
            return status
    options = ["--no-input", "--progress-bar", "off", "--requirement", str(requirements)]
    return subprocess.call([python, "-I", "-u", "-m", "pip", "install", *options])


def _with_uv(uv: str, python: str, requirements: Path, packages: Path) -> int:
    pretended = _pretend(packages)
    options = ["--no-progress", "--compile-bytecode", "--python", python, "--requirements", str(requirements)]
    status = subprocess.call([uv, "pip", "install", *options])
    for each in pretended:
        installer = each / "INSTALLER"
        if installer.is_file() and installer.read_text() == _PRETENDED_BY:  # else another has been installed
            shutil.rmtree(each)
    return status


def _pretend(packages: Path) -> list[Path]:
    """Show an installer that looks into the environment only what this interpreter has."""
    pretended = []
    for found in importlib.metadata.distributions():
        name, metadata = found.metadata["Name"], found.read_text("METADATA") or found.read_text("PKG-INFO")
        if not name or not metadata:
            continue
        folder = packages / f"{re.sub(r'[-_.]+', '_', name)}-{found.version}.dist-info"
        if not folder.exists():
            folder.mkdir()
            for file, content in (("METADATA", metadata), ("INSTALLER", _PRETENDED_BY), ("RECORD", "")):
                (folder / file).write_text(content, "utf-8")
            record = "".join(f"{folder.name}/{file},,\n" for file in ("METADATA", "INSTALLER", "RECORD"))
            (folder / "RECORD").write_text(record, "utf-8")
            pretended.append(folder)
    return pretended


def main() -> int:
    """Do what the command line says."""
    beside = os.path.realpath(Path(__file__).parent)
    sys.path[:] = [each for each in sys.path if each != beside]  # the runtime's modules are not the interpreter's
    if sys.argv[1] == "describe":
        describe()
        return 0
    return build(Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4] if len(sys.argv) > 4 else None)


if __name__ == "__main__":
    sys.exit(main())
