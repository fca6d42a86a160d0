"""What an installer is told by its environment and by configuration files, and what of that decides what it installs.

Packages may run code of their own when they are installed, with all that their installer can see. So of the environment of whoever started the server it gets only what is named
here: how to reach packages, and how to compile. Anything else (credentials of a cloud, a connection to an SSH agent) is not for it; what a model needs beyond that it brings in its
own `Environment`.

pip has configuration files, of the machine, of the user and of the interpreter's environment, and they are read. uv's are not (`UV_NO_CONFIG`): uv stands in for pip, and would find
some in any folder above an artifact. One that a model names itself (`UV_CONFIG_FILE`) is.
"""

from __future__ import annotations

import configparser
import hashlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from bannister.domain.requirements import files_named, without_credentials

#: How to find the user's files, to speak, to reach an index through a proxy and to believe it, and to compile.
_INHERITED: Final = frozenset(
    [
        "HOME",
        "LANG",
        "LC_ALL",
        "TZ",
        "LD_LIBRARY_PATH",
        "XDG_CONFIG_HOME",
        "XDG_CONFIG_DIRS",
        "XDG_CACHE_HOME",
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
        "REQUESTS_CA_BUNDLE",
        "CURL_CA_BUNDLE",
        "NETRC",
        "CC",
        "CXX",
        "CFLAGS",
        "CXXFLAGS",
        "CPPFLAGS",
        "LDFLAGS",
        "CUDA_HOME",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "NO_PROXY",
        "http_proxy",
        "https_proxy",
        "all_proxy",
        "no_proxy",
    ]
)
#: pip's and uv's options that say which packages are taken, and from where.
_WHICH_PACKAGES: Final = frozenset(
    [
        *(
            f"PIP_{name}"
            for name in (
                "CONFIG_FILE",
                "INDEX_URL",
                "EXTRA_INDEX_URL",
                "PYPI_URL",
                "NO_INDEX",
                "FIND_LINKS",
                "CONSTRAINT",
                "BUILD_CONSTRAINT",
                "PRE",
                "PREFER_BINARY",
                "NO_BINARY",
                "ONLY_BINARY",
                "REQUIRE_HASHES",
                "NO_BUILD_ISOLATION",
                "UPLOADED_PRIOR_TO",
                "USE_FEATURE",
                "USE_DEPRECATED",
            )
        ),
        *(
            f"UV_{name}"
            for name in (
                "DEFAULT_INDEX",
                "INDEX",
                "INDEX_URL",
                "EXTRA_INDEX_URL",
                "NO_INDEX",
                "FIND_LINKS",
                "INDEX_STRATEGY",
                "CONSTRAINT",
                "BUILD_CONSTRAINT",
                "OVERRIDE",
                "PRERELEASE",
                "RESOLUTION",
                "EXCLUDE_NEWER",
                "NO_BINARY",
                "NO_BUILD",
                "NO_BUILD_ISOLATION",
            )
        ),
    ]
)
#: Those that say how they are reached, but that another installer would have to be told as well.
_HOW_TO_REACH: Final = frozenset(
    [
        "PIP_TRUSTED_HOST",
        "PIP_PROXY",
        "PIP_CERT",
        "PIP_CLIENT_CERT",
        "PIP_KEYRING_PROVIDER",
        "UV_INSECURE_HOST",
        "UV_NATIVE_TLS",
        "UV_SYSTEM_CERTS",
        "UV_KEYRING_PROVIDER",
    ]
)
#: How they talk, how patient they are and where they keep what they fetched: nothing that another installer would have to know.
_OF_NO_CONSEQUENCE: Final = frozenset(
    [
        "PIP_DISABLE_PIP_VERSION_CHECK",
        "PIP_ROOT_USER_ACTION",
        "PIP_NO_INPUT",
        "PIP_PROGRESS_BAR",
        "PIP_CACHE_DIR",
        "PIP_NO_CACHE_DIR",
        "PIP_DEFAULT_TIMEOUT",
        "PIP_TIMEOUT",
        "PIP_RETRIES",
        "PIP_RESUME_RETRIES",
        "PIP_NO_COLOR",
        "PIP_USER",
        "UV_CACHE_DIR",
        "UV_NO_CACHE",
        "UV_LINK_MODE",
        "UV_OFFLINE",
        "UV_HTTP_TIMEOUT",
        "UV_HTTP_RETRIES",
        "UV_CONCURRENT_DOWNLOADS",
        "UV_CONCURRENT_BUILDS",
        "UV_CONCURRENT_INSTALLS",
    ]
)
#: `UV_INDEX_NAME_USERNAME` and `…_PASSWORD`: of an index that has a name.
_NAMED_INDEX: Final = "UV_INDEX_"
#: Options that name files which decide, too, as pip's files call them; as variables they have PIP_ or UV_ before their names.
_NAME_FILES: Final = frozenset(["constraint", "build-constraint", "requirement", "override"])
#: Of a file, so much decides, and of so many files.
_FILE_BYTES_MAX: Final = 1024 * 1024
_FILES_MAX: Final = 64


