"""What a feed hands to the session (events) and does for it (actions); knows no exchange.

Every event carries both clocks, read where it happened: ``at`` is the wall clock and ``monotonic`` the monotonic one,
in nanoseconds. Durations are measured on the monotonic clock only.
"""

from __future__ import annotations

from typing import Protocol

import msgspec


class Opened(msgspec.Struct, frozen=True, gc=False):
    """A connection is up and nothing has been sent on it yet."""

    connection: int
    at: int
    monotonic: int
    announced: str | None = None
    """The value of ``X-Cryptofeed-Source`` on the upgrade: ``simulated`` or ``replay``; None: a real exchange."""


class Frame(msgspec.Struct, frozen=True, gc=False):
    """One message as it left the socket. ``at`` never runs backwards within a connection."""

    connection: int
    data: bytes
    at: int
    monotonic: int


class Closed(msgspec.Struct, frozen=True, gc=False):
    """A connection is gone, or could not be made. The feed tries again by itself, after ``retry_in`` nanoseconds."""

    connection: int
    at: int
    monotonic: int
    code: int | None
    """The WebSocket close code; None: no close frame, or never connected."""
    reason: str
    retry_in: int


class Tick(msgspec.Struct, frozen=True, gc=False):
    """Time passed. Sent at least every 100 ms by whoever drives the session."""

    at: int
    monotonic: int


class Answer(msgspec.Struct, frozen=True, gc=False):
    """What a `Fetch` brought: a body with its HTTP status, or an error and no body."""

    request_id: int
    at: int
    monotonic: int
    status: int | None
    body: bytes
    error: str | None = None
    announced: str | None = None


class LookedUp(msgspec.Struct, frozen=True, gc=False):
    """What a `Lookup` found."""

    request_id: int
    at: int
    monotonic: int
    missing: list[tuple[int, int]] | None
    """The ranges of ids that the store lacks, ascending; None: it did not answer."""


class Died(msgspec.Struct, frozen=True, gc=False):
    """A thread of the feed ended that should not have; nothing more will come of it."""

    thread: str
    at: int
    monotonic: int
    error: BaseException


Event = Opened | Frame | Closed | Tick | Answer | LookedUp | Died


class Connect(msgspec.Struct, frozen=True, gc=False):
    """Open a connection to an endpoint and keep it: reconnect for ever, paced, until `Drop`."""

    connection: int
    endpoint: str
    """A name of the exchange's, such as ``public``; the feed knows its URL."""


class Send(msgspec.Struct, frozen=True, gc=False):
    """Send a text frame; dropped silently when the connection is not up (a `Closed` event tells)."""

    connection: int
    text: str


class Reset(msgspec.Struct, frozen=True, gc=False):
    """Close a connection that is no good; the feed reports it `Closed` with this reason and connects again."""

    connection: int
    reason: str


class Drop(msgspec.Struct, frozen=True, gc=False):
    """Close a connection for good; no event follows."""

    connection: int


class Fetch(msgspec.Struct, frozen=True, gc=False):
    """Ask the exchange's REST interface; an `Answer` with the same ``request_id`` follows, always."""

    request_id: int
    path: str
    """Path and query, such as ``/api/v5/public/time``."""


class Lookup(msgspec.Struct, frozen=True, gc=False):
    """Ask the store which trade ids of ``first..last`` it lacks; a `LookedUp` with the same ``request_id`` follows."""

    request_id: int
    symbol: str
    first: int
    last: int


Action = Connect | Send | Reset | Drop | Fetch | Lookup


class Feed(Protocol):
    """A source of events that can be asked to act."""

    def take(self, timeout: float) -> list[Event]:
        """Return all waiting events in order; wait at most ``timeout`` seconds for the first."""

    def perform(self, action: Action) -> None:
        """Start an action; never blocks on the network."""

    def close(self) -> None:
        """Close every connection and stop every thread."""
