"""The one gate to the exchange's REST interface: how often it is asked, whoever asks; opens no connection.

Whoever wants to know something asks at the gate at every tick until it lets the question through. So nothing waits in a
queue, who comes first at a tick comes first at the exchange, and a question is as fresh as can be when it leaves.
"""

from __future__ import annotations

from collections.abc import Callable

from cryptofeed_cli.clock import SECOND, Moment
from cryptofeed_cli.exchanges.base import Exchange
from cryptofeed_cli.feeds.base import Answer, Fetch

MARGIN = 0.95
"""Share of the allowed rate that is used: the exchange's clock and ours do not tick alike."""
SLOWEST = 0.05
"""However often the exchange complains, this share of the rate is used."""
RECOVERY = 30 * SECOND
"""After a rebuke the rate doubles again every so often, up to what is allowed."""

Ask = Callable[[str, Moment], int | None]
"""Asks for a path and returns the number that its answer will have; None: not now, try again at the next tick."""


class Limiter:
    """Spaces requests evenly; a rebuke halves the rate, good conduct wins it back."""

    def __init__(self, per_second: float) -> None:
        self._spacing = round(SECOND / (per_second * MARGIN))
        self._slowness = 1
        self._next = 0
        self._eased = 0

    @property
    def state(self) -> tuple[int, int, int, int]:
        """Everything that decides what it does next; see `as_it_was`."""
        return self._spacing, self._slowness, self._next, self._eased

    @classmethod
    def as_it_was(cls, state: tuple[int, int, int, int]) -> Limiter:
        """Return one that goes on from a `state`."""
        limiter = cls(1.0)
        limiter._spacing, limiter._slowness, limiter._next, limiter._eased = state
        return limiter

    def allows(self, monotonic: int) -> bool:
        """Tell whether a request may be sent now, and count it if so."""
        if self._slowness > 1 and monotonic - self._eased >= RECOVERY:
            self._slowness //= 2
            self._eased = monotonic
        if monotonic < self._next:
            return False
        # A call that is a little late keeps the average; one after a long time earns no more than half a request.
        spacing = self._spacing * self._slowness
        self._next = max(self._next, monotonic - spacing // 2) + spacing
        return True

    def rebuke(self, monotonic: int) -> None:
        """The exchange said that this was too fast."""
        self._slowness = min(self._slowness * 2, round(1 / SLOWEST))
        self._eased = monotonic
        self._next = monotonic + self._spacing * self._slowness


class Gate:
    """Numbers requests, and lets through as many as a limiter allows."""

    def __init__(self, exchange: Exchange, act: Callable[[Fetch], object], limiter: Limiter) -> None:
        """``act`` performs what was let through."""
        self._exchange = exchange
        self._act = act
        self._limiter = limiter
        self._count = self._rebuked = 0

    def ask(self, path: str, now: Moment) -> int | None:
        """Ask for a path, or return None where that would be too fast: see `Ask`."""
        if not self._limiter.allows(now.monotonic):
            return None
        self._count += 1
        self._act(Fetch(self._count, path))
        return self._count

    def hear(self, answer: Answer) -> None:
        """Take note of every answer: one that says "too fast" slows all requests down.

        Those that were under way at a rebuke are no news.
        """
        if (
            answer.request_id > self._rebuked
            and answer.status is not None
            and self._exchange.rebukes(answer.status, answer.body)
        ):
            self._rebuked = self._count
            self._limiter.rebuke(answer.monotonic)
