"""What every proxy has been told and has accepted: the aggregated discovery service without its transport.

One stream per proxy carries all kinds of resources. A request names a kind and the resources wanted (none: all); it is also how a proxy
answers a response: with its nonce alone, an acknowledgement; with a refusal, after which the proxy goes on with what it had. At most one
response of each kind is unanswered per stream, so an acknowledgement always means exactly what was sent last.

Order is kept per stream: routes wait until this proxy has answered clusters and endpoint lists of the same snapshot. Removal in the
reverse order is the publisher's part: a cluster leaves the snapshot only after the routes without it are acknowledged.

A proxy is registered by a lease: from its first request until it has been gone, or has left a response unanswered, for longer than the
lease. One whose lease has *lapsed* while it stays connected holds up no acknowledgement, but its requests in flight still count. One that was registered with an earlier control plane is expected back for as long as that: until then it may hold anything, so
nothing is acknowledged and nothing is unrouted. What a proxy holds is known from its acknowledgements, also from those on an earlier stream if it names the same version when it comes
back. A proxy that comes back with a version that we do not know, because an earlier control plane sent it, holds something *unknown*
until its first acknowledgement.

`bannister.envoy.ads` carries requests and responses over gRPC, `bannister.envoy.memory` to proxies that exist in memory.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from bannister.clock import Clock
from bannister.envoy.snapshot import Kind, Resource, Snapshot
from bannister.envoy.subscription import Subscription
from bannister.signals import Signal

log = logging.getLogger(__name__)

#: Envoy's reasons can be 4 kB long.
REASON_CHARACTERS_MAX: Final = 500


@dataclass(frozen=True, slots=True)
class Request:
    """A subscription, an acknowledgement, or a refusal."""

    kind: Kind
    #: Who asks.
    node: str
    #: The version of the kind that the proxy holds; empty: none.
    version: str = ""
    #: Of the response that is answered; empty: none is.
    nonce: str = ""
    #: Resources wanted; empty: all.
    names: frozenset[str] = frozenset()
    #: Why the response is refused; None: it is accepted.
    refusal: str | None = None


@dataclass(frozen=True, slots=True)
class Response:
    """Resources of one kind, for one proxy; its version is also its nonce."""

    kind: Kind
    version: str
    resources: tuple[Resource, ...]


@dataclass(slots=True)
class Proxy:
    """One registered proxy."""

    node: str
    subscriptions: dict[Kind, Subscription] = field(default_factory=dict)
    #: Acknowledgements so far: a point in this proxy's history.
    acknowledgements: int = 0
    #: Its open stream; None: it is gone.
    stream: object | None = None
    gone_since: float = 0.0
    #: Grows whenever anything that is known of it changes, so that what follows from it need not be found out again.
    changes: int = 0
    #: It was registered with an earlier control plane and has not come back yet: nobody here knows what it holds.
    expected: bool = False

    def held(self, kind: Kind, name: str) -> Resource | None:
        """The resource that it has acknowledged; None: none, or not known."""
        subscription = self.subscriptions.get(kind)
        return subscription.held.get(name) if subscription is not None and subscription.held is not None else None

    def known(self, kind: Kind) -> bool:
        """Whether we know what it holds of this kind."""
        subscription = self.subscriptions.get(kind)
        return not self.expected if subscription is None else subscription.held is not None

    def inherited(self, kind: Kind, name: str) -> bool:
        """It came with a resource of this name from an earlier control plane, and has had none from this one: nobody here knows what is in it."""
        subscription = self.subscriptions.get(kind)
        if subscription is None or not subscription.inherited:
            return False
        return name in subscription.names and name not in (subscription.held or {})

    def held_since(self, kind: Kind, name: str) -> int:
        """At which of its acknowledgements it accepted the resource that it holds."""
        return self.subscriptions[kind].held_since.get(name, 0)

    def pending(self, kind: Kind, name: str) -> Resource | None:
        """The resource on its way to the proxy, which it may already have applied."""
        subscription = self.subscriptions.get(kind)
        return (subscription.pending or {}).get(name) if subscription is not None else None

    def refusals(self) -> dict[str, str]:
        """Why it refused what it was last sent, by kind."""
        return {
            kind.name.lower(): subscription.refusal
            for kind, subscription in self.subscriptions.items()
            if subscription.refusal is not None
        }

    def silent_since(self) -> float | None:
        """Since when it is gone, or leaves a response unanswered (monotonic seconds); None: it answers."""
        if self.stream is None:
            return self.gone_since
        oldest: float | None = None
        for one in self.subscriptions.values():
            if one.pending is not None and (oldest is None or one.pending_since < oldest):
                oldest = one.pending_since
        return oldest


class Discovery:
    """Gives the current snapshot to every proxy that opened a stream. For one event loop."""

    def __init__(self, lease_seconds: float, clock: Clock, expected: Iterable[str] = ()) -> None:
        """`expected`: proxies that an earlier control plane may have registered, which have their lease to come back."""
        self._lease_seconds = lease_seconds
        self._clock = clock
        self._snapshot: Snapshot | None = None
        self._proxies = {node: Proxy(node, gone_since=clock.monotonic(), expected=True) for node in expected}
        #: Proxies can come.
        self._listens = False
        #: Ordered, so that a simulation meets the streams in the same order each time.
        self._streams: dict[Stream, None] = {}
        #: Distinguishes our versions from those of an earlier control plane.
        self._run = f"{clock.now():.3f}"
        self._responses = 0
        #: Announced whenever a proxy comes, goes or answers.
        self.changed = Signal()

    def listens(self) -> None:
        """Proxies can come from now on: those that are expected have their lease from here."""
        self._listens = True
        for proxy in self._proxies.values():
            if proxy.expected:
                proxy.gone_since = self._clock.monotonic()

    def publish(self, snapshot: Snapshot) -> None:
        """Make this the snapshot that every proxy gets.

        Raises:
            Inconsistent: It must not reach a proxy; the one before stays.
        """
        snapshot.check()
        self._snapshot = snapshot
        for stream in self._streams:
            stream.wake()

    def proxies(self) -> tuple[Proxy, ...]:
        """The registered proxies. One that is gone for longer than its lease is forgotten."""
        registered = []
        for proxy in list(self._proxies.values()):
            if not self._has_lapsed(proxy):
                registered.append(proxy)
            elif proxy.stream is None:
                log.warning("Proxy %s is gone; it no longer holds up an acknowledgement.", proxy.node)
                del self._proxies[proxy.node]
        return tuple(registered)

    def lapsed(self) -> tuple[Proxy, ...]:
        """Those that are connected, but have left a response unanswered for longer than their lease."""
        return tuple([one for one in self._proxies.values() if one.stream is not None and self._has_lapsed(one)])

    def _has_lapsed(self, proxy: Proxy) -> bool:
        if proxy.expected and not self._listens:
            return False  # nobody could come yet
        silent_since = proxy.silent_since()
        return silent_since is not None and self._clock.monotonic() - silent_since > self._lease_seconds

    def open(self, write: Callable[[Response], Awaitable[None]]) -> Stream:
        """A proxy has opened a stream; `write` sends it a response."""
        stream = Stream(self, write)
        self._streams[stream] = None
        return stream

    # --- for its streams

    @property
    def snapshot(self) -> Snapshot | None:
        return self._snapshot

    def register(self, node: str, stream: Stream) -> Proxy:
        proxy = self._proxies.setdefault(node, Proxy(node))
        proxy.stream = stream
        proxy.changes += 1
        return proxy

    def closed(self, stream: Stream) -> None:
        self._streams.pop(stream, None)
        for proxy in self._proxies.values():
            if proxy.stream is stream:
                proxy.stream, proxy.gone_since = None, self._clock.monotonic()
                proxy.changes += 1
        self.changed.announce()

    def next_version(self) -> str:
        self._responses += 1
        return f"{self._run}/{self._responses}"

    def now(self) -> float:
        return self._clock.monotonic()


class Stream:
    """One proxy's stream."""

    def __init__(self, discovery: Discovery, write: Callable[[Response], Awaitable[None]]) -> None:
        self._discovery = discovery
        self._write = write
        self._proxy: Proxy | None = None
        self._subscriptions: dict[Kind, Subscription] = {}
        self._wake = asyncio.Event()

    def wake(self) -> None:
        self._wake.set()

    # --- from the proxy

    def receive(self, request: Request) -> None:
        """The proxy has said something."""
        if self._proxy is None:
            self._register(request)
        subscription = self._subscriptions.get(request.kind) or self._subscribe(request.kind, request.version)
        if request.nonce == subscription.nonce:
            self._answered(subscription, request)
        if request.nonce in ("", subscription.nonce):
            subscription.ask(request.names)
        assert self._proxy is not None
        self._proxy.changes += 1
        self._discovery.changed.announce()
        self._wake.set()

    def _register(self, request: Request) -> None:
        self._proxy = self._discovery.register(request.node, self)
        # A proxy that names no version has just started: it holds nothing, whatever was acknowledged before.
        earlier = self._proxy.subscriptions if request.version else {}
        self._proxy.subscriptions = {kind: one.carried_over(self._discovery.now()) for kind, one in earlier.items()}

    def _subscribe(self, kind: Kind, version: str) -> Subscription:
        assert self._proxy is not None
        subscription = self._proxy.subscriptions.get(kind)
        if subscription is None or subscription.held_version != version:
            unknown = bool(version)
            subscription = Subscription(kind, held=None if unknown else {}, held_version=version, inherited=unknown)
        subscription.pending = None  # by its version it says what it made of what was on its way
        self._subscriptions[kind] = self._proxy.subscriptions[kind] = subscription
        return subscription

    def _answered(self, subscription: Subscription, request: Request) -> None:
        if subscription.pending is None:
            return
        assert self._proxy is not None
        if request.refusal is not None:
            reason = request.refusal[:REASON_CHARACTERS_MAX]
            log.error("Proxy %s refused %s: %s", self._proxy.node, subscription.kind.name.lower(), reason)
            subscription.refuse(reason)
        else:
            self._proxy.acknowledgements += 1
            subscription.acknowledge(self._proxy.acknowledgements)

    # --- to the proxy

    async def send(self) -> None:
        """Send what is due, in order, whenever something changed. Until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            for kind in Kind:
                await self._send_due(kind)

    def close(self) -> None:
        """The proxy is gone; what it holds stays known for its lease."""
        self._discovery.closed(self)

    async def _send_due(self, kind: Kind) -> None:
        snapshot, subscription = self._discovery.snapshot, self._subscriptions.get(kind)
        if snapshot is None or subscription is None:
            return
        due = subscription.due(snapshot)
        if due is None or (kind is Kind.ROUTES and not self._ready_for(due, snapshot)):
            return
        version = self._discovery.next_version()
        subscription.send(due, snapshot, version, self._discovery.now())
        assert self._proxy is not None
        self._proxy.changes += 1
        await self._write(Response(kind, version, tuple(due.values())))

    def _ready_for(self, routes: dict[str, Resource], snapshot: Snapshot) -> bool:
        """Whether the proxy has answered everything that these routes name.

        A refusal counts as an answer: what is good in a refused response is applied, and going back to blue must not wait for ever.
        """
        clusters, endpoints = self._subscriptions.get(Kind.CLUSTER), self._subscriptions.get(Kind.ENDPOINTS)
        named = frozenset().union(*(one.needs for one in routes.values())) & snapshot.clusters.keys()
        if not named:
            return True
        if clusters is None or not clusters.settled(snapshot, named):
            return False
        if clusters.refusal is not None:
            return True
        listed = named & snapshot.endpoints.keys()  # a hop cluster has no list
        return not listed or (
            endpoints is not None and listed <= endpoints.names and endpoints.settled(snapshot, listed)
        )
