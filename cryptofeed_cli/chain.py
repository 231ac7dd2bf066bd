"""The sequence chain of one book: which update follows which; holds no levels.

The cases are those of OKX's documentation ("Order book channel", Sequence ID). Sequences are identifiers, not counters:
a broken chain proves a loss, and nothing about its size. They are the same on every connection, so that several may
carry one book: whatever arrives first is judged, and second copies are known when they come.
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
    AHEAD = auto()
    """A snapshot that another subscription begins with, of a book that the chain has yet to come to: `hold` it."""
    USELESS = auto()
    """The chain is broken, or has not begun: only a snapshot helps."""


Carried = tuple[BookUpdate, int]
"""An update, and which subscription brought it."""


class Chain:
    """Judges updates one by one. The caller applies what is judged to follow and keeps the rest away."""

    __slots__ = ("_ahead", "_carrier", "_held", "_seen", "_spliced", "_time", "held_since", "last")

    def __init__(self) -> None:
        self.last: int | None = None
        """The sequence of the last accepted update; None: no valid book."""
        self._time: int | None = None
        """Its exchange time."""
        self._carrier: int | None = None
        """Which subscription brought it."""
        self._spliced = False
        """It is a snapshot from elsewhere, which may stand in the middle of what an update covers."""
        self.held_since: int | None = None
        """Monotonic time of the first update or snapshot that waits; None: none does."""
        self._held: OrderedDict[int | None, Carried] = OrderedDict()
        self._ahead: Carried | None = None
        """The newest snapshot of a book that the chain has yet to come to."""
        self._seen: OrderedDict[tuple[int | None, int], None] = OrderedDict()

    def judge(self, update: BookUpdate, carrier: int = 0) -> Link:
        """Tell what the update is, and advance the chain if it is part of it.

        ``carrier`` is the subscription that brought it: what another one repeats is no news. A snapshot makes every
        update useless that is still held: `let_go` of them.
        """
        sequence, previous = update.sequence, update.prev_sequence
        if update.action == "snapshot":
            return self._judge_snapshot(update, carrier)
        if self.last is None:
            return Link.USELESS
        if previous != self.last and not self._covers(update):
            known = self._is_known(previous, sequence) or self._is_past(update)
            return Link.DUPLICATE if known else Link.EARLY
        if sequence == previous and not update.bids and not update.asks:
            self._carrier = carrier
            return Link.HEARTBEAT
        reset = sequence < self.last
        self._advance(update, carrier)
        return Link.RESET if reset else Link.FOLLOWS

    def splice(self, snapshot: BookUpdate) -> None:
        """Begin at a snapshot that no subscription brought: the next update may begin before it and end after it."""
        self._advance(snapshot, None)
        self._spliced = True

    def _judge_snapshot(self, snapshot: BookUpdate, carrier: int) -> Link:
        if self.last is not None and carrier != self._carrier:
            # Another subscription begins while the chain holds: one that is behind adds nothing, and one that is ahead
            # is waited for.
            return Link.DUPLICATE if self._is_behind(snapshot) else Link.AHEAD
        self._advance(snapshot, carrier)
        return Link.SNAPSHOT

    def _advance(self, update: BookUpdate, carrier: int | None) -> None:
        self.last, self._time, self._carrier, self._spliced = update.sequence, update.timestamp, carrier, False
        if self._ahead is not None and self._is_behind(self._ahead[0]):
            self._ahead = None  # others brought everything up to it
            self._rest()
        self._seen[(update.prev_sequence, update.sequence)] = None
        if len(self._seen) > REMEMBERED:
            self._seen.popitem(last=False)

    def _covers(self, update: BookUpdate) -> bool:
        previous, last = update.prev_sequence, self.last
        return self._spliced and previous is not None and last is not None and previous <= last < update.sequence

    def _is_past(self, update: BookUpdate) -> bool:
        """Tell whether a slower subscription repeats what came before all that is remembered."""
        last, time, before = self.last, update.timestamp, self._time
        if last is None or self._spliced or time is None or before is None:
            return last is not None and self._spliced and update.sequence <= last
        return time < before or (time == before and update.sequence <= last)

    def _is_behind(self, snapshot: BookUpdate) -> bool:
        """Tell whether a snapshot shows a book that the chain has come to already."""
        last, sequence, time, before = self.last, snapshot.sequence, snapshot.timestamp, self._time
        if last is None or sequence == last:
            return last is not None
        # After a renumbering only the time tells; a book out of a cache may bear an earlier one than what it contains.
        if time is None or before is None or time == before or self._spliced:
            return sequence < last
        return time < before

    def hold(self, update: BookUpdate, carrier: int, monotonic: int) -> bool:
        """Keep an early update, or a snapshot that is ahead, until the chain comes to it; return False if it is full.

        Of several snapshots the newest is kept. A snapshot by itself does not make time run: who brought the chain so
        far will bring the rest, unless it is gone (`hasten`).
        """
        if update.action == "snapshot":
            self._ahead = (update, carrier)
            return True
        if len(self._held) >= HELD:
            return False
        rival = self._held.get(update.prev_sequence)
        # A heartbeat and the update after it follow the same sequence; only the update is worth waiting for.
        if rival is None or rival[0].sequence == rival[0].prev_sequence:
            self._held[update.prev_sequence] = (update, carrier)
        if self.held_since is None:
            self.held_since = monotonic
        return True

    def hasten(self, monotonic: int) -> None:
        """One subscription less brings what a snapshot waits for: let its time run."""
        if self._ahead is not None and self.held_since is None:
            self.held_since = monotonic

    def next_held(self) -> Carried | None:
        """Give back the held update that follows now, if it is there."""
        carried = self._held.pop(self.last, None)
        time = None if carried is None else carried[0].timestamp
        if time is not None and self._time is not None and time < self._time:
            carried = None  # what follows the same number, but one from before a renumbering
        self._rest()
        return carried

    def break_off(self) -> BookUpdate | None:
        """Give up: only a snapshot is judged well from now on. Return the first update that waited in vain."""
        self.last = None
        return self.let_go()

    def let_go(self) -> BookUpdate | None:
        """Hold nothing any longer; return the first update that waited in vain, or else the snapshot that did."""
        first, _ = next(iter(self._held.values()), None) or self._ahead or (None, 0)
        self._held.clear()
        self._ahead = self.held_since = None
        return first

    def leap(self, monotonic: int) -> BookUpdate | None:
        """Give up what is missing and go on from the snapshot that waited for it, if one did; return that.

        Updates that are still early then are held on.
        """
        if self._ahead is None:
            return None
        (snapshot, carrier), self._ahead = self._ahead, None
        self._advance(snapshot, carrier)
        self.held_since = monotonic
        self._rest()
        return snapshot

    def _rest(self) -> None:
        if not self._held and self._ahead is None:
            self.held_since = None

    def _is_known(self, previous: int | None, sequence: int) -> bool:
        if previous == sequence:  # a heartbeat that another connection was slower to deliver
            return any(sequence in pair for pair in self._seen)
        return (previous, sequence) in self._seen