def environment(path: str, variables: Mapping[str, str]) -> dict[str, str]:
    """All of an installer's environment: what it inherits, and over it these `variables` of a model. Programs are looked for in `path`."""
    return {
        "LANG": "C.UTF-8",
        **{name: value for name, value in os.environ.items() if _is_inherited(name)},
        **({} if "UV_CONFIG_FILE" in variables else {"UV_NO_CONFIG": "1"}),
        **variables,
        "PATH": path,
        "PYTHONUNBUFFERED": "1",
        "NO_COLOR": "1",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_ROOT_USER_ACTION": "ignore",
        "PIP_USER": "0",  # where pip's configuration asks for the user's own packages, nothing could be installed here
    }


def what_configures_pip(environment: Mapping[str, str], python: str, root: Path = Path("/")) -> list[str]:
    """The variables and the files by which pip would do otherwise than by default, by their names."""
    variables = [name for name in environment if name.startswith("PIP_") and name not in _OF_NO_CONSEQUENCE]
    return [
        *sorted(variables),
        *(str(file) for file in _pip_files(environment, python, root) if _content(file) is not None),
    ]


def configuration(
    environment: Mapping[str, str], python: str, requirements: Path, root: Path = Path("/")
) -> tuple[str, ...]:
    """What decides which packages an installer with this environment takes, beside the text of the requirements, without credentials.

    That is options and pip's files, and, as digests, what is in the files that these or the requirements name: constraints, further requirements, and what those name. What
    lies beside the requirements in their artifact is left out where they name it: the artifact itself decides then.
    """
    options = [f"{name}={value}" for name, value in sorted(environment.items()) if name in _WHICH_PACKAGES]
    files = [text for file in _pip_files(environment, python, root) if (text := _content(file)) is not None]
    code = requirements.parent
    by_text = [text for file, text in _named(requirements) if not file.is_relative_to(code.parent)]
    by_others = _texts([_path(code, name) for name in [*_named_by_options(environment), *_named_by_pip(files)]])
    contents = [_digest(text) for text in [*by_text, *(text for _, text in by_others)]]
    return (*map(without_credentials, [*options, *files]), *contents)


def _named_by_options(environment: Mapping[str, str]) -> list[str]:
    found = [name for name in [environment.get("UV_CONFIG_FILE")] if name]
    for name, value in sorted(environment.items()):
        installer, _, option = name.partition("_")
        if installer in ("PIP", "UV") and option.lower().replace("_", "-") in _NAME_FILES:
            found += value.split()
    return found


def _named_by_pip(files: Iterable[str]) -> list[str]:
    found = []
    for text in files:
        parser = configparser.RawConfigParser(strict=False)
        try:
            parser.read_string(text)
        except configparser.Error:  # pip says what is wrong with it
            continue
        for section in parser.sections():
            for option, value in parser.items(section):
                if option.replace("_", "-") in _NAME_FILES:
                    found += value.split()
    return found


def named_texts(requirements: Path) -> list[str]:
    """The texts of further requirements and constraints that requirements name, and of what those name."""
    return [text for _, text in _named(requirements)]


def _named(requirements: Path) -> list[tuple[Path, str]]:
    return _texts([_path(requirements.parent, name) for name in files_named(_content(requirements) or "")])


def _texts(files: Iterable[Path]) -> list[tuple[Path, str]]:
    """What is in files, and in those that they name. An address names none, nor does one that is not there: pip says so."""
    waiting, seen = list(files), set[Path]()
    found = []
    while waiting and len(seen) < _FILES_MAX:
        file = waiting.pop(0)
        text = None if file in seen else _content(file)
        seen.add(file)
        if text is not None:
            found.append((file, text))
            waiting += [_path(file.parent, name) for name in files_named(text)]
    return found


def _digest(text: str) -> str:
    return hashlib.sha256(without_credentials(text).encode()).hexdigest()


def _path(folder: Path, name: str) -> Path:
    return Path(os.path.normpath(folder / name.removeprefix("file://")))


def _content(file: Path) -> str | None:
    """None: there is no such file, or it may not be looked at. A pipe would keep whoever reads it waiting."""
    try:
        if not file.is_file():
            return None
        with file.open("rb") as source:
            return source.read(_FILE_BYTES_MAX).decode(errors="replace")
    except (OSError, ValueError):  # the latter: no name that a file can have
        return None


def _is_inherited(name: str) -> bool:
    of_an_installer = _WHICH_PACKAGES | _HOW_TO_REACH | _OF_NO_CONSEQUENCE
    return name in _INHERITED or name in of_an_installer or name.startswith(_NAMED_INDEX)


def _pip_files(environment: Mapping[str, str], python: str, root: Path) -> list[Path]:
    """Where pip looks for files of the machine, of the user and of the interpreter's environment, and for the one that a variable names."""
    named = environment.get("PIP_CONFIG_FILE")
    if named == os.devnull:  # then pip reads none at all
        return []
    home = Path(environment.get("HOME") or "/nonexistent")
    of_the_machine = (environment.get("XDG_CONFIG_DIRS") or str(root / "etc/xdg")).split(os.pathsep)
    return [
        *(Path(folder, "pip", "pip.conf") for folder in of_the_machine),
        root / "etc/pip.conf",
        root / "Library/Application Support/pip/pip.conf",
        home / ".pip" / "pip.conf",
        Path(environment.get("XDG_CONFIG_HOME") or home / ".config", "pip", "pip.conf"),
        home / "Library" / "Application Support" / "pip" / "pip.conf",
        Path(python).parent.parent / "pip.conf",
        *([Path(named)] if named else []),
    ]
