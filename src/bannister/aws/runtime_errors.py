"""The SageMaker runtime's errors, as `boto3.client("sagemaker-runtime")` reads them: the code in `x-amzn-errortype`, JSON in the body.

Envoy sends most of them itself and gets the texts beforehand, as values (`bannister.domain.runtime_texts`); the gateway
sends the one for an unknown endpoint, whose path no route matches. Sources of the texts: public reports of what AWS
answers (docs/compatibility names them where the text is matched on by clients).
"""

from __future__ import annotations

import json
from typing import Final

from bannister.aws.members import Members, Tables
from bannister.domain.runtime_texts import HeaderLimit, ModelErrorText, Reply, RuntimeTexts, StreamErrorText

#: As much of a model's answer as an error repeats.
ORIGINAL_BYTES_MAX = 64 * 1024

_TIMED_OUT = (
    "Your invocation timed out while waiting for a response from container primary. Review the latency metrics for each "
    "container in Amazon CloudWatch, resolve the issue, and try again."
)
_EXITED = "An error occurred while handling request as the model process exited."
_STREAM_TIMED_OUT = "Your model primary did not complete sending the inference response in the allotted time."
#: By the header of a member of InvokeEndpoint: why it is refused. AWS's own words where they are known (the first); a code too, where AWS gives one.
_UNSUPPORTED_HEADERS: Final = {
    "x-amzn-sagemaker-target-model": (
        "Endpoint {endpoint} is not a multi-model endpoint and does not support target model header.",
        "TARGET_MODEL_HEADER_NOT_SUPPORTED",
    ),
    "x-amzn-sagemaker-target-container-hostname": (
        "Endpoint {endpoint} does not invoke containers directly and does not support target container hostname header: "
        "each of its models is one container.",
        None,
    ),
    "x-amzn-sagemaker-inference-component": (
        "Endpoint {endpoint} has no inference components and does not support inference component name header: each of "
        "its variants is one model.",
        None,
    ),
    "x-amzn-sagemaker-enable-explanations": (
        "Endpoint {endpoint} has no explainer and does not support enable explanations header: ExplainerConfig is not "
        "supported.",
        None,
    ),
}
#: Patterns of AWS's model, and what they are in RE2.
_ASCII: Final = r"\p{ASCII}*"
_PRINTED: Final = r"\A\S[\p{Print}]*\z"
_IN_RE2: Final = {_ASCII: r"[\x00-\x7f]*", _PRINTED: r"[^\t\n\v\f\r ][ -~]*"}
#: By header: the member that it carries, and the most characters of that and its pattern in AWS's model, which clients leave to the server to check. What
#: TargetVariant and SessionId name is looked for, and not found if it is none.
HEADER_LIMITS: Final = {
    "content-type": ("contentType", 1024, _ASCII),
    "accept": ("accept", 1024, _ASCII),
    "x-amzn-sagemaker-accept": ("accept", 1024, _ASCII),
    "x-amzn-sagemaker-custom-attributes": ("customAttributes", 1024, _ASCII),
    "x-amzn-sagemaker-inference-id": ("inferenceId", 64, _PRINTED),
    "x-amzn-sagemaker-prefix-aware-id": ("prefixAwareId", 64, _PRINTED),
}
_TAKEN: Final = "EndpointName Body ContentType Accept CustomAttributes TargetVariant InferenceId SessionId"
_BY_PREFIX: Final = {"PrefixAwareId": "the model sees it; no instance is chosen by it"}
_COMPONENTS: Final = {
    "TargetContainerHostname": "each model is one container",
    "InferenceComponentName": "there are no inference components",
}

#: What becomes of the members of an invocation.
MEMBERS: Final[Tables] = {
    "InvokeEndpointInput": Members(
        _TAKEN,
        ignored=_BY_PREFIX,
        refused={
            **_COMPONENTS,
            "TargetModel": "there are no multi-model endpoints",
            "EnableExplanations": "there are no explainers",
        },
    ),
    "InvokeEndpointWithResponseStreamInput": Members(_TAKEN, ignored=_BY_PREFIX, refused=_COMPONENTS),
}
_SEE_LOGS = ". See the log group /aws/sagemaker/Endpoints/{endpoint} in account {account} for more information."


def unknown_endpoint(name: str, account_id: str) -> Reply:
    """No endpoint of that name can be invoked."""
    return _plain(400, "ValidationError", f"Endpoint {name} of account {account_id} not found.")


