"""What the exchange is asked now and then besides its data: its clock, and its announced maintenances."""

from __future__ import annotations

import msgspec

from cryptofeed_cli.asking import Ask
from cryptofeed_cli.clock import MILLISECOND, MINUTE, SECOND, Moment
from cryptofeed_cli.errors import AnswerRefused, ProtocolError
from cryptofeed_cli.exchanges.base import Exchange, Maintenance
from cryptofeed_cli.feeds.base import Answer

EVERY = 10 * MINUTE
RETRY_AFTER = MINUTE
SLOWEST = 2 * SECOND
"""An answer that took longer tells too little of when the exchange looked at its clock."""


class _Asked(msgspec.Struct):
    path: str
    at: int
    monotonic: int


class Inquiries:
    """Asks, and remembers the last answers."""

    def __init__(self, exchange: Exchange, ask: Ask) -> None:
        self.clock_offset_ms: int | None = None
        """The exchange's clock minus ours; None: not known."""
        self._exchange = exchange
        self._ask = ask
        self._maintenances: list[Maintenance] = []
        self._due: dict[str, int] = {exchange.time_path(): 0, exchange.maintenance_path(): 0}
        self._asked: dict[int, _Asked] = {}

    def check(self, now: Moment) -> None:
        """Ask what is due."""
        waiting = {asked.path for asked in self._asked.values()}
        for path, due in self._due.items():
            if now.monotonic < due or path in waiting:
                continue
            request_id = self._ask(path, now)
            if request_id is None:
                return
            self._due[path] = now.monotonic + EVERY
            self._asked[request_id] = _Asked(path, now.at, now.monotonic)

    def answer(self, answer: Answer) -> bool:
        """Take an answer; return False where it is to somebody else's question."""
        asked = self._asked.pop(answer.request_id, None)
        if asked is None:
            return False
        if answer.status is None:
            self._due[asked.path] = answer.monotonic + RETRY_AFTER
            return True
        try:
            if asked.path == self._exchange.maintenance_path():
                self._maintenances = self._exchange.parse_maintenances(answer.status, answer.body)
            elif answer.monotonic - asked.monotonic <= SLOWEST:
                told = self._exchange.parse_time(answer.status, answer.body) * MILLISECOND
                self.clock_offset_ms = (told - (asked.at + answer.at) // 2) // MILLISECOND
        except (AnswerRefused, ProtocolError):
            self._due[asked.path] = answer.monotonic + RETRY_AFTER
        return True

    def maintenance(self, at: int) -> str | None:
        """Return the title of the maintenance that the exchange announced for a time, if there is one."""
        ms = at // MILLISECOND
        for one in self._maintenances:
            if one.begin is not None and one.begin <= ms and (one.end is None or ms < one.end):
                return one.title
        return None
