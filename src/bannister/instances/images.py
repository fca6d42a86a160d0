"""The image table: what the name of an image means on this machine.

On AWS an image is a container. Here a row of a table says which command runs it. The rows are tried in order, first those
of the user's `images.toml` in the data directory, then the built-in ones:

    [[image]]
    match = "my-team/ranker:*"                      # a glob over the name, with or without its tag
    command = ["uvicorn", "app:app", "--port", "{port}", "--app-dir", "{model_dir}"]
    environment = { OMP_NUM_THREADS = "1" }

    [[image]]
    match = "*/sagemaker-xgboost:*"                 # the built-in runtime under another interpreter
    python = "/opt/venvs/xgboost/bin/python"

    [[image]]
    match = "my-team/chat:*"
    command = ["litserve-app", "--port={port}"]
    ping_path = "/health"                           # SageMaker's /ping and /invocations, if it has its own
    invocations_path = "/predict"

    [[image]]
    match = "vllm/vllm-openai:*"                    # a container; its command is what follows the image's entry point
    container = true
    command = ["--model", "{model_dir}", "--port", "{port}"]
    pull = "always"

In a command `{port}`, `{model_dir}` and `{python}` stand for the port to listen on, the folder of the unpacked artifact and
the interpreter: that of an environment of its own where the artifact has a `code/requirements.txt`. A row without a command runs the built-in Python runtime, or the container with `serve`, as SageMaker does. In a container the port is 8080 and
the folder /opt/ml/model. Images that match no row are containers, where an engine answers (`bannister.instances.engine`). The file is read again
whenever it changes.

**Paths are remembered.** A model's environment may say otherwise than its image's row where its server answers; either way the
model keeps the paths that it was created with, and all that runs it (`bannister.domain.model.Paths`): proxies and pings are told
them long after the row may have changed. The command is read at each start, so that a moved interpreter is found again. Where it
has come to belong to other paths, nothing is started that nobody would ask where it answers.
"""

from __future__ import annotations

import shutil
import sys
import tomllib
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final

import msgspec

from bannister.domain.instance import GroupSpec
from bannister.domain.model import CONTRACT, Paths, check_path, paths_of
from bannister.errors import Invalid, Unavailable
from bannister.instances.engine import Engines
from bannister.settings import Pull, Settings

#: As in SageMaker's containers.
CONTAINER_PORT: Final = 8080
CONTAINER_MODEL_DIR: Final = "/opt/ml/model"
_SERVE: Final = ("serve",)
_RUNTIME: Final = ("{python}", "-m", "bannister.runtime")


class ImageRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One row of the table."""

    match: str
    #: None: the built-in Python runtime.
    command: tuple[str, ...] | None = None
    #: None: the interpreter that runs Bannister.
    python: str | None = None
    environment: dict[str, str] = {}  # msgspec copies it
    #: The engine runs it.
    container: bool = False
    #: When the engine fetches it; None: as the setting `container_pull` says.
    pull: Pull | None = None
    #: Where its server answers.
    ping_path: str = CONTRACT.ping
    invocations_path: str = CONTRACT.invocations

    def matches(self, image: str) -> bool:
        return fnmatchcase(image, self.match) or fnmatchcase(_without_tag(image), self.match)


@dataclass(frozen=True, slots=True)
class RunCommand:
    """How an image is run here."""

    command: tuple[str, ...]
    python: str
    environment: dict[str, str]
    #: Where its server answers, unless the model says otherwise.
    paths: Paths = CONTRACT
    container: bool = False
    pull: Pull | None = None

    def arguments(self) -> list[str]:
        """What follows a container's entry point."""
        return self._filled(str(CONTAINER_PORT), CONTAINER_MODEL_DIR)

    def check_paths(self, spec: GroupSpec) -> None:
        """See that a group is asked where its server would answer.

        Raises:
            Invalid: Its image's row says something else now than when its model was created: a person mends that.
        """
        now = paths_of(self.paths, spec.environment)
        if now != spec.paths:
            raise Invalid(
                f"images.toml says now that the image {spec.image!r} answers at {now.ping} and {now.invocations}, and its model was created when it "
                f"was {spec.paths.ping} and {spec.paths.invocations}; change the row back, or create the model again."
            )

    @property
    def brings_its_own_packages(self) -> bool:
        """It is not run by `python`: what an artifact requires cannot be added to it."""
        return not any("{python}" in part for part in self.command)

    def argv(self, *, port: int, model_dir: str, path: str | None = None) -> list[str]:
        """The command line, the program looked up in `path`.

        Raises:
            Invalid: The program does not exist.
        """
        argv = self._filled(str(port), model_dir)
        program = shutil.which(argv[0], path=path)
        if program is None:
            raise Invalid(f"There is no program {argv[0]!r} to run the image with.")
        return [program, *argv[1:]]

    def _filled(self, port: str, model_dir: str) -> list[str]:
        values = {"{port}": port, "{model_dir}": model_dir, "{python}": self.python}
        return [_filled(part, values) for part in self.command]


#: AWS's framework images (in any account, region and partition) and the name for the runtime itself.
BUILT_IN: Final = tuple(
    ImageRow(match)
    for name in (
        "bannister/python",
        "sagemaker-scikit-learn",
        "sagemaker-xgboost",
        "pytorch-inference",
        "sagemaker-inference",
    )
    for match in ((name,) if "/" in name else (name, f"*/{name}"))
)


