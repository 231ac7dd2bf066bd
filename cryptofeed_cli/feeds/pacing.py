"""When to connect: a back-off per connection, one limit over all of them, and word of who got through."""

from __future__ import annotations

import random
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from cryptofeed_cli.clock import MILLISECOND, SECOND, Clock

_ASK_AGAIN = 50 * MILLISECOND
"""While all places are taken by visits whose end nobody knows."""


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
    """Lets at most ``places`` through in any ``period`` nanoseconds, as whoever is behind it counts them.

    That one counts a visit at some moment between `enter` and the end of `visit`, however long the way there is; so a
    place is free again only ``period`` after the end.
    """

    def __init__(self, places: int, period: int, clock: Clock) -> None:
        self._places = places
        self._period = period
        self._clock = clock
        self._lock = threading.Lock()
        self._under_way = 0
        self._ended: deque[int] = deque(maxlen=places)

    def enter(self) -> int:
        """Return 0 and take a place, to be given back by `visit`, or the nanoseconds after which to ask again."""
        with self._lock:
            now = self._clock.monotonic()
            while self._ended and now - self._ended[0] >= self._period:
                self._ended.popleft()
            if self._under_way + len(self._ended) < self._places:
                self._under_way += 1
                return 0
            return self._ended[0] + self._period - now if self._ended else _ASK_AGAIN

    @contextmanager
    def visit(self) -> Iterator[None]:
        """Give the place back when the block ends."""
        try:
            yield
        finally:
            with self._lock:
                self._under_way -= 1
                self._ended.append(self._clock.monotonic())


class Returns:
    """Tells those who wait to try again that one of them got through: the exchange is back, for all of them."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self.count = 0
        """How often anybody got through."""

    def tell(self) -> None:
        """Somebody got through."""
        with self._condition:
            self.count += 1
            self._condition.notify_all()

    def stir(self) -> None:
        """Have everybody look whether they still wait for anything."""
        with self._condition:
            self._condition.notify_all()

    def wait(self, since: int, nanoseconds: int, gone: Callable[[], bool]) -> None:
        """Wait until somebody got through after the ``since``-th time, or ``gone`` holds, but no longer than given."""
        with self._condition:
            self._condition.wait_for(lambda: self.count != since or gone(), nanoseconds / SECOND)
