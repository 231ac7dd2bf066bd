"""One simulated hour against what is known of real markets. The bounds are fixed, and wide: they are those of the kind.

Sources: Cont (2001), "Empirical properties of asset returns: stylized facts and statistical issues"; Gopikrishnan,
Plerou, Gabaix and Stanley (2000), "Statistical properties of share volume traded in financial markets"; Lillo and
Farmer (2004), "The long memory of the efficient market"; Bacry, Mastromatteo and Muzy (2015), "Hawkes processes in
finance"; Wyart, Bouchaud, Kockelkoren, Potters and Vettorazzo (2008), "Relation between bid-ask spread, impact and
volatility in order-driven markets". What they say, and how it is measured here: docs/simulator.md.
"""

from __future__ import annotations

from statistics import fmean, median

import pytest

from tests.simulations import START_MS, market
from tests.stylised_facts import Facts, autocorrelation, kurtosis, tail_exponent

SYMBOL = "BTC-USDT-SWAP"
HOUR_MS = 3_600_000


@pytest.fixture(scope="module")
def facts() -> Facts:
    """An hour of one symbol."""
    opened, records = market(1, symbols=[SYMBOL], rate=100), []
    while opened.now_ms < START_MS + HOUR_MS:
        records += opened.step()
    return Facts(records, 0.1)


def test_returns_have_heavy_tails(facts: Facts) -> None:
    """Cont, fact 2: the kurtosis is well above the normal law's 3, the more the shorter the time."""
    assert 5 < kurtosis(facts.returns) < 60


def test_returns_do_not_foretell_each_other(facts: Facts) -> None:
    """Cont, fact 1: beyond the shortest times there is no correlation. Of 3,600 its error is 0.017."""
    assert all(abs(autocorrelation(facts.returns, lag)) < 0.1 for lag in range(1, 61))
    assert abs(fmean(autocorrelation(facts.returns, lag) for lag in range(1, 61))) < 0.02


def test_volatility_clusters_over_minutes(facts: Facts) -> None:
    """Cont, facts 6 and 8: absolute returns are positively correlated, and that decays slowly."""
    absolute = [abs(one) for one in facts.returns]
    correlations = [autocorrelation(absolute, lag) for lag in (1, 10, 60)]
    assert correlations == sorted(correlations, reverse=True)
    assert correlations[0] > 0.15
    assert fmean(autocorrelation(absolute, lag) for lag in range(60, 121)) > 0.01
    assert autocorrelation(facts.minute_volatilities, 1) > 0.15


def test_takers_come_in_clusters(facts: Facts) -> None:
    """Bacry and others, section 2: far from Poisson, whose index of dispersion is 1 however long one counts."""
    assert 2 < facts.dispersion(1) < facts.dispersion(10) < facts.dispersion(60)


def test_the_spread_is_a_few_ticks_and_of_the_size_of_a_takers_move(facts: Facts) -> None:
    """Wyart and others: the spread is one to two times the volatility per trade, and here never below a tick."""
    per_taker = (fmean(one * one for one in facts.returns) / fmean(facts.arrivals)) ** 0.5
    assert min(facts.spreads) == pytest.approx(1)
    assert 1 <= round(median(facts.spreads)) <= 4
    assert 0.5 < fmean(facts.spreads) / per_taker < 3


def test_sizes_have_a_power_law_for_a_tail(facts: Facts) -> None:
    """Gopikrishnan and others: the exponent is 1.53 +- 0.07; in other markets from 1.3 to 1.9."""
    assert 1.2 < tail_exponent(facts.sizes, 0.02) < 2.2


def test_takers_keep_to_their_side(facts: Facts) -> None:
    """Lillo and Farmer: the signs of orders are positively correlated, over many orders."""
    correlations = [autocorrelation(facts.signs, lag) for lag in (1, 10, 30)]
    assert correlations == sorted(correlations, reverse=True)
    assert correlations[0] > 0.2
    assert correlations[2] > 0
