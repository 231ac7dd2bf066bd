"""Instruments: asked for again and again, recorded whenever their content changes; opens no connection."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from cryptofeed_cli.asking import Ask
from cryptofeed_cli.clock import HOUR, MILLISECOND, MINUTE, Moment
from cryptofeed_cli.connections import Note
from cryptofeed_cli.errors import ProtocolError
from cryptofeed_cli.exchanges.base import Exchange
from cryptofeed_cli.feeds.base import Answer
from cryptofeed_cli.types import Instrument, Source

EVERY = HOUR
RETRY_AFTER = MINUTE


class Catalogue:
    """What the exchange says of the symbols recorded, version by version."""

    def __init__(
        self,
        exchange: Exchange,
        symbols: Sequence[str],
        known: Mapping[str, Instrument],
        emit: Callable[[Instrument], object],
        ask: Ask,
        say: Callable[[Note], object],
        *,
        every: int = EVERY,
        listed: Callable[[list[Instrument], Moment], object] | None = None,
    ) -> None:
        """``known`` is the latest stored version of each symbol; ``listed`` takes every instrument of a whole round.

        A symbol that is added to ``symbols`` is recorded from its next answer on.
        """
        self._exchange = exchange
        self._asking_for = tuple(symbols)
        self._every = every
        self._listed = listed
        self._round: list[Instrument] | None = None
        """What this round told so far; None: a part of it failed."""
        self._symbols = set(symbols)
        self._known = dict(known)
        self._emit = emit
        self._ask = ask
        self._say = say
        self._troubled = False
        """Whether it was said that something is wrong, and no round was right since."""
        self._due: int | None = None
        self._unasked: deque[str] = deque()
        """What this round is still to ask."""
        self._asked: dict[int, str] = {}

    @property
    def known(self) -> Mapping[str, Instrument]:
        """The last version of every symbol that was told of."""
        return self._known

    def check(self, now: Moment) -> None:
        """Ask when it is time to."""
        if self._due is None or now.monotonic >= self._due:
            self._due = now.monotonic + self._every
            self._round = []
            self._unasked = deque(self._exchange.instrument_paths(self._asking_for))
        while self._unasked and (request_id := self._ask(self._unasked[0], now)) is not None:
            self._asked[request_id] = self._unasked.popleft()

    def answer(self, answer: Answer) -> bool:
        """Take an answer; return False where it is to somebody else's question."""
        path = self._asked.pop(answer.request_id, None)
        if path is None:
            return False
        source: Source = "backfill" if answer.announced is None else "simulated"
        problem = answer.error
        if problem is None:
            try:
                instruments = self._exchange.parse_instruments(answer.body, answer.at, source)
                for instrument in instruments:
                    self._compare(instrument)
            except ProtocolError as exc:
                problem = exc.reason
        if problem is None:
            if self._round is not None:
                self._round += instruments
                if not self._asked and not self._unasked:
                    self._troubled = False
                    if self._listed is not None:
                        self._listed(self._round, answer)
            return True
        self._round = None
        self._due = min(self._due or 0, answer.monotonic + RETRY_AFTER)
        if answer.error is None:  # else whoever looks after the connections says so
            level = "debug" if self._troubled else "warning"
            self._say(Note(level, f"{self._exchange.name} {path}: {problem}; will ask again"))
            self._troubled = True
        return True

    def follow(self, symbols: Iterable[str]) -> None:
        """Record these symbols from now on, and no others."""
        self._symbols = set(symbols)

    def is_expired(self, symbol: str, now: Moment) -> bool:
        """Tell whether a symbol's time is over, by what was last told of it."""
        known = self._known.get(symbol)
        return known is not None and known.expires_at is not None and known.expires_at * MILLISECOND <= now.at

    def _compare(self, instrument: Instrument) -> None:
        if instrument.symbol not in self._symbols:
            return
        known = self._known.get(instrument.symbol)
        if known is None or _content(known) != _content(instrument):
            self._known[instrument.symbol] = instrument
            self._emit(instrument)


def _content(instrument: Instrument) -> Any:
    """What an instrument says, however its JSON was laid out."""
    try:
        return msgspec.json.decode(instrument.raw)
    except (msgspec.DecodeError, RecursionError):  # a field that is not read holds what no number or stack can
        return instrument.raw
