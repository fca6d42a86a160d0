"""A client of the server's HTTP API for the commands: botocore with our own service's model, unsigned, and errors as sentences."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any, Final

from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, ConnectionError, HTTPClientError  # noqa: A004  # botocore's
from botocore.loaders import Loader
from botocore.session import Session

from bannister.cli.service_model import OWN_MODELS
from bannister.errors import Refused

DEFAULT_URL: Final = "http://127.0.0.1:3594"
CONNECT_SECONDS: Final = 2
READ_SECONDS: Final = 15


class Unreachable(Refused):
    """Nobody answers at the address, or only Envoy, because the control plane is away for a moment."""


def server_url(given: str | None) -> str:
    """The option, else AWS_ENDPOINT_URL, else where `bannister up` listens."""
    return given or os.environ.get("AWS_ENDPOINT_URL") or DEFAULT_URL


class Server:
    """One server, asked through botocore. No credentials are needed, and the user's AWS profiles are not read."""

    def __init__(self, url: str | None) -> None:
        self.url = server_url(url)
        # Where AWS_PROFILE and AWS_CONFIG_FILE point is another matter: nothing of it is about this server.
        session = Session(
            session_vars={"profile": (None, None, None, None), "config_file": (None, None, os.devnull, None)}
        )
        session.register_component("data_loader", Loader(extra_search_paths=[str(OWN_MODELS)]))
        self._session = session
        self._clients: dict[str, Any] = {}

    def ask(self, service: str, operation: str, **members: object) -> dict[str, Any]:
        """One call. Members that are None are left out.

        Raises:
            Unreachable: Nobody answers, or not now.
            Refused: The server said no, and why.
        """
        given = {name: value for name, value in members.items() if value is not None}
        with self._explained():
            answer: dict[str, Any] = getattr(self._client(service), operation)(**given)
        answer.pop("ResponseMetadata", None)
        return answer

    def pages(self, service: str, operation: str, result: str, **members: object) -> Iterator[dict[str, Any]]:
        """All items of a listing."""
        token = None
        while True:
            answer = self.ask(service, operation, NextToken=token, **members)
            yield from answer[result]
            token = answer.get("NextToken")
            if token is None:
                return

    def _client(self, service: str) -> Any:
        if service not in self._clients:
            config = Config(
                signature_version=UNSIGNED,
                connect_timeout=CONNECT_SECONDS,
                read_timeout=READ_SECONDS,
                retries={"total_max_attempts": 1},
                proxies={},  # the server is on this machine
            )
            self._clients[service] = self._session.create_client(
                service, region_name="us-east-1", endpoint_url=self.url, config=config
            )
        return self._clients[service]

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except ClientError as error:
            away = error.response["ResponseMetadata"]["HTTPStatusCode"] == HTTPStatus.SERVICE_UNAVAILABLE
            raise (Unreachable if away else Refused)(self._refusal(error)) from None
        except (ConnectionError, HTTPClientError):
            raise Unreachable(
                f"No server answers at {self.url}. Start one with `bannister up`, or say where it is with --endpoint-url "
                "or AWS_ENDPOINT_URL."
            ) from None
        except (BotoCoreError, ValueError) as error:
            raise Refused(f"{self.url} could not be asked: {error}") from None

    def _refusal(self, error: ClientError) -> str:
        said = error.response.get("Error", {})
        code, message = said.get("Code", ""), said.get("Message", "")
        if code in ("UnknownOperationException", "404", "405", "501"):
            said = code if message.startswith("<") else message or code  # a page of some other server
            return f"What answers at {self.url} is not a Bannister that this command can talk to: {said}"
        return str(message or code)
