"""SageMaker's control API: one translation per operation, from AWS's words to ours and back."""

from __future__ import annotations

from bannister.aws.call import Service
from bannister.aws.sagemaker import endpoint, endpoint_config, inference_experiment, model, tags
from bannister.operations.context import Context


def service(context: Context) -> Service:
    """The operations of SageMaker that Bannister supports."""
    resources = (model, endpoint_config, endpoint, inference_experiment, tags)
    return Service(
        "sagemaker",
        {name: one for each in resources for name, one in each.handlers(context).items()},
        {name: one for each in resources for name, one in each.MEMBERS.items()},
    )
