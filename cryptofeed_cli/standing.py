"""How recorders of this machine stand, by their own local files: for when nobody can ask the store; opens no store."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import msgspec

from cryptofeed_cli.clock import format_nanoseconds
from cryptofeed_cli.errors import StoreError
from cryptofeed_cli.stores.outbox import inspect
from cryptofeed_cli.stores.places import STATUS, outboxes
from cryptofeed_cli.types import Run

STOPPED, FAILED, DEAD = "STOPPED", "FAILED", "DEAD"
SINCE = "since_"
"""What the counter of a run begins with that says what it is doing, and since when, in nanoseconds: ``since_live``."""


class Standing(msgspec.Struct, frozen=True):
    """One recorder at one instant. Times as text, by our own clock."""

    name: str
    run_id: str
    host: str
    pid: int
    state: str
    """As the live view has it, or ``STOPPED`` or ``FAILED``; read back: ``DEAD`` where its process is gone."""
    store: str
    """Never with a password in it."""
    store_away: str | None
    """Why the store takes nothing; null: it does."""
    at: str
    durable_at: str | None
    """When something became durable last, in the store or in the outbox."""
    outbox_records: int
    outbox_bytes: int
    outbox_since: str | None
    """When the oldest record that waits was recorded."""
    since: str | None = None
    """Since when it is in that state."""
    heard: dict[str, dict[str, int]] = {}
    """How many milliseconds before ``at`` the last frame came, by symbol and channel."""


class OutboxStatus(msgspec.Struct, frozen=True):
    """One outbox at one instant."""

    path: str
    store: str
    """For which store its contents are; never with a password in it."""
    records: int
    bytes: int
    since: str | None
    """When the oldest record that waits was recorded."""
    problem: str | None = None
    """Why it cannot be read; null: it can."""


def write_standing(path: Path, standing: Standing) -> None:
    """Put it in the place of the last one, whole at any time. Raises `OSError`."""
    beside = path.with_name(f"{path.name}.new")
    beside.write_bytes(msgspec.json.format(msgspec.json.encode(standing), indent=2) + b"\n")
    os.replace(beside, path)


def read_standings(directory: Path) -> list[Standing]:
    """Return how every recorder of a data directory stood last, by file; what is no standing is left out."""
    found = []
    for path in sorted(directory.glob(f"*{STATUS}")):
        try:
            one = msgspec.json.decode(path.read_bytes(), type=Standing)
        except (OSError, msgspec.DecodeError):
            continue
        over = one.state in (STOPPED, FAILED) or is_alive(one.pid)
        found.append(one if over else msgspec.structs.replace(one, state=DEAD))
    return found


def read_outboxes(directory: Path) -> list[OutboxStatus]:
    """Return every outbox of a data directory in which something waits, or that cannot be read, by file."""
    found = []
    for path in outboxes(directory):
        try:
            backlog = inspect(path)
        except StoreError as exc:
            found.append(OutboxStatus(str(path), "", 0, path.stat().st_size, None, exc.reason))
            continue
        if backlog.since is not None:
            since = format_nanoseconds(backlog.since)
            found.append(OutboxStatus(str(path), backlog.store, backlog.records, backlog.bytes, since))
    return found


def is_here(run: Run) -> bool:
    """Tell whether a run is a process of this machine that goes on."""
    return run.host == socket.gethostname() and is_alive(run.pid)


def is_alive(pid: int) -> bool:
    """Tell whether a process of this machine is running."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # of somebody else
        return True
    return True
