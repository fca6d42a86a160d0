"""What must be known of a `code/requirements.txt` before and after it is installed: pure, and pip's own grammar only as far as that takes.

An environment is found again by its *key*: a digest of everything that what is installed depends on and that is known before. Two artifacts
with the same requirements share an environment, unless these reach files of the artifact, which may differ although the text is the same. Whatever is
not plainly a name, or an address elsewhere, is taken to reach a file: a wrong guess costs another environment, not a wrong one.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

#: Grows when environments are built in another way.
_FORM: Final = 1
_KEY_CHARACTERS: Final = 32

_CONTINUED: Final = re.compile(r"\\\r?\n")
# Patterns are such that no text takes longer than its length asks for: an artifact's may be of anybody.
_COMMENT: Final = re.compile(r"(?<!\S)#.*$")
#: A name, perhaps with extras, and versions, a marker or hashes.
_NAMED: Final = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)\s*(?:\[[^\]]*\]\s*)?(?:[(<>=!~;].*)?")
#: As pip has them: a bare file name that ends so is a file, not a name.
_ARCHIVES: Final = (
    ".whl",
    ".zip",
    ".tar",
    ".tar.gz",
    ".tgz",
    ".tar.bz2",
    ".tbz",
    ".tar.xz",
    ".txz",
    ".tlz",
    ".tar.lz",
    ".tar.lzma",
)
_OPTIONS_WITHOUT_FILES: Final = frozenset(
    [
        "-i",
        "--index-url",
        "--extra-index-url",
        "--pypi-url",
        "--no-index",
        "--no-binary",
        "--only-binary",
        "--prefer-binary",
        "--pre",
        "--require-hashes",
        "--trusted-host",
        "--use-feature",
        "--hash",
    ]
)
#: A line that names another file of requirements, or one of constraints.
_NAMES_A_FILE: Final = re.compile(r"(?:-[rc]|--(?:requirement|constraint))(?:\s+|=)?(\S+)")
_EDITABLE: Final = re.compile(r"-e|--editable\b")
_VARIABLE: Final = re.compile(r"\$\{([A-Z0-9_]+)\}")
_CREDENTIALS: Final = re.compile(r"://[^/@\s]*@")
#: What pip and uv take their options from.
_OPTION_VARIABLES: Final = ("PIP_", "UV_")


class Installer(StrEnum):
    """Who installs requirements."""

    PIP = "pip"
    UV = "uv"


@dataclass(frozen=True, slots=True)
class Interpreter:
    """What the interpreter of an image says of itself."""

    path: str
    version: str
    platform: str
    #: The packages that it sees, each with its version.
    packages: tuple[str, ...]
    #: It has pip, or can make one.
    has_pip: bool = True


@dataclass(frozen=True, slots=True)
class Kept:
    """An environment on the disk."""

    name: str
    size: int
    #: Seconds since the epoch.
    used_at: float
    #: An instance that exists runs in it, or waits for it.
    in_use: bool


def environment_key(
    text: str,
    artifact: str,
    interpreter: Interpreter,
    variables: Mapping[str, str],
    configuration: Sequence[str] = (),
) -> str:
    """Names the environment that these requirements of this artifact (by the digest of its bytes) get.

    The interpreter's own packages are part of it: what they satisfy is not installed, so with others something may be missing. So is how the
    installer is configured on this machine: another index may have other packages.
    """
    of_artifact = artifact if variables or reaches_files(text) else None
    parts = [
        _FORM,
        text,
        of_artifact,
        interpreter.path,
        interpreter.version,
        interpreter.platform,
        sorted(interpreter.packages),
        sorted(variables.items()),
        *([list(configuration)] if configuration else []),
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:_KEY_CHARACTERS]


def is_plain(text: str) -> bool:
    """Nothing but names and versions: what pip and uv install alike."""
    return all(_is_named(line) and "--" not in line for line in _lines(text))


def reaches_files(text: str) -> bool:
    """Whether what is installed may depend on files of the artifact beside this text."""
    return any(_may_reach_a_file(line) for line in _lines(text))


def files_named(text: str) -> list[str]:
    """The further files of requirements and of constraints that a text names, as it writes them: relative to its own folder, or addresses."""
    return [found[1].strip("'\"") for line in _lines(text) if (found := _NAMES_A_FILE.match(line))]


def is_editable(text: str) -> bool:
    """Whether a package is to be used where its sources are."""
    return any(_EDITABLE.match(line) for line in _lines(text))


def build_variables(texts: Iterable[str], environment: Mapping[str, str]) -> dict[str, str]:
    """What a model's environment has for those who install: their options, and what these texts name as `${NAME}`."""
    named = {name for text in texts for name in _VARIABLE.findall(text)}
    return {name: value for name, value in environment.items() if name.startswith(_OPTION_VARIABLES) or name in named}


