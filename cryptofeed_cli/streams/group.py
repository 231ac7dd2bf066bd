"""Every stream of one source; real and simulated data share no state."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from cryptofeed_cli.clock import Moment
from cryptofeed_cli.exchanges.base import Books, Tickers, Topic, Trades, Wire
from cryptofeed_cli.gaps import Ledger
from cryptofeed_cli.streams.books import BookStream, Sampling
from cryptofeed_cli.streams.tickers import TickerStream
from cryptofeed_cli.streams.trades import Look, TradeStream, Want
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
        look: Look | None = None,
    ) -> None:
        """``wires`` are the exchange's channels by ours; for the rest see the streams themselves."""
        self.ledger = ledger
        self._channels, self._emit = channels, emit
        self._grace, self._sampling, self._want, self._limit = grace, sampling, want, limit
        self._look = look
        self._booked = tuple(channel for channel in ("orderbooks", "book_updates") if channel in channels)
        self.trades: dict[str, TradeStream] = {}
        self.tickers: dict[str, TickerStream] = {}
        self.books: dict[str, BookStream] = {}
        self._left: dict[str, list[tuple[dict[str, Any], Stream]]] = {}
        """The streams of symbols that are followed no more, each with where it belongs."""
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
        """Follow more symbols; one that is followed already, or was before, goes on as it is."""
        ledger, emit, grace = self.ledger, self._emit, self._grace
        for symbol in symbols:
            for members, stream in self._left.pop(symbol, ()):
                members[symbol] = stream
            if "trades" in self._channels and symbol not in self.trades:
                self.trades[symbol] = TradeStream(
                    symbol, ledger, emit, grace, want=self._want, limit=self._limit, look=self._look
                )  # fmt: skip
            if "tickers" in self._channels and symbol not in self.tickers:
                self.tickers[symbol] = TickerStream(symbol, ledger, emit)
            if self._booked and symbol not in self.books:
                self.books[symbol] = BookStream(symbol, self._booked, ledger, emit, grace, self._sampling)

    def leave(self, symbol: str, now: Moment) -> None:
        """Follow a symbol no more: what still comes of it is late, and ends no outage."""
        homes: tuple[dict[str, Any], ...] = (self.trades, self.tickers, self.books)
        self._left[symbol] = [(members, members.pop(symbol)) for members in homes if symbol in members]
        for _, stream in self._left[symbol]:
            stream.interrupt("not_subscribed", "venue", "no longer listed", now)
            if isinstance(stream, BookStream):
                stream.forget()

    def trade_stream(self, symbol: str) -> TradeStream | None:
        """Return the trades of a symbol, also of one that has left."""
        left = (stream for _, stream in self._left.get(symbol, ()) if isinstance(stream, TradeStream))
        return self.trades.get(symbol) or next(left, None)

    def has_left(self, symbol: str) -> bool:
        """Tell whether a symbol was followed, and is no more."""
        return symbol in self._left

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
