"""A session whose every input is put on a tape, so that another one can be told the same; decides nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from cryptofeed_cli.asking import Limiter
from cryptofeed_cli.clock import MILLISECOND, Clock, Moment
from cryptofeed_cli.exchanges.base import Exchange
from cryptofeed_cli.feeds.base import Action, Event, Feed, Tick
from cryptofeed_cli.feeds.tape import (
    Finished,
    Halted,
    Learnt,
    Remarked,
    Resumed,
    Started,
    TapeWriter,
    line_of,
    sent,
)
from cryptofeed_cli.gaps import gap_id
from cryptofeed_cli.past import Past
from cryptofeed_cli.session import Emit, Session, SessionOptions
from cryptofeed_cli.stores.outbox_file import pack
from cryptofeed_cli.types import Gap, MarketRecord

REASON = "removed from the tape, which is as large as tape_max allows"


class TapedSession(Session):
    """Puts on the tape what it is told, before it does anything about it."""

    def __init__(
        self,
        exchange: Exchange,
        options: SessionOptions,
        emit: Emit,
        pasts: Mapping[str, Past] | None,
        limiter: Limiter,
        tape: TapeWriter,
    ) -> None:
        super().__init__(exchange, options, emit, pasts, limiter)
        self._tape, self._limiter, self._given = tape, limiter, pasts
        self._removals = 0

    def start(self, now: Moment) -> None:
        """Go on where earlier runs ended."""
        options, pasts = _raw(self._options), _raw(self._given)
        self._tape.note(Started(now.at, now.monotonic, options, pasts, self._limiter.state))
        super().start(now)

    def handle(self, events: Iterable[Event]) -> None:
        """Take events in order."""
        events = list(events)
        for event in events:
            self._tape.note(line_of(event))
        super().handle(events)
        if events and isinstance(events[-1], Tick):
            self._tape.check(events[-1].monotonic)
            self._tell_what_is_gone(events[-1].at)

    def learn(self, pasts: Mapping[str, Past], now: Moment) -> None:
        """Learn late what earlier runs left."""
        self._tape.note(Learnt(now.at, now.monotonic, _raw(pasts)))
        super().learn(pasts, now)

    def halt(self, reason: str, refused: Iterable[Any], durable: Mapping[tuple[str, str], int], now: Moment) -> None:
        """Nothing can be made durable."""
        refused = [one for one in refused if isinstance(one, MarketRecord) and one.source != "simulated"]
        told = [(kind, symbol, at) for (kind, symbol), at in durable.items()]
        self._tape.note(Halted(now.at, now.monotonic, reason, pack(refused)[2], told))
        super().halt(reason, refused, durable, now)

    def go_on(self, now: Moment) -> None:
        """Something can be made durable again."""
        self._tape.note(Resumed(now.at, now.monotonic))
        super().go_on(now)

    def remark(self, at: int, text: str) -> None:
        """Add to the reason of every gap that goes on."""
        self._tape.note(Remarked(at, text))
        super().remark(at, text)

    def finish(self, now: Moment) -> None:
        """Nothing will follow."""
        self._tape.note(Finished(now.at, now.monotonic))
        super().finish(now)

    def _tell_what_is_gone(self, at: int) -> None:
        """Tell in the ledger up to when tapes were removed: one gap of this run, which grows."""
        gone, self._tape.gone = self._tape.gone, None
        if gone is None:
            return
        self._removals += 1
        run_id = self._options.run_id
        identity = gap_id(self.exchange, "", "tape", "pruned", run_id)
        self._emit(
            Gap(
                identity, run_id, self.exchange, "", "tape", "pruned", "us", None, gone // MILLISECOND, None, None,
                None, 0, "unrecoverable", REASON, self._removals, at,
            )
        )  # fmt: skip


class TapedFeed:
    """A feed of which is put on a tape what it is asked to do."""

    def __init__(self, feed: Feed, tape: TapeWriter, clock: Clock) -> None:
        self._feed, self._tape, self._clock = feed, tape, clock

    def take(self, timeout: float) -> list[Event]:
        """Return all waiting events in order."""
        return self._feed.take(timeout)

    def perform(self, action: Action) -> None:
        """Start an action."""
        self._tape.note(sent(action, self._clock.now()))
        self._feed.perform(action)

    def close(self) -> None:
        """Close the feed."""
        self._feed.close()


def _raw(value: Any) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))