def without_credentials(text: str) -> str:
    """What configures an installer, or what it prints, without what addresses hold before an @: with another password the packages are the same."""
    return _CREDENTIALS.sub("://", text)


def installer(text: str, interpreter: Interpreter, *, has_uv: bool, pip_is_configured: bool) -> Installer:
    """Who: uv is several times faster, but reads nothing of pip's configuration, and some options in requirements otherwise than pip."""
    if not has_uv:
        return Installer.PIP
    if not interpreter.has_pip:
        return Installer.UV
    return Installer.UV if is_plain(text) and not pip_is_configured else Installer.PIP


def to_evict(kept: Iterable[Kept], bytes_max: int) -> list[str]:
    """The environments to remove so that all together take at most so much: unused ones, the longest unused first."""
    kept = list(kept)
    total = sum([one.size for one in kept])
    evicted: list[str] = []
    for one in sorted(kept, key=lambda each: (each.used_at, each.name)):
        if total <= bytes_max:
            break
        if not one.in_use:
            total -= one.size
            evicted.append(one.name)
    return evicted


# --- what pip says

_BEGINS: Final = re.compile(r"\s*(ERROR:|error:|fatal:|×|The conflict is caused by:)")
_RETRIES: Final = "after connection broken by"
_QUOTED: Final = re.compile(r"\s*╰─> \[\d+ lines? of output\]")
_QUOTED_ENDS: Final = "[end of output]"
_QUOTED_LINES_MAX: Final = 3
#: Said of every failure of a package's own build, beside what is wrong with it.
_SAYS_NOTHING: Final = (
    "error: subprocess-exited-with-error",
    "error: metadata-generation-failed",
    "error: failed-wheel-build-for-install",
    "× Encountered error while generating package metadata.",
    "╰─> See above for output.",
    "│ exit code:",
)


def decisive_lines(output: Sequence[str], otherwise: int = 12) -> list[str]:
    """The lines of a failed installer's output that say why; where none is recognised, so many of its last.

    An error is a line that begins as one and what follows it up to an empty line, and said once. Of what a package's own build printed, which is quoted in it,
    the last lines count. pip takes an index that cannot be reached for one without the package, so the last failure to connect belongs to it.
    """
    found: list[str] = []
    said: set[str] = set()
    quoted: list[str] | None = None
    inside = False
    for line in output:
        text = line.strip()
        if quoted is not None:
            if text == _QUOTED_ENDS:
                found += quoted[-_QUOTED_LINES_MAX:]
                quoted = None
            elif text:
                quoted.append(line.rstrip())
            continue
        inside = bool(text) and (inside or _BEGINS.match(line) is not None)
        if inside and _QUOTED.match(line):
            quoted = []
        elif inside and not text.startswith(_SAYS_NOTHING) and text not in said:
            found.append(line.rstrip())
            said.add(text)
    found += (quoted or [])[-_QUOTED_LINES_MAX:]
    if not found:
        return [line.rstrip() for line in output if line.strip()][-otherwise:]
    unreached = [line.rstrip() for line in output if _RETRIES in line][-1:]
    return unreached + found


# --- lines of requirements


def _lines(text: str) -> Iterator[str]:
    for line in _CONTINUED.sub(" ", text).splitlines():
        if found := _COMMENT.sub("", line).strip():
            yield found


def _is_named(line: str) -> bool:
    found = _NAMED.fullmatch(line)
    return found is not None and not found[1].lower().endswith(_ARCHIVES)


def _may_reach_a_file(line: str) -> bool:
    if _is_named(line):
        return False
    if "file:" in line.lower():
        return True
    words = re.split(r"[\s=]+", line)
    options = [word for word in words if word.startswith("-")]
    if line.startswith("-") and all(option in _OPTIONS_WITHOUT_FILES for option in options):
        return False
    is_one_address = len(options) <= 1 and len(words) - len(options) == 1
    is_named_address = not options and "@" in line
    return "://" not in line or not (is_one_address or is_named_address)
