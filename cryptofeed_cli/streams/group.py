"""Every stream of one source; real and simulated data share no state."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from cryptofeed_cli.clock import Moment
from cryptofeed_cli.exchanges.base import Books, Tickers, Topic, Trades, Wire
from cryptofeed_cli.gaps import Ledger
from cryptofeed_cli.streams.books import BookStream, Sampling
from cryptofeed_cli.streams.tickers import TickerStream
from cryptofeed_cli.streams.trades import TradeStream, Want
from cryptofeed_cli.types import KIND_OF, MarketRecord

Stream = TradeStream | TickerStream | BookStream


class Streams:
    """The streams of the symbols and channels that are recorded, by what brings them."""

    def __init__(
        self,
        symbols: Sequence[str],
        channels: Sequence[str],
        wires: Mapping[str, Wire],
        ledger: Ledger,
        emit: Callable[[Any], object],
        *,
        grace: int,
        sampling: Sampling,
        want: Want | None = None,
        limit: int | None = None,
    ) -> None:
        """``wires`` are the exchange's channels by ours; for the rest see the streams themselves."""
        self._channels, self._ledger, self._emit = channels, ledger, emit
        self._grace, self._sampling, self._want, self._limit = grace, sampling, want, limit
        self._booked = tuple(channel for channel in ("orderbooks", "book_updates") if channel in channels)
        self.trades: dict[str, TradeStream] = {}
        self.tickers: dict[str, TickerStream] = {}
        self.books: dict[str, BookStream] = {}
        self.add(symbols)
        self.by_message: dict[type, Mapping[str, Any]] = {
            Trades: self.trades, Tickers: self.tickers, Books: self.books
        }  # fmt: skip
        """Where the records of each data message go, by symbol."""
        self.by_channel: dict[str, Mapping[str, Stream]] = {
            wires["trades"].channel: self.trades,
            wires["tickers"].channel: self.tickers,
            wires["book_updates"].channel: self.books,
        }
        """The same by the exchange's channel and symbol."""

    def add(self, symbols: Iterable[str]) -> None:
        """Follow more symbols; one that is followed already goes on as it is."""
        ledger, emit, grace = self._ledger, self._emit, self._grace
        for symbol in symbols:
            if "trades" in self._channels and symbol not in self.trades:
                self.trades[symbol] = TradeStream(symbol, ledger, emit, grace, want=self._want, limit=self._limit)
            if "tickers" in self._channels and symbol not in self.tickers:
                self.tickers[symbol] = TickerStream(symbol, ledger, emit)
            if self._booked and symbol not in self.books:
                self.books[symbol] = BookStream(symbol, self._booked, ledger, emit, grace, self._sampling)

    def retract(
        self, refused: Iterable[MarketRecord], durable: Mapping[tuple[str, str], int], reason: str, now: Moment
    ) -> None:
        """Note that nothing is stored any more, and ``refused`` was not.

        ``durable`` is the exchange time of the last record that is stored, by kind and symbol.
        """
        given_back: dict[tuple[str, str], list[Any]] = {}
        for record in refused:
            given_back.setdefault((KIND_OF[type(record)].name, record.symbol), []).append(record)
        members: tuple[tuple[tuple[str, ...], Mapping[str, Any]], ...] = (
            (("trades",), self.trades), (("tickers",), self.tickers), (("orderbooks", "book_updates"), self.books)
        )  # fmt: skip
        for kinds, streams in members:
            for symbol, stream in streams.items():
                own = [one for kind in kinds for one in given_back.get((kind, symbol), ())]
                known = {kind: durable[kind, symbol] for kind in kinds if (kind, symbol) in durable}
                stream.retract(own, known, reason, now)

    def of(self, topic: Topic) -> Stream | None:
        """Return the stream that a topic feeds."""
        return self.by_channel.get(topic.channel, {}).get(topic.symbol)
