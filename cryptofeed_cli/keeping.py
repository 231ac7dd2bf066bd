"""The store and the outbox of one recorder: opened, and what waits in this written into that; records nothing."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

from cryptofeed_cli.clock import SECOND, Clock
from cryptofeed_cli.config import Settings
from cryptofeed_cli.deliverer import MOST_BYTES, MOST_RECORDS
from cryptofeed_cli.errors import OutboxError, OutboxRefused, StoreTooNew, StoreUnreachable, UsageError
from cryptofeed_cli.printable import escape
from cryptofeed_cli.stores import identity, open_store, redact, set_aside
from cryptofeed_cli.stores.base import Store
from cryptofeed_cli.stores.lazy import LazyStore
from cryptofeed_cli.stores.outbox import inspect
from cryptofeed_cli.stores.places import outboxes, places
from cryptofeed_cli.stores.recorder_outbox import RecorderOutbox, open_outbox

LOG = logging.getLogger(__name__)

DRAINED_FIRST = 5 * SECOND
"""How long a start waits for what an earlier run left to be in the store; the rest goes there while it records."""


class Keepers(NamedTuple):
    """Where records go."""

    store: LazyStore
    outbox: RecorderOutbox
    away: str | None
    """Why the store takes nothing yet; None: it answers."""
    waited_since: int | None
    """Since when the oldest of what an earlier run left waited in the outbox; None: it left nothing."""


@contextmanager
def open_keepers(settings: Settings, name: str, clock: Clock) -> Iterator[Keepers]:
    """Open the store, which may be away, and the outbox of the recorder of a name; what it holds goes first.

    Raises `UsageError` where the outbox holds records for another store, `StoreError`.
    """
    store, away = _opener(settings, recorder=_holder(name)), None
    try:
        try:
            store.open()
        except StoreUnreachable as exc:
            LOG.warning("%s; recording into the outbox until it answers", exc)
            away = exc.reason
        outbox = _outbox_or_none_yet(settings, name)
        try:
            _bind(outbox, settings, name)
            _tell_of_others(outbox, settings)
            waited_since = outbox.backlog.since
            if away is None:
                _drain_first(outbox, store, clock)
            yield Keepers(store, outbox, away, waited_since)
        finally:
            outbox.close()
    finally:
        store.close()


def drain_outbox(settings: Settings, name: str) -> int:
    """Write all that waits in the outbox of a name into the store, whichever it is for; return how many records.

    Raises `StoreError`: what is not in the store then waits on.
    """
    store = _opener(settings, recorder=None)
    outbox = _outbox(settings, name)
    written = 0
    try:
        _tell_of_others(outbox, settings)  # with a wrong name nothing would be written, and nothing said
        store.open()
        while outbox.backlog.records:
            written += drain_into(store, outbox)
    finally:
        outbox.close()
        store.close()
    return written


def _opener(settings: Settings, *, recorder: str | None) -> LazyStore:
    url = settings.store_url
    opener = partial(open_store, url, writable=True, recorder=recorder)
    return LazyStore(redact(url), opener, None if recorder is None else partial(set_aside, url))


def _outbox(settings: Settings, name: str) -> RecorderOutbox:
    return open_outbox(places(settings.data_directory, name), _holder(name), settings.store.outbox_max)


def _outbox_or_none_yet(settings: Settings, name: str) -> RecorderOutbox:
    """Open the outbox, or have one that is opened as soon as its disk has room: the store may answer all the same."""
    try:
        return _outbox(settings, name)
    except OutboxRefused as exc:
        LOG.warning("%s; recording without an outbox until it can be opened", exc)
        return RecorderOutbox(places(settings.data_directory, name), _holder(name), settings.store.outbox_max)


def _holder(name: str) -> str:
    return f"recorder {name} (pid {os.getpid()} on {socket.gethostname()})"


def _bind(outbox: RecorderOutbox, settings: Settings, name: str) -> None:
    """Make it the outbox of this store, unless it holds something for another one."""
    backlog, ours = outbox.backlog, identity(settings.store_url)
    if backlog.records and backlog.store not in ("", ours):
        raise UsageError(
            f"{backlog.records:,} records wait in the outbox of recorder {escape(name)} for the store {backlog.store}, "
            f"not for {ours}: `cryptofeed record --drain --name {escape(name)} --store URL` writes them into a store"
        )
    if backlog.store != ours:
        outbox.bind(ours)


def _tell_of_others(outbox: RecorderOutbox, settings: Settings) -> None:
    """Tell of what waits in the outboxes of other names."""
    for path in outboxes(settings.data_directory):
        if path != outbox.path:
            _tell(path)


def _tell(path: Path) -> None:
    try:
        other = inspect(path)
    except (OutboxError, StoreTooNew):
        return  # `status` shows it
    if other.records:
        LOG.warning("%s records for the store %s wait in the outbox %s", f"{other.records:,}", other.store, path)


def _drain_first(outbox: RecorderOutbox, store: Store, clock: Clock) -> None:
    deadline = clock.monotonic() + DRAINED_FIRST
    before = outbox.backlog.records
    while outbox.backlog.records and clock.monotonic() < deadline:
        try:
            drain_into(store, outbox)
        except (StoreUnreachable, OutboxRefused):
            break  # the writer has more patience
    written = before - outbox.backlog.records
    if before:
        LOG.info("%s of %s records that an earlier run left are in the store now", f"{written:,}", f"{before:,}")


def drain_into(store: Store, outbox: RecorderOutbox) -> int:
    """Write the oldest of what waits into the store, as much as goes there at once; return how many records."""
    batch = outbox.peek(MOST_RECORDS, MOST_BYTES)
    if batch is None:
        return 0
    store.write(batch.records)
    outbox.remove(batch.number)
    return len(batch.records)
