"""How a recorder stands, in a small file of its own: for when nobody can ask the store; knows no store."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from cryptofeed_cli.stores.places import STATUS


class Standing(msgspec.Struct, frozen=True):
    """One recorder at one instant. Times as text, by our own clock."""

    name: str
    run_id: str
    host: str
    pid: int
    state: str
    """As the live view has it, or ``STOPPED`` or ``FAILED``."""
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
            found.append(msgspec.json.decode(path.read_bytes(), type=Standing))
        except (OSError, msgspec.DecodeError):
            continue
    return found
