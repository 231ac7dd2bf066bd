"""One time limit over all the steps of a connection."""

from __future__ import annotations

from cryptofeed_cli.clock import SECOND, Clock


class Deadline:
    """An instant on the monotonic clock that nothing may wait beyond."""

    def __init__(self, seconds: float, clock: Clock) -> None:
        self._clock = clock
        self._end = clock.monotonic() + int(seconds * SECOND)

    def left(self) -> float:
        """Return the seconds that are left; raise `TimeoutError` where there are none."""
        left = (self._end - self._clock.monotonic()) / SECOND
        if left <= 0:
            raise TimeoutError("timed out")
        return left

    def within(self, seconds: float) -> Deadline:
        """Return the sooner of this one and another."""
        return Deadline(min(seconds, self.left()), self._clock)
