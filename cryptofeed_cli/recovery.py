"""What was missed before and meanwhile, of real data: earlier runs, holes, and the tails of quiet symbols."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping

from cryptofeed_cli.asking import Ask
from cryptofeed_cli.backfill import Backfill
from cryptofeed_cli.carriers import Carriers
from cryptofeed_cli.clock import SECOND, Moment
from cryptofeed_cli.exchanges.base import Exchange, Topic
from cryptofeed_cli.feeds.base import Answer, LookedUp, Lookup
from cryptofeed_cli.past import Past
from cryptofeed_cli.streams import Streams
from cryptofeed_cli.types import Trade

LOOK_AFTER = SECOND
"""How long another recorder is given to write what this one missed, before the store is asked for it."""
LOOKUPS = 8
"""Questions to the store that are not answered yet."""
TAIL_AFTER = 2 * SECOND
"""How long a subscription is given to speak before REST is asked for the newest trades."""


class Recovery:
    """Lets the streams of real data go on where earlier runs ended, and fetches what they miss."""

    def __init__(
        self, exchange: Exchange, carriers: Carriers, ask: Ask, act: Callable[[Lookup], object]
    ) -> None:
        """`follow` is called before anything else."""
        self._carriers, self._act = carriers, act
        self._lookups = 0
        self._due: deque[tuple[int, str, int, int]] = deque()
        """Which ids of which symbol the store is to be asked for, and from when on."""
        self._asked: dict[int, tuple[str, int, int]] = {}
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
            live.ledger.remember(past.revisions)
            if symbol in live.trades:
                for gap, ranges in past.holes:
                    live.trades[symbol].adopt(gap, ranges, now)
                for one in past.unnamed:
                    live.trades[symbol].miss(one, now)
                if past.last_trade is not None:
                    live.trades[symbol].resume(*past.last_trade, past.outages.get("trades"), now)
            if symbol in live.tickers and "tickers" in past.last_times:
                live.tickers[symbol].resume(past.last_times["tickers"], past.outages.get("tickers"), now)
            if symbol in live.books:
                live.books[symbol].resume(past.last_times, past.outages, now)

    def look(self, symbol: str, first: int, last: int, now: Moment) -> None:
        """Ask the store which of these missing ids it lacks, once everybody had the time to write."""
        self._due.append((now.monotonic + LOOK_AFTER, symbol, first, last))

    def look_up(self, now: Moment) -> None:
        """Ask the store for what is due."""
        while self._due and self._due[0][0] <= now.monotonic and len(self._asked) < LOOKUPS:
            _, symbol, first, last = self._due.popleft()
            self._lookups += 1
            self._asked[self._lookups] = symbol, first, last
            self._act(Lookup(self._lookups, symbol, first, last))

    def looked_up(self, found: LookedUp) -> None:
        """Take an answer of the store's; where it has none, everything is missing."""
        symbol, first, last = self._asked.pop(found.request_id)
        missing = [(first, last)] if found.missing is None else found.missing
        if (stream := self._streams.trade_stream(symbol)) is not None:
            stream.looked_up(first, last, missing, found)

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
        if (stream := self._streams.trade_stream(symbol)) is not None:
            stream.recover(trades, now)

    def _lack(self, symbol: str, first: int, last: int, now: Moment) -> None:
        if (stream := self._streams.trade_stream(symbol)) is not None:
            stream.lack(first, last, now)

    def _catch_up(self, symbol: str, newest: list[Trade], now: Moment) -> None:
        if (stream := self._streams.trades.get(symbol)) is not None:
            stream.catch_up(newest, now)
