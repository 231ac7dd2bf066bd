"""One client's connection to a pretended OKX: requests in, acknowledgements, refusals and first frames out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterator
from typing import Any, Protocol

import msgspec

from cryptofeed_cli.exchanges.base import Topic

CHANNELS = {"tickers": "public", "trades": "public", "books": "public", "trades-all": "business"}
"""What is served, and on which endpoint."""


class Counters(Protocol):
    """What a connection needs of its venue."""

    wanted: Counter[Topic]
    """How many desks are subscribed to each topic."""

    @property
    def instruments(self) -> Container[str]:
        """The symbols there are."""

    def first(self, topic: Topic) -> bytes | None:
        """Return the frame that a new subscriber is sent first; None: there is nothing yet."""


class Desk:
    """One connection to one endpoint. ``topics`` is what it is subscribed to."""

    def __init__(self, venue: Counters, endpoint: str, number: int) -> None:
        self.topics: set[Topic] = set()
        self._venue = venue
        self._endpoint = endpoint
        self._name = f"{number:08x}"

    def receive(self, text: str) -> list[bytes]:
        """Do what the client asks; return what it is sent for it."""
        if text == "ping":
            return [b"pong"]
        try:
            request = _request.decode(text)
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            return [self._fail(None, "60012", f"Invalid request: {text[:200]}")]
        replies: list[bytes] = []
        for arg in request.args:
            topic = Topic(arg.channel, arg.instId)
            if request.op not in ("subscribe", "unsubscribe"):
                replies.append(self._fail(request.id, "60019", f"Invalid op: {request.op}"))
            elif CHANNELS.get(topic.channel) != self._endpoint or topic.symbol not in self._venue.instruments:
                replies.append(self._fail(request.id, "60018", _wrong_url(topic)))
            else:
                replies += self._obey(request, topic)
        return replies

    def close(self) -> None:
        """Forget the subscriptions."""
        self._venue.wanted.subtract(self.topics)
        self.topics.clear()

    def _obey(self, request: _Request, topic: Topic) -> Iterator[bytes]:
        arg = {"channel": topic.channel, "instId": topic.symbol}
        yield _event({"id": request.id, "event": request.op, "arg": arg, "connId": self._name})
        known = topic in self.topics
        if request.op == "unsubscribe":
            self.topics.discard(topic)
            self._venue.wanted[topic] -= known
            return
        self.topics.add(topic)
        self._venue.wanted[topic] += not known
        # Seen on OKX: a repeated subscription brings a second snapshot of a book, and of all else only the ack.
        first = self._venue.first(topic) if topic.channel == "books" or not known else None
        if first is not None:
            yield first

    def _fail(self, identity: str | None, code: str, message: str) -> bytes:
        return _event({"id": identity, "event": "error", "code": code, "msg": message, "connId": self._name})


class _RequestArg(msgspec.Struct):
    channel: str
    instId: str  # noqa: N815 - OKX's name


class _Request(msgspec.Struct):
    op: str
    args: list[_RequestArg]
    id: str | None = None


_request = msgspec.json.Decoder(_Request)


def _event(fields: dict[str, Any]) -> bytes:
    return msgspec.json.encode({name: value for name, value in fields.items() if value is not None})


def _wrong_url(topic: Topic) -> str:
    return (
        f"Subscribe failed, wrong URL or channel:{topic.channel},instId:{topic.symbol} doesn't exist. "
        "Please use the correct URL, channel and parameters referring to API document."
    )
