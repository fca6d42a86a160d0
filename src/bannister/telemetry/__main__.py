"""`python -m bannister.telemetry --data-dir DIR [--port PORT]`: run telemetry until SIGTERM or SIGINT. Logs to stderr."""

from bannister.reporting.process import run
from bannister.telemetry.program import Telemetry

if __name__ == "__main__":
    raise SystemExit(run("bannister.telemetry", Telemetry))
