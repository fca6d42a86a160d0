"""Amazon resource names as AWS's services spell them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from bannister.errors import Resource

#: How an ARN names a kind: `(service, what stands between the account and the name)`.
_KINDS = {
    Resource.MODEL: ("sagemaker", "model/"),
    Resource.ENDPOINT_CONFIG: ("sagemaker", "endpoint-config/"),
    Resource.ENDPOINT: ("sagemaker", "endpoint/"),
    Resource.EXPERIMENT: ("sagemaker", "inference-experiment/"),
    Resource.DEPLOYMENT: ("sagemaker", "deployment/"),
    Resource.ALARM: ("cloudwatch", "alarm:"),
}

_SAGEMAKER: Final = re.compile(r"arn:aws[a-z-]*:sagemaker:([^:]*):([^:]*):([^/]+/)(.+)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Named:
    """What an ARN of SageMaker's names."""

    region: str
    account_id: str
    #: None: a kind that is not kept here.
    kind: Resource | None
    name: str


def named(given: str) -> Named | None:
    """The parts of an ARN of SageMaker's; None: it is none."""
    found = _SAGEMAKER.fullmatch(given)
    if found is None:
        return None
    region, account_id, prefix, name = found.groups()
    kinds = {known: kind for kind, (service, known) in _KINDS.items() if service == "sagemaker"}
    return Named(region, account_id, kinds.get(prefix), name)


def arn(region: str, account_id: str, kind: Resource, name: str) -> str:
    """The ARN of a resource. SageMaker's have the name in lower case; an alarm's keeps its case."""
    if kind in (Resource.BUCKET, Resource.OBJECT):
        return f"arn:aws:s3:::{name}"
    service, prefix = _KINDS[kind]
    shown = name.lower() if service == "sagemaker" else name
    return f"arn:aws:{service}:{region}:{account_id}:{prefix}{shown}"


def role_arn(account_id: str, path: str, name: str) -> str:
    """The ARN of a role; IAM has no regions. The path begins and ends with a slash."""
    return f"arn:aws:iam::{account_id}:role{path}{name}"


def assumed_role_arn(account_id: str, role: str, session: str) -> str:
    """The ARN of someone who acts in a role."""
    return f"arn:aws:sts::{account_id}:assumed-role/{role}/{session}"


def log_group_arn(region: str, account_id: str, name: str) -> str:
    """The ARN of a group of logs."""
    return f"arn:aws:logs:{region}:{account_id}:log-group:{name}"
