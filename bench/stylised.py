"""The command ``python -m bench.stylised``: the figures and plots of docs/simulator.md; judges nothing.

One column is made up, the other is the real capture where ``CRYPTOFEED_CAPTURES`` is set.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Sequence
from math import log10

from cryptofeed_cli.clock import MINUTE, SECOND
from cryptofeed_cli.exchanges.base import Tickers, Trades
from cryptofeed_cli.exchanges.okx import Okx
from cryptofeed_cli.simulator import make_plan
from cryptofeed_cli.types import MarketRecord
from tests.captures import capture_tape
from tests.okx_market import fill_row, write_frame
from tests.stylised_facts import Facts, autocorrelation

_START = 1_795_000_000 * SECOND
_REAL = "BTC-USDT"
_WIDTH = 50


def main() -> None:
    """Parse the arguments; simulate, measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.stylised", description="A made-up market in figures.")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=int, default=60)
    given = parser.parse_args()
    facts = Facts(_simulated(given.seed, given.minutes), 0.1)
    real = Facts(_captured(), 0.1) if os.environ.get("CRYPTOFEED_CAPTURES") else None
    print(f"{'':44}{'simulated':>22}{'real, 2022-05-13':>20}")
    beside = ["(no captures)"] * 11 if real is None else [value for _, value in real.shown()]
    for (name, value), other in zip(facts.shown(), beside, strict=True):
        print(f"{name:44}{value:>22}{other:>20}")
    _plot(
        "Autocorrelation of absolute 1 s returns, by lag in seconds",
        [(str(lag), autocorrelation(facts.absolute_returns, lag)) for lag in (1, 2, 5, 10, 20, 30, 60, 120, 300)],
    )
    largest = sorted(facts.sizes)
    _plot(
        "Share of takers who got more than so many times the median size, on a logarithmic scale",
        [(f"x{times}", _tail(largest, times)) for times in (1, 2, 5, 10, 20, 50, 100, 200)],
        logarithmic=True,
    )
    counts = [(str(ticks), sum(round(one) == ticks for one in facts.spreads)) for ticks in range(1, 11)]
    _plot("Share of tickers by spread in ticks", [(name, count / len(facts.spreads)) for name, count in counts])
    volatilities = facts.minute_volatilities
    _plot(
        "Volatility by minute: absolute 1 s returns added up, in ticks (every third minute)",
        [(f"{minute}", one) for minute, one in enumerate(volatilities) if minute % 3 == 0],
    )


def _simulated(seed: int, minutes: int) -> Iterator[MarketRecord]:
    market = make_plan(["BTC-USDT-SWAP"], seed=seed, start=_START, rate=100).stage(Okx()).market
    while (market.now_ms - market.start_ms) * 10**6 < minutes * MINUTE:
        yield from market.step()


def _captured() -> Iterator[MarketRecord]:
    for push in capture_tape():
        if push.symbol != _REAL or push.channel == "books":
            continue
        single = push.channel == "trades"
        channel, row = ("trades-all", fill_row(push.row)) if single else ("tickers", push.row)
        message = Okx().parse(write_frame(channel, push.symbol, row), 0, "live")
        if isinstance(message, Trades | Tickers):
            yield from message.records


def _tail(ordered: Sequence[float], times: int) -> float:
    bound = ordered[len(ordered) // 2] * times
    return sum(one > bound for one in ordered) / len(ordered)


def _plot(title: str, points: Sequence[tuple[str, float]], *, logarithmic: bool = False) -> None:
    """Print bars."""
    print(f"\n{title}\n")
    lengths = [value for _, value in points]
    if logarithmic:
        least = min(value for value in lengths if value)
        lengths = [log10(value / least) + 0.1 if value else 0.0 for value in lengths]
    longest = max(lengths) or 1
    for (name, value), length in zip(points, lengths, strict=True):
        print(f"{name:>6} {value:9.4f} {'#' * round(max(0.0, length) / longest * _WIDTH)}".rstrip())


if __name__ == "__main__":
    main()
