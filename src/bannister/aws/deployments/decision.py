"""ListDecisions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from bannister.aws.call import Call, Handler
from bannister.aws.deployments.deployment import of_all_variants
from bannister.domain.deployment.recorder import DECIDED, STARTED, WAITED, WARNED
from bannister.operations import deployments
from bannister.operations.context import Context
from bannister.operations.story import REFUSED, ROLLBACK_REFUSED, ROLLBACK_REQUESTED
from bannister.state.store import Entry

_PAGE_SIZE_DEFAULT: Final = 50

_KINDS: Final = {
    STARTED: "Started",
    DECIDED: "Decided",
    ROLLBACK_REQUESTED: "RollbackRequested",
    ROLLBACK_REFUSED: "RollbackRefused",
    REFUSED: "Refused",
    WARNED: "Warned",
    WAITED: "Waited",
}


def handlers(context: Context) -> Mapping[str, Handler]:
    async def list_(call: Call) -> dict[str, Any]:
        params = call.params
        page = await deployments.list_decisions(
            context,
            deployment=params.get("DeploymentId"),
            endpoint=params.get("EndpointName"),
            limit=params.get("MaxResults", _PAGE_SIZE_DEFAULT),
            token=params.get("NextToken"),
        )
        return {"Decisions": [_decision(entry) for entry in page.items], "NextToken": page.token}

    return {"ListDecisions": list_}


def _decision(entry: Entry) -> dict[str, Any]:
    body = entry.body
    percents = body.get("green_percent") or {}
    groups = body["before"]["green"]["groups"] if percents else ()
    weights = {group["variant"]: group["weight"] for group in groups}
    return {
        "Sequence": entry.sequence,
        "Time": entry.at,
        "Kind": _KINDS[entry.kind],
        "DeploymentId": body.get("deployment"),
        "Event": body.get("event"),
        "PhaseBefore": body.get("from") if entry.kind == DECIDED else body.get("phase"),
        "PhaseAfter": body.get("to") if entry.kind == DECIDED else None,
        "Step": body["step"] + 1 if "step" in body else None,
        "GreenPercent": of_all_variants(weights, percents) if percents else None,
        "Reason": _reason(entry),
        "SoftwareVersion": body.get("version"),
        "Evidence": msgspec.json.encode(body).decode(),
    }


def _reason(entry: Entry) -> str | None:
    body = entry.body
    if entry.kind != STARTED:
        return body.get("reason")
    return f'from "{body["from"]}" to "{body["to"]}"' if body.get("from") else f'creation with "{body["to"]}"'
