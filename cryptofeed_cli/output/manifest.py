"""What stands beside an exported file: what is in it, what is missing in it, and its hash; reads no store.

The same records and the same ledger give the same text: it holds no time of day, machine or path.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from cryptofeed_cli import __version__
from cryptofeed_cli.clock import format_milliseconds, format_nanoseconds
from cryptofeed_cli.completeness import Completeness
from cryptofeed_cli.stores.base import Span


class Export(msgspec.Struct, frozen=True):
    """What was asked for, and how it was written."""

    kind: str
    symbols: Sequence[str]
    """As they were asked for; empty: all."""
    sources: Sequence[str]
    span: Span
    fields: Sequence[str]
    format: str
    compression: str | None
    options: dict[str, Any]
    """What else shaped it, such as the interval of candles."""
    judged: list[Completeness] | None
    """None: completeness says nothing of this kind, or of these sources."""


def manifest_path(path: Path) -> Path:
    """Return where the manifest of a file stands."""
    return path.with_name(f"{path.name}.manifest.json")


def draw_manifest(path: Path, export: Export, *, rows: int, size: int, sha256: str) -> bytes:
    """Return the manifest of a file as JSON. ``size`` and ``sha256`` are those of the bytes on disk."""
    judged = export.judged
    text = {
        "file": path.name,
        "sha256": sha256,
        "bytes": size,
        "format": export.format,
        "compression": export.compression,
        "kind": export.kind,
        "symbols": export.symbols,
        "sources": sorted(export.sources),
        "since": _nanoseconds(export.span.since),
        "until": _nanoseconds(export.span.until),
        "fields": export.fields,
        "options": export.options,
        "rows": rows,
        "complete": None if judged is None else all(one.complete for one in judged),
        "judged": [] if judged is None else [_judged(one) for one in judged],
        "program": f"cryptofeed {__version__}",
    }
    return msgspec.json.format(msgspec.json.encode(text), indent=2) + b"\n"


def named(judged: Iterable[Completeness], most: int = 5) -> str:
    """Return in one line what is not complete, and where: symbol, channel and holes."""
    holes = [f"{one.symbol} {one.channel}: {hole}" for one in judged for hole in one.holes]
    more = f"; and {len(holes) - most:,} more" if len(holes) > most else ""
    return "; ".join(holes[:most]) + more


def _judged(one: Completeness) -> dict[str, Any]:
    return {
        "symbol": one.symbol,
        "channel": one.channel,
        "since": _milliseconds(one.since),
        "until": _milliseconds(one.until),
        "complete": one.complete,
        "holes": [
            {"start": _milliseconds(hole.start), "end": _milliseconds(hole.end), "why": hole.why, "gap_id": hole.gap_id}
            for hole in one.holes
        ],
    }


def _milliseconds(value: int | None) -> str | None:
    return None if value is None else format_milliseconds(value)


def _nanoseconds(value: int | None) -> str | None:
    return None if value is None else format_nanoseconds(value)
