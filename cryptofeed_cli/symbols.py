"""Patterns of symbols, such as ``BTC-*-SWAP``; pure: knows instruments, asks nobody."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from cryptofeed_cli.types import Instrument

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


def unmatched(patterns: Sequence[str], symbols: Iterable[str]) -> list[str]:
    """Return the patterns that stand for none of the symbols."""
    symbols = list(symbols)
    return [
        pattern
        for pattern in patterns
        if is_pattern(pattern) and not any(fnmatchcase(symbol, pattern.replace("[", "[[]")) for symbol in symbols)
    ]
