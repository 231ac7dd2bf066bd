"""A damaged outbox replaced by one with all that can be read of it; a kill at any moment of that loses nothing."""

from __future__ import annotations

import glob
import logging
import time
from contextlib import closing
from itertools import chain
from itertools import count as counting
from pathlib import Path

from cryptofeed_cli.errors import OutboxDamaged, OutboxError, OutboxRefused
from cryptofeed_cli.stores.outbox import Outbox

LOG = logging.getLogger(__name__)

NEW, DAMAGED = ".new", ".damaged-"
"""Added to the name of an outbox: what takes the place of a damaged one, and what is set aside, before its time."""
_LOGS = ("-wal", "-shm")
_UNLIMITED = 1 << 62
"""What was taken once is not refused for want of room when it is taken over."""


def open_or_mend(path: Path, limit: int) -> Outbox:
    """Open an outbox of at most ``limit`` bytes, made where it is missing, or another one where it is damaged.

    Raises an `OutboxError`, or `StoreTooNew`.
    """
    try:
        _finish(path)
    except OSError as exc:
        raise OutboxError(str(path), f"cannot be put in its place: {exc.strerror}") from exc
    try:
        return Outbox(path, limit)
    except OutboxDamaged as exc:
        return _anew(path, limit, exc, None)


def mend(outbox: Outbox, limit: int, reason: OutboxDamaged) -> Outbox:
    """Close an outbox that turned out damaged, and return another one in its place.

    Raises an `OutboxError` where there can be no other now; the damaged one is then still in its place.
    """
    outbox.close()
    fresh = _anew(outbox.path, limit, reason, outbox.backlog.store)
    fresh.goes_on(outbox)
    return fresh


def _anew(path: Path, limit: int, reason: OutboxDamaged, store: str | None) -> Outbox:
    """Put a new file in the place of a damaged one, which goes only when the new one has all that can be read.

    So after a kill either the damaged file is in its place, and all this is done again, or `_finish` has what to do.
    """
    new = _beside(path, NEW)
    try:
        _remove(new)
        with closing(Outbox(new, _UNLIMITED)) as fresh:
            saved = fresh.salvage(path, store)
        aside = _unused(path)
        _move(path, aside)
        new.rename(path)
    except OSError as exc:
        raise OutboxRefused(str(path), f"{reason.reason}, and cannot be set aside: {exc.strerror}") from exc
    outbox = Outbox(path, limit)
    LOG.error("%s; it is set aside as %s, and the %d records that can be read of it wait on", reason, aside, saved)
    return outbox


def _finish(path: Path) -> None:
    """Finish what `_anew` began in a run that was killed."""
    new, log = _beside(path, NEW), _beside(path, f"{NEW}-wal")
    if path.exists() or (log.exists() and log.stat().st_size):
        _remove(new)  # the damaged file goes only when the new one is complete, and then that has no log
    elif new.exists():
        # The log of the damaged file would be taken for the new one's.
        before = [one for one in path.parent.glob(f"{glob.escape(path.name)}{DAMAGED}*") if one.name[-4:] not in _LOGS]
        _move(path, max(before, default=_unused(path)))
        new.rename(path)
        LOG.warning("%s: what could be read of a damaged outbox is in its place, where a kill left it beside", path)


def _move(path: Path, aside: Path) -> None:
    # The file before its logs: as long as it is in its place it needs them to be read.
    for suffix in ("", *_LOGS):
        source = _beside(path, suffix)
        if source.exists():
            source.rename(_beside(aside, suffix))


def _remove(path: Path) -> None:
    # The file last: without it a log would be nobody's.
    for suffix in (*_LOGS, ""):
        _beside(path, suffix).unlink(missing_ok=True)


def _unused(path: Path) -> Path:
    aside = _beside(path, f"{DAMAGED}{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}")
    names = chain([aside], (_beside(aside, f"-{number}") for number in counting(2)))
    return next(name for name in names if not name.exists())


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(f"{path.name}{suffix}")
