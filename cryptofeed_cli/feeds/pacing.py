"""When to connect: a back-off per connection and one limit over all of them; neither sleeps itself."""

from __future__ import annotations

import random
import threading
from collections import deque

from cryptofeed_cli.clock import Clock


class Backoff:
    """Capped exponential waits with jitter: each is between half and all of its ceiling."""

    def __init__(self, initial: int, maximum: int, rng: random.Random) -> None:
        self._initial = initial
        self._maximum = maximum
        self._rng = rng
        self._failures = 0

    def reset(self) -> None:
        """Begin again at the shortest wait."""
        self._failures = 0

    def next(self) -> int:
        """Return how many nanoseconds to wait after one more failure."""
        ceiling = min(self._initial << self._failures, self._maximum)
        if ceiling < self._maximum:
            self._failures += 1
        return int(ceiling * self._rng.uniform(0.5, 1.0))


class Limiter:
    """Lets at most ``places`` through in any ``period`` nanoseconds, whichever thread asks."""

    def __init__(self, places: int, period: int, clock: Clock) -> None:
        self._passed: deque[int] = deque(maxlen=places)
        self._period = period
        self._clock = clock
        self._lock = threading.Lock()

    def enter(self) -> int:
        """Return 0 and take a place, or the nanoseconds after which to ask again."""
        with self._lock:
            now = self._clock.monotonic()
            if len(self._passed) == self._passed.maxlen and (wait := self._passed[0] + self._period - now) > 0:
                return wait
            self._passed.append(now)
            return 0
