"""boto3 made to speak one of CloudWatch's three protocols.

boto3 chooses by its own order of preference among those that a service's model names, so CloudWatch always gets JSON. Its
sessions take the models from a loader; this one leaves a single protocol in CloudWatch's and everything else as it is. Older
releases of boto3, whose model names only query, and the SDKs that prefer CBOR behave in the same way.
"""

from __future__ import annotations

from typing import Any

import boto3
import botocore.session
from botocore.loaders import Loader

#: As botocore's models call them.
WIRES = ("json", "query", "smithy-rpc-v2-cbor")


class OneProtocol(Loader):
    """botocore's loader, with only one protocol in CloudWatch's model."""

    def __init__(self, protocol: str) -> None:
        super().__init__(include_default_search_paths=True)
        self._protocol = protocol

    def load_service_model(self, service_name: str, type_name: str, api_version: str | None = None) -> Any:
        model = super().load_service_model(service_name, type_name, api_version)
        if (service_name, type_name) != ("cloudwatch", "service-2"):
            return model
        metadata = {**model["metadata"], "protocol": self._protocol, "protocols": [self._protocol]}
        if self._protocol == "query":
            del metadata["awsQueryCompatible"]  # as it was when query was all there was
        return {**model, "metadata": metadata}


def session(wire: str) -> boto3.Session:
    """A session whose CloudWatch clients speak this protocol, with credentials that nobody checks."""
    core = botocore.session.get_session()
    core.register_component("data_loader", OneProtocol(wire))
    core.set_credentials("AKIDEXAMPLE", "secret")
    return boto3.Session(botocore_session=core, region_name="us-east-1")
