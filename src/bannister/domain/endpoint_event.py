"""Events: what becomes of endpoints, in the form in which SageMaker tells EventBridge of it.

`changes` compares an endpoint before and after something was written, and gives the events that this amounts to:

    SageMaker Endpoint State Change             its status is another one
    SageMaker Endpoint Deployment State Change  its deployment, or its change of weights and counts, began, is at another stage, or has ended

They are journaled in the commit that makes the change, so there is an event where there was a change, and only there. `event` makes of a journal entry what is
read and posted: whatever differs from server to server (region, account) is added then, and the id is made of the entry's place, so it is the same each time.

Source: "Events that Amazon SageMaker AI sends to Amazon EventBridge" in the developer guide. In events a status is in upper case, and times are in milliseconds. The guide has
no word for an endpoint that is gone: `DELETED` is ours, and so are `FailureReason`, and the event without a PendingDeploymentSummary when a deployment has ended.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final

from bannister.domain.alarm.reason import timestamp
from bannister.domain.deployment.progress import (
    VariantProgress,
    blue_progress,
    config_name_of,
    green_progress,
    status_of,
)
from bannister.domain.endpoint import Endpoint

#: The kind of a journal entry that is an event; it is about `endpoint/NAME`.
HAPPENED: Final = "endpoint.event"
#: The kind of one that says which events an address will never be told of.
GIVEN_UP: Final = "endpoint.event_given_up"

_GONE: Final = "DELETED"
#: Where a word of a status begins.
_WORD: Final = re.compile(r"(?<=[a-z])(?=[A-Z])")


class DetailType(StrEnum):
    """What an event is about."""

    ENDPOINT = "SageMaker Endpoint State Change"
    DEPLOYMENT = "SageMaker Endpoint Deployment State Change"


def changes(
    before: Endpoint | None, after: Endpoint | None, at: float, ready: Mapping[str, int] | None
) -> list[dict[str, Any]]:
    """The bodies of the journal entries that a change of an endpoint amounts to, in their order; none: nobody needs to know.

    Args:
        before: None: it does not exist yet.
        after: None: it does not exist any more.
        at: When, in seconds since 1970.
        ready: Ready instances by group; None: whoever decides does not see them, and CurrentInstanceCount is left out.
    """
    found = []
    if _status(before) != _status(after):
        found.append(_body(DetailType.ENDPOINT, before, after, at, ready))
    if _stage(before) != _stage(after):
        found.append(_body(DetailType.DEPLOYMENT, before, after, at, ready))
    return found


def event(sequence: int, at: float, body: Mapping[str, Any], region: str, account_id: str) -> dict[str, Any]:
    """What is read and posted, given a journal entry's place, time and body. For the same entry always the same."""
    detail = body["detail"]
    arn = f"arn:aws:sagemaker:{region}:{account_id}:endpoint/{detail['EndpointName'].lower()}"
    return {
        "version": "0",
        "id": _identifier(f"{arn} {sequence} {at}"),
        "detail-type": body["detail-type"],
        "source": "aws.sagemaker",
        "account": account_id,
        "time": timestamp(at)[:19] + "Z",
        "region": region,
        "resources": [arn],
        "detail": {"EndpointName": detail["EndpointName"], "EndpointArn": arn, **detail},
    }


def _identifier(text: str) -> str:
    """Like the ids of EventBridge. The time is in it, because a place can be taken again after a backup was restored."""
    digits = hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def _status(endpoint: Endpoint | None) -> str:
    return _GONE if endpoint is None else _WORD.sub("_", status_of(endpoint).value).upper()


def _stage(endpoint: Endpoint | None) -> tuple[object, ...] | None:
    """Where its deployment or its change of weights and counts is; None: nothing changes."""
    if endpoint is None:
        return None
    if endpoint.deployment is not None:
        return endpoint.deployment.id, endpoint.deployment.phase, endpoint.deployment.step
    return None if endpoint.scaling is None else (endpoint.scaling.id, endpoint.scaling.phase)


def _body(
    detail_type: DetailType,
    before: Endpoint | None,
    after: Endpoint | None,
    at: float,
    ready: Mapping[str, int] | None,
) -> dict[str, Any]:
    told = after if after is not None else before
    assert told is not None
    counts = dict(ready or {})
    detail: dict[str, Any] = {
        "EndpointName": told.name,
        "EndpointConfigName": config_name_of(told),
        "ProductionVariants": [_variant(one, counted=ready is not None) for one in blue_progress(told, counts)],
        "EndpointStatus": _status(after),
        "CreationTime": _milliseconds(told.created_at),
        "LastModifiedTime": _milliseconds(told.modified_at if after is not None else at),
        "Tags": dict(told.tags),
    }
    if told.failure_reason is not None:
        detail["FailureReason"] = told.failure_reason
    if detail_type is DetailType.DEPLOYMENT and told.deployment is not None:
        detail["PendingDeploymentSummary"] = {
            "EndpointConfigName": told.deployment.green.config_name,
            "StartTime": _milliseconds(told.deployment.started_at),
            "ProductionVariants": [
                _variant(one, counted=ready is not None) for one in green_progress(told.deployment, counts)
            ],
        }
    return {"detail-type": detail_type.value, "detail": detail}


def _variant(progress: VariantProgress, *, counted: bool) -> dict[str, Any]:
    group = progress.group
    found: dict[str, Any] = {
        "VariantName": group.variant,
        "CurrentWeight": progress.current_weight,
        "DesiredWeight": group.weight,
        "CurrentInstanceCount": progress.current_instance_count,
        "DesiredInstanceCount": group.instance_count,
    }
    if not counted:
        del found["CurrentInstanceCount"]
    if progress.status is not None:
        since = progress.since or 0.0
        found["VariantStatus"] = [
            {"Status": progress.status.value, "StatusMessage": progress.message, "StartTime": _milliseconds(since)}
        ]
    return found


def _milliseconds(at: float) -> int:
    return round(1000 * at)
