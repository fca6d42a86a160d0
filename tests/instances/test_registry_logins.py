"""Logins from the files of `docker login` and `podman login`, and what becomes of them."""

from __future__ import annotations

import asyncio
import base64
import json
import os
from pathlib import Path
from typing import Any

import pytest

from bannister.instances.engine import Engine
from bannister.instances.registry_logins import Login, login_for, registry_of


def encoded(name: str, password: str) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{name}:{password}".encode()).decode()}


def told(login: Login) -> Any:
    return None if login.header is None else json.loads(base64.urlsafe_b64decode(login.header))


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    return {"HOME": str(tmp_path / "home"), "XDG_RUNTIME_DIR": str(tmp_path / "run")}


def write(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))


def docker(home: dict[str, str], content: object) -> None:
    write(Path(home["HOME"], ".docker/config.json"), content)


@pytest.mark.parametrize(
    ("image", "registry"),
    [
        ("python:3.12", "docker.io"),
        ("team/ranker", "docker.io"),
        ("docker.io/team/ranker:1", "docker.io"),
        ("index.docker.io/team/ranker:1", "docker.io"),
        ("registry.example/ranker:1", "registry.example"),
        ("registry:5000/ranker", "registry:5000"),
        ("localhost/ranker", "localhost"),
        ("123.dkr.ecr.us-east-1.amazonaws.com/a/b@sha256:0", "123.dkr.ecr.us-east-1.amazonaws.com"),
    ],
)
def test_where_an_image_is_from(image: str, registry: str) -> None:
    assert registry_of(image) == registry


HUB = {"serveraddress": "https://index.docker.io/v1/", "username": "me", "password": "p:w"}


@pytest.mark.parametrize(
    ("image", "auths", "expected"),
    [
        ("python:3.12", {"https://index.docker.io/v1/": encoded("me", "p:w")}, HUB),
        ("team/ranker", {"docker.io": encoded("me", "p:w")}, HUB),
        ("docker.io/team/ranker:1", {"https://index.docker.io/v1/": encoded("me", "p:w")}, HUB),
        (
            "r.example:5000/a/b:1",
            {"https://r.example:5000": encoded("me", "x")},
            {"serveraddress": "r.example:5000", "username": "me", "password": "x"},
        ),
        (
            "r.example/a/b@sha256:0",
            {
                "r.example": encoded("all", "x"),
                "r.example/a": encoded("team", "y"),
                "r.example/a/c": encoded("no", "z"),
            },
            {"serveraddress": "r.example/a", "username": "team", "password": "y"},
        ),
        (
            "r.example/a:1",
            {"r.example/a": encoded("me", "x")},
            {"serveraddress": "r.example/a", "username": "me", "password": "x"},
        ),
        (
            "r.example/a",
            {"r.example": {"username": "me", "password": "plain"}},
            {"serveraddress": "r.example", "username": "me", "password": "plain"},
        ),
        (
            "r.example/a",
            {"r.example": {"auth": encoded("<token>", "x")["auth"], "identitytoken": "t0ken"}},
            {"serveraddress": "r.example", "identitytoken": "t0ken"},
        ),
        ("other.example/a", {"r.example": encoded("me", "x"), "https://index.docker.io/v1/": encoded("me", "x")}, None),
        ("python", {"r.example": encoded("me", "x")}, None),
    ],
)
def test_the_login_of_an_images_registry_is_found(
    home: dict[str, str], image: str, auths: dict[str, Any], expected: Any
) -> None:
    docker(home, {"auths": auths})
    found = login_for(image, home)
    assert told(found) == expected
    assert found.why_none is None
    assert found.header is None or found.header not in repr(found), "it is never printed"


@pytest.mark.parametrize(
    ("variables", "place"),
    [
        ({}, "home/.docker/config.json"),
        ({"DOCKER_CONFIG": "elsewhere"}, "elsewhere/config.json"),
        ({}, "run/containers/auth.json"),
        ({}, "home/.config/containers/auth.json"),
        ({"REGISTRY_AUTH_FILE": "mine.json"}, "mine.json"),
    ],
)
def test_both_engines_files_are_read(
    home: dict[str, str], tmp_path: Path, variables: dict[str, str], place: str
) -> None:
    write(tmp_path / place, {"auths": {"r.example": encoded("me", place)}})
    environment = home | {name: str(tmp_path / value) for name, value in variables.items()}
    assert told(login_for("r.example/a", environment))["password"] == place


def test_nobody_is_logged_in_without_a_file(home: dict[str, str]) -> None:
    assert login_for("r.example/a", home) == Login()
    assert login_for("r.example/a", {}) == Login()


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ({"credHelpers": {"r.example": "ecr-login"}}, "is kept by a credential helper (ecr-login, in "),
        ({"auths": {"r.example": {}}, "credsStore": "desktop"}, "is kept by a credential helper (desktop, in "),
        ({"auths": {"r.example": {}}}, "has no name and password"),
        ({"auths": {"r.example": {"auth": "no base64!"}}}, "has no name and password"),
        ("{", "cannot be read"),
        ("[]", "cannot be read"),
    ],
)
def test_a_login_that_cannot_be_used_is_said_and_nothing_of_it(home: dict[str, str], content: object, why: str) -> None:
    docker(home, content)
    found = login_for("r.example/a", home)
    assert found.header is None
    assert why in (found.why_none or "")
    assert "no base64" not in (found.why_none or "")


def test_a_helper_for_other_registries_is_in_nobodys_way(home: dict[str, str]) -> None:
    docker(home, {"credsStore": "desktop", "auths": {"https://index.docker.io/v1/": {}}, "credHelpers": {"x": "y"}})
    assert login_for("r.example/a", home) == Login()
    write(Path(home["XDG_RUNTIME_DIR"], "containers/auth.json"), {"auths": {"docker.io": encoded("me", "x")}})
    assert told(login_for("python", home))["password"] == "x", "another file has it"


async def test_the_engine_gets_it_as_a_header(tmp_path: Path) -> None:
    heads = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        writer.close()

    path = Path(os.path.relpath(tmp_path / "s"))
    async with await asyncio.start_unix_server(serve, str(path)):
        for headers in ({"X-Registry-Auth": "e30="}, None):
            await Engine(path).call("POST", "/images/create", {"fromImage": "a:1"}, headers=headers)
    assert "\r\nX-Registry-Auth: e30=\r\n" in heads[0]
    assert "X-Registry-Auth" not in heads[1]
