"""Missed trades asked for over REST, by id, politely; pure like the session: opens no connection, reads no clock.

A request brings what exists just below an id, however far below that is. Answers come from caches of different age, and
an old one looks as if its newest trades did not exist: so an answer speaks for the ids below the highest one that it
holds, and proves nothing of those above. Every page asks for the id above it too, which should exist, and pages are
asked for several at a time where the exchange's rate allows. What an answer lacks among the ids it speaks for is asked
for again, and only what stays away is believed to be absent at the source.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections import defaultdict, deque
from collections.abc import Callable, Iterable
from contextlib import suppress

import msgspec

from cryptofeed_cli.asking import Ask
from cryptofeed_cli.clock import MILLISECOND, SECOND, Moment
from cryptofeed_cli.errors import AnswerRefused, ProtocolError
from cryptofeed_cli.exchanges.base import Exchange
from cryptofeed_cli.feeds.base import Answer
from cryptofeed_cli.ids import missing_ranges
from cryptofeed_cli.types import Trade

BELIEVED_AFTER = 3
"""How often ids must stay away before they are believed to be absent at the source."""
ASK_AGAIN = (SECOND, 2 * SECOND)
"""How long to wait before asking for the same page once more."""
DOUBTS = 12
"""How often ids may be left unproven; then nobody asks for them any more, and their gap stays as it is."""
RETRY_MAX = 60 * SECOND
IN_FLIGHT = 8
"""Pages asked for and not answered yet."""
POSTPONED = 1000
"""Pages to be asked for once more; no new ones are begun beyond that."""
TAIL_EVERY = 5 * SECOND
"""How soon the newest trades of one symbol are asked for again; every time it takes twice as long."""
TAIL_MAX = 60 * SECOND


Range = tuple[int, int]
"""Ids from the first to the last."""


class Page(msgspec.Struct):
    """Ids of one symbol, to be had with one request: for what exists up to ``top``."""

    symbol: str
    ranges: list[Range]
    """Ascending."""
    top: int
    """An id above them that should exist; known to only where it came with an answer, or ends a hole."""
    due: int = 0
    """Monotonic time before which it is not asked for."""
    failures: int = 0
    absences: int = 0
    """How many answers spoke for these ids and lacked them."""
    doubts: int = 0
    """How many answers did not speak for these ids."""


class Backfill:
    """Turns holes into requests, and answers into trades and absences."""

    def __init__(
        self,
        exchange: Exchange,
        ask: Ask,
        found: Callable[[str, list[Trade], Moment], object],
        absent: Callable[[str, int, int, Moment], object],
        newest: Callable[[str, list[Trade], Moment], object],
    ) -> None:
        """``found`` and ``newest`` take trades of one symbol, ascending; ``absent`` ids that the exchange lacks too."""
        self._exchange = exchange
        self._ask = ask
        self._found = found
        self._absent = absent
        self._newest = newest
        self._wanted: dict[str, list[Range]] = {}
        """What nobody asked for yet, ascending, by symbol; the symbols take turns."""
        self._again_later: deque[Page] = deque()
        self._asked: dict[int, Page] = {}
        self._tails: dict[int, str] = {}
        self._tails_due: dict[str, tuple[int, int]] = {}
        """When the newest trades are asked for next, in monotonic time, and how long to wait after that."""

    @property
    def busy(self) -> bool:
        """Whether anything is still to be had."""
        return bool(self._wanted or self._again_later or self._asked)

    def want(self, symbol: str, first: int, last: int) -> None:
        """Ask for ids ``first..last``."""
        insort(self._wanted.setdefault(symbol, []), (first, last))

    def want_newest(self, symbols: Iterable[str], now: Moment) -> None:
        """Ask for the newest trades of symbols, of each ever more seldom for as long as it is among them."""
        self._tails_due = {symbol: self._tails_due.get(symbol, (0, TAIL_EVERY)) for symbol in symbols}
        for symbol, (due, wait) in sorted(self._tails_due.items(), key=lambda item: item[1]):
            if due > now.monotonic or len(self._tails) >= IN_FLIGHT:
                return
            request_id = self._ask(self._exchange.newest_path(symbol), now)
            if request_id is None:
                return
            self._tails[request_id] = symbol
            self._tails_due[symbol] = (now.monotonic + wait, min(2 * wait, TAIL_MAX))

    def check(self, now: Moment) -> None:
        """Ask for what is due, as fast as is allowed."""
        while len(self._asked) < IN_FLIGHT:
            page = next((page for page in self._again_later if page.due <= now.monotonic), None)
            again = page is not None
            if page is None:
                if not self._wanted or len(self._again_later) >= POSTPONED:
                    return
                page, below = self._uppermost(next(iter(self._wanted)))
            request_id = self._ask(self._exchange.history_path(page.symbol, page.top + 1), now)
            if request_id is None:
                return
            self._asked[request_id] = page
            if again:
                self._again_later.remove(page)
                continue
            del self._wanted[page.symbol]
            if below:
                self._wanted[page.symbol] = below

    def _uppermost(self, symbol: str) -> tuple[Page, list[Range]]:
        """Return the highest page of what nobody asked for yet, and what is below it."""
        ranges = self._wanted[symbol]
        last = ranges[-1][1]
        low = last - self._exchange.capabilities.history_page + 2
        start = bisect_left(ranges, low, key=_last)
        inside, outside = _split(ranges[start:], low, last)
        return Page(symbol, inside, last + 1), ranges[:start] + outside

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
            if exc.transient:
                self._again(page, answer)
            else:
                for low, high in page.ranges:
                    self._absent(page.symbol, low, high, answer)
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
        self._postpone(page, now, min(250 * MILLISECOND << min(page.failures, 10), RETRY_MAX))

    def _postpone(self, page: Page, now: Moment, wait: int) -> None:
        page.due = now.monotonic + wait
        if page.ranges:
            self._again_later.append(page)

    def _compare(self, page: Page, trades: list[Trade], now: Moment) -> None:
        """Take what an answer brings, and what it says of ids that it lacks, whoever asked for them."""
        rows = {int(trade.trade_id): trade for trade in trades if int(trade.trade_id) <= page.top}
        if not rows:
            self._doubt(page, now)
            return
        ids = sorted(rows)
        floor = ids[0] if len(ids) >= self._exchange.capabilities.history_page else 0
        lacking: dict[int, list[Range]] = defaultdict(list)
        found: list[int] = []
        for part in (page, *self._concerned(page.symbol, floor, ids[-1])):
            told, part.ranges = _split(part.ranges, floor, ids[-1])
            for low, high in told:
                held = ids[bisect_left(ids, low) : bisect_right(ids, high)]
                found += held
                lacking[part.absences] += missing_ranges(low, high, held)
        self._again_later = deque(waiting for waiting in self._again_later if waiting.ranges)
        if found:
            self._found(page.symbol, [rows[number] for number in sorted(set(found))], now)
        for absences, ranges in lacking.items():
            self._lack(page.symbol, sorted(ranges), absences + 1, now)
        above = [one for one in page.ranges if one[0] > ids[-1]]
        self._doubt(msgspec.structs.replace(page, ranges=above), now)
        page.ranges, page.top = page.ranges[: len(page.ranges) - len(above)], floor
        self._postpone(page, now, 0)

    def _concerned(self, symbol: str, low: int, high: int) -> list[Page]:
        """Return what else of a symbol an answer may speak for: in flight, not asked for yet, or never spoken for.

        Only what was lacking once waits for its time.
        """
        ranges = self._wanted.pop(symbol, [])
        # Ranges do not overlap, so they are in order by their ends too.
        start, stop = bisect_left(ranges, low, key=_last), bisect_right(ranges, high, key=_first)
        inside, outside = _split(ranges[start:stop], low, high)
        rest = ranges[:start] + outside + ranges[stop:]
        if rest:
            self._wanted[symbol] = rest
        waiting = (page for page in self._again_later if not page.absences)
        others = [page for page in (*self._asked.values(), *waiting) if page.symbol == symbol]
        return [Page(symbol, inside, high), *others]

    def _lack(self, symbol: str, ranges: list[Range], absences: int, now: Moment) -> None:
        """Take note that ids were lacking once more."""
        if absences >= BELIEVED_AFTER:
            for low, high in ranges:
                self._absent(symbol, low, high, now)
        elif ranges:
            page = Page(symbol, ranges, ranges[-1][1] + 1, absences=absences)
            self._postpone(page, now, ASK_AGAIN[absences - 1])

    def _doubt(self, page: Page, now: Moment) -> None:
        """Ask again for ids that an answer did not speak for: a cache is old, or what should be above them is not."""
        if page.ranges and page.doubts < DOUBTS:
            last = page.ranges[-1][1]
            page.top = last + 2 * (page.top - last)
            page.doubts += 1
            self._postpone(page, now, min(SECOND << page.doubts - 1, RETRY_MAX))


def _split(ranges: list[Range], low: int, high: int) -> tuple[list[Range], list[Range]]:
    """Return the parts of ranges that are within ``low..high``, and those that are not; both ascending."""
    inside = [(max(first, low), min(last, high)) for first, last in ranges if first <= high and last >= low]
    outside = [
        part
        for first, last in ranges
        for part in ((first, min(last, low - 1)), (max(first, high + 1), last))
        if part[0] <= part[1]
    ]
    return inside, outside


def _first(one: Range) -> int:
    return one[0]


def _last(one: Range) -> int:
    return one[1]


def _ascending(trades: list[Trade]) -> list[Trade]:
    return sorted(trades, key=lambda trade: int(trade.trade_id))
