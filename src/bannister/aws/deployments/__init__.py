"""Our own service, `bannister`: what SageMaker's API lacks about deployments, events and shadows. Its model is `bannister/service/`."""

from __future__ import annotations

from bannister.aws.call import Service
from bannister.aws.deployments import decision, deployment, event, shadow
from bannister.operations.context import Context


def service(context: Context) -> Service:
    """All operations of the service."""
    return Service(
        "bannister",
        {
            **deployment.handlers(context),
            **decision.handlers(context),
            **event.handlers(context),
            **shadow.handlers(context),
        },
    )
