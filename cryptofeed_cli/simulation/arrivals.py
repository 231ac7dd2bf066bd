"""When something happens: arrivals that excite each other, in steps of 10 ms; knows not what happens.

A Hawkes process whose kernel is a sum of exponentials (Bacry, Mastromatteo and Muzy, 2015), discretised: within a step
the intensity is constant, from step to step each part of it decays by a power of two. By the random change of time the
integral of the intensity between two arrivals is exponential, so each arrival costs one draw.
"""

from __future__ import annotations

from collections.abc import Iterator

from cryptofeed_cli.simulation.draws import ONE, QUANTILES, Bits, exponential

STEP_MS = 10
STEPS_PER_SECOND = 1000 // STEP_MS
KERNEL = ((3, 20), (7, 13), (11, 13))
"""``(decay, children)``: a part that loses 2**-decay of itself a step, and how many arrivals one has for children by
it, in sixty-fourths. Mean lives of 80 ms, 1.3 s and 20 s; of a hundred arrivals 72 are children of others."""
UNIT = 1 << 24
"""One arrival a step."""
MOST = 200
"""Arrivals a step that nothing exceeds."""


class Arrivals:
    """One stream of arrivals with ``rate`` of them a second on average."""

    def __init__(self, bits: Bits, rate: int) -> None:
        children = sum(share for _, share in KERNEL)
        self._bits = bits
        self._quantiles = exponential()
        self._base = rate * UNIT * (64 - children) // (64 * STEPS_PER_SECOND)
        self._fast, self._middle, self._slow = (
            rate * UNIT * share // (64 * STEPS_PER_SECOND) for _, share in KERNEL
        )
        self._due = self._draw()
        """What is left of the integral of the intensity until the next arrival."""

    def step(self, agitation: int, unit: int) -> Iterator[int]:
        """Let 10 ms pass; yield the millisecond of each arrival. ``agitation`` / ``unit`` multiplies the base rate."""
        intensity = self._base * agitation // unit + self._fast + self._middle + self._slow
        intensity = min(intensity, MOST * UNIT)
        self._fast -= self._fast >> KERNEL[0][0]
        self._middle -= self._middle >> KERNEL[1][0]
        self._slow -= self._slow >> KERNEL[2][0]
        due, arrived = self._due, 0
        while due < intensity:
            yield due * STEP_MS // intensity
            arrived += 1
            due += self._draw()
        self._due = due - intensity
        if arrived:
            self._fast += arrived * UNIT * KERNEL[0][1] >> 6 + KERNEL[0][0]
            self._middle += arrived * UNIT * KERNEL[1][1] >> 6 + KERNEL[1][0]
            self._slow += arrived * UNIT * KERNEL[2][1] >> 6 + KERNEL[2][0]

    def _draw(self) -> int:
        index = self._bits(10)
        wait = self._quantiles[index]
        while index == QUANTILES - 1:  # memoryless: beyond the last quantile waiting begins again
            index = self._bits(10)
            wait += self._quantiles[index]
        return wait * (UNIT // ONE)
