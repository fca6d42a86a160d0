"""A model: how to run it (image), what it loads (artifact) and its environment."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from bannister.domain.tags import Tags
from bannister.errors import Invalid

#: Variables of a model's environment that say where its server answers.
PING_PATH_VARIABLE: Final = "BANNISTER_PING_PATH"
INVOCATIONS_PATH_VARIABLE: Final = "BANNISTER_INVOCATIONS_PATH"
PATH_CHARACTERS_MAX: Final = 512
#: With it AWS's framework images are told where the model's code is. The SDK uploads the code of some frameworks (scikit-learn, XGBoost) as an
#: archive of its own and gives its `s3://` address; of others it is in the artifact, and this is a folder.
SUBMIT_DIRECTORY_VARIABLE: Final = "SAGEMAKER_SUBMIT_DIRECTORY"
#: The characters of a URL's path, without a query or a fragment.
_PATH: Final = re.compile(r"/(?:[A-Za-z0-9\-._~!$&'()*+,;=:@/]|%[0-9A-Fa-f]{2})*")


@dataclass(frozen=True, slots=True)
class Paths:
    """Where a model's server answers on its port; SageMaker's contract where nothing else is said."""

    ping: str = "/ping"
    invocations: str = "/invocations"


#: SageMaker's.
CONTRACT: Final = Paths()


def check_path(what: str, path: str) -> None:
    """Turn down what is no path of a URL. `what`: what it was given as, for the sentence.

    Raises:
        Invalid: It is none.
    """
    if len(path) > PATH_CHARACTERS_MAX or _PATH.fullmatch(path) is None:
        raise Invalid(
            f"{what} is {path[:PATH_CHARACTERS_MAX]!r}; it must be the path of a URL, written as there: a slash first, no spaces, no query, "
            f"at most {PATH_CHARACTERS_MAX} characters."
        )


def paths_of(of_image: Paths, environment: Mapping[str, str]) -> Paths:
    """Where a model's server answers: as its environment says, else as its image does.

    Raises:
        Invalid: A variable of the environment holds no path.
    """
    for name in (PING_PATH_VARIABLE, INVOCATIONS_PATH_VARIABLE):
        if name in environment:
            check_path(f"{name} in Environment", environment[name])
    return Paths(
        environment.get(PING_PATH_VARIABLE, of_image.ping),
        environment.get(INVOCATIONS_PATH_VARIABLE, of_image.invocations),
    )


@dataclass(frozen=True, slots=True)
class Container:
    """One container definition."""

    image: str
    #: `s3://bucket/key` of a `model.tar.gz`; None: the image brings its own model.
    artifact_url: str | None = None
    environment: dict[str, str] = field(default_factory=dict)
    hostname: str | None = None
    #: Where its server answers, as it was when the model was created.
    paths: Paths = CONTRACT
    #: What else the client gave, which has no effect here: described as it came, and never looked into.
    as_given: dict[str, Any] = field(default_factory=dict)

    @property
    def code_url(self) -> str | None:
        """`s3://bucket/key` of an archive with the model's code, which belongs into the artifact's folder `code`; None: it is there already."""
        submitted = self.environment.get(SUBMIT_DIRECTORY_VARIABLE, "")
        return submitted if self.artifact_url is not None and submitted.startswith("s3://") else None


@dataclass(frozen=True, slots=True)
class Model:
    """What CreateModel stores. Immutable but for its tags: AWS has no UpdateModel."""

    name: str
    container: Container
    created_at: float
    execution_role: str | None = None
    #: The client gave `Containers` (a list of one) and not `PrimaryContainer`; describing it gives back the same form.
    given_as_list: bool = False
    network_isolation: bool = False
    tags: Tags = ()
    #: As a container's.
    as_given: dict[str, Any] = field(default_factory=dict)