def runtime_texts(account_id: str, body_bytes_max: int) -> RuntimeTexts:
    """Everything that Envoy answers by itself, for a limit of `body_bytes_max` on a request's body."""
    return RuntimeTexts(
        unknown_variant=_plain(
            400, "ValidationError", "Variant {variant} not found on endpoint {endpoint} of account " + account_id + "."
        ),
        unknown_variant_unnamed=_plain(
            400,
            "ValidationError",
            "The variant named by TargetVariant was not found on endpoint {endpoint} of account " + account_id + ".",
        ),
        unknown_session=_plain(
            400,
            "ValidationError",
            "The session named by SessionId was not found on endpoint {endpoint} of account " + account_id + ": it has "
            "expired, or the instance that held it is gone. Begin another with SessionId NEW_SESSION.",
        ),
        no_session_by_stream=_plain(
            400,
            "ValidationError",
            "InvokeEndpointWithResponseStream cannot begin a session. Begin it with SessionId NEW_SESSION of InvokeEndpoint.",
        ),
        unsupported_headers={
            header: _plain(400, "ValidationError", message, code)
            for header, (message, code) in _UNSUPPORTED_HEADERS.items()
        },
        header_limits={header: _limit(*limit) for header, limit in HEADER_LIMITS.items()},
        no_healthy_instance=_plain(
            503,
            "ServiceUnavailable",
            "Endpoint {endpoint} has no healthy instance at the moment. Its instances may still be starting or "
            "restarting; describe the endpoint and see its instances' logs.",
        ),
        body_too_large=_plain(413, "ValidationError", f"HTTP content length exceeded {body_bytes_max} bytes."),
        timed_out=_broken(_TIMED_OUT, account_id),
        model_exited=_broken(_EXITED, account_id),
        malformed_request=_of_any_service(
            400,
            "ValidationError",
            "The request cannot be read: its path or a header is malformed, or its headers are too large (all together 60 KiB).",
        ),
        model_client_error=_model_error("client", "CLIENT_ERROR_FROM_MODEL", account_id),
        model_server_error=_model_error("server", "INTERNAL_FAILURE_FROM_MODEL", account_id),
        stream_timed_out=StreamErrorText(
            "ModelStreamError", json.dumps({"ErrorCode": "ModelInvocationTimeExceeded", "Message": _STREAM_TIMED_OUT})
        ),
    )


def _plain(status: int, error_type: str, message: str, error_code: str | None = None) -> Reply:
    body = {"Message": message} if error_code is None else {"ErrorCode": error_code, "Message": message}
    return Reply(status, error_type, json.dumps(body))


def _of_any_service(status: int, error_type: str, message: str) -> Reply:
    """Who cannot be read may have spoken to any service: the others have the code in the body."""
    return Reply(status, error_type, json.dumps({"__type": error_type, "Message": message}))


def _limit(member: str, length_max: int, pattern: str) -> HeaderLimit:
    too_long = f"Member must have length less than or equal to {length_max}"
    malformed = f"Member must satisfy regular expression pattern: {pattern}"
    return HeaderLimit(length_max, _violation(member, too_long), _IN_RE2[pattern], _violation(member, malformed))


def _violation(member: str, constraint: str) -> Reply:
    """In the form of AWS's constraints, without the value: nobody knows what is in it."""
    message = f"1 validation error detected: Value at '{member}' failed to satisfy constraint: {constraint}"
    return _plain(400, "ValidationError", message)


def _broken(original: str, account_id: str) -> Reply:
    """The model took the request and gave no answer."""
    body = {
        "ErrorCode": "INTERNAL_FAILURE_FROM_MODEL",
        "LogStreamArn": "",
        "Message": f'Received server error (0) from primary with message "{original}"' + _see_logs(account_id),
        "OriginalMessage": original,
        "OriginalStatusCode": 0,
    }
    return Reply(424, "ModelError", json.dumps(body))


def _model_error(kind: str, code: str, account_id: str) -> ModelErrorText:
    return ModelErrorText(
        status=424,
        error_type="ModelError",
        opening=f'{{"ErrorCode":"{code}","LogStreamArn":"","Message":"Received {kind} error ({{status}}) from primary '
        'with message \\"',
        middle='\\"' + _see_logs(account_id) + '","OriginalMessage":"',
        closing='","OriginalStatusCode":{status}}',
        original_bytes_max=ORIGINAL_BYTES_MAX,
    )


def _see_logs(account_id: str) -> str:
    return _SEE_LOGS.replace("{account}", account_id)
