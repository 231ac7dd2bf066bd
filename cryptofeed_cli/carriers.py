"""All connections of a recording: who carries which topic, and who takes over from whom; parses nothing.

With redundancy every topic is asked for on several sockets; what one of them loses another one brings. A socket that
the exchange is about to close is replaced before it goes: make before break.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from cryptofeed_cli.clock import SECOND, Moment
from cryptofeed_cli.connections import Connection, Note, plan
from cryptofeed_cli.exchanges.base import Exchange, Topic
from cryptofeed_cli.feeds.base import Action, Connect, Drop
from cryptofeed_cli.types import Source

OVERLAP = 5 * SECOND
"""How long a replacement has to carry everything before the old connection goes."""


class Carriers:
    """The connections, by number. A number is never used twice."""

    def __init__(
        self,
        exchange: Exchange,
        ping_interval: int,
        act: Callable[[Action], object],
        say: Callable[[Note], object],
    ) -> None:
        self.by_number: dict[int, Connection] = {}
        self._exchange = exchange
        self._ping_interval = ping_interval
        self._act = act
        self._say = say
        self._numbers = self._shards = 0
        self._deep: set[Topic] = set()
        self._most: int | None = None
        """How many topics a connection takes, as far as the exchange let us find out."""
        self._successors: dict[int, int] = {}
        """Which connection is to take over from which."""

    def add(self, topics: Iterable[tuple[Topic, str, bool]], redundancy: int, now: Moment) -> None:
        """Carry topics, each ``redundancy`` times, on connections that have room or new ones.

        Topics: ``(topic, endpoint, deep)``.
        """
        topics = list(topics)
        self._deep |= {topic for topic, _, deep in topics if deep}
        for endpoint, members in plan(self._exchange, topics):
            shard = self._with_room(endpoint, members)
            if shard is not None:
                for one in self.by_number.values():
                    if one.shard == shard:
                        one.extend(members, now)
                continue
            self._shards += 1
            for _ in range(redundancy):
                self._connect(self._shards, endpoint, members)

    def drop(self) -> None:
        """Let go of every connection; nothing is carried until topics are added again."""
        for number in self.by_number:
            self._act(Drop(number))
        self.by_number.clear()
        self._successors.clear()

    def forget(self, symbol: str, now: Moment) -> None:
        """Carry nothing of a symbol any more."""
        for one in self.by_number.values():
            one.forget(symbol, now)

    def _with_room(self, endpoint: str, topics: list[Topic]) -> int | None:
        """Return a shard that can take more topics and still keeps the exchange's limit."""
        limit = self._exchange.capabilities.deep_topics_per_socket
        for one in self.by_number.values():
            deep = sum(topic in self._deep for topic in (*one.topics, *topics))
            crowded = self._most is not None and len(one.topics) + len(topics) > self._most
            if one.endpoint == endpoint and deep <= limit and not crowded:
                return one.shard
        return None

    def _connect(self, shard: int, endpoint: str, topics: list[Topic]) -> Connection:
        connection = Connection(
            self._numbers, endpoint, topics, self._exchange, self._ping_interval, self._act, self._say, shard=shard
        )
        self._numbers += 1
        self.by_number[connection.number] = connection
        self._act(Connect(connection.number, endpoint))
        return connection

    def carried(self, topic: Topic, since: int, source: Source) -> bool:
        """Tell whether a connection carries a topic, and did so at a monotonic time already."""
        return any(one.carries(topic, since) for one in self.by_number.values() if one.source == source)

    def since(self, topic: Topic) -> int | None:
        """Return since when a topic is carried, in monotonic time; None: it is not."""
        times = [one.confirmed[topic] for one in self.by_number.values() if one.up and topic in one.confirmed]
        return min(times, default=None)

    def best(self, topic: Topic) -> Connection | None:
        """Return the connection that carries a topic and was heard last."""
        candidates = (one for one in self.by_number.values() if one.up and one.asks_for(topic))
        return max(candidates, key=lambda one: (topic in one.confirmed, one.last_heard), default=None)

    def renew(self, topic: Topic, now: Moment) -> None:
        """Ask for a topic anew wherever it is carried."""
        for one in self.by_number.values():
            if one.asks_for(topic):
                one.renew([topic], now)

    @property
    def complete(self) -> bool:
        """Whether every topic is on a connection that is up."""
        shards = {one.shard for one in self.by_number.values()}
        return shards == {one.shard for one in self.by_number.values() if one.up}

    # Make before break

    def replace(self, old: Connection) -> None:
        """The exchange will close a connection: have another one ready before."""
        if old.number not in self._successors:
            self._successors[old.number] = self._connect(old.shard, old.endpoint, list(old.topics)).number

    def retire(self, number: int) -> bool:
        """A connection closed: let it go for good if another one takes over from it; tell whether one does."""
        if number not in self._successors:
            return False
        del self._successors[number], self.by_number[number]
        self._act(Drop(number))
        return True

    def divide(self, crowded: Connection, now: Moment) -> None:
        """The exchange finds too many topics on a connection: leave it the half of them, here and on its twins."""
        symbols = sorted({topic.symbol for topic in crowded.topics})
        moving = set(symbols[len(symbols) // 2 :])
        if len(symbols) < 2:
            return
        topics = [topic for topic in crowded.topics if topic.symbol in moving]
        self._most = len(crowded.topics) - len(topics)
        name = f"{self._exchange.name} {crowded.endpoint}"
        self._say(Note("warning", f"too many topics on one connection to {name}: at most {self._most} from now on"))
        self._shards += 1
        for one in [one for one in self.by_number.values() if one.shard == crowded.shard]:
            for symbol in moving:
                one.forget(symbol, now)
            self._connect(self._shards, crowded.endpoint, topics)

    def prune(self) -> list[int]:
        """Let go of connections that have nothing to carry any more; return which."""
        empty = [number for number, one in self.by_number.items() if not one.topics]
        for number in empty:
            del self.by_number[number]
            self._act(Drop(number))
        if empty:
            pairs = self._successors.items()
            self._successors = {old: new for old, new in pairs if old not in empty and new not in empty}
        return empty

    def check(self, now: Moment) -> None:
        """Let every connection look at the time, and retire those whose successors are ready."""
        for connection in self.by_number.values():
            connection.check(now)
        for number, successor in list(self._successors.items()):
            heir = self.by_number.get(successor)
            if heir is not None and all(heir.carries(topic, now.monotonic - OVERLAP) for topic in heir.topics):
                name = f"{self._exchange.name} {heir.endpoint}"
                self._say(Note("info", f"the replacement carries everything: leaving the old connection to {name}"))
                self.retire(number)
