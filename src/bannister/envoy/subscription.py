"""What one proxy has been sent and has accepted of one kind of resource."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from bannister.domain.routing import Members
from bannister.envoy.resources.endpoints import group_endpoints
from bannister.envoy.resources.messages import packed
from bannister.envoy.snapshot import Kind, Resource, Snapshot

_NOBODY: Final = Members()


@dataclass(slots=True)
class Subscription:
    """One kind of resource on one stream. At most one response is unanswered at a time."""

    kind: Kind
    #: What the proxy holds by its own acknowledgements; None: something that we do not know.
    held: dict[str, Resource] | None = field(default_factory=dict)
    #: The version that it acknowledged last.
    held_version: str = ""
    #: It came with what an earlier control plane gave it.
    inherited: bool = False
    #: When each resource was acknowledged, as the proxy's count of acknowledgements.
    held_since: dict[str, int] = field(default_factory=dict)
    #: Names asked for; empty: all (clusters and listeners).
    names: frozenset[str] = frozenset()
    #: What the proxy was sent on this stream.
    sent: dict[str, Resource] = field(default_factory=dict)
    #: What the last response held, while it is unanswered; and since when (monotonic seconds).
    pending: dict[str, Resource] | None = None
    pending_since: float = 0.0
    nonce: str = ""
    version: str = ""
    #: The resources out of which the last response was made.
    offered: Mapping[str, Resource] | None = None
    #: Why the proxy refused the last response; None: it did not. Nothing is sent again before something of the kind changes.
    refusal: str | None = None

    def ask(self, names: frozenset[str]) -> None:
        """The proxy asks for these from now on. What it no longer asks for it has dropped, and so do we: groups come and go for ever."""
        self.names = names
        if self.kind.whole:
            return
        for known in (self.held, self.held_since, self.sent):
            for name in (known or {}).keys() - names:
                del known[name]  # type: ignore[union-attr]  # None has no keys

    def due(self, snapshot: Snapshot) -> dict[str, Resource] | None:
        """What a response must hold now; None: there is nothing to send."""
        offered = snapshot.of(self.kind)
        if self.pending is not None or (self.refusal is not None and offered is self.offered):
            return None
        if self.kind.whole:
            return dict(offered) if self.nonce == "" or dict(offered) != self.sent else None
        changed = {}
        for name in self.names - (snapshot.withheld if self.inherited else frozenset()):
            resource = offered.get(name) or self._nothing(name, snapshot)
            if resource is not None and self.sent.get(name) is not resource:
                changed[name] = resource
        return changed or None

    def _nothing(self, name: str, snapshot: Snapshot) -> Resource | None:
        """The answer about a cluster that no longer exists: unanswered, the proxy would wait for it. Once is enough."""
        if self.kind is not Kind.ENDPOINTS or name in snapshot.clusters or name in self.sent:
            return None
        return Resource(name, packed(group_endpoints(name, _NOBODY)), _NOBODY)

    def send(self, due: dict[str, Resource], snapshot: Snapshot, version: str, at: float) -> None:
        """Note that a response with `due` goes out."""
        self.offered, self.version, self.nonce = snapshot.of(self.kind), version, version
        self.pending, self.pending_since, self.refusal = due, at, None
        self.sent = dict(due) if self.kind.whole else {**self.sent, **due}

    def acknowledge(self, count: int) -> None:
        """The proxy has accepted the last response, as its acknowledgement number `count`."""
        accepted = self.pending or {}
        if not self.kind.whole:
            accepted = {name: one for name, one in accepted.items() if name in self.names}
        self.held = dict(accepted) if self.kind.whole else {**(self.held or {}), **accepted}
        if self.kind.whole:
            self.held_since = {name: since for name, since in self.held_since.items() if name in accepted}
        self.held_since.update(dict.fromkeys(accepted, count))
        self.held_version, self.pending = self.version, None

    def carried_over(self, at: float) -> Subscription:
        """The same on the proxy's next stream, before it speaks of this kind there.

        What was on its way when the stream broke may have been applied; only its word on the next stream tells.
        """
        return Subscription(
            self.kind,
            self.held,
            self.held_version,
            held_since=self.held_since,
            pending=self.pending,
            pending_since=at,
            inherited=self.inherited,
        )

    def refuse(self, reason: str) -> None:
        """The proxy has refused the last response, and goes on with what it had."""
        for name in self.pending or {}:
            self.sent.pop(name, None)
        self.pending, self.refusal = None, reason

    def settled(self, snapshot: Snapshot, names: frozenset[str]) -> bool:
        """The proxy has answered, well or ill, what the snapshot has under these names."""
        if self.pending is not None:
            return False
        offered = snapshot.of(self.kind)
        if self.refusal is not None:
            return offered is self.offered
        return all(name not in offered or self.sent.get(name) is offered[name] for name in names)
