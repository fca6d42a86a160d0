"""DataCaptureConfig, as AWS writes it and as we hold it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bannister.domain.capture.data_capture import CaptureMode, DataCapture
from bannister.domain.capture.record import destination
from bannister.domain.endpoint import Endpoint
from bannister.domain.fleet import Fleet
from bannister.errors import Invalid
from bannister.objects.names import bucket_limitation


def data_capture_of(config: dict[str, Any] | None) -> DataCapture | None:
    """What a configuration asks to be captured. Captured where the block exists and does not say otherwise (AWS).

    Raises:
        Invalid: The destination is no place in a bucket.
    """
    if config is None:
        return None
    types = config.get("CaptureContentTypeHeader", {})
    capture = DataCapture(
        enabled=config.get("EnableCapture", True),
        sampling_percent=config["InitialSamplingPercentage"],
        destination_url=config["DestinationS3Uri"],
        modes=tuple(CaptureMode(option["CaptureMode"]) for option in config["CaptureOptions"]),
        csv_content_types=tuple(types.get("CsvContentTypes", ())),
        json_content_types=tuple(types.get("JsonContentTypes", ())),
        kms_key_id=config.get("KmsKeyId"),
    )
    check_destination("DestinationS3Uri", capture.destination_url)
    return capture


def check_destination(member: str, url: str) -> None:
    """Turn down what names no place in a bucket that can exist here. `member`: what AWS calls it in this request.

    Raises:
        Invalid: It names none.
    """
    scheme, _, rest = url.partition("://")
    bucket = rest.partition("/")[0]
    if scheme != "s3" or not bucket:
        raise Invalid(
            f"{member} is {url}; captured records are written to a bucket of this server, as s3://bucket/prefix."
        )
    limitation = bucket_limitation(bucket)
    if limitation is not None:
        raise Invalid(f"{member} is {url}. {limitation}")


def config_members(capture: DataCapture | None) -> dict[str, Any] | None:
    """As it was given, with AWS's default filled in."""
    if capture is None:
        return None
    types = {
        "CsvContentTypes": list(capture.csv_content_types) or None,
        "JsonContentTypes": list(capture.json_content_types) or None,
    }
    return {
        "EnableCapture": capture.enabled,
        "InitialSamplingPercentage": capture.sampling_percent,
        "DestinationS3Uri": capture.destination_url,
        "KmsKeyId": capture.kms_key_id,
        "CaptureOptions": [{"CaptureMode": mode.value} for mode in capture.modes],
        "CaptureContentTypeHeader": types if any(types.values()) else None,
    }


def summary_members(endpoint: Endpoint, trouble: Callable[[str], str | None]) -> dict[str, Any] | None:
    """DataCaptureConfigSummary: of the fleet in production. Stopped also while the records get nowhere."""
    fleet: Fleet | None = endpoint.blue
    if fleet is None or fleet.capture is None:
        return None
    capture = fleet.capture
    flows = capture.enabled and not endpoint.deleting and trouble(destination(capture)[0]) is None
    return {
        "EnableCapture": capture.enabled,
        "CaptureStatus": "Started" if flows else "Stopped",
        "CurrentSamplingPercentage": capture.sampling_percent,
        "DestinationS3Uri": capture.destination_url,
        # Required by the model.
        "KmsKeyId": capture.kms_key_id or "",
    }
