"""`python -m bannister.capture --data-dir DIR [--port PORT]`: run capture until SIGTERM or SIGINT. Logs to stderr."""

from bannister.capture.program import Capture
from bannister.reporting.process import run

if __name__ == "__main__":
    raise SystemExit(run("bannister.capture", Capture))
