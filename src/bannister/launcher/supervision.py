"""Starts the parts or takes over running ones, keeps them running until asked to stop, and stops them so that nothing is left.

One thread, one loop: look at every child, start what is due, ask whether the server answers (only until it does), then sleep until a signal or
the next thing due. Stopping is the same in every case, also after an error: each part in turn gets SIGTERM and its grace, then whatever still
carries this data directory in its environment.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from time import monotonic

from bannister.errors import BannisterError
from bannister.launcher.child import Child
from bannister.launcher.interruptions import Interruptions
from bannister.launcher.leftovers import end_strays
from bannister.launcher.logs import rotate, tail
from bannister.launcher.parts import Part
from bannister.launcher.processes import Identity
from bannister.launcher.readiness import answers_ready
from bannister.launcher.record import Record
from bannister.launcher.screen import Screen
from bannister.settings import PART_VARIABLE, Settings

#: Nothing is shown of a start that takes less.
_QUIET_SECONDS = 1.0
#: For the control plane to end its instances when everything is to end at once.
_HURRY_SECONDS = 5.0


class GaveUp(BannisterError):
    """The server cannot be brought up; the message says why, and ends with the log's last lines."""


class Supervision:
    """The parts of one Bannister while `up` runs."""

    def __init__(
        self,
        settings: Settings,
        parts: Sequence[Part],
        environment: Mapping[str, str],
        record: Record,
        interruptions: Interruptions,
        screen: Screen,
        adopted: Mapping[str, Identity],
    ) -> None:
        self._settings = settings
        self._children = [Child(part, settings) for part in parts]
        for child in self._children:
            if child.part.name in adopted:
                child.adopt(adopted[child.part.name])
        self._environment = environment
        self._record = record
        self._interruptions = interruptions
        self._screen = screen
        self._began_at = monotonic()
        self._is_ready = False
        self._rotate_at = self._began_at + settings.part_log_check_seconds

    def run(self) -> bool:
        """Return when asked to stop, with everything stopped; whether every part was given its time for that.

        Raises:
            GaveUp: It did not become ready. Everything is stopped then, too.
        """
        self._write_down()  # from here on the next `up` looks for what we may leave
        try:
            while not self._interruptions.stop_requests:
                self._look(monotonic())
                descriptors = [one for child in self._children for one in child.descriptors]
                self._interruptions.wait(self._next_look_at() - monotonic(), descriptors)
        finally:
            self._stop()
        return not self._in_a_hurry()

    def _look(self, now: float) -> None:
        for child in self._children:
            ended = child.reap(now) or child.replace_if_frozen(now)
            if ended:
                self._consider_giving_up(child)
                self._screen.say(ended)
        self._start_due(now)
        if not self._is_ready:
            self._ask_ready(now)
        if now >= self._rotate_at:
            self._rotate_at = now + self._settings.part_log_check_seconds
            for child in self._children:
                rotate(child.part.log, self._settings.part_log_bytes_max)

    def _start_due(self, now: float) -> None:
        due = [child for child in self._waited_for() if child.start_at is not None and child.start_at <= now]
        for child in due:
            self._start(child, now)
            self._write_down()

    def _waited_for(self) -> list[Child]:
        """Those that may run now: before the server answers, none that nobody waits for."""
        return [child for child in self._children if self._is_ready or not child.part.is_late]

    def _write_down(self) -> None:
        """After each start, not once, so that an `up` that is killed leaves little unrecorded.

        On a disk that is full or has become read-only the record stays as it was; what it lacks is found by its marks.
        """
        try:
            self._record.write({child.part.name: child.identity for child in self._children if child.identity})
        except OSError as error:
            self._screen.say(f"What runs could not be written down: {error}.")

    def _start(self, child: Child, now: float) -> None:
        try:
            child.start({**self._environment, PART_VARIABLE: child.part.name}, self._settings.data_dir)
        except OSError as error:
            if not self._is_ready:
                raise GaveUp(f"Cannot start {child.part.name}: {error}.") from error
            # It serves meanwhile: its program may just be being replaced, or the machine be out of memory.
            self._screen.say(child.put_off(error, now))

    def _ask_ready(self, now: float) -> None:
        waited = now - self._began_at
        if answers_ready(self._settings.port):
            self._is_ready = True
            self._screen.announce(f"ready http://127.0.0.1:{self._settings.port}")
        elif waited > self._settings.ready_timeout_seconds:
            raise GaveUp(self._with_tail(f"Bannister does not answer after {waited:.0f} s", self._children[0].part))
        elif waited > _QUIET_SECONDS:
            self._screen.show_passing(f"starting, {waited:.1f} s (logs: {self._settings.logs_dir})")

    def _consider_giving_up(self, child: Child) -> None:
        if self._is_ready:
            return  # it serves, and may go on doing so; what cannot start now may be mended
        if child.cannot_start:
            (why,) = tail(child.part.log, 1) or ["It did not say why."]
            raise GaveUp(f"The {child.part.name} cannot start: {why} (log: {child.part.log})")
        if child.ends >= self._settings.part_ends_max:
            raise GaveUp(
                self._with_tail(f"{child.part.name} ended {child.ends} times before Bannister was ready", child.part)
            )

    def _with_tail(self, sentence: str, part: Part) -> str:
        lines = tail(part.log, self._settings.failure_log_lines) or ["(it is empty)"]
        return "\n".join((f"{sentence}. The last lines of {part.log}:", *(f"  {line}" for line in lines)))

    def _next_look_at(self) -> float:
        due = [child.look_at for child in self._waited_for() if child.look_at is not None]
        if not self._is_ready:
            due.append(monotonic() + self._settings.ready_poll_seconds)
        return min([*due, self._rotate_at])

    def _stop(self) -> None:
        for child in self._children:
            child.ask_to_stop()
            self._wait_until_gone(child)
            if child is self._children[0]:
                self._hurry(child)
            child.kill()
        grace_seconds = 0.0 if self._in_a_hurry() else self._settings.part_stop_grace_seconds
        end_strays(self._settings, grace_seconds, self._interruptions)
        for child in self._children:
            child.remove_sockets()
        self._record.remove()

    def _hurry(self, control_plane: Child) -> None:
        """Whoever does not want to wait leaves no container either: only the control plane can end those, and asked again it does so at once."""
        deadline = monotonic() + _HURRY_SECONDS
        if self._in_a_hurry() and not control_plane.is_gone():
            control_plane.ask_to_stop()
        while self._in_a_hurry() and not control_plane.is_gone() and monotonic() < deadline:
            self._interruptions.wait(min(0.5, deadline - monotonic()), control_plane.descriptors)

    def _in_a_hurry(self) -> bool:
        return self._interruptions.stop_requests > 1

    def _wait_until_gone(self, child: Child) -> None:
        began_at = monotonic()
        deadline = began_at + child.part.stop_grace_seconds
        while not child.is_gone() and monotonic() < deadline and not self._in_a_hurry():
            if monotonic() - began_at > _QUIET_SECONDS:
                self._screen.show_passing(f"stopping {child.part.name} (Ctrl-C again ends everything at once)")
            self._interruptions.wait(min(0.5, deadline - monotonic()), child.descriptors)
