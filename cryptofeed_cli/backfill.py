"""Missed trades asked for over REST, by id, politely; pure like the session: opens no connection, reads no clock.

A hole is asked for in pages from its top downwards (a page holds the ids just below a given one), several pages at a
time where the exchange's rate allows. What a page should hold and does not is asked for again, since answers come from
caches of different age; only what stays away is believed to be absent at the source.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import suppress

import msgspec

from cryptofeed_cli.clock import MILLISECOND, SECOND, Moment
from cryptofeed_cli.errors import AnswerRefused, ProtocolError
from cryptofeed_cli.exchanges.base import Exchange
from cryptofeed_cli.feeds.base import Answer, Fetch
from cryptofeed_cli.ids import missing_ranges
from cryptofeed_cli.types import Trade

BELIEVED_AFTER = 3
"""How often ids must stay away before they are believed to be absent at the source."""
ASK_AGAIN = (SECOND, 2 * SECOND, 4 * SECOND)
"""How long to wait before asking for the same page once more."""
RETRY_MAX = 60 * SECOND
IN_FLIGHT = 8
"""Pages asked for and not answered yet."""
POSTPONED = 1000
"""Pages to be asked for once more; no new ones are begun beyond that."""
MARGIN = 0.95
"""Share of the allowed rate that is used: the exchange's clock and ours do not tick alike."""
TAIL_EVERY = 5 * SECOND
"""How often the newest trades of one symbol are asked for."""
SLOWEST = 0.05
RECOVERY = 30 * SECOND
"""After a rebuke the rate doubles again every so often, up to what is allowed."""


class Limiter:
    """Spaces requests evenly; a rebuke halves the rate, good conduct wins it back."""

    def __init__(self, per_second: float) -> None:
        self._spacing = round(SECOND / (per_second * MARGIN))
        self._slowness = 1
        self._next = 0
        self._eased = 0

    def allows(self, monotonic: int) -> bool:
        """Tell whether a request may be sent now, and count it if so."""
        if self._slowness > 1 and monotonic - self._eased >= RECOVERY:
            self._slowness //= 2
            self._eased = monotonic
        if monotonic < self._next:
            return False
        # A late call does not earn more than one request at once, but keeps the average.
        spacing = self._spacing * self._slowness
        self._next = max(self._next, monotonic - spacing) + spacing
        return True

    def rebuke(self, monotonic: int) -> None:
        """The exchange said that this was too fast."""
        self._slowness = min(self._slowness * 2, round(1 / SLOWEST))
        self._eased = monotonic
        self._next = monotonic + self._spacing * self._slowness


class Page(msgspec.Struct):
    """Ids ``low..high`` of one symbol, to be had with one request."""

    symbol: str
    low: int
    high: int
    due: int = 0
    """Monotonic time before which it is not asked for."""
    failures: int = 0
    absences: int = 0
    """How often an answer lacked the same ids."""


