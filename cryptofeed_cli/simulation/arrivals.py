"""When something happens: arrivals that excite each other, in steps of 10 ms; knows not what happens.

A Hawkes process whose kernel is a sum of exponentials (Bacry, Mastromatteo and Muzy, 2015), discretised: within a step
the intensity is constant, from step to step each part of it decays by a power of two. By the random change of time the
integral of the intensity between two arrivals is exponential, so each arrival costs one draw.
"""

from __future__ import annotations

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
        self._waits = tuple(wait * (UNIT // ONE) for wait in exponential())
        self._base = rate * UNIT * (64 - children) // (64 * STEPS_PER_SECOND)
        self._fast, self._middle, self._slow = (
            rate * UNIT * share // (64 * STEPS_PER_SECOND) for _, share in KERNEL
        )
        self._due = self._waits[bits(10)]
        """What is left of the integral of the intensity until the next arrival."""

    def step(self, agitation: int, unit: int) -> list[int]:
        """Let 10 ms pass; return the millisecond of each arrival. ``agitation`` / ``unit`` multiplies the base rate."""
        fast, middle, slow = self._fast, self._middle, self._slow
        intensity = min(self._base * agitation // unit + fast + middle + slow, MOST * UNIT)
        (fade, _), (fade_middle, _), (fade_slow, _) = KERNEL
        fast -= fast >> fade
        middle -= middle >> fade_middle
        slow -= slow >> fade_slow
        due = self._due
        arrivals = []
        if due < intensity:
            bits, waits = self._bits, self._waits
            while due < intensity:
                arrivals.append(due * STEP_MS // intensity)
                index = bits(10)
                due += waits[index]
                while index == QUANTILES - 1:  # memoryless: beyond the last quantile waiting begins again
                    index = bits(10)
                    due += waits[index]
            count = len(arrivals)
            fast += count * _FAST
            middle += count * _MIDDLE
            slow += count * _SLOW
        self._fast, self._middle, self._slow, self._due = fast, middle, slow, due - intensity
        return arrivals


_FAST, _MIDDLE, _SLOW = (UNIT * share >> 6 + decay for decay, share in KERNEL)
"""What an arrival adds: a geometric series of it makes its children."""
