"""``cryptofeed replay``: parse, open, call, print."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from enum import StrEnum
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event
from typing import TYPE_CHECKING, Annotated

import typer

from cryptofeed_cli.cli.addresses import parse_address, tell_address
from cryptofeed_cli.cli.options import (
    ConfigFile,
    Since,
    SourceChoice,
    SourceOption,
    StoreUrl,
    Symbols,
    Until,
    configure,
    parse_span,
    printing,
    split,
)
from cryptofeed_cli.clock import Clock, SystemClock, format_duration
from cryptofeed_cli.config import nearest
from cryptofeed_cli.errors import UsageError
from cryptofeed_cli.queries import Query
from cryptofeed_cli.recorded_stage import KINDS_SHOWN, RecordedStage, frames
from cryptofeed_cli.replayer import OnGap, Pace, Replayed, replay_frames
from cryptofeed_cli.replayer import replay as play
from cryptofeed_cli.stores import Store, open_store
from cryptofeed_cli.types import CHANNELS

if TYPE_CHECKING:
    from cryptofeed_cli.config import Settings
    from cryptofeed_cli.exchanges.okx import Okx

LOG = logging.getLogger(__name__)

EXAMPLE = """Examples:\n
cryptofeed replay trades tickers -s BTC-USDT-SWAP --since 1h --speed 10 --on-gap mark\n
cryptofeed replay -s BTC-USDT-SWAP --since 1h --serve 8765
"""
_USUAL = ("trades", "tickers", "orderbooks")


class Format(StrEnum):
    """What is written."""

    jsonl = "jsonl"
    okx = "okx"


class Timeline(StrEnum):
    """Whose time it is that passes."""

    shared = "shared"
    own = "own"


def replay(
    ctx: typer.Context,
    kinds: Annotated[
        list[str] | None, typer.Argument(metavar="[KIND]...", help=f"{', '.join(CHANNELS)}; else the first three.")
    ] = None,
    symbols: Symbols = None,
    since: Since = None,
    until: Until = None,
    source: SourceOption = SourceChoice.real,
    speed: Annotated[
        float, typer.Option(min=0.0, max=1e6, metavar="X", help="So many times as fast; 0: as fast as it can.")
    ] = 1.0,
    on_gap: Annotated[
        OnGap, typer.Option("--on-gap", help="Where something may be missing: print the gap, or stop with exit 6.")
    ] = OnGap.ignore,
    loop: Annotated[bool, typer.Option("--loop", help="Begin again at the end, until stopped.")] = False,
    form: Annotated[Format | None, typer.Option("--format", help="Records, or frames as the exchange sends.")] = None,
    serve: Annotated[
        str | None, typer.Option(metavar="ADDR", help="Be a server that speaks as the exchange does: 8765, HOST:PORT.")
    ] = None,
    timeline: Annotated[
        Timeline | None, typer.Option("--timeline", help="--serve: one for all clients, or one for each connection.")
    ] = None,
    tape: Annotated[
        Path | None, typer.Option("--tape", metavar="DIR", help="Of the tapes in DIR, not of the store.")
    ] = None,
    store: StoreUrl = None,
    config: ConfigFile = None,
) -> None:
    """Print what is stored again, on one timeline, at the pace it was recorded.

    JSON lines by the time of the exchange: a trade that was fetched later stands where it was made. The same records
    come in the same order every time; at the end their digest is on stderr. With --serve an exchange on loopback,
    for any client; time passes from the first connection on.
    """
    exchanged = form is Format.okx or serve is not None
    _refuse_contradictions(serve, form, timeline, on_gap, speed)
    span = parse_span(since, until)
    names = split(symbols or ())
    chosen = dict.fromkeys(map(partial(_known, exchanged), kinds or (KINDS_SHOWN if exchanged else _USUAL)))
    wanted = [Query(kind, names, span, source.sources) for kind in chosen]
    settings = configure(ctx, config, {"store.url": store})
    from cryptofeed_cli.cli.signals import stop_on_signals
    from cryptofeed_cli.exchanges.okx import Okx

    clock, stop = SystemClock(), Event()
    exchange = Okx(settings.okx.region)
    with printing() as out, _recording(settings, tape) as opened:
        stop_on_signals(stop)
        if serve is not None:
            _serve(serve, opened, wanted, exchange, stop, speed, own=timeline is Timeline.own, loop=loop)
            return
        def once() -> Replayed:
            pace = Pace(speed, clock, stop.wait) if speed else None
            if not exchanged:
                return play(opened, wanted, out, on_gap=on_gap, pace=pace, over=stop.is_set)
            shown, stops = frames(opened, wanted, exchange), on_gap is OnGap.stop
            return replay_frames(opened, wanted, shown, out, stop_at_gaps=stops, pace=pace, over=stop.is_set)

        while not stop.is_set():
            if not _reported(once, "frames" if exchanged else "records", clock) and not stop.is_set():
                _say_nothing_is_stored(wanted)
                break
            if not loop:
                break


def _reported(once: Callable[[], Replayed], what: str, clock: Clock) -> int:
    """Replay once, log what that was, and return how much."""
    begun = clock.monotonic()
    done = once()
    LOG.info(
        "replayed %s %s and %s gaps in %s, digest %s", f"{done.records:,}", what, f"{done.gaps:,}",
        format_duration(clock.monotonic() - begun), done.digest,
    )  # fmt: skip
    return done.records


@contextmanager
def _recording(settings: Settings, tape: Path | None) -> Iterator[Store]:
    """Open the store, or a passing one of what tapes mean."""
    if tape is None:
        with closing(open_store(settings.store_url, writable=False)) as opened:
            yield opened
        return
    from cryptofeed_cli.exchanges.okx import Okx
    from cryptofeed_cli.importing import import_tapes

    with (
        TemporaryDirectory(prefix="cryptofeed-") as directory,
        closing(open_store(f"sqlite:///{directory}/tape.db", writable=True)) as opened,
    ):
        for done in import_tapes(tape, opened, Okx):
            LOG.info("run %s of %s: %s records", done.run.run_id, done.run.name, f"{done.records:,}")
        yield opened


def _refuse_contradictions(
    serve: str | None, form: Format | None, timeline: Timeline | None, on_gap: OnGap, speed: float
) -> None:
    if serve is not None and form is not None:
        raise UsageError("--serve and --format exclude each other: a server always sends the exchange's frames")
    if serve is not None and not speed:
        raise UsageError("--serve needs a --speed above 0: clients have clocks of their own")
    if serve is not None and on_gap is not OnGap.ignore:
        raise UsageError(f"--serve and --on-gap {on_gap} exclude each other: the exchange has no word for a gap")
    if form is Format.okx and on_gap is OnGap.mark:
        raise UsageError("--format okx and --on-gap mark exclude each other: the exchange has no word for a gap")
    if timeline is not None and serve is None:
        raise UsageError(f"--timeline {timeline} says whose time it is with --serve; give it, or leave this out")


def _serve(
    address: str, store: Store, wanted: list[Query], exchange: Okx, stop: Event, speed: float, *, own: bool, loop: bool
) -> None:
    """Serve the recording until it is over, or stopped."""
    from cryptofeed_cli.venue_server import VenueServer

    host, port = parse_address("--serve", address)
    if RecordedStage(store, wanted, exchange).over:
        _say_nothing_is_stored(wanted)
        return
    server = VenueServer(
        partial(RecordedStage, store, wanted, exchange), exchange.listening, clock=SystemClock(), speed=speed,
        announced="replay", own=own, patient=True, loop=loop,
    )  # fmt: skip
    server.run(host, port, stop, None, partial(tell_address, exchange, "replayed"))
    LOG.info("the replay is over")


def _say_nothing_is_stored(wanted: list[Query]) -> None:
    kinds = ", ".join(query.kind for query in wanted)
    LOG.warning("nothing of that is stored: %s of %s", kinds, " ".join(wanted[0].symbols) or "any symbol")


def _known(exchanged: bool, kind: str) -> str:
    if exchanged and kind == "orderbooks":
        raise UsageError("orderbooks are sampled here; the exchange sends book_updates: name those")
    if kind not in CHANNELS:
        near = nearest(kind, list(CHANNELS))
        hint = f"; did you mean {near!r}?" if near else ""
        raise UsageError(f"{kind!r} cannot be replayed{hint} (kinds: {', '.join(CHANNELS)})")
    return kind
