"""A made-up exchange as its clients meet it: a market, its frames and what goes wrong with them; opens no socket."""

from __future__ import annotations

from cryptofeed_cli.exchanges.base import Desk, Exchange, Topic
from cryptofeed_cli.simulation.arrivals import STEP_MS
from cryptofeed_cli.simulation.faults import Faults
from cryptofeed_cli.simulation.market import Market


class Stage:
    """A market that has been opened, and the exchange that shows it."""

    step_ms = STEP_MS
    over = False

    def __init__(self, market: Market, exchange: Exchange, faults: Faults | None = None) -> None:
        self.market = market
        self._venue = exchange.venue(market.instruments())
        self._venue.publish(market.opening())
        self._faults = faults
        self.cut = False
        """Every connection was cut in the last step."""
        self.begun: list[str] = []
        """The faults that began in the last step."""

    @property
    def now_ms(self) -> int:
        """The exchange's clock."""
        return self.market.now_ms

    @property
    def down(self) -> bool:
        """Whether nobody can connect."""
        return self._faults is not None and self._faults.down

    def advance(self) -> list[tuple[Topic, bytes]]:
        """Let one step pass; return the frames that clients receive, each with its topic."""
        frames = self._venue.publish(self.market.step())
        faults = self._faults
        if faults is None:
            return frames
        self.begun = faults.step(self.market.now_ms)
        self.cut = "disconnects" in self.begun
        if self.cut:
            return []
        passed = ((topic, faults.pass_on(frame)) for topic, frame in frames)
        return [(topic, frame) for topic, frame in passed if frame is not None]

    def desk(self, endpoint: str) -> Desk:
        """Open a connection."""
        return self._venue.desk(endpoint)

    def answer(self, target: str) -> tuple[int, bytes]:
        """Answer a REST request."""
        return self._venue.answer(target, self.market.now_ms)
