"""Which recorder of several records a symbol, by rendezvous hash; knows nothing of what else they do.

Every shard draws a number for a symbol, the same in every process, and the highest one has it. So any number of shards
divides any set of symbols, and one shard more takes its share evenly from the others and moves nothing between them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from hashlib import blake2b

import msgspec

from cryptofeed_cli.errors import UsageError

MOST = 1024
"""Shards there can be: every symbol is tried with each."""

_SHARD = re.compile(r"([1-9]\d{0,3})/([1-9]\d{0,3})", re.ASCII)


class Shard(msgspec.Struct, frozen=True):
    """One of ``count`` parts of all symbols; ``str`` writes it as ``2/4``."""

    number: int = 1
    """From 1."""
    count: int = 1

    def holds(self, symbol: str) -> bool:
        """Tell whether a symbol is in this part."""
        return max(range(1, self.count + 1), key=lambda number: _draw(symbol, number)) == self.number

    def of(self, symbols: Iterable[str]) -> tuple[str, ...]:
        """Return the symbols in this part, in their order."""
        return tuple(symbol for symbol in symbols if self.holds(symbol))

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"


WHOLE = Shard()
"""All symbols."""


def parse_shard(text: str) -> Shard:
    """Understand ``2/4``; raise `UsageError` otherwise."""
    match = _SHARD.fullmatch(text.strip())
    shard = WHOLE if match is None else Shard(int(match[1]), int(match[2]))
    if match is None or not shard.number <= shard.count <= MOST:
        raise UsageError(f"--shard {text!r} is no shard; write one of how many (at most {MOST}): 1/4, 2/4, ...")
    return shard


def _draw(symbol: str, number: int) -> bytes:
    return blake2b(f"{symbol}\0{number}".encode(), digest_size=16).digest()
