"""Values of the models' shapes for property tests, as botocore has them and as handlers have them."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache
from typing import Any, cast

from botocore.model import Shape
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from bannister.aws import cloudwatch

PROTOCOL = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))

#: Every operation of CloudWatch that is served, and one with a blob. No handler is called, so none needs its context.
CLOUDWATCH = [*sorted(cloudwatch.service(cast("Any", None)).handlers), "GetMetricWidgetImage"]


@cache
def values(shape: Shape, depth: int = 0, text: st.SearchStrategy[str] | None = None) -> st.SearchStrategy[Any]:
    """Values of a shape as botocore has them: timestamps are datetimes."""
    texts = st.text(max_size=10) if text is None else text
    match shape.type_name:
        case "structure" if shape.metadata.get("union"):
            return st.one_of(
                values(member, depth + 1, text).map(lambda value, name=name: {name: value})
                for name, member in shape.members.items()
            )
        case "structure":
            required = {name: values(shape.members[name], depth + 1, text) for name in shape.required_members}
            optional = {
                name: values(member, depth + 1, text) for name, member in shape.members.items() if name not in required
            }
            return st.fixed_dictionaries(required, optional=optional if depth < 4 else {})
        case "list":
            return st.lists(values(shape.member, depth + 1, text), max_size=2 if depth < 5 else 0)
        case "map":
            return st.dictionaries(texts, values(shape.value, depth + 1, text), max_size=2)
        case "integer":
            return st.integers(-(2**31), 2**31 - 1)
        case "long":
            return st.integers(-(2**63), 2**63 - 1)
        case "float" | "double":
            # Infinity is "Infinity" on the wire; botocore writes it so, and leaves it a string when it reads it.
            return st.floats(allow_nan=False, allow_infinity=False)
        case "boolean":
            return st.booleans()
        case "blob":
            return st.binary(max_size=20)
        case "timestamp":
            # Milliseconds are what the wire carries, and what a double holds exactly enough to round back.
            return st.integers(0, 4_102_444_800_000).map(
                lambda ms: datetime.fromtimestamp(ms // 1000, UTC).replace(microsecond=ms % 1000 * 1000)
            )
        case _:
            return texts


def ours(value: Any) -> Any:
    """botocore's value as a handler has it: timestamps are seconds."""
    match value:
        case datetime():
            return value.timestamp()
        case dict():
            return {key: ours(item) for key, item in value.items()}
        case list():
            return [ours(item) for item in value]
        case _:
            return value
