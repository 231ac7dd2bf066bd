"""Volatility that clusters over many time scales at once, one step of 10 ms at a time; knows no price.

A Markov-switching multifractal (Calvet and Fisher, 2001): a product of multipliers, each redrawn at its own pace, the
slower ones ever more rarely. When one is redrawn so are all that are faster.
"""

from __future__ import annotations

from cryptofeed_cli.simulation.draws import Bits, normal

LOW, HIGH = 11, 21
"""The two values of a multiplier, in sixteenths: their mean is one."""
FASTEST = 5
"""The first multiplier is redrawn every 2**5 steps on average, a third of a second."""
SCALES = 7
"""Each of the others four times as rarely as the one before: the last one every 22 minutes."""
UNIT = 1 << 12
"""A volatility of one."""


class Volatility:
    """One process. ``now`` is the volatility of this step, its mean over time `UNIT`."""

    def __init__(self, bits: Bits) -> None:
        self._bits = bits
        self._high = bits(SCALES)
        self.now = self._product()

    def step(self) -> int:
        """Let 10 ms pass; return a normal shock with a standard deviation of 4 times ``now``."""
        chance = self._bits(2 * SCALES + FASTEST)
        if not chance & ((1 << FASTEST) - 1):
            zeros = (chance & -chance).bit_length() - 1 if chance else 2 * SCALES + FASTEST
            redrawn = (1 << min(SCALES, (zeros - FASTEST) // 2 + 1)) - 1
            self._high = (self._high & ~redrawn) | (self._bits(SCALES) & redrawn)
            self.now = self._product()
        return normal(self._bits) * self.now

    def _product(self) -> int:
        high = self._high.bit_count()
        product: int = HIGH**high * LOW ** (SCALES - high)
        return product * UNIT >> 4 * SCALES
