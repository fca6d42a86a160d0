"""SageMaker's control API: one translation per operation, from AWS's words to ours and back."""

from __future__ import annotations

from bannister.aws.call import Service
from bannister.aws.sagemaker import endpoint, endpoint_config, model
from bannister.operations.context import Context


def service(context: Context) -> Service:
    """The operations of SageMaker that Bannister supports."""
    return Service(
        "sagemaker", {**model.handlers(context), **endpoint_config.handlers(context), **endpoint.handlers(context)}
    )
