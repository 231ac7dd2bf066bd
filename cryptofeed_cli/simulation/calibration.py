"""Makes a market like a recorded one: by trying, measuring what came of it, and correcting; reads no store."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from cryptofeed_cli.errors import UsageError
from cryptofeed_cli.exchanges.base import Showing
from cryptofeed_cli.simulation.flow import BILLION
from cryptofeed_cli.simulation.listing import Listing, Step, Type, listing
from cryptofeed_cli.simulation.market import Happening, Market
from cryptofeed_cli.simulation.measuring import Measures, measure
from cryptofeed_cli.types import Instrument, MarketRecord, Trade

ROUNDS = 5
TRIAL_MS = 300_000
"""How long each market that is tried runs, by its own clock."""
LEAST_TAKERS = 50
"""So many make the least that says anything."""
LEAST_RATE, MOST_RATE = 10, 2_000
_TYPES: dict[str, Type] = {"SPOT": "SPOT", "SWAP": "SWAP", "FUTURES": "FUTURES"}
_SEED = 1


class Likeness(msgspec.Struct, frozen=True):
    """A market like a recorded one, and how like it is."""

    listing: Listing
    rate: int
    """Orders a second."""
    recorded: Measures
    simulated: Measures

    def lines(self) -> Iterator[str]:
        """Yield a table: what was recorded, what the made-up market does, and how much of it that is."""
        one, other = self.recorded, self.simulated
        half, most = len(one.sizes) // 2, len(one.sizes) - 4
        rows = [
            ("takers an hour", one.takers_per_hour, other.takers_per_hour),
            ("volatility, ppb in a second", one.volatility, other.volatility),
            ("spread, hundredths of a tick", one.spread, other.spread),
            ("median size, lots", one.sizes[half], other.sizes[half]),
            ("95th percentile size, lots", one.sizes[most], other.sizes[most]),
        ]
        yield f"{self.listing.symbol:30}{'recorded':>12}{'simulated':>12}{'match':>8}"
        for name, recorded, simulated in rows:
            match = f"{100 * simulated // recorded} %" if recorded else "-"
            yield f"{name:30}{recorded:12,}{simulated:12,}{match:>8}"


def known_listing(symbol: str, instrument: Instrument | None, trades: Iterable[Trade]) -> Listing:
    """Return the listing of a recorded symbol: by its instrument, else with the steps that its trades show."""
    if instrument is None:
        digits = [(_digits(one.price), _digits(one.size)) for one in trades]
        prices, sizes = (max(column) for column in zip(*digits, strict=True))
        return msgspec.structs.replace(listing(symbol), tick=Step(1, prices), lot=Step(1, sizes), size=1)
    kind = _TYPES.get(instrument.type)
    if kind is None or instrument.tick_size is None or instrument.lot_size is None:
        raise UsageError(f"--like {symbol}: {instrument.type} cannot be simulated; name a spot, swap or future")
    contract = None if instrument.contract_value is None else Step.parse(instrument.contract_value)
    return Listing(
        symbol, kind, Step.parse(instrument.tick_size), Step.parse(instrument.lot_size), 1, contract=contract,
        inverse=instrument.contract_type == "inverse",
    )  # fmt: skip


def calibrate(known: Listing, records: Iterable[MarketRecord], exchange: str, showing: Showing) -> Likeness:
    """Return a market like the one that trades and tickers tell of; raise `UsageError` where they are too few."""
    recorded = measure(known, records)
    if recorded.takers < LEAST_TAKERS:
        raise UsageError(
            f"--like {known.symbol}: only {recorded.takers} orders traded in that time, which says too little; "
            f"widen --since and --until to {LEAST_TAKERS} or more"
        )
    moves = recorded.volatility * recorded.price // BILLION
    rate = min(max(recorded.takers_per_hour // 500, 4 * moves * moves, LEAST_RATE), MOST_RATE)
    character = msgspec.structs.replace(
        known.character, volatility=max(1, recorded.volatility * 2 // 3), spread=max(1, (recorded.spread + 50) // 100),
        sizes=recorded.sizes,
    )  # fmt: skip
    # What rests in a book is told by none of these records: about as much as what takers want, or they would sweep it.
    makers = max(1, recorded.sizes[len(recorded.sizes) // 2] * 2 // 3)
    tried: list[tuple[int, Listing, Measures]] = []
    for _ in range(ROUNDS):
        one = msgspec.structs.replace(known, price=recorded.price, size=makers, character=character)
        found = measure(one, _trial(one, exchange, showing, rate))
        tried.append((_distance(recorded, found), one, found))
        aim = max(1, character.spread + (recorded.spread - found.spread) // 100) if recorded.spread else 1
        character = msgspec.structs.replace(
            character,
            volatility=_corrected(character.volatility, recorded.volatility, found.volatility, BILLION // 100),
            takers=_corrected(character.takers, recorded.takers_per_hour, found.takers_per_hour, 128),
            hits=_corrected(character.hits, recorded.takers_per_hour, found.takers_per_hour, 224),
            spread=aim,
        )
    _, best, simulated = min(tried, key=lambda each: each[0])
    return Likeness(best, rate, recorded, simulated)


def _trial(one: Listing, exchange: str, showing: Showing, rate: int) -> Iterator[Happening]:
    market = Market((one,), exchange, showing, seed=_SEED, start_ms=0, rate=rate)
    while market.now_ms < TRIAL_MS:
        yield from market.step()


def _corrected(value: int, wanted: int, found: int, most: int) -> int:
    """Scale a value as much as it fell short, at most four times either way."""
    if not found:
        return min(most, 2 * value)
    return min(most, max(1, min(4 * value, max(value // 4, value * wanted // found))))


def _distance(recorded: Measures, found: Measures) -> int:
    """Return how unlike two markets are: the thousandths by which each figure is off, added up."""
    pairs = [
        (recorded.takers_per_hour, found.takers_per_hour), (recorded.volatility, found.volatility),
        (recorded.spread, found.spread),
    ]  # fmt: skip
    return sum(1000 * abs(one - other) // max(one, other, 1) for one, other in pairs if one)


def _digits(text: str) -> int:
    return len(text.partition(".")[2])
