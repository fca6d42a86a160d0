"""The live traffic: the client's process, and every answer it got."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from bannister.demo.client import ANSWER_TIMEOUT_SECONDS
from bannister.demo.flights import Flight

#: The client waits for every answer.
STOP_TIMEOUT_SECONDS = ANSWER_TIMEOUT_SECONDS + 10.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one request."""

    flight: int
    sent_at: float
    ended_at: float
    milliseconds: float
    #: 0: no answer came.
    status: int
    version: str | None = None
    late: bool | None = None
    error: str | None = None
    model_status: int | None = None
    model_message: str | None = None

    @property
    def ok(self) -> bool:
        return self.status == 200 and self.error is None


class Traffic:
    """Starts the client and collects its answers until it is stopped."""

    def __init__(self, url: str, flights: list[Flight], workspace: Path, rate: float) -> None:
        self.flights = flights
        self.rate = rate
        self._answers: list[Answer] = []
        #: How many requests the client says that it sent; None: it has not said yet, or did not come to that.
        self.sent: int | None = None
        file = workspace / "flights.jsonl"
        file.write_text("\n".join(flight.body for flight in flights) + "\n")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bannister.demo.client", url, str(file), "--rate", str(rate)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            # Not in the terminal's group: Ctrl-C is for the demo, which then ends the client.
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def answers(self) -> list[Answer]:
        """All answers so far, in the order in which they came."""
        return list(self._answers)

    def last(self, seconds: float) -> list[Answer]:
        """The answers of the last so many seconds."""
        since = time.time() - seconds
        recent = []
        for answer in reversed(self._answers):
            if answer.ended_at < since:
                break
            recent.append(answer)
        return recent

    def stop(self) -> None:
        """End the client and read what it still had to say."""
        if self._process.stdin and not self._process.stdin.closed:
            self._process.stdin.close()
        try:
            self._process.wait(STOP_TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join(STOP_TIMEOUT_SECONDS)

    def _read(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            record = json.loads(line)
            if "sent" in record:
                self.sent = record["sent"]
                continue
            record["milliseconds"] = record.pop("ms")
            self._answers.append(Answer(**record))
