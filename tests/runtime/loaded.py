"""A folder with a model, loaded and asked in this process, as the model server does it in its own."""

from __future__ import annotations

import textwrap
from pathlib import Path

from bannister.runtime import artifact
from bannister.runtime.artifact import Artifact
from bannister.runtime.messages import Request
from bannister.runtime.service import Context, Service


def load(folder: Path, code: str | None = None) -> Artifact:
    if code is not None:
        (folder / "code").mkdir(exist_ok=True)
        (folder / "code" / "inference.py").write_text(textwrap.dedent(code))
    return artifact.load(folder, {}, Context(str(folder)))


def ask(loaded: Artifact, body: bytes, content_type: str = "text/csv", accept: str = "") -> tuple[int, str, str]:
    """Status, content type and body of the answer."""
    service = Service(loaded, "", predictions_max=1, default_accept=loaded.default_accept)
    headers = {"content-type": content_type, "accept": accept}
    response = service(Request("POST", "/invocations", headers, body, keep_alive=True))
    return response.status, response.content_type, response.body.decode("latin-1")
