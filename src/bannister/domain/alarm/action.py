"""What is done when an alarm goes to another state: an address is told; everything else is written down."""

from __future__ import annotations

from dataclasses import dataclass

from bannister.address import cut, is_whole
from bannister.errors import Invalid


@dataclass(frozen=True, slots=True)
class PendingAction:
    """A transition that an address has not been told of yet."""

    alarm: str
    url: str
    #: The state that the alarm went to.
    state: str
    #: Of the transition.
    at: float
    #: The JSON text to send.
    body: str
    #: For the history: the alarm is a composite one.
    composite: bool = False


def is_webhook(action: str) -> bool:
    """Whether an action is an address to be told, and no ARN."""
    return action.lower().startswith(("http:", "https:"))


def check_action(action: str) -> None:
    """Whether an action can be one: an ARN or an address.

    Raises:
        Invalid: It is neither, or it is an address and not a whole one.
    """
    if not is_webhook(action):
        if not action.startswith("arn:"):
            raise Invalid(
                f"Invalid arn syntax: {action}. Give an ARN, or an address http://… or https://….",
                code="ValidationException",
            )
        return
    if not is_whole(action):
        raise Invalid(
            f"The action {cut(action)!r} is not an address that can be told: give http://HOST[:PORT]/PATH or https://…, percent-encoded, without a user name.",
            code="ValidationException",
        )
