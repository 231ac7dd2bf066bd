"""Tapes told to a session again, and what it makes of them written into a store; connects nothing."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from cryptofeed_cli.asking import Limiter
from cryptofeed_cli.errors import OutboxDamaged, TapeRefused
from cryptofeed_cli.exchanges.base import Exchange
from cryptofeed_cli.feeds.base import Tick
from cryptofeed_cli.feeds.tape import (
    Begun,
    Finished,
    Halted,
    Learnt,
    Remarked,
    Resumed,
    Started,
    Ticked,
    event_of,
    read,
    tapes,
)
from cryptofeed_cli.past import Past
from cryptofeed_cli.session import Session, SessionOptions
from cryptofeed_cli.stores.base import Store
from cryptofeed_cli.stores.outbox_file import unpack
from cryptofeed_cli.types import KINDS, Record, Run

LOG = logging.getLogger(__name__)

BATCH = 2_000
"""Records written at once."""

_Pasts = Mapping[str, Past] | None


class Imported(msgspec.Struct, frozen=True):
    """What a run's tape came to."""

    run: Run
    records: int
    inserted: int


def import_tapes(directory: Path, store: Store, exchanges: Callable[[str], Exchange]) -> Iterator[Imported]:
    """Write what tapes mean into a store, run by run; what it holds already is not written twice.

    ``exchanges`` makes the exchange of a region. A run whose first file is gone is left out, with a word. Raises
    `TapeRefused`, `StoreError`.
    """
    for files in tapes(directory).values():
        begun = next(read(files[0]), None)
        if begun is None:
            LOG.warning("tape %s: nothing in it can be read; left out", files[0])
        elif begun.number != 1:
            LOG.warning("tape %s: its beginning is gone, and nothing can be made of the rest; left out", files[0])
        else:
            yield _Import(begun.run, store, exchanges(_region(begun.run))).told(_whole(files))


class _Import:
    """One run, told again."""

    def __init__(self, run: Run, store: Store, exchange: Exchange) -> None:
        self._run, self._store, self._exchange = run, store, exchange
        self._found: list[Record] = []
        self._records = self._inserted = 0
        self._session: Session | None = None
        self._at = run.started_at
        self._ended = False

    def told(self, lines: Iterator[Any]) -> Imported:
        """Hear all lines, write what comes of them, and the run at last."""
        for line in lines:
            self._hear(line)
            if len(self._found) >= BATCH:
                self._write(self._found)
        self._write(self._found)
        session = self._session
        counters = {} if session is None else {
            "frames": session.frames, "connects": session.connects, "gaps": session.ledger.opened.total(),
            "rejects": session.rejects.count,
        }  # fmt: skip
        run = msgspec.structs.replace(
            self._run, state="stopped" if self._ended else "failed", ended_at=self._at, heartbeat_at=self._at,
            counters=counters, clock_offset_ms=None if session is None else session.clock_offset_ms,
        )  # fmt: skip
        if self._is_new(run):
            self._write([run])
        return Imported(run, self._records, self._inserted)

    def _hear(self, line: Any) -> None:
        if isinstance(line, Started):
            self._session = self._begin(line)
            return
        session = self._session
        if session is None:
            return
        match line:
            case Learnt():
                session.learn(_pasts(line.pasts) or {}, Tick(line.at, line.monotonic))
            case Halted():
                durable = {(kind, symbol): at for kind, symbol, at in line.durable}
                session.halt(line.reason, _unpacked(line.refused), durable, Tick(line.at, line.monotonic))
            case Resumed():
                session.go_on(Tick(line.at, line.monotonic))
            case Remarked():
                session.remark(line.at, line.text)
            case Finished():
                session.finish(Tick(line.at, line.monotonic))
                self._ended = True
            case _ if (event := event_of(line)) is not None:
                session.handle([event])
        if isinstance(line, Ticked | Finished):
            self._at = line.at
        session.actions.clear()
        session.notes.clear()

    def _begin(self, line: Started) -> Session:
        options = msgspec.json.decode(line.options, type=SessionOptions)
        limiter = Limiter.as_it_was(line.limiter)
        session = Session(self._exchange, options, self._found.append, _pasts(line.pasts), limiter)
        session.start(Tick(line.at, line.monotonic))
        session.actions.clear()
        return session

    def _is_new(self, run: Run) -> bool:
        """Tell whether the store knows nothing of the run: what it knows is more than the tape does."""
        return all(one.run_id != run.run_id for one in self._store.scan(KINDS["runs"]))

    def _write(self, records: list[Any]) -> None:
        if records:
            self._inserted += self._store.write(records).inserted
            self._records += len(records)
            records.clear()


def _whole(files: Sequence[Path]) -> Iterator[Any]:
    """Yield the lines of a run's files, up to where one is missing."""
    for number, path in enumerate(files, 1):
        for line in read(path):
            if isinstance(line, Begun) and line.number != number:
                LOG.warning("tape %s: the file before it is gone; nothing can be made of the rest", path)
                return
            yield line


def _pasts(raw: msgspec.Raw) -> _Pasts:
    return msgspec.json.decode(raw, type=dict[str, Past] | None)


def _unpacked(refused: bytes) -> list[Record]:
    try:
        return unpack(Path("tape"), refused)
    except OutboxDamaged as exc:
        raise TapeRefused("tape", exc.reason) from exc


def _region(run: Run) -> str:
    return str(run.config.get("okx", {}).get("region", "global"))
