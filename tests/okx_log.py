"""What the clients of a pretended OKX did, as it happens, for tests to wait on; knows no socket."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import NamedTuple

PATIENCE = 60.0
"""Seconds: machines are slow and shared, and what comes in time is waited for no longer."""


class Seen(NamedTuple):
    """Something a client did, or the server with its door."""

    kind: str
    """``connect open disconnect subscribe unsubscribe refused ping text fetch``, ``listening refusing``.

    ``refused`` is a topic; while ``refusing`` there is nobody to connect to.
    """
    at: float
    """Monotonic seconds."""
    peer: int
    """Number of the socket; 0 for REST."""
    path: str
    """Of the socket, or of the REST request with its query."""
    channel: str | None = None
    symbol: str | None = None
    request: str | None = None
    """What was sent, as text."""


class Log:
    """Everything seen, in order."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        """Held while anything a predicate may ask for changes."""
        self._seen: list[Seen] = []

    @property
    def seen(self) -> list[Seen]:
        """Everything clients did so far, in order."""
        with self.changed:
            return list(self._seen)

    def note(
        self,
        kind: str,
        peer: int,
        path: str,
        *,
        channel: str | None = None,
        symbol: str | None = None,
        request: str | None = None,
    ) -> None:
        """Add what happened just now."""
        with self.changed:
            self._seen.append(Seen(kind, time.monotonic(), peer, path, channel, symbol, request))
            self.changed.notify_all()

    def wait_for(
        self,
        kind: str,
        *,
        channel: str | None = None,
        symbol: str | None = None,
        path: str | None = None,
        count: int = 1,
        since: int = 0,
        timeout: float = PATIENCE,
    ) -> list[Seen]:
        """Wait until clients did something ``count`` times since ``seen[since]``; return those; fail the test if not.

        A subscription counts when it is in force: what is played afterwards arrives.
        """
        given = {"kind": kind, "channel": channel, "symbol": symbol, "path": path}
        wanted = {name: value for name, value in given.items() if value is not None}

        def matching() -> list[Seen]:
            found = self._seen[since:]
            return [one for one in found if all(getattr(one, name) == value for name, value in wanted.items())]

        with self.changed:
            self.wait_until(lambda: len(matching()) >= count, timeout=timeout, what=f"{count} x {wanted}")
            return matching()

    def wait_until(
        self, predicate: Callable[[], bool], *, timeout: float = PATIENCE, what: str = "what was waited for"
    ) -> None:
        """Wait until ``predicate()``, asked again whenever a client did something; fail the test if it never holds."""
        with self.changed:
            if not self.changed.wait_for(predicate, timeout):
                did = "\n".join(f"  {one}" for one in self._seen[-20:]) or "  nothing"
                raise AssertionError(f"{what} did not come within {timeout} s; the clients' last doings:\n{did}")
