"""Whether there is a way to the exchange, said once for all who find out that there is none; opens no connection."""

from __future__ import annotations

from collections.abc import Callable

from cryptofeed_cli.connections import Note
from cryptofeed_cli.feeds.base import Answer


class Reach:
    """What is down: one line when the exchange gets out of reach, however many notice it.

    Connections tell best why; REST is only worth a line while they are all up.
    """

    def __init__(self, exchange: str, say: Callable[[Note], object]) -> None:
        self._exchange = exchange
        self._say = say
        self._up: set[int] = set()
        self._lost: set[int] = set()
        """Connections that were up, and could not be made again yet."""
        self._failed: set[int] = set()
        """Connections that cannot be made."""
        self._rest_failed = self._rest_told = False

    def opened(self, number: int) -> None:
        """A connection is up."""
        self.gone(number)
        self._up.add(number)

    def gone(self, number: int) -> None:
        """A connection is not wanted any more."""
        for numbers in (self._up, self._lost, self._failed):
            numbers.discard(number)

    def lost(self, number: int) -> None:
        """A connection that was up closed; that was said."""
        self.gone(number)
        self._lost.add(number)

    def failed(self, number: int, name: str, reason: str) -> None:
        """A connection could not be made; it is tried again."""
        if number not in self._failed:
            level = "debug" if self._failed else "warning"
            self._say(Note(level, f"cannot reach {self._exchange} {name}: {reason}; will keep trying"))
        self.gone(number)
        self._failed.add(number)

    def answer(self, answer: Answer) -> None:
        """Take note of the answer to any REST request, or that none came."""
        if answer.error is None:
            if self._rest_told:
                self._say(Note("info", f"{self._exchange} answers REST requests again"))
            self._rest_failed = self._rest_told = False
        elif not self._rest_failed:
            self._rest_failed = True
            self._rest_told = bool(self._up) and not self._lost and not self._failed
            level = "warning" if self._rest_told else "debug"
            self._say(Note(level, f"cannot reach {self._exchange} over REST: {answer.error}; will keep trying"))
