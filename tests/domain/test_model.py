"""Where a model's server answers: as its environment says, else as its image does, else as SageMaker's contract does."""

from __future__ import annotations

import pytest

from bannister.domain.model import CONTRACT, PATH_CHARACTERS_MAX, Paths, check_path, paths_of
from bannister.errors import Invalid

OF_IMAGE = Paths("/health", "/predict")


@pytest.mark.parametrize(
    ("of_image", "environment", "paths"),
    [
        (CONTRACT, {}, Paths("/ping", "/invocations")),
        (OF_IMAGE, {"COLOUR": "green"}, OF_IMAGE),
        (OF_IMAGE, {"BANNISTER_PING_PATH": "/ping"}, Paths("/ping", "/predict")),
        (CONTRACT, {"BANNISTER_INVOCATIONS_PATH": "/v1/m:predict"}, Paths("/ping", "/v1/m:predict")),
        (OF_IMAGE, {"BANNISTER_PING_PATH": "/a", "BANNISTER_INVOCATIONS_PATH": "/b"}, Paths("/a", "/b")),
    ],
)
def test_the_environment_comes_before_the_image(of_image, environment, paths):
    assert paths_of(of_image, environment) == paths


@pytest.mark.parametrize(
    "path", ["/", "/ping", "/v2/models/a-b_c.d~e/infer", "/v1/m:predict", "/a%20b", "/x@y;z=1", "/a" * 256]
)
def test_a_path_of_a_url_is_one(path):
    check_path("ping_path", path)


@pytest.mark.parametrize(
    "path",
    ["", "ping", "/a b", "/a?b=c", "/a#b", "/a\nHost: x", "/a\r", "/%", "/%2", "/%zz", "/ü", "/\x00", "http://host/ping", "/{x}", '/"', "/" * (PATH_CHARACTERS_MAX + 1)],
)  # fmt: skip
def test_anything_else_is_refused(path):
    with pytest.raises(Invalid, match=r"^BANNISTER_PING_PATH in Environment is .*; it must be the path of a URL"):
        paths_of(CONTRACT, {"BANNISTER_PING_PATH": path})
    with pytest.raises(Invalid, match="BANNISTER_INVOCATIONS_PATH in Environment"):
        paths_of(CONTRACT, {"BANNISTER_INVOCATIONS_PATH": path})
