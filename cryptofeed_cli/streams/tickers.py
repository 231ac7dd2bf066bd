"""The tickers of one symbol; knows no connection."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from cryptofeed_cli.clock import Moment
from cryptofeed_cli.gaps import Ledger
from cryptofeed_cli.types import Fault, Gap, GapKind, Ticker


class TickerStream:
    """Tickers of one symbol. Conflated by the exchange: an outage loses some, and nobody can say how many."""

    def __init__(self, symbol: str, ledger: Ledger, emit: Callable[[Ticker], object]) -> None:
        self._symbol, self._ledger, self._emit = symbol, ledger, emit
        self._outage: str | None = None
        self._time: int | None = None
        """Exchange time of the last ticker, also of one that an earlier run stored."""
        self._begun: int | None = None
        """Exchange time of the first ticker of this run."""
        self.last: Ticker | None = None
        self.heard = 0
        """Monotonic time of the last ticker."""

    def resume(self, timestamp: int, outage: Gap | None, now: Moment) -> None:
        """Go on where an earlier run ended: at ``timestamp``, or in an outage that it recorded.

        It may be told late: then what was missed ends at the first ticker of this run.
        """
        if self.last is not None:
            if outage is not None:
                self._ledger.adopt(outage)
            identity = outage.gap_id if outage is not None else self._ledger.open(
                "downtime", self._symbol, "tickers", fault="us", reason="no recorder was running", at=now.at,
                start=timestamp,
            )  # fmt: skip
            self._ledger.amend(identity, now.at, end=self._begun, status="unrecoverable")
            self._ledger.finish(identity)
            return
        self._time = timestamp
        if outage is None:
            self.interrupt("downtime", "us", "no recorder was running", now)
        else:
            self._ledger.adopt(outage)
            self._outage = outage.gap_id

    def take(self, tickers: list[Ticker], now: Moment, _carriers: object = None) -> None:
        """Pass tickers on, also those that another connection brought already: the store knows them."""
        self.heard = now.monotonic
        for ticker in tickers:
            if self._outage is not None:
                self._end_outage(self._outage, ticker, now)
            if self._begun is None:
                self._begun = ticker.timestamp
            self._emit(ticker)
        if tickers:
            self.last = tickers[-1]
            self._time = self.last.timestamp

    def _end_outage(self, outage: str, ticker: Ticker, now: Moment) -> None:
        # Each ticker has a time of its own: where the last one comes again, none was pushed meanwhile.
        nothing = ticker.timestamp is not None and ticker.timestamp == self._time
        changes: dict[str, Any] = {"status": "filled", "missing": 0} if nothing else {"status": "unrecoverable"}
        self._ledger.amend(outage, now.at, end=ticker.timestamp, **changes)
        self._ledger.finish(outage)
        self._outage = None

    def interrupt(self, kind: GapKind, fault: Fault, reason: str, now: Moment) -> None:
        """Note that nothing carries this stream any more."""
        if self._outage is None and (self.last is not None or self._time is not None):
            self._outage = self._ledger.open(
                kind, self._symbol, "tickers", fault=fault, reason=reason, at=now.at, start=self._time
            )

    def retract(self, refused: Sequence[Ticker], durable: Mapping[str, int], reason: str, now: Moment) -> None:
        """Note that nothing is stored any more, and ``refused`` was not; ``durable`` is how far this symbol is."""
        if self._time is None:
            return
        times = [ticker.timestamp for ticker in refused if ticker.timestamp is not None]
        start = durable.get("tickers", min(times, default=self._time))
        if refused:
            self._time = durable.get("tickers")
        if self._outage is None:
            self._outage = self._ledger.open(
                "writer", self._symbol, "tickers", fault="us", reason=reason, at=now.at, start=start
            )
        elif refused:
            self._ledger.amend(self._outage, now.at, kind="writer", fault="us", reason=reason, start=start)
