"""Simulations for tests: a market, a session that hears it, and what comes of both; opens no socket."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cryptofeed_cli.clock import SECOND
from cryptofeed_cli.exchanges.okx import Okx
from cryptofeed_cli.feeds.base import Event, Frame
from cryptofeed_cli.feeds.simulated import SimulatedFeed
from cryptofeed_cli.session import Session, SessionOptions
from cryptofeed_cli.simulation.draws import generator
from cryptofeed_cli.simulation.listing import listing
from cryptofeed_cli.simulation.market import Market
from cryptofeed_cli.simulator import Plan, make_plan
from cryptofeed_cli.types import CHANNELS

START_MS = 1_795_000_000_000
SYMBOLS = ("BTC-USDT-SWAP", "ETH-USDT", "BTC-USD-261225")


def market(seed: int = 1, *, symbols: Sequence[str] = SYMBOLS, rate: int = 200) -> Market:
    """Open a market of made-up listings."""
    return Market(tuple(map(listing, symbols)), "OKX", Okx().showing, seed=seed, start_ms=START_MS, rate=rate)


def plan(seed: int = 1, *, symbols: Sequence[str] = SYMBOLS, faults: str | None = None, rate: int = 600) -> Plan:
    """Plan a simulation."""
    return make_plan(symbols, seed=seed, start=START_MS * 10**6, rate=rate, faults=faults)


class Rehearsal:
    """A session that records every channel of a simulation, the witness of trades included."""

    def __init__(self, plan: Plan) -> None:
        self.records: list[Any] = []
        self.frames: list[Frame] = []
        self.feed = SimulatedFeed(plan.stage(Okx()), generator(plan.seed, "delays"))
        symbols = tuple(one.symbol for one in plan.listings)
        options = SessionOptions("run", symbols, CHANNELS, witness=True)
        self.session = Session(Okx(), options, self.records.append)
        self.session.start(self.feed.now)

    def run(self, seconds: int) -> Rehearsal:
        """Let market time pass."""
        until = self.feed.elapsed + seconds * SECOND
        while self.feed.elapsed < until:
            events: list[Event] = self.feed.take(0)
            self.frames += [event for event in events if isinstance(event, Frame)]
            self.session.handle(events)
            while self.session.actions:
                self.feed.perform(self.session.actions.popleft())
        return self

    def of(self, kind: type[Any], symbol: str | None = None) -> list[Any]:
        """Return the records of one type, in order."""
        return [one for one in self.records if isinstance(one, kind) and symbol in (None, one.symbol)]
