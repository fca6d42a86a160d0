"""Logins of registries, as `docker login` and `podman login` leave them: files in which each registry has a name and a password.

    $DOCKER_CONFIG/config.json, else ~/.docker/config.json
    $REGISTRY_AUTH_FILE, else $XDG_RUNTIME_DIR/containers/auth.json and ~/.config/containers/auth.json

Both are of one form. A file may say instead that a program keeps the password (a *credential helper*). None is run: it may ask the user something, or open a window. An image that anybody may have is
pulled all the same; where the registry then refuses, the reason says what to do.

What is read here is never printed: a login is a header for the engine, and nothing else.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

_FILE_BYTES_MAX: Final = 1024 * 1024
#: Docker's own registry: what images without a registry are from, and what the files call it.
_DOCKER_HUB: Final = "docker.io"
_CALLED: Final = {"index.docker.io": _DOCKER_HUB, "registry-1.docker.io": _DOCKER_HUB}


@dataclass(frozen=True, slots=True)
class Login:
    """What an engine is told for a pull."""

    #: The value of `X-Registry-Auth`; None: nobody is logged in.
    header: str | None = field(default=None, repr=False)
    #: Why there is none although the user has logged in: a sentence.
    why_none: str | None = None


def login_for(image: str, environment: Mapping[str, str]) -> Login:
    """The login for the registry of an image, from the user's files: the first that has one."""
    places = _places(image)
    otherwise = Login()
    for file in _files(environment):
        found = _in_file(file, places)
        if found is not None and found.header is not None:
            return found
        otherwise = found or otherwise
    return otherwise


def registry_of(image: str) -> str:
    """Where an image is from."""
    first, slash, _ = image.partition("/")
    is_registry = bool(slash) and ("." in first or ":" in first or first == "localhost")
    return _CALLED.get(first, first) if is_registry else _DOCKER_HUB


def _places(image: str) -> list[str]:
    """What a login may be for, the most exact first: the repository, what is above it, the registry."""
    registry = registry_of(image)
    name = image.partition("@")[0]
    path = name.partition("/")[2] if registry_of(name) != _DOCKER_HUB or name.startswith("docker.io/") else name
    head, slash, last = path.rpartition("/")
    parts = [part for part in f"{head}{slash}{last.partition(':')[0]}".split("/") if part]
    return ["/".join([registry, *parts[:count]]) for count in range(len(parts), -1, -1)]


def _files(environment: Mapping[str, str]) -> Iterator[Path]:
    home = environment.get("HOME")
    if folder := environment.get("DOCKER_CONFIG"):
        yield Path(folder, "config.json")
    elif home:
        yield Path(home, ".docker", "config.json")
    if named := environment.get("REGISTRY_AUTH_FILE"):
        yield Path(named)
        return
    if runtime := environment.get("XDG_RUNTIME_DIR"):
        yield Path(runtime, "containers", "auth.json")
    if home:
        yield Path(environment.get("XDG_CONFIG_HOME") or Path(home, ".config"), "containers", "auth.json")


def _in_file(file: Path, places: list[str]) -> Login | None:
    """What a file has for the first of these places; None: nothing."""
    try:
        with file.open("rb") as source:
            content = json.loads(source.read(_FILE_BYTES_MAX))
    except FileNotFoundError:
        return None
    except (OSError, ValueError):  # no word of what is in it
        return Login(why_none=f"The logins in {file} cannot be read.")
    if not isinstance(content, dict):
        return Login(why_none=f"The logins in {file} cannot be read.")
    logins, helpers = (
        {_place(str(key)): value for key, value in _dict(content.get(name)).items()}
        for name in ("auths", "credHelpers")
    )
    for place in places:
        if place in helpers:
            return _by_helper(file, place, helpers[place])
        if place not in logins:
            continue
        header = _header(place, _dict(logins[place]))
        if header is not None:
            return Login(header)
        if "credsStore" in content:
            return _by_helper(file, place, content["credsStore"])
        return Login(why_none=f"The login for {place} in {file} has no name and password.")
    return None


def _by_helper(file: Path, place: str, helper: object) -> Login:
    return Login(
        why_none=f"The login for {place} is kept by a credential helper ({str(helper)[:64]}, in {file}), and none is asked: pull the image "
        "yourself first, or log in without a helper."
    )


def _header(place: str, login: Mapping[str, Any]) -> str | None:
    """As Docker encodes it; None: there is no password."""
    found: dict[str, str] = {"serveraddress": "https://index.docker.io/v1/" if place == _DOCKER_HUB else place}
    if isinstance(token := login.get("identitytoken"), str) and token:
        found["identitytoken"] = token
    else:
        name, password = _name_and_password(login)
        if not name or not password:
            return None
        found |= {"username": name, "password": password}
    return base64.urlsafe_b64encode(json.dumps(found).encode()).decode()


def _name_and_password(login: Mapping[str, Any]) -> tuple[str, str]:
    if isinstance(encoded := login.get("auth"), str) and encoded:
        try:
            name, _, password = base64.b64decode(encoded, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return "", ""
        return name, password.rstrip("\0")  # Docker pads with it
    given = login.get("username"), login.get("password")
    return (given[0], given[1]) if isinstance(given[0], str) and isinstance(given[1], str) else ("", "")


def _place(key: str) -> str:
    """A key of a file, `https://index.docker.io/v1/` or `registry.example/team`, as `_places` has them."""
    plain = key.partition("://")[2] if "://" in key else key
    plain = plain.rstrip("/").removesuffix("/v1").removesuffix("/v2")
    first, slash, rest = plain.partition("/")
    return f"{_CALLED.get(first, first)}{slash}{rest}"


def _dict(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
