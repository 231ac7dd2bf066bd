"""What `store.retention` does while a recorder runs: prunes now and then, in a thread and over a connection of its own.

The recorder's own connection is never used, so nothing here holds up its writes but the short locks of a database.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

from cryptofeed_cli.clock import HOUR, SECOND, Clock, format_duration
from cryptofeed_cli.errors import StoreError, ThreadDied
from cryptofeed_cli.pruning import Pruner, portions, prunable
from cryptofeed_cli.stores.base import Store

LOG = logging.getLogger(__name__)

EVERY = HOUR
_THREAD = "retention"
_PATIENCE = 10.0
"""Seconds that a step of it may still take when the recording ends."""


@contextmanager
def retention(
    age: int | None, open_store: Callable[[], Store], clock: Clock, stop: threading.Event
) -> Iterator[None]:
    """Remove what is older than ``age`` nanoseconds while the block runs, at once and then every hour; None: nothing.

    A store that does not answer is tried again an hour later. Whatever else ends the thread sets ``stop``, and is
    raised as `ThreadDied` at the end of the block.
    """
    if age is None:
        yield
        return
    over = threading.Event()
    failures: list[Exception] = []

    def run() -> None:
        try:
            while not over.is_set():
                _prune(age, open_store, clock, over)
                over.wait(EVERY / SECOND)
        except Exception as exc:  # whatever it is, the recording must not go on as if old data went
            failures.append(exc)
            stop.set()

    thread = threading.Thread(target=run, name=_THREAD, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(_PATIENCE)
    if failures:
        raise ThreadDied(_THREAD, failures[0])


def _prune(age: int, open_store: Callable[[], Store], clock: Clock, over: threading.Event) -> None:
    before = clock.now() - age
    try:
        with closing(open_store()) as store:
            pruner = Pruner(store, clock, over)
            pruner.run(portions(store, prunable(None), before))
    except StoreError as exc:
        LOG.warning("%s; old records stay for another %s", exc, format_duration(EVERY))
        return
    removed = sum(pruner.removed.values())
    if removed:
        LOG.info("removed %s records older than %s", f"{removed:,}", format_duration(age))
