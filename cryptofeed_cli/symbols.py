"""Patterns of symbols, such as ``BTC-*-SWAP``, and the instruments that they mean."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from fnmatch import fnmatchcase
from http import HTTPStatus

from cryptofeed_cli.errors import ExchangeError, ProtocolError, RequestFailed, UsageError
from cryptofeed_cli.exchanges.base import Exchange
from cryptofeed_cli.rest import Response
from cryptofeed_cli.stores.base import Store
from cryptofeed_cli.types import KINDS, Instrument

LOG = logging.getLogger(__name__)

MANY_PARTS = "OPTION"
"""Instruments of this type are matched only by patterns with as many parts: there are thousands of them."""


def is_pattern(symbol: str) -> bool:
    """Tell whether a symbol stands for several: ``*`` is any text, ``?`` any character."""
    return "*" in symbol or "?" in symbol


def matches(pattern: str, instrument: Instrument) -> bool:
    """Tell whether a pattern or symbol means an instrument."""
    symbol = instrument.symbol
    if instrument.type == MANY_PARTS and pattern.count("-") != symbol.count("-"):
        return False
    return fnmatchcase(symbol, pattern.replace("[", "[[]"))


def resolve(patterns: Sequence[str], instruments: Iterable[Instrument]) -> tuple[str, ...]:
    """Return the symbols that are meant: those named first and as they are, then those that match and trade, sorted."""
    named = [pattern for pattern in patterns if not is_pattern(pattern)]
    wild = [pattern for pattern in patterns if is_pattern(pattern)]
    trading = (one for one in instruments if one.state == "live")
    found = sorted({one.symbol for one in trading if any(matches(pattern, one) for pattern in wild)} - set(named))
    return (*dict.fromkeys(named), *found)


def find_symbols(
    patterns: Sequence[str], exchange: Exchange, store: Store, ask: Callable[[str], Response], now: int
) -> tuple[str, ...]:
    """Return the symbols that patterns mean: asked of the exchange, or of the store where that cannot be.

    Raises `UsageError` for a pattern that means nothing, `ExchangeError` where nobody can be asked.
    """
    try:
        instruments = _listed(patterns, exchange, ask, now)
    except ExchangeError as exc:
        instruments = _stored(exchange, store)
        if not instruments:
            raise
        LOG.warning("%s; patterns mean the instruments in the store", exc)
    symbols = resolve(patterns, instruments)
    for pattern in patterns:
        if is_pattern(pattern) and not any(matches(pattern, one) for one in instruments if one.symbol in symbols):
            raise UsageError(f"{pattern!r} matches no instrument of {exchange.name} that is traded")
    return symbols


def _listed(
    patterns: Sequence[str], exchange: Exchange, ask: Callable[[str], Response], now: int
) -> list[Instrument]:
    found: list[Instrument] = []
    for path in exchange.instrument_paths(patterns):
        answer = ask(path)
        if answer.status != HTTPStatus.OK:
            raise RequestFailed(path, f"HTTP {answer.status}")
        try:
            found += exchange.parse_instruments(answer.body, now, "backfill")
        except ProtocolError as exc:
            raise RequestFailed(path, exc.reason) from exc
    return found


def _stored(exchange: Exchange, store: Store) -> list[Instrument]:
    kind = KINDS["instruments"]
    series = (one for one in store.series(kind) if one.exchange == exchange.name)
    return [next(store.scan(kind, one, descending=True)) for one in series]
