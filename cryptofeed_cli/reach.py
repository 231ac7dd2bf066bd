"""Whether there is a way to the exchange, said once for all who find out that there is none; opens no connection."""

from __future__ import annotations

from collections.abc import Callable

from cryptofeed_cli.connections import Note
from cryptofeed_cli.feeds.base import Answer

_REST = -1
"""Stands for the REST interface among the numbers of connections."""


class Reach:
    """What is down: while anything is, nothing more that cannot be reached is worth a line."""

    def __init__(self, exchange: str, say: Callable[[Note], object]) -> None:
        self._exchange = exchange
        self._say = say
        self._down: set[int] = set()

    def opened(self, number: int) -> None:
        """A connection is up, or gone for good."""
        self._down.discard(number)

    def failed(self, number: int, name: str, reason: str) -> None:
        """A connection could not be made; it is tried again."""
        if number not in self._down:
            level = "debug" if self._down else "warning"
            self._say(Note(level, f"cannot reach {self._exchange} {name}: {reason}; will keep trying"))
            self._down.add(number)

    def answer(self, answer: Answer) -> None:
        """Take note of the answer to any REST request, or that none came."""
        if answer.error is not None:
            self.failed(_REST, "over REST", answer.error)
        elif _REST in self._down:
            self._down.remove(_REST)
            self._say(Note("info", f"{self._exchange} answers REST requests again"))
