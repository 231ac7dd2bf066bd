"""Where a recorder keeps its local files: named by the recorder, in the data directory; opens none."""

from __future__ import annotations

import re
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

OUTBOX, STATUS = ".outbox", ".status.json"
_LONGEST = 100


class Places(NamedTuple):
    """The files of one recorder."""

    outbox: Path
    lock: Path
    """Held by the recorder while it runs."""
    status: Path


def places(directory: Path, name: str) -> Places:
    """Return the files of the recorder of a name, whatever characters that has."""
    stem = re.sub(r"[^\w.-]|^\.", "-", name)[:_LONGEST]
    if stem != name:
        stem += f"-{blake2b(name.encode(errors='replace'), digest_size=4).hexdigest()}"
    return Places(*(directory / f"{stem}{suffix}" for suffix in (OUTBOX, ".lock", STATUS)))


def outboxes(directory: Path) -> list[Path]:
    """Return every outbox there is, by name."""
    return sorted(directory.glob(f"*{OUTBOX}"))
