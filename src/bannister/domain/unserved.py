"""What a configuration can say that is kept and described here, and not served: serverless and asynchronous inference."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Serverless:
    """A variant without instances of its own (AWS: ServerlessConfig)."""

    memory_megabytes: int
    #: Invocations at a time.
    concurrency_max: int
    provisioned_concurrency: int | None = None


@dataclass(frozen=True, slots=True)
class AsyncInference:
    """Invocations that are queued, and answered in a bucket (AWS: AsyncInferenceConfig). None, or empty: not given."""

    output_url: str | None = None
    failure_url: str | None = None
    kms_key: str | None = None
    #: Who is told of answers and of failures; None: nobody was configured to be.
    notification: Notification | None = None
    #: Invocations of one instance at a time.
    concurrency_max: int | None = None
    #: `ClientConfig` was there, if only empty.
    has_client: bool = False


@dataclass(frozen=True, slots=True)
class Notification:
    """Topics that are told of an asynchronous invocation's end."""

    success_topic: str | None = None
    error_topic: str | None = None
    #: To which of them the answer itself is sent; None: not said.
    response_in: tuple[str, ...] | None = None
