"""Books that wait for a snapshot: asked for anew, or out of REST, never two at a time; holds no book."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from cryptofeed_cli.asking import Ask
from cryptofeed_cli.clock import MINUTE, SECOND, Moment
from cryptofeed_cli.connections import Note
from cryptofeed_cli.errors import AnswerRefused, ProtocolError
from cryptofeed_cli.exchanges.base import Exchange
from cryptofeed_cli.feeds.base import Answer
from cryptofeed_cli.types import BookUpdate

TIMEOUT = 10 * SECOND
"""How long to wait for a snapshot before asking again; doubles with every second time, up to `TIMEOUT_MAX`."""
TIMEOUT_MAX = 5 * MINUTE
STALE_AFTER = SECOND
"""How long to wait before asking REST again, when its book was older than the first update that waits for one."""
STALE = 5
"""How often that is done before the subscription is asked again."""


class _Wait(msgspec.Struct):
    due: int
    """Monotonic time at which to ask again."""
    asked: int = 0
    """How often it was asked for in vain."""
    stale: int = 0
    """How often REST had an older one than is of use."""


class Resync:
    """Who waits, since when, and whom to ask next: the subscription first, then REST, and so on in turns."""

    def __init__(
        self,
        exchange: Exchange,
        ask: Ask,
        carried: Callable[[str], bool],
        renew: Callable[[Sequence[str], Moment], object],
        splice: Callable[[BookUpdate, Moment], bool],
        say: Callable[[Note], object],
    ) -> None:
        """``carried`` tells whether a connection brings a symbol's book, so that a snapshot is of use.

        ``renew`` asks for subscriptions anew; ``splice`` takes a book out of REST and tells if it is of use.
        """
        self._exchange = exchange
        self._ask = ask
        self._carried = carried
        self._renew = renew
        self._splice = splice
        self._say = say
        self._waits: dict[str, _Wait] = {}
        self._asked: dict[int, str] = {}

    def expect(self, symbol: str, now: Moment) -> None:
        """A snapshot was asked for just now: give it its time."""
        self._waits[symbol] = _Wait(now.monotonic + TIMEOUT, 1)

    def check(self, symbols: Sequence[str], now: Moment) -> None:
        """Ask for the books of those that have none where it is time to, ever more patiently."""
        for settled in self._waits.keys() - set(symbols):
            del self._waits[settled]
        anew: list[str] = []
        over_rest: list[str] = []
        for symbol in symbols:
            wait = self._waits.setdefault(symbol, _Wait(now.monotonic))
            if now.monotonic < wait.due:
                continue
            if not self._carried(symbol):
                del self._waits[symbol]
                continue
            if wait.asked % 2:
                request_id = self._ask(self._exchange.book_path(symbol), now)
                if request_id is None:
                    continue
                self._asked[request_id] = symbol
                over_rest.append(symbol)
            else:
                anew.append(symbol)
            wait.due = now.monotonic + min(TIMEOUT << wait.asked // 2, TIMEOUT_MAX)
            wait.asked += 1
        name = self._exchange.name
        if anew:
            self._say(Note("warning", f"{_few(anew)}: asking {name} for a new snapshot of the book"))
            self._renew(anew, now)
        if over_rest:
            self._say(Note("warning", f"{_few(over_rest)}: no snapshot came; asking {name} for the book over REST"))

    def answer(self, answer: Answer) -> bool:
        """Take an answer; return False where it is to somebody else's question."""
        symbol = self._asked.pop(answer.request_id, None)
        if symbol is None:
            return False
        wait = self._waits.get(symbol)
        if wait is None or answer.status is None or answer.announced is not None or not self._carried(symbol):
            return True
        try:
            snapshot = self._exchange.parse_book(symbol, answer.status, answer.body, answer.at, "backfill")
        except (AnswerRefused, ProtocolError):
            return True  # the subscription is asked next
        if snapshot is not None and not self._splice(snapshot, answer) and wait.stale < STALE:
            wait.due = answer.monotonic + STALE_AFTER
            wait.asked -= 1
            wait.stale += 1
        return True


def _few(symbols: Sequence[str]) -> str:
    """Name symbols on one line, however many there are."""
    return symbols[0] if len(symbols) == 1 else f"{symbols[0]} and {len(symbols) - 1} more"
