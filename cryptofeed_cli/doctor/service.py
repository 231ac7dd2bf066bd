"""Whether the exchange serves us, by the parts that a recording uses; knows no store and no way there."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from cryptofeed_cli.clock import MILLISECOND, Clock, format_duration
from cryptofeed_cli.doctor.checks import Finding, Verdict
from cryptofeed_cli.errors import ExchangeError, ProtocolError
from cryptofeed_cli.exchanges.base import Books, Exchange, Message, Refused, Subscribed, Tickers, Topic, Trades
from cryptofeed_cli.feeds.base import Answer, Closed, Connect, Event, Feed, Fetch, Frame, Opened, Send

T = TypeVar("T")

_PAUSE = 0.05
"""Seconds between two looks at the time."""
LATE, LOST = 1_000, 30_000
"""Milliseconds by which our clock may differ: without a word, and at all."""
_WRONG_CLOCK = "set this machine's clock by NTP; certificates and the times of records depend on it"
_ELSEWHERE = "choose the region that serves you (okx.region = global, eea or us), or reach it from where it serves"
_ABOVE = "see name resolution, TCP and TLS above"


class Service:
    """Looks through a feed of its own, which it neither makes nor closes."""

    def __init__(
        self, exchange: Exchange, topics: Mapping[str, Sequence[Topic]], region: str, timeout: int, clock: Clock
    ) -> None:
        """``topics`` are what to subscribe to on each endpoint; ``timeout`` is for every step, in nanoseconds."""
        self._exchange = exchange
        self._topics = dict(topics)
        self._region = region
        self._timeout = timeout
        self._clock = clock
        self._feed: Feed | None = None
        self._announced: str | None = None
        self._refusals: list[str] = []
        """Answers of either kind that came instead of what was asked for."""
        self._seen: list[Message] = []
        self._bodies: list[tuple[int, bytes]] = []
        self._offset: int | None = None

    def upgrade(self, feed: Feed) -> Finding:
        """Open a WebSocket at every endpoint."""
        self._feed = feed
        for number, endpoint in enumerate(self._topics):
            feed.perform(Connect(number, endpoint))
        open_, closed = set[int](), dict[int, str]()

        def hear(event: Event) -> None:
            match event:
                case Opened():
                    open_.add(event.connection)
                    self._announced = event.announced
                case Closed():
                    closed[event.connection] = event.reason
                    self._refusals.append(event.reason)

        self._until(lambda: len(open_ | set(closed)) == len(self._topics), hear, 2 * self._timeout)
        endpoints = list(self._topics)
        missing = [number for number in range(len(endpoints)) if number not in open_]
        if missing:
            told = "; ".join(f"{endpoints[number]}: {closed.get(number, 'no answer in time')}" for number in missing)
            unconnected = all("cannot connect" in closed.get(number, "") for number in missing)
            cure = _ABOVE if unconnected else "something on the way does not let WebSockets through"
            return Finding(told, Verdict.FAIL, cure)
        if self._announced is not None:
            cure = "correct okx.*_url; what comes from there is stored apart, as simulated"
            return Finding(f"{', '.join(endpoints)}; announces {self._announced} data", Verdict.WARN, cure)
        return Finding(", ".join(endpoints))

    def subscription(self) -> Finding:
        """Subscribe to what is to be recorded, of one symbol."""
        for number, topics in enumerate(self._topics.values()):
            self._perform(Send(number, self._exchange.subscribe(list(topics), f"d{number}")))
        wanted = sum(map(len, self._topics.values()))
        self._until(lambda: len(self._of(Subscribed)) + len(self._of(Refused)) >= wanted, self._hear, self._timeout)
        told = ", ".join(" of ".join(one.topic) for one in self._of(Subscribed))
        if refused := self._of(Refused):
            reasons = "; ".join(one.reason for one in refused)
            cure = "check the symbol: it may not exist, or not in this region"
            return Finding(f"refused: {reasons}", Verdict.FAIL, cure)
        if len(self._of(Subscribed)) < wanted:
            return Finding(f"no answer to all requests (only: {told or 'none'})", Verdict.FAIL, "try again in a minute")
        return Finding(told)

    def first_frame(self) -> Finding:
        """Wait for data."""

        def data() -> list[Message]:
            return [one for one in self._seen if isinstance(one, Trades | Tickers | Books)]

        begun = self._clock.monotonic()
        self._until(lambda: bool(data()), self._hear, self._timeout)
        if not data():
            told = f"none in {format_duration(self._timeout)}"
            fills = self._exchange.capabilities.wires["trades"].channel
            if all(topic.channel == fills for topics in self._topics.values() for topic in topics):
                return Finding(told, Verdict.WARN, "a quiet market? Name a busy symbol such as BTC-USDT-SWAP")
            return Finding(told, Verdict.FAIL, "the exchange acknowledges and sends nothing: try again later")
        took = (self._clock.monotonic() - begun) // MILLISECOND
        return Finding(f"{type(data()[0]).__name__.lower()} after {took} ms")

    def rest(self, feed: Feed) -> Finding:
        """Ask for the exchange's clock, which needs no right at all."""
        self._feed = feed
        asked, answers = self._clock.now(), list[Answer]()
        self._perform(Fetch(1, self._exchange.time_path()))

        def hear(event: Event) -> None:
            if isinstance(event, Answer):
                answers.append(event)
            else:
                self._hear(event)

        self._until(lambda: bool(answers), hear, 2 * self._timeout)
        cure = "check okx.rest_url; without REST, missed trades cannot be fetched"
        if not answers or answers[0].status is None:
            reason = (answers[0].error if answers else None) or "no answer in time"
            return Finding(reason, Verdict.FAIL, _ABOVE if "cannot connect" in reason else cure)
        answer, status = answers[0], answers[0].status
        self._bodies.append((status, answer.body))
        try:
            told = self._exchange.parse_time(status, answer.body)
        except ExchangeError as exc:
            return Finding(f"HTTP {status}: {exc}", Verdict.FAIL, cure)
        self._offset = told - (asked + answer.at) // 2 // MILLISECOND
        return Finding(f"answered in {(answer.at - asked) // MILLISECOND} ms")

    def clock(self) -> Finding:
        """Compare the clocks."""
        offset = self._offset or 0
        text = f"the exchange's clock is {offset:+,} ms from ours"
        if abs(offset) < LATE:
            return Finding(text)
        return Finding(text, Verdict.WARN if abs(offset) < LOST else Verdict.FAIL, _WRONG_CLOCK)

    def region(self) -> Finding:
        """Recognise a block by what was answered."""
        for status, body in self._bodies:
            if (reason := self._exchange.blocked(status, body)) is not None:
                return Finding(f"{self._region}: {reason}", Verdict.FAIL, _ELSEWHERE)
        for refusal in self._refusals:
            match = re.search(r"\bHTTP (\d{3})\b", refusal)
            if match and (reason := self._exchange.blocked(int(match[1]), b"")) is not None:
                return Finding(f"{self._region}: {reason}", Verdict.FAIL, _ELSEWHERE)
        if not self._bodies and not self._seen:
            return Finding("no answer to judge by", Verdict.SKIPPED)
        return Finding(f"{self._region}: nothing is refused for where we are")

    def _perform(self, action: Send | Fetch) -> None:
        assert self._feed is not None  # noqa: S101 - for the type checker; the order of the checks sees to it
        self._feed.perform(action)

    def _hear(self, event: Event) -> None:
        if isinstance(event, Closed):
            self._refusals.append(event.reason)
        if not isinstance(event, Frame):
            return
        try:
            self._seen.append(self._exchange.parse(event.data, event.at, "live"))
        except ProtocolError as exc:
            self._refusals.append(str(exc))

    def _until(self, true: Callable[[], bool], hear: Callable[[Event], object], patience: int) -> None:
        """Hand over events until something holds, or for ``patience`` nanoseconds."""
        deadline = self._clock.monotonic() + patience
        while not true() and self._clock.monotonic() < deadline:
            for event in self._feed.take(_PAUSE) if self._feed is not None else ():
                hear(event)

    def _of(self, kind: type[T]) -> list[T]:
        return [one for one in self._seen if isinstance(one, kind)]
