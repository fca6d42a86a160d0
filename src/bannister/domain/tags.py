"""Tags: key and value, as AWS bounds them (the lengths are in the services' models)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from bannister.errors import Invalid

#: AWS: of one resource.
TAGS_MAX: Final = 50
#: Keys that begin so are AWS's own.
_RESERVED: Final = "aws:"

Tags = tuple[tuple[str, str], ...]


def check_tags(tags: Tags) -> None:
    """Whether a resource may have these tags.

    Raises:
        Invalid: There are too many, one is reserved, or a key is given twice.
    """
    keys = [key for key, _ in tags]
    if len(set(keys)) != len(keys):
        twice = next(key for key in keys if keys.count(key) > 1)
        raise Invalid(f"The tag key {twice} is given more than once.")
    for key in keys:
        if key.lower().startswith(_RESERVED):
            raise Invalid(f"The tag key {key} begins with {_RESERVED}, which is reserved.")
    if len(keys) > TAGS_MAX:
        raise Invalid(f"A resource has at most {TAGS_MAX} tags, not {len(keys)}.")


def tagged(tags: Tags, given: Tags) -> Tags:
    """With these tags added; a key that is there gets the new value.

    Raises:
        Invalid: As `check_tags`.
    """
    check_tags(given)
    found = tuple((dict(tags) | dict(given)).items())
    check_tags(found)
    return found


def untagged(tags: Tags, keys: Sequence[str]) -> Tags:
    """Without these keys; one that is not there is no matter."""
    return tuple((key, value) for key, value in tags if key not in keys)
