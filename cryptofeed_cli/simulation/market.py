"""Several symbols on one timeline, whose prices move together: records out, step by step; knows no exchange's words.

The market of a symbol is the same whichever others there are: each has random numbers of its own, and one more source
of them moves all.
"""

from __future__ import annotations

from collections.abc import Sequence

from cryptofeed_cli.exchanges.base import Showing
from cryptofeed_cli.simulation.arrivals import STEP_MS
from cryptofeed_cli.simulation.draws import generator
from cryptofeed_cli.simulation.listing import Listing
from cryptofeed_cli.simulation.pit import Pit
from cryptofeed_cli.simulation.volatility import Volatility
from cryptofeed_cli.types import BookUpdate, Instrument, Ticker, Trade

Happening = Trade | BookUpdate | Ticker


class Market:
    """A market that has been opened. Its time is the exchange's, in milliseconds."""

    def __init__(
        self, listings: Sequence[Listing], exchange: str, showing: Showing, *, seed: int, start_ms: int, rate: int
    ) -> None:
        """``rate`` is how many orders a second come to each symbol, on average and roughly.

        Time begins at the last whole cadence before ``start_ms``.
        """
        self.now_ms = self.start_ms = start_ms - start_ms % showing.cadence_ms
        self.pits = {
            one.symbol: Pit(one, exchange, showing, seed=seed, start_ms=self.now_ms, rate=rate) for one in listings
        }
        self._cadence = showing.cadence_ms
        self._common = Volatility(generator(seed, self.now_ms, "common"))

    @property
    def orders(self) -> int:
        """How many orders came so far: placed, cancelled or taken."""
        return sum(pit.flow.count for pit in self.pits.values())

    def opening(self) -> list[BookUpdate | Ticker]:
        """Return the whole book and the ticker of every symbol, as they are at the opening."""
        shown: list[BookUpdate | Ticker] = []
        for pit in self.pits.values():
            shown += [pit.snapshot(), *pit.show(self.now_ms)]
        return shown

    def instruments(self) -> list[Instrument]:
        """Return the facts of every symbol."""
        return [pit.instrument(self.start_ms) for pit in self.pits.values()]

    def step(self) -> list[Happening]:
        """Let 10 ms pass; return what happened in them, symbol by symbol."""
        before = self.now_ms
        self.now_ms = now = before + STEP_MS
        shock, agitation = self._common.step(), self._common.now
        happened: list[Happening] = []
        for pit in self.pits.values():
            happened += pit.step(before, shock, agitation)
        if now % self._cadence == 0:
            for pit in self.pits.values():
                happened += pit.show(now)
        return happened
