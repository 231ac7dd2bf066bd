"""Volatility that clusters over many time scales at once, one step of 10 ms at a time; knows no price.

A Markov-switching multifractal (Calvet and Fisher, 2001): a product of multipliers, each redrawn at its own pace, the
slower ones ever more rarely. When one is redrawn so are all that are faster.
"""

from __future__ import annotations

from cryptofeed_cli.simulation.draws import Bits

LOW, HIGH = 10, 22
"""The two values of a multiplier, in sixteenths: their mean is one."""
FASTEST = 7
"""The first multiplier is redrawn every 2**7 steps on average: 1.3 seconds."""
SCALES = 6
"""Each of the others four times as rarely as the one before: the last one every 22 minutes."""
UNIT = 1 << 12
"""A volatility of one."""
DEVIATION = 4
"""The standard deviation of counted coins, 64 of them."""

_CHANCE = (1 << FASTEST) - 1


class Volatility:
    """One process. ``now`` is the volatility of this step, its mean over time `UNIT`."""

    def __init__(self, bits: Bits) -> None:
        self._bits = bits
        self._high = bits(SCALES)
        self.now = self._product()

    def step(self) -> int:
        """Let 10 ms pass; return a nearly normal shock with a standard deviation of `DEVIATION` times ``now``."""
        draw = self._bits(64 + FASTEST)
        if not draw & _CHANCE:
            self._redraw()
        return ((draw >> FASTEST).bit_count() - 32) * self.now

    def _redraw(self) -> None:
        rarity = self._bits(2 * SCALES - 2)
        count = SCALES if not rarity else ((rarity & -rarity).bit_length() + 1) // 2
        redrawn = (1 << count) - 1
        self._high = (self._high & ~redrawn) | (self._bits(SCALES) & redrawn)
        self.now = self._product()

    def _product(self) -> int:
        high = self._high.bit_count()
        product: int = HIGH**high * LOW ** (SCALES - high)
        return product * UNIT >> 4 * SCALES
