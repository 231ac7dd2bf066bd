"""Random numbers as integers, the same on every machine; knows no market.

A generator is only ever asked for bits, which Python promises to repeat for a seed. Distributions are tables of integer
quantiles. They are made by `decimal`, whose ``ln`` and ``exp`` are correctly rounded; no C library's are.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from decimal import Context, Decimal
from functools import cache
from hashlib import blake2b

ONE = 1 << 16
"""One, where numbers have 16 binary digits after the point."""
QUANTILES = 1024
_EXACT = Context(prec=16)

Bits = Callable[[int], int]
"""Returns that many random bits as an integer."""


def generator(*words: object) -> Bits:
    """Return a source of bits that these words alone decide."""
    text = "\0".join(map(str, words))
    seed = int.from_bytes(blake2b(text.encode(), digest_size=16).digest(), "big")
    return random.Random(seed).getrandbits  # noqa: S311 - a market, no secret


@cache
def exponential() -> tuple[int, ...]:
    """Return quantiles of waiting times with mean `ONE`, shortest first. Past the last one time starts anew."""
    halves = (Decimal(2 * index + 1) / (2 * QUANTILES) for index in range(QUANTILES))
    return tuple(int(-(1 - half).ln(_EXACT) * ONE) for half in halves)


class Sizes:
    """A heavy-tailed law of sizes above ``least``: the chance of more than ``x`` falls as ``x`` to the -1.5.

    The middle of it may be given by quantiles, smallest first; then only what is beyond the last of them is that law.
    """

    def __init__(self, least: int, most: int, middle: Sequence[int] = ()) -> None:
        self._tail, self._most = power_law(2, 3), most
        self._middle = tuple(middle) or tuple(max(1, least * one // ONE) for one in self._tail)
        self._bits = (len(self._middle) - 1).bit_length()
        if 1 << self._bits != len(self._middle):
            raise ValueError(f"{len(self._middle)} quantiles are no power of two")

    def draw(self, bits: Bits) -> int:
        """Return a size."""
        index = bits(self._bits)
        size = self._middle[index]
        while index == len(self._middle) - 1 and size < self._most:  # a power law looks the same from every height
            index = bits(10)
            size = size * self._tail[index] // ONE
            index += len(self._middle) - QUANTILES
        return min(size, self._most)


@cache
def power_law(numerator: int, denominator: int) -> tuple[int, ...]:
    """Return quantiles of a law above `ONE`, smallest first: a chance to the power of minus this fraction."""
    power = Decimal(numerator) / denominator
    logarithms = ((Decimal(2 * index + 1) / (2 * QUANTILES)).ln(_EXACT) for index in reversed(range(QUANTILES)))
    return tuple(int((-logarithm * power).exp(_EXACT) * ONE) for logarithm in logarithms)