class Backfill:
    """Turns holes into requests, and answers into trades and absences."""

    def __init__(
        self,
        exchange: Exchange,
        act: Callable[[Fetch], object],
        next_request: Callable[[], int],
        found: Callable[[str, list[Trade], Moment], object],
        absent: Callable[[str, int, int, Moment], object],
        newest: Callable[[str, list[Trade], Moment], object],
        *,
        rate_share: float,
    ) -> None:
        """``found`` and ``newest`` take trades of one symbol, ascending; ``absent`` ids that the exchange lacks too."""
        self._exchange = exchange
        self._act = act
        self._next_request = next_request
        self._found = found
        self._absent = absent
        self._newest = newest
        self._limiter = Limiter(exchange.capabilities.history_per_second * rate_share)
        self._ranges: deque[tuple[str, int, int]] = deque()
        self._again_later: deque[Page] = deque()
        self._asked: dict[int, Page] = {}
        self._tails: dict[int, str] = {}
        self._tails_due: dict[str, int] = {}

    @property
    def busy(self) -> bool:
        """Whether anything is still to be had."""
        return bool(self._ranges or self._again_later or self._asked)

    def want(self, symbol: str, first: int, last: int) -> None:
        """Ask for ids ``first..last``."""
        self._ranges.append((symbol, first, last))

    def want_newest(self, symbol: str, now: Moment) -> None:
        """Ask for the newest trades of a symbol, now and then for as long as this is called."""
        if now.monotonic < self._tails_due.get(symbol, 0) or len(self._tails) >= IN_FLIGHT:
            return
        self._tails_due[symbol] = now.monotonic + TAIL_EVERY
        request_id = self._next_request()
        self._tails[request_id] = symbol
        self._act(Fetch(request_id, self._exchange.newest_path(symbol)))

    def check(self, now: Moment) -> None:
        """Ask for what is due, as fast as is allowed."""
        while len(self._asked) < IN_FLIGHT and (page := self._next_page(now)) is not None:
            request_id = self._next_request()
            self._asked[request_id] = page
            self._act(Fetch(request_id, self._exchange.history_path(page.symbol, page.high + 1)))

    def _next_page(self, now: Moment) -> Page | None:
        due = next((page for page in self._again_later if page.due <= now.monotonic), None)
        if due is None and (not self._ranges or len(self._again_later) >= POSTPONED):
            return None
        if not self._limiter.allows(now.monotonic):
            return None
        if due is not None:
            self._again_later.remove(due)
            return due
        symbol, first, last = self._ranges.popleft()
        low = max(first, last - self._exchange.capabilities.history_page + 1)
        if low > first:
            self._ranges.appendleft((symbol, first, low - 1))
        return Page(symbol, low, last)

    def answer(self, answer: Answer) -> bool:
        """Take an answer; return False where it is to somebody else's question."""
        symbol = self._tails.pop(answer.request_id, None)
        if symbol is not None:
            with suppress(AnswerRefused, ProtocolError):  # asked again in a while
                self._newest(symbol, _ascending(self._read(symbol, answer)), answer)
            return True
        page = self._asked.pop(answer.request_id, None)
        if page is None:
            return False
        try:
            trades = self._read(page.symbol, answer)
        except AnswerRefused as exc:
            if exc.too_fast:
                self._limiter.rebuke(answer.monotonic)
            if exc.transient:
                self._again(page, answer)
            else:
                self._absent(page.symbol, page.low, page.high, answer)
        except ProtocolError:
            self._again(page, answer)
        else:
            self._compare(page, trades, answer)
        return True

    def _read(self, symbol: str, answer: Answer) -> list[Trade]:
        if answer.status is None:
            raise AnswerRefused(self._exchange.name, "none", answer.error or "no answer")
        if answer.announced is not None:  # nothing simulated fills a hole in real trades
            raise AnswerRefused(self._exchange.name, answer.announced, "the server announces that it is no exchange")
        return self._exchange.parse_history(symbol, answer.status, answer.body, answer.at, "backfill")

    def _again(self, page: Page, now: Moment) -> None:
        page.failures += 1
        page.due = now.monotonic + min(250 * MILLISECOND << min(page.failures, 10), RETRY_MAX)
        self._again_later.append(page)

    def _compare(self, page: Page, trades: list[Trade], now: Moment) -> None:
        wanted = [trade for trade in _ascending(trades) if page.low <= int(trade.trade_id) <= page.high]
        if wanted:
            self._found(page.symbol, wanted, now)
        for low, high in missing_ranges(page.low, page.high, (int(trade.trade_id) for trade in wanted)):
            if page.absences + 1 >= BELIEVED_AFTER:
                self._absent(page.symbol, low, high, now)
                continue
            due = now.monotonic + ASK_AGAIN[page.absences]
            self._again_later.append(Page(page.symbol, low, high, due, absences=page.absences + 1))


def _ascending(trades: list[Trade]) -> list[Trade]:
    return sorted(trades, key=lambda trade: int(trade.trade_id))
