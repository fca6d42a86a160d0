"""What instances print, as CloudWatch Logs shows it: a group for each endpoint, a stream for each instance.

Groups and streams are not created or deleted: they are there as long as the log of an instance is kept. Reading takes parts of bounded size
from the logs, each in a thread, and stops at a bound of its own; a token says where to go on. A token holds a position, not a time, so lines that
have the same time are neither repeated nor passed over.
"""

from __future__ import annotations

import base64
import binascii
import heapq
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar

import msgspec

from bannister.domain.log_pattern import LogPattern
from bannister.errors import Invalid, NotFound, Resource
from bannister.instances.logs import PART_BYTES_MAX, InstanceLogs, LogLine, LogStream
from bannister.operations.context import Context
from bannister.operations.continuation import continued
from bannister.operations.listing import Page

GROUP_PREFIX: Final = "/aws/sagemaker/Endpoints/"
#: AWS: the most events of an answer, and the most bytes of their texts.
EVENTS_MAX: Final = 10_000
EVENT_BYTES_MAX: Final = 1024 * 1024
#: One request looks at so much of the logs; of what it found so far it then gives a page.
SCANNED_BYTES_MAX: Final = 4 * 1024 * 1024
#: When streams are merged, each is read by at least so much.
_MERGED_BYTES_MIN: Final = 16 * 1024
#: A token of GetLogEvents: forward or backward from a position.
_POSITION: Final = re.compile(r"([fb])/([0-9]{1,18})")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class LogGroup:
    """An endpoint's logs. Times in milliseconds since the epoch, as everywhere in CloudWatch Logs."""

    name: str
    created_at: int
    size: int


@dataclass(frozen=True, slots=True)
class NamedStream:
    """An instance's log, by the name that CloudWatch Logs gives it."""

    name: str
    stream: LogStream

    @property
    def created_at(self) -> int:
        """An instance that was never started has a log from the beginning of time; it is empty."""
        return millis(self.stream.created_at or 0.0)


@dataclass(frozen=True, slots=True)
class Event:
    """One line."""

    stream: str
    at: int
    text: str
    #: The same for the same line, and no other's.
    id: str


@dataclass(frozen=True, slots=True)
class Window:
    """Which events are wanted: from `start` on and before `end`, in milliseconds; at most so many."""

    start: int | None = None
    end: int | None = None
    limit: int = EVENTS_MAX

    def is_before(self, at: int) -> bool:
        return self.start is not None and at < self.start

    def is_behind(self, at: int) -> bool:
        return self.end is not None and at >= self.end

    @property
    def since(self) -> float:
        """The start in seconds; half a millisecond early, for times are whole ones only up to the precision of a number."""
        return 0.0 if self.start is None else (self.start - 0.5) / 1000


@dataclass(frozen=True, slots=True)
class StreamPage:
    """Events of one stream, and where to go on in both directions."""

    events: tuple[Event, ...]
    forward: str
    backward: str


@dataclass(frozen=True, slots=True)
class FilterRequest:
    """Which streams of a group, by their names or by how those begin, and which of their lines."""

    names: Sequence[str] | None = None
    prefix: str = ""
    pattern: LogPattern = field(default_factory=LogPattern)
    window: Window = field(default_factory=Window)
    token: str | None = None


def millis(seconds: float) -> int:
    return round(seconds * 1000)


# --- groups and streams


async def describe_log_groups(
    context: Context,
    *,
    prefix: str = "",
    part: str = "",
    names: Sequence[str] | None = None,
    limit: int,
    token: str | None,
) -> Page[LogGroup]:
    """The groups whose names begin with `prefix`, contain `part`, and are among `names`, by name."""
    found: dict[str, list[LogStream]] = {}
    for stream in await context.logs.streams():
        found.setdefault(_group_name(stream), []).append(stream)
    groups = [
        LogGroup(name, millis(min(each.created_at or 0.0 for each in streams)), sum(each.size for each in streams))
        for name, streams in found.items()
        if name.startswith(prefix) and part in name and (names is None or name in names)
    ]
    return _page(groups, lambda group: group.name, limit, token, descending=False)


