"""What is traded and what its market is like: facts of an instrument, and the figures that shape its order flow.

All of them are integers. What is known of nothing gets plain defaults.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Literal

import msgspec

from cryptofeed_cli.errors import UsageError

Type = Literal["SPOT", "SWAP", "FUTURES"]


class Step(msgspec.Struct, frozen=True):
    """A step of prices or sizes: ``units`` of the last of ``digits`` decimal places."""

    units: int
    digits: int

    @classmethod
    def parse(cls, text: str) -> Step:
        """Understand such as ``0.05``."""
        whole, _, fraction = text.partition(".")
        return cls(int(whole + fraction), len(fraction))

    def write(self, count: int) -> str:
        """Write so many steps, without needless zeros."""
        return decimal_text(count * self.units, self.digits)

    def count(self, text: str) -> int:
        """Return how many steps a number is, rounded down."""
        return int(Decimal(text).scaleb(self.digits)) // self.units


def decimal_text(units: int, digits: int) -> str:
    """Write ``units`` of the last of ``digits`` decimal places, without needless zeros."""
    if not digits:
        return str(units)
    whole, fraction = divmod(units, 10**digits)
    return f"{whole}.{fraction:0{digits}d}".rstrip("0").rstrip(".")


class Character(msgspec.Struct, frozen=True):
    """What one market is like."""

    volatility: int = 24_000
    """Standard deviation of the price over a second, in billionths of it. 24,000 are some 13 % a year."""
    spread: int = 1
    """Ticks between the best prices that makers aim at."""
    takers: int = 26
    """Of 256 orders so many trade at once."""
    hits: int = 88
    """Of 256 that meet a quote which the price has passed so many take it; the others are its maker, who pulls it."""
    orders: int = 800
    """How many orders rest in the book on average."""
    sizes: tuple[int, ...] = ()
    """Quantiles of what takers want, in lots, smallest first, a power of two of them. Empty: a plain power law."""


class Listing(msgspec.Struct, frozen=True):
    """One symbol."""

    symbol: str
    type: Type
    tick: Step
    lot: Step
    price: int
    """At the opening, in ticks."""
    size: int = 1
    """The least usual order, in lots."""
    contract: Step | None = None
    """What one contract is worth, in the base currency or, of an inverse one, in the quote currency."""
    inverse: bool = False
    character: Character = Character()
    bids: tuple[tuple[int, int], ...] = ()
    """The book at the opening, best first: ticks and lots. Empty, as are the asks then: made up."""
    asks: tuple[tuple[int, int], ...] = ()

    @property
    def currencies(self) -> tuple[str, str]:
        """The base and the quote currency."""
        base, quote, *_ = self.symbol.split("-")
        return base, quote


_PRICES = {
    "BTC": ("60000", "0.1"),
    "ETH": ("3000", "0.01"),
    "SOL": ("150", "0.01"),
    "BNB": ("600", "0.1"),
    "XRP": ("0.5", "0.0001"),
    "DOGE": ("0.12", "0.00001"),
}
"""Made up, of the right order of magnitude: the first price, and a tick."""
_SYMBOL = re.compile(r"[A-Z0-9]+-[A-Z0-9_]+(-SWAP|-\d{6})?", re.ASCII)
_OTHER = ("100", "0.01")
_CONTRACTS = {"BTC": "0.01", "ETH": "0.1", "DOGE": "1000", "XRP": "100"}


def listing(symbol: str) -> Listing:
    """Make up a listing that fits a symbol such as ``BTC-USDT``, ``BTC-USDT-SWAP`` or ``BTC-USD-261225``.

    Raises `UsageError` for a symbol of another shape.
    """
    if not _SYMBOL.fullmatch(symbol):
        examples = "a pair (BTC-USDT), a swap (BTC-USDT-SWAP) or a future (BTC-USD-261225)"
        raise UsageError(f"{symbol!r} cannot be simulated; write {examples}")
    base, *others = symbol.split("-")
    price, tick = _PRICES.get(base, _OTHER)
    step = Step.parse(tick)
    if len(others) == 1:
        lot = Step.parse("0.00001" if base in ("BTC", "ETH") else "0.001")
        return Listing(symbol, "SPOT", step, lot, step.count(price), size=40)
    inverse = others[0] == "USD"
    contract = "100" if inverse and base == "BTC" else "10" if inverse else _CONTRACTS.get(base, "1")
    return Listing(
        symbol, "SWAP" if others[1] == "SWAP" else "FUTURES", step, Step.parse("0.01" if not inverse else "1"),
        step.count(price), size=10 if not inverse else 1, contract=Step.parse(contract), inverse=inverse,
    )  # fmt: skip
