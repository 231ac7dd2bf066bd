"""What goes wrong on request, and when, in the market's time: decided by the seed alone; knows no frame's meaning.

A specification is ``KIND/EVERY[:LENGTH]``, several of them with commas between: ``gaps/30s,disconnects/2m:15s``. Each
kind happens at random, on average once in ``EVERY``. Outages happen when they are told to.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

import msgspec

from cryptofeed_cli.clock import MILLISECOND, format_duration, parse_duration
from cryptofeed_cli.config import nearest
from cryptofeed_cli.errors import UsageError
from cryptofeed_cli.simulation.draws import ONE, Bits, exponential

KINDS: Mapping[str, int | None] = {
    "gaps": None,
    "malformed": None,
    "disconnects": 0,
    "silence": 45_000,
}
"""What there is, and how long it takes by default, in milliseconds; None: it has no length."""
SHORTEST = 100 * MILLISECOND


class Fault(msgspec.Struct, frozen=True):
    """One kind of fault."""

    kind: str
    every_ms: int
    length_ms: int


class Outage(msgspec.Struct, frozen=True):
    """Something that goes wrong once, at a given time."""

    kind: str
    """``disconnects`` or ``silence``."""
    after_ms: int
    """After the opening of the market."""
    length_ms: int


def parse_faults(text: str) -> tuple[Fault, ...]:
    """Understand a specification; raise `UsageError` where that is impossible."""
    faults: dict[str, Fault] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        kind, slash, times = part.partition("/")
        if kind not in KINDS:
            near = nearest(kind, list(KINDS))
            hint = f"; did you mean {near!r}?" if near else ""
            raise UsageError(f"--faults: unknown fault {kind!r}{hint} (faults: {', '.join(KINDS)})")
        usual = KINDS[kind]
        every, colon, length = times.partition(":")
        if not slash:
            raise UsageError(f"--faults: {part!r} does not say how often; write such as {kind}/2m")
        if colon and usual is None:
            raise UsageError(f"--faults: {part!r}: {kind} have no length; write {kind}/{every}")
        if kind in faults:
            raise UsageError(f"--faults: {kind} stands there twice; give it once")
        faults[kind] = Fault(kind, _milliseconds(part, every), _milliseconds(part, length) if colon else usual or 0)
    if not faults:
        raise UsageError(f"--faults is empty; write such as gaps/30s,disconnects/2m:15s (faults: {', '.join(KINDS)})")
    return tuple(faults.values())


def _milliseconds(part: str, text: str) -> int:
    try:
        duration = parse_duration(text)
    except UsageError as exc:
        raise UsageError(f"--faults: {part!r}: {exc}") from exc
    if duration < SHORTEST:
        raise UsageError(f"--faults: {part!r}: nothing is shorter than {format_duration(SHORTEST)}")
    return duration // MILLISECOND


class Faults:
    """Whatever goes wrong. ``down`` and ``silent`` say what is so now."""

    def __init__(
        self, faults: tuple[Fault, ...], bits: Bits, start_ms: int, outages: tuple[Outage, ...] = ()
    ) -> None:
        """``outages`` come in the order of their beginnings."""
        self._bits = bits
        self._quantiles = exponential()
        self._due = {fault: start_ms + self._wait(fault) for fault in faults}
        self._planned = deque(outages)
        self._start_ms = start_ms
        self._down_until = self._silent_until = 0
        self._pending = {"gaps": 0, "malformed": 0}
        self.down = False
        """Nobody can connect."""
        self.silent = False
        """Nothing is sent."""

    def step(self, now_ms: int) -> list[str]:
        """Let time pass; return the kinds that begin now. Disconnects: every connection is cut."""
        begun = []
        for fault, due in self._due.items():
            if now_ms < due:
                continue
            self._due[fault] = now_ms + fault.length_ms + self._wait(fault)
            begun.append(fault.kind)
            self._begin(fault.kind, now_ms, fault.length_ms)
        while self._planned and now_ms >= self._start_ms + self._planned[0].after_ms:
            outage = self._planned.popleft()
            begun.append(outage.kind)
            self._begin(outage.kind, now_ms, outage.length_ms)
        self.down, self.silent = now_ms < self._down_until, now_ms < self._silent_until
        return begun

    def _begin(self, kind: str, now_ms: int, length_ms: int) -> None:
        if kind == "disconnects":
            self._down_until = max(self._down_until, now_ms + length_ms)
        elif kind == "silence":
            self._silent_until = max(self._silent_until, now_ms + length_ms)
        else:
            self._pending[kind] += 1

    def pass_on(self, frame: bytes) -> bytes | None:
        """Return what arrives of a frame: itself, a part of it, or nothing."""
        if self.silent:
            return None
        pending = self._pending
        if pending["gaps"]:
            pending["gaps"] -= 1
            return None
        if pending["malformed"]:
            pending["malformed"] -= 1
            return frame[: 1 + (self._bits(32) * (len(frame) - 1) >> 32)]
        return frame

    def _wait(self, fault: Fault) -> int:
        return 1 + (fault.every_ms * self._quantiles[self._bits(10)]) // ONE
