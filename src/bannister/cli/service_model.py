"""Where the botocore model of our own service is."""

from __future__ import annotations

from pathlib import Path
from typing import Final

#: For `AWS_DATA_PATH`: `boto3.client("bannister")` works once botocore looks here too.
OWN_MODELS: Final = Path(__file__).parents[1] / "service"