class ImageTable:
    """Resolves images by the user's rows and the built-in ones."""

    def __init__(self, settings: Settings, engines: Engines | None = None) -> None:
        """`engines`: where images without a row run as containers; None: nowhere."""
        self._engines = engines
        self._file = settings.images_path
        self._shim = settings.data_dir / "runtime"
        self._seen: tuple[int, int] | None = None
        self._rows: tuple[ImageRow, ...] = ()

    def resolve(self, image: str) -> RunCommand:
        """How to run an image; that an engine answers for a container is another question (`why_not`).

        Raises:
            Invalid: No row matches and there are no containers here, or the user's file is damaged; the sentence says what can be run.
        """
        self._read_again()
        row = next((row for row in (*self._rows, *BUILT_IN) if row.matches(image)), None)
        if row is None:
            if self._engines is None or not self._engines.wanted:
                raise Invalid(self._unknown(image, "."))
            return RunCommand(_SERVE, "", {}, container=True)
        paths = Paths(row.ping_path, row.invocations_path)
        if row.container:
            return RunCommand(row.command or _SERVE, "", dict(row.environment), paths, container=True, pull=row.pull)
        environment = dict(row.environment)
        if row.python is not None and row.command is None:
            environment["PYTHONPATH"] = _joined(str(_runtime_only(self._shim)), environment.get("PYTHONPATH"))
        return RunCommand(row.command or _RUNTIME, row.python or sys.executable, environment, paths)

    def why_not(self, image: str) -> str | None:
        """Why an image cannot be run now, as a sentence; None: it can."""
        try:
            if self.resolve(image).container:
                if self._engines is None:
                    return f"The image {image!r} is to be run as a container, and there are no containers here."
                self._engines.find()
        except Invalid as refusal:
            return str(refusal)
        except Unavailable as error:
            if any(row.matches(image) for row in self._rows):
                return f"The image {image!r} is to be run as a container. {error}"
            return self._unknown(image, f", or start a container engine. {error}")
        return None

    def _unknown(self, image: str, otherwise: str) -> str:
        return (
            f"Bannister does not know how to run the image {image!r}. It runs {self._known()} with its Python runtime; "
            f"for any other image, add a row with a command to {self._file}{otherwise}"
        )

    def _known(self) -> str:
        names = [*(row.match for row in self._rows), *(row.match for row in BUILT_IN if not row.match.startswith("*/"))]
        return ", ".join(names)

    def _read_again(self) -> None:
        try:
            status = self._file.stat()
            seen = (status.st_mtime_ns, status.st_size)
        except OSError:
            seen = None
        if seen != self._seen:
            self._rows = () if seen is None else _read(self._file)
            self._seen = seen


class _File(msgspec.Struct, forbid_unknown_fields=True):
    image: tuple[ImageRow, ...] = ()


def _read(file: Path) -> tuple[ImageRow, ...]:
    try:
        rows = msgspec.convert(tomllib.loads(file.read_text()), _File).image
    except (OSError, ValueError) as error:  # also of TOML, of UTF-8 and of msgspec
        raise Invalid(f"{file} cannot be used: {error}.") from error
    if any(row.command == () for row in rows):
        raise Invalid(f"{file} cannot be used: a command is empty.")
    for row in rows:
        if row.container and row.python is not None:
            raise Invalid(
                f"{file} cannot be used: the row {row.match!r} is a container, which brings its own interpreter: leave python out."
            )
        if row.container and any("{python}" in part for part in row.command or ()):
            raise Invalid(
                f"{file} cannot be used: the row {row.match!r} is a container, which brings its own interpreter: name that instead of {{python}}."
            )
        if row.pull is not None and not row.container:
            raise Invalid(f"{file} cannot be used: the row {row.match!r} says pull and is no container.")
        if (
            not row.container
            and row.command is None
            and (row.ping_path, row.invocations_path) != (CONTRACT.ping, CONTRACT.invocations)
        ):
            raise Invalid(
                f"{file} cannot be used: the row {row.match!r} has no command, and the built-in runtime answers at /ping and /invocations."
            )
        try:
            check_path("its ping_path", row.ping_path)
            check_path("its invocations_path", row.invocations_path)
        except Invalid as error:
            raise Invalid(f"{file} cannot be used: of the row {row.match!r}, {error}") from None
    return rows


def _runtime_only(shim: Path) -> Path:
    """A folder for PYTHONPATH in which there is the runtime and nothing else of what Bannister needs."""
    package = shim / "bannister"
    package.mkdir(parents=True, exist_ok=True)
    (package / "__init__.py").touch()
    link = package / "runtime"
    source = Path(__file__).resolve().parent.parent / "runtime"
    if not link.is_symlink() or link.readlink() != source:
        link.unlink(missing_ok=True)
        link.symlink_to(source)
    return shim


def _without_tag(image: str) -> str:
    name = image.partition("@")[0]
    head, slash, last = name.rpartition("/")
    return f"{head}{slash}{last.partition(':')[0]}"


def _filled(part: str, values: dict[str, str]) -> str:
    for placeholder, value in values.items():
        part = part.replace(placeholder, value)
    return part


def _joined(*parts: str | None) -> str:
    return ":".join(part for part in parts if part)