async def describe_log_streams(
    context: Context,
    group: str,
    *,
    prefix: str = "",
    by_time: bool = False,
    descending: bool = False,
    limit: int,
    token: str | None,
) -> Page[NamedStream]:
    """A group's streams, by name or by the time of their newest event.

    Raises:
        NotFound: There is no such group.
        Invalid: Streams chosen by the beginning of their names are only in the order of their names.
    """
    if by_time and prefix:
        raise Invalid("Cannot order by LastEventTime with a logStreamNamePrefix.")
    streams = [one for one in await _streams(context.logs, group) if one.name.startswith(prefix)]

    def key(one: NamedStream) -> str:
        return f"{millis(one.stream.last_at or 0.0):015}/{one.name}" if by_time else one.name

    return _page(streams, key, limit, token, descending=descending)


# --- events


async def get_log_events(
    context: Context, group: str, stream: str, window: Window, *, from_head: bool, token: str | None
) -> StreamPage:
    """Events of one stream, oldest first: the first or the last ones, or those that follow a token.

    At the end of the stream the token to go on with is the one that was given.

    Raises:
        NotFound: There is no such group or stream.
        Invalid: The token is none of this stream's.
    """
    named = next((one for one in await _streams(context.logs, group) if one.name == stream), None)
    if named is None:
        raise NotFound(Resource.LOG_STREAM, stream)
    given = None if token is None else _POSITION.fullmatch(token)
    if token is not None and given is None:
        raise _invalid_token()
    if given is None:
        read = _forward(context.logs, named, window, 0) if from_head else _backward(context.logs, named, window, None)
    else:
        read = (_forward if given[1] == "f" else _backward)(context.logs, named, window, int(given[2]))
    return await read


