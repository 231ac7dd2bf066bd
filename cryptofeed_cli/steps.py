"""Notices when the wall clock leaves the monotonic one: the machine was suspended, or its clock was set."""

from __future__ import annotations

from cryptofeed_cli.clock import SECOND, Moment

NOTICED = 2 * SECOND
"""Smaller steps are how clocks are kept right, and mean nothing."""


class Steps:
    """Compares how far the two clocks went from one look to the next."""

    def __init__(self) -> None:
        self._last: Moment | None = None

    def check(self, now: Moment) -> int:
        """Return how far the wall clock jumped since the last look, in nanoseconds; 0: it did not."""
        last, self._last = self._last, now
        if last is None:
            return 0
        step = (now.at - last.at) - (now.monotonic - last.monotonic)
        return step if abs(step) > NOTICED else 0
