"""What becomes of the answer to a query: counted, printed, drawn, or written into a file with its manifest."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from cryptofeed_cli import queries
from cryptofeed_cli.clock import SystemClock
from cryptofeed_cli.completeness import Completeness, Hole, Ledgers, ledgers
from cryptofeed_cli.derived import DERIVED, MADE_FROM, Recipe, derive
from cryptofeed_cli.errors import Incomplete, UsageError
from cryptofeed_cli.output import Fields, Format, write_pages
from cryptofeed_cli.output.files import check_target, whole_file
from cryptofeed_cli.output.formats import check_installed, check_plot_installed, of_file
from cryptofeed_cli.output.manifest import Export, draw_manifest, manifest_path, named
from cryptofeed_cli.queries import REAL, Query
from cryptofeed_cli.stores.base import Page, Store
from cryptofeed_cli.types import CHANNELS, KINDS, Kind

HERE = "-"
"""A plot that goes to stdout."""


class Question(msgspec.Struct, frozen=True):
    """What is asked of a store."""

    query: Query
    recipe: Recipe | None
    """None: records as they are stored."""
    options: dict[str, Any] = {}
    """The options of the recipe as they were given."""

    @property
    def name(self) -> str:
        """The kind as users name it."""
        return self.query.kind if self.recipe is None else self.recipe.name

    @property
    def kind(self) -> Kind:
        """What the answer consists of."""
        return DERIVED[self.name] if self.recipe else KINDS[self.name]

    @property
    def channel(self) -> str | None:
        """The channel whose completeness tells of the answer's; None: none does."""
        channel = MADE_FROM.get(self.name, self.name)
        return channel if channel in CHANNELS and self.name != "book" and self.query.sources >= REAL else None


class Wish(msgspec.Struct, frozen=True):
    """What is to become of the answer."""

    form: Format | None = None
    output: Path | None = None
    force: bool = False
    fields: tuple[str, ...] = ()
    count: bool = False
    complete: bool = False
    plot: str | None = None
    """A file, or `HERE`."""


def check(question: Question, wish: Wish) -> Fields:
    """Refuse what cannot be done before a store is opened or a file is made. Raises `UsageError`."""
    fields = Fields(question.kind, wish.fields)
    if wish.complete and question.channel is None:
        raise UsageError(
            f"--require-complete cannot judge {question.name} of these sources; it judges "
            "trades, tickers, orderbooks, book_updates, candles and spread of real data"
        )
    others = {"--count": wish.count, "-o": wish.output is not None, "--plot": wish.plot is not None}
    used = [name for name, is_given in others.items() if is_given]
    if len(used) > 1:
        raise UsageError(f"{used[0]} and {used[1]} exclude each other; give one of them")
    if wish.plot is not None:
        check_plot_installed()
        if wish.plot != HERE:
            check_target(Path(wish.plot), force=wish.force, option="--plot")
    if wish.force and wish.output is None and wish.plot in (None, HERE):
        raise UsageError("--force is for -o FILE and --plot FILE")
    if wish.output is not None:
        form, _ = of_file(wish.output, wish.form)
        check_installed(form)
        check_target(wish.output, force=wish.force)
        check_target(manifest_path(wish.output), force=wish.force)
    elif wish.form is not None:
        check_installed(wish.form)
    return fields


def answer(store: Store, question: Question, wish: Wish, out: BinaryIO) -> None:
    """Ask, and do what is wished. Raises `Incomplete` before anything is written where that is required."""
    fields, clock = check(question, wish), SystemClock()
    known = ledgers(store) if question.recipe or wish.complete or wish.output else Ledgers((), ())
    judged = _judge(store, question, known, clock.now())
    if wish.complete:
        _require(question, judged or [])
    if wish.count:
        out.write(f"{_count(store, question, known)}\n".encode())
    elif wish.plot is not None:
        _draw(question, _pages(store, question, known), wish.plot, out)
    elif wish.output is not None:
        _export(store, question, wish, fields, known, judged)
    else:
        write_pages(wish.form or Format.jsonl, fields, _pages(store, question, known), out)


def _pages(store: Store, question: Question, known: Ledgers) -> Iterator[Page]:
    if question.recipe is None:
        return queries.pages(store, question.query)
    return derive(store, question.query, question.recipe, known)


def _count(store: Store, question: Question, known: Ledgers) -> int:
    if question.recipe is None:
        return queries.count(store, question.query)
    return sum(len(page[0]) for page in _pages(store, question, known))


def _judge(store: Store, question: Question, known: Ledgers, now: int) -> list[Completeness] | None:
    channel, query = question.channel, question.query
    if channel is None:
        return None
    stored = queries.chosen(store, query, simulated=False)
    absent = [
        symbol for symbol in query.symbols
        if not queries.is_pattern(symbol) and symbol not in {series.symbol for series in stored}
    ]  # fmt: skip
    series = sorted([(one.symbol, one.exchange) for one in stored] + [(symbol, "") for symbol in absent])
    if not series:
        nobody = ", ".join(query.symbols) or "every symbol"
        return [Completeness(nobody, channel, None, None, [Hole(None, None, "nothing stored")])]
    return [known.judge(exchange or None, symbol, channel, query.span, now) for symbol, exchange in series]


def _require(question: Question, judged: list[Completeness]) -> None:
    if not all(one.complete for one in judged):
        raise Incomplete(f"{question.name} are not complete: {named(judged)}")


def _export(
    store: Store, question: Question, wish: Wish, fields: Fields, known: Ledgers, judged: list[Completeness] | None
) -> None:
    from cryptofeed_cli.cli.signals import leave_on_signals
    from cryptofeed_cli.output.progress import export_progress

    path, query = wish.output or Path(), question.query
    form, compression = of_file(path, wish.form)
    leave_on_signals()
    with (
        export_progress(SystemClock(), _place(question.kind), _ends(store, question)) as watch,
        whole_file(path, compression) as (stream, hashed),
    ):
        rows = write_pages(form, fields, watch(_pages(store, question, known)), stream)
    export = Export(
        question.name, query.symbols, tuple(query.sources), query.span, fields.names, form, compression,
        {
            **question.options,
            **{name: value for name, value in (("limit", query.limit), ("tail", query.tail)) if value is not None},
        },
        judged,
    )  # fmt: skip
    with whole_file(manifest_path(path)) as (stream, _):
        stream.write(draw_manifest(path, export, rows=rows, size=hashed.size, sha256=hashed.sha256))


def _place(kind: Kind) -> int:
    names: tuple[str, ...] = kind.record.__struct_fields__
    return names.index(kind.order[0])


def _ends(store: Store, question: Question) -> tuple[int, int] | None:
    """Return the first and last time of an answer, where somebody wants to know and it is told at once."""
    query = question.query
    whole = query.limit is None and query.tail is None and question.name not in ("book", "stats")
    if not (whole and sys.stderr.isatty()):
        return None
    first, last = (
        [page[_place(query.what)][0] for page in queries.pages(store, msgspec.structs.replace(query, **one))]
        for one in ({"limit": 1}, {"tail": 1})
    )
    return (first[0] or 0, last[0] or 0) if first and last else None


def _draw(question: Question, pages: Iterator[Page], plot: str, out: BinaryIO) -> None:
    from cryptofeed_cli.output.plot import draw, save

    if plot == HERE:
        draw(question.name, question.kind, pages, out)
        return
    with whole_file(Path(plot)) as (stream, _):
        save(question.name, question.kind, pages, stream, as_html=plot.lower().endswith((".html", ".htm")))
