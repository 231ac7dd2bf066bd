"""What is said of a market's trades and quotes: tails, clusters, memory; made up or real. Statistics, so in floats."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import groupby, pairwise
from statistics import fmean, median

from cryptofeed_cli.types import MarketRecord, Ticker, Trade

LONG_ENOUGH = 600
"""Seconds below which most figures are noise."""


class Facts:
    """The figures of one symbol. Needs its ticks; times are whole seconds from its first record on."""

    def __init__(self, records: Iterable[MarketRecord], tick: float) -> None:
        records = list(records)
        trades = [one for one in records if isinstance(one, Trade)]
        tickers = [one for one in records if isinstance(one, Ticker) and one.bid and one.ask]
        begin = min(one.timestamp or 0 for one in (*trades[:1], *tickers[:1])) // 1000
        end = max(one.timestamp or 0 for one in (*trades[-1:], *tickers[-1:])) // 1000
        mids, spreads = {}, []
        for one in tickers:
            bid, ask = float(one.bid or 0) / tick, float(one.ask or 0) / tick
            mids[(one.timestamp or 0) // 1000] = (bid + ask) / 2
            spreads.append(ask - bid)
        first = next(iter(mids.values()))
        self.mids = [first := mids.get(second, first) for second in range(begin, end + 1)]
        """In ticks, at the end of each second."""
        self.spreads = spreads
        """In ticks, of each ticker."""
        self.returns = [after - before for before, after in pairwise(self.mids)]
        """Of each second, in ticks."""
        takers = [list(fills) for _, fills in groupby(trades, lambda one: (one.timestamp, one.side))]
        self.sizes = [sum(float(fill.size) for fill in fills) for fills in takers]
        """What each taker got: fills of one millisecond and side belong together."""
        self.signs = [1.0 if fills[0].side == "buy" else -1.0 for fills in takers]
        counts = Counter((fills[0].timestamp or 0) // 1000 for fills in takers)
        self.arrivals = [float(counts[second]) for second in range(begin, end + 1)]
        """Takers of each second."""

    @property
    def minute_volatilities(self) -> list[float]:
        """The absolute returns of each minute's seconds, summed up."""
        return [sum(map(abs, self.returns[at : at + 60])) for at in range(0, len(self.returns) - 59, 60)]

    def dispersion(self, seconds: int) -> float:
        """Variance over mean of the takers that come in so many seconds; of a Poisson process it is 1."""
        counts = [sum(self.arrivals[at : at + seconds]) for at in range(0, len(self.arrivals) - seconds + 1, seconds)]
        mean = fmean(counts)
        return fmean((one - mean) ** 2 for one in counts) / mean

    @property
    def absolute_returns(self) -> list[float]:
        """Of each second, in ticks."""
        return [abs(one) for one in self.returns]

    def shown(self) -> list[tuple[str, str]]:
        """The figures as a table. What cannot be told from so little is ``-``."""
        long = len(self.mids) >= LONG_ENOUGH

        def correlations(series: Sequence[float], *lags: int) -> str:
            return " / ".join(f"{autocorrelation(series, lag):+.2f}" for lag in lags) if long else "-"

        return [
            ("seconds", f"{len(self.mids):,}"),
            ("takers a second", f"{fmean(self.arrivals):.1f}"),
            ("deviation of 1 s returns, ticks", f"{_deviation(self.returns):.1f}"),
            ("kurtosis of 1 s returns", f"{kurtosis(self.returns):.1f}" if long else "-"),
            ("autocorrelation of 1 s returns, 1 / 10 s", correlations(self.returns, 1, 10)),
            ("... of their absolutes, 1 / 10 / 60 s", correlations(self.absolute_returns, 1, 10, 60)),
            ("... of minutes' volatility, 1 / 2 min", correlations(self.minute_volatilities, 1, 2)),
            ("... of takers' signs, 1 / 10 takers", correlations(self.signs, 1, 10)),
            ("index of dispersion of takers, 1 / 10 s",
             f"{self.dispersion(1):.1f}" + (f" / {self.dispersion(10):.1f}" if long else " / -")),
            ("spread, ticks: median / mean", f"{median(self.spreads):.0f} / {fmean(self.spreads):.1f}"),
            ("tail exponent of takers' sizes", f"{tail_exponent(self.sizes, 0.02):.2f}" if long else "-"),
        ]  # fmt: skip


def autocorrelation(series: Sequence[float], lag: int) -> float:
    """Return the sample autocorrelation; not a number where it cannot be known."""
    mean = fmean(series)
    spans = [one - mean for one in series]
    whole = sum(one * one for one in spans)
    return math.nan if lag >= len(series) or not whole else (
        sum(before * after for before, after in zip(spans, spans[lag:], strict=False)) / whole
    )  # fmt: skip


def kurtosis(series: Sequence[float]) -> float:
    """Return the fourth moment over the square of the second; of a normal law it is 3."""
    mean = fmean(series)
    second = fmean((one - mean) ** 2 for one in series)
    return fmean((one - mean) ** 4 for one in series) / second**2 if second else math.nan


def tail_exponent(series: Sequence[float], share: float) -> float:
    """Return Hill's estimate from the largest ``share`` of a series."""
    ordered = sorted(series, reverse=True)
    count = int(len(ordered) * share)
    if not count:
        return math.nan
    logarithms = sum(math.log(one / ordered[count]) for one in ordered[:count])
    return count / logarithms if logarithms else math.nan


def _deviation(series: Sequence[float]) -> float:
    return math.sqrt(fmean(one * one for one in series))
