"""The sequence chain of one book: which update follows which; holds no levels.

The cases are those of OKX's documentation ("Order book channel", Sequence ID). Sequences are identifiers, not counters:
a broken chain proves a loss, and nothing about its size.
"""

from __future__ import annotations

from collections import OrderedDict
from enum import Enum, auto

from cryptofeed_cli.types import BookUpdate

REMEMBERED = 1024
"""How many accepted updates are remembered, to know a second copy when it comes."""
HELD = 1024
"""How many updates may wait for a missing one; one more breaks the chain at once."""


class Link(Enum):
    """How an update relates to the chain."""

    SNAPSHOT = auto()
    FOLLOWS = auto()
    HEARTBEAT = auto()
    """Nothing changed; proves that nothing was missed so far."""
    RESET = auto()
    """Follows, with a lower sequence: the exchange renumbers, legally."""
    DUPLICATE = auto()
    EARLY = auto()
    """What it follows has not come (yet)."""
    USELESS = auto()
    """The chain is broken, or has not begun: only a snapshot helps."""


class Chain:
    """Judges updates one by one. The caller applies what is judged to follow and keeps the rest away."""

    __slots__ = ("_held", "_seen", "held_since", "last")

    def __init__(self) -> None:
        self.last: int | None = None
        """The sequence of the last accepted update; None: no valid book."""
        self.held_since: int | None = None
        """Monotonic time of the first update that waits; None: none does."""
        self._held: OrderedDict[int | None, BookUpdate] = OrderedDict()
        self._seen: OrderedDict[tuple[int | None, int], None] = OrderedDict()

    def judge(self, update: BookUpdate) -> Link:
        """Tell what the update is, and advance the chain if it is part of it.

        A snapshot makes every update useless that is still held: `let_go` of them.
        """
        sequence, previous = update.sequence, update.prev_sequence
        if update.action == "snapshot":
            self.last = sequence
            self._seen.clear()
            self._seen[(previous, sequence)] = None
            return Link.SNAPSHOT
        if self.last is None:
            return Link.USELESS
        if previous != self.last:
            return Link.DUPLICATE if self._is_known(previous, sequence) else Link.EARLY
        if sequence == previous and not update.bids and not update.asks:
            return Link.HEARTBEAT
        self.last = sequence
        if sequence < previous:
            self._seen.clear()  # numbers may come again after a reset
        self._seen[(previous, sequence)] = None
        if len(self._seen) > REMEMBERED:
            self._seen.popitem(last=False)
        return Link.RESET if sequence < previous else Link.FOLLOWS

    def hold(self, update: BookUpdate, monotonic: int) -> bool:
        """Keep an early update until what it follows comes; return False when there is no room for it."""
        if len(self._held) >= HELD:
            return False
        if self.held_since is None:
            self.held_since = monotonic
        rival = self._held.get(update.prev_sequence)
        # A heartbeat and the update after it follow the same sequence; only the update is worth waiting for.
        if rival is None or rival.sequence == rival.prev_sequence:
            self._held[update.prev_sequence] = update
        return True

    def next_held(self) -> BookUpdate | None:
        """Give back the held update that follows now, if it is there."""
        update = self._held.pop(self.last, None)
        if not self._held:
            self.held_since = None
        return update

    def break_off(self) -> BookUpdate | None:
        """Give up: only a snapshot is judged well from now on. Return the first update that waited in vain."""
        self.last = None
        return self.let_go()

    def let_go(self) -> BookUpdate | None:
        """Hold no update any longer; return the first one that waited in vain."""
        first = next(iter(self._held.values()), None)
        self._held.clear()
        self.held_since = None
        return first

    def _is_known(self, previous: int | None, sequence: int) -> bool:
        if previous == sequence:  # a heartbeat that another connection was slower to deliver
            return any(sequence in pair for pair in self._seen)
        return (previous, sequence) in self._seen
