"""Our own service, `bannister`: what SageMaker's API lacks about deployments and shadows. Its model is `bannister/service/`."""

from __future__ import annotations

from bannister.aws.call import Service
from bannister.aws.deployments import decision, deployment, shadow
from bannister.operations.context import Context


def service(context: Context) -> Service:
    """All operations of the service."""
    return Service(
        "bannister", {**deployment.handlers(context), **decision.handlers(context), **shadow.handlers(context)}
    )
