"""A recording at one instant, for whoever shows it: screens, metrics; computes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

import msgspec

from cryptofeed_cli.stores.base import Written
from cryptofeed_cli.stores.outbox import Backlog


class State(StrEnum):
    """What a recorder is doing, in one word."""

    CONNECTING = "CONNECTING"
    LIVE = "LIVE"
    RECONNECTING = "RECONNECTING"
    SIMULATED = "SIMULATED"
    HALTED = "HALTED"
    """Neither the store nor the outbox takes anything."""


class SymbolView(msgspec.Struct, frozen=True):
    """One symbol at one instant, for whoever shows it."""

    symbol: str
    price: str | None
    lag_ms: int | None
    """Receipt minus exchange time of the last record."""
    book_valid: bool | None
    """None: books are not recorded."""
    gaps: int
    stored: Mapping[str, int]
    """Durable records by kind."""
    bid: str | None = None
    ask: str | None = None
    open_gaps: int = 0
    """Of those, how many may still be filled or have not ended."""
    heard_ms: int | None = None
    """How long ago its last frame came, whatever that was."""


class View(msgspec.Struct, frozen=True):
    """A recording at one instant."""

    state: State
    elapsed: int
    """Nanoseconds since the start."""
    frames: int
    rejects: int
    written: Written
    symbols: list[SymbolView]
    refused: dict[str, str]
    """Symbols of which the exchange refused something, with its reason."""
    outbox: Backlog = Backlog()
    away: str | None = None
    """Why the store takes nothing; None: it does, as far as is known."""
    connects: int = 0
    clock_offset_ms: int | None = None
    episodes: int = 0
    """How often a simulation stood in for the exchange."""
