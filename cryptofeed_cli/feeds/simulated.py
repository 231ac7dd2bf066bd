"""A made-up market as a feed: the session hears the frames of an exchange that exists nowhere; opens no socket.

Every connection is announced as simulated, so whatever the session makes of it is labelled so. Time is the market's:
as fast as it is taken, or as fast as a `Pace` lets it pass. The stamps of our own clock are made up too, so that one
seed means the same bytes every time.
"""

from __future__ import annotations

from collections.abc import Callable

from cryptofeed_cli.clock import MILLISECOND, SECOND, Clock
from cryptofeed_cli.exchanges.base import Desk
from cryptofeed_cli.feeds.base import (
    Action,
    Answer,
    Closed,
    Connect,
    Drop,
    Event,
    Fetch,
    Frame,
    Opened,
    Reset,
    Send,
    Tick,
)
from cryptofeed_cli.simulation.draws import Bits
from cryptofeed_cli.simulation.stage import Stage

ANNOUNCED = "simulated"
LATENCY = 5 * MILLISECOND
"""How long everything travels, at least."""
AWAY = SECOND
"""How long a connection that went stays away."""
TURN = 100 * MILLISECOND
"""What passes in one turn: the session has to hear of time that often."""


class Pace:
    """Lets market time pass ``speed`` times as fast as a clock."""

    def __init__(self, speed: float, clock: Clock, sleep: Callable[[float], object]) -> None:
        """``sleep`` takes seconds, and may return early."""
        self._speed, self._clock, self._sleep = speed, clock, sleep
        self._began: int | None = None

    def wait(self, elapsed: int, timeout: float) -> bool:
        """Say whether one more turn than ``elapsed`` nanoseconds is due; wait at most ``timeout`` seconds for it."""
        if self._began is None:
            self._began = self._clock.monotonic()
        missing = TURN - (self._due() - elapsed)
        if missing > 0:
            self._sleep(min(timeout, missing / self._speed / SECOND))
        return self._due() - elapsed >= TURN

    def _due(self) -> int:
        return int((self._clock.monotonic() - (self._began or 0)) * self._speed)


class SimulatedFeed:
    """Events of a stage. Used by one thread."""

    def __init__(self, stage: Stage, bits: Bits, pace: Pace | None = None) -> None:
        self.stage = stage
        self._bits, self._pace = bits, pace
        self._start_ms = stage.now_ms
        self._desks: dict[int, Desk] = {}
        self._away: dict[int, int] = {}
        """When each connection that is down is tried again, in the market's milliseconds."""
        self._endpoints: dict[int, str] = {}
        self._events: list[Event] = []
        self._at = 0

    @property
    def elapsed(self) -> int:
        """How much market time has passed, in nanoseconds."""
        return (self.stage.now_ms - self._start_ms) * MILLISECOND

    @property
    def now(self) -> Tick:
        """This moment on both clocks of whoever listens."""
        at = self.stage.now_ms * MILLISECOND + LATENCY
        self._at = max(at, self._at + self._bits(14))
        return Tick(self._at, SECOND + self.elapsed)

    def take(self, timeout: float) -> list[Event]:
        """Return what happened; where nothing waits let time pass, at most ``timeout`` seconds of ours."""
        # Whole turns only: what the session asks for then comes at the same market time at any speed.
        if not self._events and (self._pace is None or self._pace.wait(self.elapsed, timeout)):
            for _ in range(TURN // (self.stage.step_ms * MILLISECOND)):
                self._step()
            self._turn()
        events, self._events = self._events, []
        return events

    def perform(self, action: Action) -> None:
        """Do what the session wants; what comes of it is among the next events."""
        match action:
            case Connect(connection, endpoint):
                self._endpoints[connection] = endpoint
                self._open(connection)
            case Send(connection, text) if connection in self._desks:
                self._events += [self._frame(connection, reply) for reply in self._desks[connection].receive(text)]
            case Reset(connection, reason) if connection in self._desks:
                self._close(connection, reason)
            case Drop(connection):
                self._endpoints.pop(connection, None)
                self._away.pop(connection, None)
                desk = self._desks.pop(connection, None)
                if desk is not None:
                    desk.close()
            case Fetch(request_id, path):
                status, body = self.stage.answer(path)
                now = self.now
                self._events.append(Answer(request_id, now.at, now.monotonic, status, body, announced=ANNOUNCED))

    def close(self) -> None:
        """There is nothing to close."""

    def _step(self) -> None:
        frames = self.stage.advance()
        if self.stage.cut:
            for connection in list(self._desks):
                self._close(connection, "the simulated exchange went away")
        for topic, frame in frames:
            for connection, desk in self._desks.items():
                if topic in desk.topics:
                    self._events.append(self._frame(connection, frame))

    def _turn(self) -> None:
        for connection, due in list(self._away.items()):
            if self.stage.now_ms >= due:
                del self._away[connection]
                self._open(connection)
        self._events.append(self.now)

    def _frame(self, connection: int, data: bytes) -> Frame:
        now = self.now
        return Frame(connection, data, now.at, now.monotonic)

    def _open(self, connection: int) -> None:
        now, endpoint = self.now, self._endpoints[connection]
        if self.stage.down:
            self._wait(connection, "the simulated exchange is away")
            return
        self._desks[connection] = self.stage.desk(endpoint)
        self._events.append(Opened(connection, now.at, now.monotonic, ANNOUNCED))

    def _close(self, connection: int, reason: str) -> None:
        self._desks.pop(connection).close()
        self._wait(connection, reason)

    def _wait(self, connection: int, reason: str) -> None:
        now = self.now
        self._away[connection] = self.stage.now_ms + AWAY // MILLISECOND
        self._events.append(Closed(connection, now.at, now.monotonic, None, reason, AWAY))