async def filter_log_events(context: Context, group: str, request: FilterRequest) -> Page[Event]:
    """Events of several streams that match, in the order of their times.

    Raises:
        NotFound: There is no such group, or no stream of a name that is asked for.
        Invalid: The token is not one that was given here.
    """
    resume = _Resume() if request.token is None else _read_resume(request.token)
    there = await _streams(context.logs, group)
    unknown = set(request.names or ()) - {one.name for one in there}
    if unknown:
        raise NotFound(Resource.LOG_STREAM, min(unknown))
    streams = [
        one
        for one in there
        if one.name.startswith(request.prefix) and (request.names is None or one.name in request.names)
    ]
    cursors = [
        _Cursor(context.logs, one, *resume.of(one.name, request.window))
        for one in streams
        if one.stream.last_at is not None and not request.window.is_before(millis(one.stream.last_at))
    ]
    bytes_max = max(_MERGED_BYTES_MIN, min(PART_BYTES_MAX, SCANNED_BYTES_MAX // max(len(cursors), 1)))
    waiting: list[tuple[int, str, int]] = []
    by_name = {cursor.named.name: cursor for cursor in cursors}
    for cursor in cursors:
        if key := await cursor.next_key(bytes_max):
            heapq.heappush(waiting, key)
    events: list[Event] = []
    room, scanned = EVENT_BYTES_MAX, 0
    while waiting and len(events) < request.window.limit and room > 0 and scanned < SCANNED_BYTES_MAX:
        at, name, _ = heapq.heappop(waiting)
        if request.window.is_behind(at):
            return Page(tuple(events), None)
        cursor = by_name[name]
        line = cursor.take()
        resume = _Resume(at, name, line.end)
        scanned += line.end - line.position
        if not request.window.is_before(at) and request.pattern.matches(line.text):
            events.append(_event(cursor.named, line))
            room -= line.end - line.position
        if key := await cursor.next_key(bytes_max):
            heapq.heappush(waiting, key)
    return Page(tuple(events), _write_resume(resume) if waiting else None)


# --- parts


@dataclass(slots=True)
class _Cursor:
    """Goes through one stream, a part at a time."""

    logs: InstanceLogs
    named: NamedStream
    position: int
    since: float
    lines: list[LogLine] = field(default_factory=list)
    taken: int = 0
    more: bool = True

    async def next_key(self, bytes_max: int) -> tuple[int, str, int] | None:
        """What decides when the next line comes; None: there is none."""
        while self.taken == len(self.lines):
            if not self.more:
                return None
            part = await self.logs.forward(
                self.named.stream.instance, self.position, since=self.since, bytes_max=bytes_max
            )
            self.lines, self.taken = list(part.lines), 0
            self.position, self.more = part.end, part.more
        line = self.lines[self.taken]
        return millis(line.at), self.named.name, line.position

    def take(self) -> LogLine:
        self.taken += 1
        return self.lines[self.taken - 1]


@dataclass(frozen=True, slots=True)
class _Resume:
    """Where a merge of streams stopped: behind this line. Lines are in the order of time, stream and position."""

    at: int = -1
    stream: str = ""
    position: int = 0

    def of(self, stream: str, window: Window) -> tuple[int, float]:
        """From which position and time on a stream has lines that have not been looked at."""
        if self.at < 0:
            return 0, window.since
        position = self.position if stream == self.stream else 0
        since = self.at + (0.5 if stream < self.stream else -0.5)
        return position, max(since / 1000, window.since)


def _read_resume(token: str) -> _Resume:
    try:
        at, stream, position = msgspec.json.decode(
            base64.b64decode(token.encode("ascii"), altchars=b"-_", validate=True), type=tuple[int, str, int]
        )
    except (UnicodeError, binascii.Error, msgspec.MsgspecError):
        raise _invalid_token() from None
    if not (0 <= at < 10**15 and 0 <= position < 2**63):
        raise _invalid_token()
    return _Resume(at, stream, position)


def _write_resume(resume: _Resume) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode((resume.at, resume.stream, resume.position))).decode()


async def _forward(logs: InstanceLogs, named: NamedStream, window: Window, position: int) -> StreamPage:
    events: list[Event] = []
    begin, at, scanned, room, done = position, position, 0, EVENT_BYTES_MAX, False
    while not done and scanned < SCANNED_BYTES_MAX:
        part = await logs.forward(named.stream.instance, at, since=window.since)
        for line in part.lines:
            when = millis(line.at)
            if window.is_behind(when) or len(events) == window.limit or room <= 0:
                done = True
                break
            at = line.end
            if not window.is_before(when):
                begin = begin if events else line.position
                events.append(_event(named, line))
                room -= line.end - line.position
        else:
            at, done = part.end, not part.more
        scanned += part.end - part.start
    return StreamPage(tuple(events), f"f/{at}", f"b/{begin}")


async def _backward(logs: InstanceLogs, named: NamedStream, window: Window, position: int | None) -> StreamPage:
    events: list[Event] = []
    at, finish, scanned, room, done = position, position, 0, EVENT_BYTES_MAX, False
    while not done and scanned < SCANNED_BYTES_MAX:
        part = await logs.backward(named.stream.instance, at)
        finish = part.end if finish is None else finish
        for line in reversed(part.lines):
            when = millis(line.at)
            if window.is_before(when) or len(events) == window.limit or room <= 0:
                done = True
                break
            at = line.position
            if not window.is_behind(when):
                finish = finish if events else line.end
                events.append(_event(named, line))
                room -= line.end - line.position
        else:
            at, done = part.start, not part.more
        scanned += part.end - part.start
    return StreamPage(tuple(reversed(events)), f"f/{finish or 0}", f"b/{at or 0}")


def _event(named: NamedStream, line: LogLine) -> Event:
    return Event(named.name, millis(line.at), line.text, f"{named.stream.instance}{line.position:020}")


async def _streams(logs: InstanceLogs, group: str) -> list[NamedStream]:
    found = [one for one in await logs.streams() if _group_name(one) == group]
    if not found:
        raise NotFound(Resource.LOG_GROUP, group)
    return [NamedStream(f"{one.variant}/{one.instance}", one) for one in found]


def _group_name(stream: LogStream) -> str:
    return GROUP_PREFIX + stream.endpoint


def _page(items: Sequence[T], key: Callable[[T], str], limit: int, token: str | None, *, descending: bool) -> Page[T]:
    try:
        return continued(items, key, limit, token, descending=descending)
    except Invalid:
        raise _invalid_token() from None


def _invalid_token() -> Invalid:
    return Invalid("The specified nextToken is invalid.")
