"""Two ways to do the same work, in turns, and the ratio of their speeds; knows not what they do."""

from __future__ import annotations

import gc
from collections.abc import Callable
from statistics import median
from typing import NamedTuple

Side = Callable[[int], float]
"""Does the work of one round, given its number, and returns the seconds that the measured part took."""


class Skipped(Exception):
    """A figure that cannot be had here; the text says why."""


class Figure(NamedTuple):
    """The outcome of a race."""

    name: str
    unit: str
    ours: float
    """The median over the rounds, in ``unit`` per second."""
    theirs: float
    ratio: float
    """The median of the rounds' own ratios: what slows the machine for a while slows both sides of a round."""
    lowest: float
    highest: float
    goal: float | None


class Size(NamedTuple):
    """How much room something takes."""

    name: str
    taken: float
    limit: float | None
    """None: it is what it is."""
    unit: str = "B"


class Rate(NamedTuple):
    """How fast something nobody else does goes."""

    name: str
    unit: str
    rate: float
    """The median over the rounds, in ``unit`` per second."""
    goal: float


def race(
    name: str, unit: str, ours: Side, theirs: Side, *, amount: int, rounds: int, goal: float | None = None
) -> Figure:
    """Run both sides in turns, ours first, after a round that does not count. ``amount`` is the work of a round."""
    times = [(_timed(ours, number), _timed(theirs, number)) for number in range(rounds + 1)][1:]
    ratios = [their_time / our_time for our_time, their_time in times]
    our_time, their_time = (median(column) for column in zip(*times, strict=True))
    return Figure(
        name, unit, amount / our_time, amount / their_time, median(ratios), min(ratios), max(ratios), goal
    )  # fmt: skip


def _timed(side: Side, number: int) -> float:
    gc.collect()  # nobody pays for the other's garbage; within the round the collector runs as it always does
    return side(number)
