"""What both databases agree on: names, keys, total order and ranges of what they keep; knows neither of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from types import NoneType
from typing import Any, NamedTuple, get_args, get_type_hints

from cryptofeed_cli.clock import MILLISECOND
from cryptofeed_cli.stores.base import FIRST_PAGE, PAGE, Span
from cryptofeed_cli.types import KINDS, Encoding, Kind, MarketRecord, Record

RUN = ("run_id", "episode")
"""What tells simulated records of different runs apart; only the simulated twins keep it."""

LARGEST = 2**63 - 1
"""The largest integer that either database holds."""

_LARGEST_PAGE = {"orderbooks": 128, "book_updates": 128}


class Layout(NamedTuple):
    """How one kind, or its simulated twin, is kept."""

    kind: Kind
    simulated: bool
    name: str
    """Of the table or collection."""
    fields: tuple[str, ...]
    """What is stored, in the order of the record."""
    optional: frozenset[str]
    """The fields that may be None."""
    hints: dict[str, Any]
    """The type of every field."""
    encodings: dict[str, Encoding]
    """What every field holds."""
    key: tuple[str, ...]
    """What makes it the same record, within its series for a market kind. ``content`` stands for a digest."""
    order: tuple[str, ...]
    """A total order within a series: the kind's own, then ``received_at`` and the rest of the key where that ties."""
    content: tuple[str, ...]
    """What must be equal in two records of one key; other fields only tell how a record came to us."""

    @property
    def unique(self) -> bool:
        """Whether the kind's own order never ties."""
        return self.order == self.kind.order

    @property
    def ranged_by_span(self) -> bool:
        """Whether a record covers a span of time, selected by overlap, and not an instant."""
        return self.kind.range[0] != self.kind.range[1]

    def page(self, previous: int) -> int:
        """Return how many records to read at once after a page of ``previous``: little for who wants little."""
        return min(max(previous * 4, FIRST_PAGE), _LARGEST_PAGE.get(self.kind.name, PAGE))


def layout(kind: Kind, *, simulated: bool = False) -> Layout:
    """Return how a kind, or its simulated twin, is kept."""
    hints = get_type_hints(kind.record, include_extras=True)
    run = RUN if simulated else ()
    hidden = RUN if kind.market and not simulated else ()
    fields = tuple(name for name in kind.record.__struct_fields__ if name not in hidden)
    unique = not simulated and set(kind.key) <= set(kind.order)
    order = kind.order if unique else tuple(dict.fromkeys((*kind.order, "received_at", *kind.key, *run)))
    # REST does not always tell whether a maker was RPI, so that is no contradiction.
    told_apart_by = {*MarketRecord.__struct_fields__, *kind.key, *RUN, "rpi"}
    return Layout(
        kind=kind,
        simulated=simulated,
        name=f"simulated_{kind.name}" if simulated else kind.name,
        fields=fields,
        optional=frozenset(name for name in fields if NoneType in get_args(hints[name])),
        hints=hints,
        encodings=kind.encodings,
        key=kind.key + run,
        order=order,
        content=tuple(name for name in fields if name not in told_apart_by) if kind.market else (),
    )


def layouts() -> dict[tuple[str, bool], Layout]:
    """Return every layout by kind name and whether it is the simulated twin, market records first."""
    return {
        (kind.name, simulated): layout(kind, simulated=simulated)
        for kind in KINDS.values()
        for simulated in ((False, True) if kind.market else (False,))
    }


def grouped(records: Sequence[Record]) -> list[tuple[tuple[str, bool], list[Any]]]:
    """Split a batch by layout; what tells of other records (gaps, runs) comes after them."""
    batches: defaultdict[type[Any], list[Any]] = defaultdict(list)
    for record in records:
        batches[type(record)].append(record)
    groups = []
    for kind in KINDS.values():
        batch = batches.get(kind.record, [])
        simulated = [record for record in batch if record.source == "simulated"] if kind.market else []
        if simulated:
            groups.append(((kind.name, True), simulated))
            batch = [record for record in batch if record.source != "simulated"]
        if batch:
            groups.append(((kind.name, False), batch))
    return groups


def bounds(kind: Kind, span: Span) -> tuple[int | None, int | None]:
    """Return ``[low, high)`` in the unit of the kind's range field; None: without that bound.

    With any bound at all ``low`` is never None for a kind that is ranged by one field: a record without a time is
    in no bounded span.
    """
    unit = MILLISECOND if kind.encodings[kind.range[0]] is Encoding.MILLISECONDS else 1
    if span.since is None and span.until is None:
        return None, None
    low = 0 if span.since is None else _rounded_up(span.since, unit)
    return low, None if span.until is None else _rounded_up(span.until, unit)


def _rounded_up(nanoseconds: int, unit: int) -> int:
    return min(max(-(-nanoseconds // unit), 0), LARGEST)
