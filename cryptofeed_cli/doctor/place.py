"""What this machine holds ready: configuration, store, disk, outbox; writes nothing."""

from __future__ import annotations

import shutil
from pathlib import Path

from cryptofeed_cli.config import Settings
from cryptofeed_cli.doctor.checks import Finding, Verdict
from cryptofeed_cli.standing import read_outboxes
from cryptofeed_cli.stores.probe import probe
from cryptofeed_cli.stores.urls import scheme, sqlite_path

LEAST_FREE = 100 << 20
"""Bytes on a disk below which a recording cannot go on for long."""


def look_at_configuration(settings: Settings) -> Finding:
    """Tell where it comes from, and what is probably not meant."""
    if settings.warnings:
        return Finding("; ".join(settings.warnings), Verdict.WARN, "correct it there")
    sources = sorted(set(settings.origins.values()))
    return Finding(f"from {', '.join(sources)}" if sources else "nothing is configured: everything is at its default")


def look_at_store(settings: Settings) -> Finding:
    """Ask whether the store answers and may be written to."""
    return Finding(probe(settings.store_url, made_on_demand=settings.data_directory))


def look_at_disk(settings: Settings) -> Finding:
    """Tell how much room there is where we write."""
    places = {settings.data_directory}
    if scheme(settings.store_url) == "sqlite":
        places.add(sqlite_path(settings.store_url).absolute().parent)
    told, verdict = [], Verdict.PASS
    for place in sorted(places):
        free = shutil.disk_usage(_existing(place)).free
        told.append(f"{_size(free)} free for {place}")
        if free < LEAST_FREE:
            verdict = Verdict.FAIL
        elif free < settings.store.outbox_max and verdict is Verdict.PASS:
            verdict = Verdict.WARN
    cures = {
        Verdict.FAIL: "make room, or record elsewhere (CRYPTOFEED_DATA_DIR, --store)",
        Verdict.WARN: f"less than store.outbox_max ({_size(settings.store.outbox_max)}), which an outage may take",
    }
    return Finding("; ".join(told), verdict, cures.get(verdict))


def look_at_outbox(settings: Settings) -> Finding:
    """Tell what waits on this disk for a store that did not answer."""
    found = read_outboxes(settings.data_directory)
    for one in found:
        if one.problem is not None:
            return Finding(f"{one.path}: {one.problem}", Verdict.WARN, "`cryptofeed record` saves what it can")
    if not found:
        return Finding(f"nothing waits in {settings.data_directory}")
    told = "; ".join(f"{one.records:,} records ({_size(one.bytes)}) in {one.path} since {one.since}" for one in found)
    return Finding(told, Verdict.WARN, "`cryptofeed record` brings it into the store as soon as that answers")


def _existing(path: Path) -> Path:
    while not path.exists() and path != path.parent:
        path = path.parent
    return path


def _size(count: int) -> str:
    for unit, size in (("GiB", 1 << 30), ("MiB", 1 << 20)):
        if count >= size:
            return f"{count / size:,.1f} {unit}"
    return f"{count:,} bytes"
