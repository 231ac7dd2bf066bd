"""What was missed before and meanwhile, of real data: earlier runs, holes, and the tails of quiet symbols."""

from __future__ import annotations

from collections.abc import Mapping

from cryptofeed_cli.asking import Ask
from cryptofeed_cli.backfill import Backfill
from cryptofeed_cli.carriers import Carriers
from cryptofeed_cli.clock import SECOND, Moment
from cryptofeed_cli.exchanges.base import Exchange, Topic
from cryptofeed_cli.feeds.base import Answer
from cryptofeed_cli.past import Past
from cryptofeed_cli.streams import Streams
from cryptofeed_cli.types import Trade

TAIL_AFTER = 2 * SECOND
"""How long a subscription is given to speak before REST is asked for the newest trades."""


class Recovery:
    """Lets the streams of real data go on where earlier runs ended, and fetches what they miss."""

    def __init__(self, exchange: Exchange, carriers: Carriers, ask: Ask) -> None:
        """`follow` is called before anything else."""
        self._carriers = carriers
        self._channel = exchange.capabilities.wires["trades"].channel
        self._backfill = Backfill(exchange, ask, self._recover, self._lack, self._catch_up)
        self.want = self._backfill.want

    def follow(self, streams: Streams) -> None:
        """Serve these streams."""
        self._streams = streams

    def resume(self, pasts: Mapping[str, Past], now: Moment) -> None:
        """Go on where earlier runs ended."""
        live = self._streams
        for symbol, past in pasts.items():
            if symbol in live.trades:
                for gap, ranges in past.holes:
                    live.trades[symbol].adopt(gap, ranges, now)
                if past.last_trade is not None:
                    live.trades[symbol].resume(*past.last_trade, past.outages.get("trades"), now)
            if symbol in live.tickers and "tickers" in past.last_times:
                live.tickers[symbol].resume(past.last_times["tickers"], past.outages.get("tickers"), now)
            if symbol in live.books:
                live.books[symbol].resume(past.last_times, past.outages, now)

    def check(self, now: Moment) -> None:
        """Ask for what is due: holes, and what was missed of symbols that are subscribed again and say nothing."""
        since = now.monotonic - TAIL_AFTER
        quiet = [
            symbol
            for symbol, trades in self._streams.trades.items()
            if trades.interrupted and self._carriers.carried(Topic(self._channel, symbol), since, "live")
        ]
        self._backfill.want_newest(quiet, now)
        self._backfill.check(now)

    def answer(self, answer: Answer) -> bool:
        """Take an answer; return False where it is to somebody else's question."""
        return self._backfill.answer(answer)

    def _recover(self, symbol: str, trades: list[Trade], now: Moment) -> None:
        self._streams.trades[symbol].recover(trades, now)

    def _lack(self, symbol: str, first: int, last: int, now: Moment) -> None:
        self._streams.trades[symbol].lack(first, last, now)

    def _catch_up(self, symbol: str, newest: list[Trade], now: Moment) -> None:
        self._streams.trades[symbol].catch_up(newest, now)
