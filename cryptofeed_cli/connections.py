"""One connection as the session sees it: what it carries, what was asked, what was heard; owns no socket."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from cryptofeed_cli.clock import HOUR, SECOND, Moment
from cryptofeed_cli.exchanges.base import Exchange, Refused, Topic, Verdict
from cryptofeed_cli.feeds.base import Action, Reset, Send
from cryptofeed_cli.types import Source

ACK_TIMEOUT = 10 * SECOND
RETRY_AFTER = 5 * SECOND
ATTEMPTS = 3
"""How often one topic is asked for before its silence is reported."""
PATIENCE = 30
"""The longest wait for one topic, in time-outs: every attempt waits for one time-out more than the one before."""
SHORTEST_REQUEST = 1 << 10
"""Bytes: no request is made shorter than that, unless it is of one topic."""


class Note(msgspec.Struct, frozen=True):
    """Something worth a line in the log."""

    level: str
    text: str


class _Pending(msgspec.Struct):
    request_id: str
    due: int
    """Monotonic time at which to ask again."""
    attempts: int


class Connection:
    """Subscribes its topics, matches the answers, keeps the socket alive."""

    def __init__(
        self,
        number: int,
        endpoint: str,
        topics: Sequence[Topic],
        exchange: Exchange,
        ping_interval: int,
        act: Callable[[Action], object],
        say: Callable[[Note], object],
        *,
        shard: int = 0,
    ) -> None:
        """``shard`` is the same for connections that carry the same topics."""
        self.number = number
        self.shard = shard
        self.carriers: dict[str, int] = {}
        """By symbol: which of all subscriptions its book comes by."""
        self.endpoint = endpoint
        self.topics = list(topics)
        self.up = False
        self.source: Source = "live"
        self.takers: Mapping[type, Mapping[str, Any]] = {}
        """Who takes the records of each type of data message, by symbol."""
        self.last_heard = 0
        """Monotonic time of the last frame, of whatever kind."""
        self._exchange = exchange
        self._ping_interval = ping_interval
        self._act = act
        self._say = say
        self._pinged: int | None = None
        self._pending: dict[Topic, _Pending] = {}
        self.confirmed: dict[Topic, int] = {}
        """Since when each topic is acknowledged, in monotonic time."""
        self._sent: deque[int] = deque(maxlen=exchange.capabilities.requests_per_hour)
        """When the latest requests were sent, in monotonic time."""
        self._requests = 0
        self._request_bytes = exchange.capabilities.request_bytes
        self._longest = 0
        """Bytes of the longest request sent."""

    def opened(self, source: Source, now: Moment) -> None:
        """The socket is up: ask for everything."""
        self.up = True
        self.source = source
        self.last_heard = now.monotonic
        self._pinged = None
        self._sent.clear()
        self.carriers.clear()
        self.subscribe(self.topics, now)

    def closed(self) -> None:
        """The socket is gone, and with it every subscription."""
        self.up = False
        self._pending.clear()
        self.confirmed.clear()

    def subscribe(self, topics: Iterable[Topic], now: Moment) -> None:
        """Ask for topics, in as few requests as the exchange takes."""
        for batch in self._batches(topics):
            request_id = self._next_request()
            for topic in batch:
                attempts = self._pending[topic].attempts + 1 if topic in self._pending else 1
                self._pending[topic] = _Pending(request_id, now.monotonic + ACK_TIMEOUT, attempts)
            self._request(self._exchange.subscribe(batch, request_id), now)

    def extend(self, topics: Iterable[Topic], now: Moment) -> None:
        """Carry more topics from now on."""
        fresh = [topic for topic in topics if topic not in self.topics]
        self.topics += fresh
        if self.up:
            self.subscribe(fresh, now)

    def forget(self, symbol: str, now: Moment) -> None:
        """Carry nothing of a symbol any more."""
        gone = [topic for topic in self.topics if topic.symbol == symbol]
        self.topics = [topic for topic in self.topics if topic.symbol != symbol]
        for topic in gone:
            self._pending.pop(topic, None)
            self.confirmed.pop(topic, None)
        if self.up and gone:
            self._request(self._exchange.unsubscribe(gone, self._next_request()), now)

    def renew(self, topics: Iterable[Topic], now: Moment) -> None:
        """Drop subscriptions and ask for them again: what an exchange answers with new snapshots."""
        if not self.up:
            return
        topics = [topic for topic in topics if topic not in self._pending]
        for topic in topics:
            self.confirmed.pop(topic, None)
        for batch in self._batches(topics):
            self._request(self._exchange.unsubscribe(batch, self._next_request()), now)
        self.subscribe(topics, now)

    def asks_for(self, topic: Topic) -> bool:
        """Tell whether a topic is subscribed here, or will be once that is acknowledged."""
        return topic in self.confirmed or topic in self._pending

    def ask_for_less(self) -> int:
        """The exchange found a request too long: halve the next ones; return how long they are at most, in bytes."""
        self._request_bytes = max(min(self._request_bytes, self._longest) // 2, SHORTEST_REQUEST)
        self._longest = 0
        return self._request_bytes

    def _request(self, text: str, now: Moment) -> None:
        """Send a request, unless this connection has used up what the exchange takes: a new one begins at zero."""
        sent = self._sent
        if len(sent) == sent.maxlen and now.monotonic - sent[0] < HOUR:
            self._act(Reset(self.number, f"{len(sent)} requests in an hour are all the exchange takes"))
            return
        sent.append(now.monotonic)
        self._longest = max(self._longest, len(text))
        self._act(Send(self.number, text))

    def subscribed(self, topic: Topic, now: Moment) -> None:
        """The exchange acknowledged a topic; one that was not asked for means nothing."""
        self._pending.pop(topic, None)
        if topic in self.topics:
            self.confirmed[topic] = now.monotonic

    def carries(self, topic: Topic, since: int) -> bool:
        """Tell whether a topic was acknowledged before a monotonic time, and is carried since."""
        return self.up and self.confirmed.get(topic, since + 1) <= since

    def refused(self, refusal: Refused, now: Moment) -> list[Topic]:
        """Handle a refusal; return the topics that cannot be had."""
        blamed = self._blamed(refusal)
        if blamed and refusal.verdict is Verdict.RETRY:
            for topic in blamed:
                pending = self._pending.setdefault(topic, _Pending("", 0, 1))
                pending.due = now.monotonic + RETRY_AFTER * min(pending.attempts, PATIENCE)
            return []
        if len(blamed) > 1:
            # One of several, and the exchange does not say which: halve until it is found.
            middle = len(blamed) // 2
            self.subscribe(blamed[:middle], now)
            self.subscribe(blamed[middle:], now)
            return []
        if not blamed:
            self._say(Note("warning", f"{self._exchange.name} refused a request: {refusal.reason}"))
            return []
        topic = blamed[0]
        self._pending.pop(topic, None)
        self.topics = [kept for kept in self.topics if kept != topic]
        return blamed

    def check(self, now: Moment) -> None:
        """Ask again for what was not answered; ping a quiet socket; give up a dead one."""
        if not self.up:
            return
        self._ask_again(now)
        quiet = now.monotonic - self.last_heard
        if self._pinged is not None and self._pinged > self.last_heard:
            if now.monotonic - self._pinged >= self._ping_interval:
                self._act(Reset(self.number, "no answer to a ping"))
                self._pinged = None
                self.last_heard = now.monotonic  # once; its Closed follows
        elif quiet >= self._ping_interval:
            self._pinged = now.monotonic
            self._act(Send(self.number, self._exchange.capabilities.ping))

    def _ask_again(self, now: Moment) -> None:
        due = [topic for topic, pending in self._pending.items() if now.monotonic >= pending.due]
        for topic in due:
            if self._pending[topic].attempts == ATTEMPTS:
                name = self._exchange.name
                self._say(Note("warning", f"{name} does not acknowledge {topic.channel} of {topic.symbol}"))
        self.subscribe(due, now)
        for topic in due:
            pending = self._pending[topic]
            pending.due += ACK_TIMEOUT * min(pending.attempts, PATIENCE)

    def _blamed(self, refusal: Refused) -> list[Topic]:
        if refusal.topic is not None:
            return [refusal.topic] if refusal.topic in self.topics else []
        return [topic for topic, pending in self._pending.items() if pending.request_id == refusal.request_id]

    def _batches(self, topics: Iterable[Topic]) -> Iterator[list[Topic]]:
        limits = self._exchange.capabilities
        batch: list[Topic] = []
        for topic in topics:
            longer = [*batch, topic]
            if batch and (
                len(longer) > limits.topics_per_request
                or len(self._exchange.subscribe(longer, "0" * 32)) > self._request_bytes
            ):
                yield batch
                longer = [topic]
            batch = longer
        if batch:
            yield batch

    def _next_request(self) -> str:
        self._requests += 1
        return f"c{self.number}r{self._requests}"


def plan(exchange: Exchange, topics: Iterable[tuple[Topic, str, bool]]) -> list[tuple[str, list[Topic]]]:
    """Divide topics over sockets: ``(topic, endpoint, deep)`` in, ``(endpoint, topics)`` of each socket out.

    As few sockets as the exchange's limit of deep topics allows; the topics of one symbol stay together.
    """
    by_endpoint: dict[str, list[tuple[Topic, bool]]] = {}
    for topic, endpoint, deep in topics:
        by_endpoint.setdefault(endpoint, []).append((topic, deep))
    sockets = []
    for endpoint, members in by_endpoint.items():
        deep_symbols = sorted({topic.symbol for topic, deep in members if deep})
        count = -(-len(deep_symbols) // exchange.capabilities.deep_topics_per_socket) or 1
        place = {symbol: index % count for index, symbol in enumerate(deep_symbols)}
        groups: list[list[Topic]] = [[] for _ in range(count)]
        for topic, _ in members:
            groups[place.get(topic.symbol, 0)].append(topic)
        sockets += [(endpoint, group) for group in groups]
    return sockets
