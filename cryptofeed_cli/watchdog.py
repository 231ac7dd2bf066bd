"""Channels that died on an open socket, told from markets that are quiet; opens no connection.

A book that is silent for longer than its heartbeats is dead. Trades and tickers have no heartbeat: when some are silent
for too long, every ticker of the exchange is asked for at once, and who moved there and not here is dead. What is dead
is asked for anew; if it stays dead, so is its socket.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal, InvalidOperation

import msgspec

from cryptofeed_cli.asking import Ask
from cryptofeed_cli.carriers import Carriers
from cryptofeed_cli.clock import SECOND, Moment
from cryptofeed_cli.connections import Note
from cryptofeed_cli.errors import AnswerRefused, ProtocolError
from cryptofeed_cli.exchanges.base import Exchange, Topic
from cryptofeed_cli.feeds.base import Action, Answer, Reset
from cryptofeed_cli.streams import BookStream, Stream, Streams, TickerStream
from cryptofeed_cli.types import Ticker, Trade

LOOK_EVERY = SECOND
ASK_EVERY = 10 * SECOND
"""At most this often, however many symbols are silent."""
SETTLED = 2 * SECOND
"""What moved on REST gets this long to arrive here too."""
REASON = "the channel fell silent on an open connection"


class _Suspect(msgspec.Struct):
    """A stream of trades or tickers that is silent for longer than is usual."""

    topic: Topic
    stream: Stream
    last: Trade | Ticker | None
    since: int
    """Monotonic time of its last frame, or of its subscription."""
    sentence: int | None = None
    """When it is dead unless it speaks, in monotonic time; None: nothing speaks against it."""


class Watchdog:
    """Looks for silence, judges it, and has dead channels asked for anew."""

    def __init__(
        self,
        exchange: Exchange,
        carriers: Carriers,
        silence: int,
        act: Callable[[Action], object],
        ask: Ask,
        say: Callable[[Note], object],
    ) -> None:
        """``silence`` of trades and tickers is judged after so many nanoseconds."""
        self._exchange = exchange
        self._carriers = carriers
        self._silence = silence
        self._act = act
        self._ask = ask
        self._say = say
        self._looked = 0
        self._due = 0
        self._unasked: deque[str] = deque()
        """What this round is still to ask."""
        self._asked: set[int] = set()
        self._suspects: dict[Topic, _Suspect] = {}
        self._volumes: dict[str, str | None] = {}
        """Of silent symbols: the volume that the last answer told."""
        self._strikes: dict[Topic, int] = {}
        """When each topic was last found dead, in monotonic time."""

    def check(self, streams: Streams, now: Moment) -> None:
        """Look around, every now and then."""
        while self._unasked and (request_id := self._ask(self._unasked[0], now)) is not None:
            self._unasked.popleft()
            self._asked.add(request_id)
        if now.monotonic - self._looked < LOOK_EVERY:
            return
        self._looked = now.monotonic
        suspects = {one.topic: one for one in self._silent(streams, now)}
        for topic, suspect in suspects.items():
            known = self._suspects.get(topic)
            if known is not None and known.since == suspect.since:
                suspect.sentence = known.sentence
        self._suspects = suspects
        symbols = {topic.symbol for topic in suspects}
        self._volumes = {symbol: volume for symbol, volume in self._volumes.items() if symbol in symbols}
        for topic, suspect in suspects.items():
            if suspect.sentence is not None and now.monotonic >= suspect.sentence:
                suspect.sentence = None
                self._bury(topic, suspect.stream, now)
        if suspects and not self._asked and not self._unasked and now.monotonic >= self._due:
            self._due = now.monotonic + ASK_EVERY
            self._unasked.extend(self._exchange.tickers_paths())

    def _silent(self, streams: Streams, now: Moment) -> Iterator[_Suspect]:
        """Yield the suspects among trades and tickers; bury the books that are silent."""
        for channel, members in streams.by_channel.items():
            for symbol, stream in members.items():
                topic = Topic(channel, symbol)
                carried = self._carriers.since(topic)
                if carried is None:
                    continue
                since = max(carried, stream.heard, self._strikes.get(topic, 0))
                if not isinstance(stream, BookStream):
                    if now.monotonic - since >= self._silence:
                        yield _Suspect(topic, stream, stream.last, since)
                elif now.monotonic - since >= self._exchange.capabilities.book_silence:
                    self._bury(topic, stream, now)

    def _bury(self, topic: Topic, stream: Stream, now: Moment) -> None:
        before = self._strikes.get(topic)
        self._strikes[topic] = now.monotonic
        stream.interrupt("silence", "venue", REASON, now)
        name = self._exchange.name
        if before is None or stream.heard > before:
            self._say(Note("warning", f"{topic.symbol}: {topic.channel} fell silent; asking {name} for it anew"))
            if not isinstance(stream, BookStream):  # whoever waits for a snapshot asks for it without being told
                self._carriers.renew(topic, now)
            return
        self._say(Note("warning", f"{topic.symbol}: {topic.channel} stays silent; leaving its connection to {name}"))
        for connection in self._carriers.by_number.values():
            if connection.up and topic in connection.topics:
                self._act(Reset(connection.number, REASON))

    def answer(self, answer: Answer) -> bool:
        """Take an answer; return False where it is to somebody else's question."""
        if answer.request_id not in self._asked:
            return False
        self._asked.remove(answer.request_id)
        if answer.status is None:
            return True
        try:
            tickers = self._exchange.parse_tickers(answer.status, answer.body, answer.at, "backfill")
        except (AnswerRefused, ProtocolError):
            return True  # asked again in a while
        self._judge(tickers, answer)
        return True

    def _judge(self, tickers: Mapping[str, Ticker], now: Moment) -> None:
        seen: dict[str, str | None] = {}
        for topic, suspect in self._suspects.items():
            ticker = tickers.get(topic.symbol)
            if ticker is None:
                continue
            seen[topic.symbol] = ticker.volume_24h
            if suspect.sentence is None and _moved(suspect, ticker, self._volumes.get(topic.symbol)):
                suspect.sentence = now.monotonic + SETTLED
        self._volumes |= seen


def _moved(suspect: _Suspect, ticker: Ticker, volume: str | None) -> bool:
    """Tell whether a ticker out of REST shows what the channel should have brought."""
    last = suspect.last
    if last is not None and last.timestamp is not None and (ticker.timestamp or 0) <= last.timestamp:
        return False  # no newer than what is known: a cache's answer, or a quiet market
    if isinstance(last, Ticker):
        return _face(ticker) != _face(last)
    if isinstance(suspect.stream, TickerStream):
        return True  # a subscription begins with a ticker, and none came
    # A last size may be of several fills together and proves nothing; the volume of a whole day falls with time, and
    # rises only by trades.
    return _compare(ticker.volume_24h, volume) > 0 or (last is not None and _compare(ticker.last, last.price) != 0)


def _compare(one: str | None, other: str | None) -> Decimal:
    """Compare two numbers as the exchange wrote them: positive where the first is more; what cannot be is equal."""
    if one is None or other is None:
        return Decimal(0)
    try:
        return Decimal(one).compare(Decimal(other))
    except InvalidOperation:
        return Decimal(0)


def _face(ticker: Ticker) -> tuple[str | None, ...]:
    return ticker.last, ticker.last_size, ticker.bid, ticker.bid_size, ticker.ask, ticker.ask_size
