"""Builds a recorder from the configuration; the one place that knows which part goes with which."""

from __future__ import annotations

import logging
import os
import random
import re
import secrets
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import partial
from hashlib import blake2b
from pathlib import Path
from queue import SimpleQueue
from threading import Event
from urllib.parse import urlsplit

from cryptofeed_cli import __version__
from cryptofeed_cli.asking import Limiter
from cryptofeed_cli.clock import MILLISECOND, SECOND, Clock
from cryptofeed_cli.config import Settings
from cryptofeed_cli.coverage import is_carried
from cryptofeed_cli.errors import ExchangeError, StoreUnreachable, UsageError
from cryptofeed_cli.exchanges.okx import Okx
from cryptofeed_cli.failover import FailOver
from cryptofeed_cli.feeds.base import Feed
from cryptofeed_cli.feeds.live import LiveFeed
from cryptofeed_cli.feeds.pacing import Backoff
from cryptofeed_cli.feeds.tape import TapeWriter
from cryptofeed_cli.lookups import Lookups
from cryptofeed_cli.network import Dialer, Route, choose_route
from cryptofeed_cli.past import Past, blind_no_more, ended_unseen, living, recall
from cryptofeed_cli.recorder import Recorder
from cryptofeed_cli.rest import Response, Rest, get_from_any
from cryptofeed_cli.session import Session, SessionOptions
from cryptofeed_cli.shards import WHOLE, Shard
from cryptofeed_cli.standing import is_alive, write_standing
from cryptofeed_cli.stores import identity, open_store, store_name
from cryptofeed_cli.stores.base import Store
from cryptofeed_cli.stores.places import places
from cryptofeed_cli.stores.recorder_outbox import RecorderOutbox
from cryptofeed_cli.stores.urls import scheme
from cryptofeed_cli.streams import Sampling
from cryptofeed_cli.symbols import find_symbols, is_pattern
from cryptofeed_cli.taping import TapedFeed, TapedSession
from cryptofeed_cli.types import CHANNELS, Record, Run
from cryptofeed_cli.views import View
from cryptofeed_cli.writer import Writer

LOG = logging.getLogger(__name__)

_POLL = 0.01
"""Seconds between two looks at whether the exchange may be asked again."""

def build_recorder(
    settings: Settings,
    store: Store,
    outbox: RecorderOutbox,
    *,
    clock: Clock,
    stop: Event,
    until: int | None = None,
    watch: Callable[[View], object] | None = None,
    away: str | None = None,
    waited_since: int | None = None,
    shard: Shard = WHOLE,
) -> Recorder | None:
    """Put a recorder together. It owns everything but store and outbox; its threads start here.

    Patterns need an exchange that answers, or a store that knows its instruments: as long as there is neither this
    waits, until ``stop`` is set (then there is no recorder), or raises the `ExchangeError` when the monotonic clock
    reaches ``until``.

    ``away``: why the store takes nothing yet. Then, or while something of an earlier run waits in the outbox, the
    recorder learns later what earlier runs left. ``waited_since``: since when the oldest of that waited there.
    Raises `UsageError` where ``shard`` holds none of the symbols.
    """
    exchange = Okx(settings.okx.region)
    records: list[Record] = []
    run = _run(settings, clock, shard)
    limiter = _limiter(settings, exchange)
    found = _symbols(settings, exchange, store, limiter, clock, stop, until)
    if found is None:
        return None
    symbols = _share(found, shard)

    look_back = partial(_look_back, run=run, exchange=exchange.name, symbols=symbols, waited_since=waited_since)
    known: Mapping[str, Past] | None = None
    late: SimpleQueue[Mapping[str, Past]] = SimpleQueue()
    if away is None and not outbox.backlog.records:
        with suppress(StoreUnreachable):  # the writer has more patience
            known = look_back(store)
    options = _options(settings, run, symbols, shard)
    tape = _tape(settings, run, clock)
    session = (
        Session(exchange, options, records.append, known, limiter) if tape is None
        else TapedSession(exchange, options, records.append, known, limiter, tape)
    )  # fmt: skip
    writer = Writer(
        store, outbox, clock=clock, rng=_rng(), patience=settings.store.flush_interval, away=away,
        greet=None if known is not None else lambda answering: late.put(look_back(answering)),
    )  # fmt: skip
    open_reader = partial(open_store, settings.store_url, writable=False)
    feed: Feed = Lookups(build_feed(settings, exchange, clock), open_reader, exchange.name, clock)
    if tape is not None:
        feed = TapedFeed(feed, tape, clock)
    return Recorder(
        feed, session, records, writer, run,
        clock=clock, flush_interval=settings.store.flush_interval, flush_records=settings.store.flush_records,
        watch=watch, tell=partial(write_standing, places(settings.data_directory, run.name).status),
        pasts=None if known is not None else late,
        failover=_build_failover(settings, exchange, options, records.append, clock), tape=tape,
    )  # fmt: skip


def _look_back(
    store: Store, *, run: Run, exchange: str, symbols: tuple[str, ...], waited_since: int | None
) -> dict[str, Past]:
    """Read what earlier runs left, and close those that did not live to do so."""
    store.write(ended_unseen(store, run, is_alive))
    pasts = recall(store, exchange, symbols, waited_since)
    store.write(blind_no_more(store, pasts))
    others = living(store, run, is_alive)
    for symbol, past in pasts.items():
        for channel in CHANNELS:
            if any(is_carried(one, symbol, channel) for one in others):
                past.leave(channel)
    return pasts


def _tape(settings: Settings, run: Run, clock: Clock) -> TapeWriter | None:
    record = settings.record
    if record.tape is None:
        return None
    return TapeWriter(Path(record.tape).expanduser(), run, record.tape_max, clock, settings.store.flush_interval)


def _symbols(
    settings: Settings,
    exchange: Okx,
    store: Store,
    limiter: Limiter,
    clock: Clock,
    stop: Event,
    until: int | None,
) -> tuple[str, ...] | None:
    """The symbols to begin with: as given, or those that patterns mean; None: stopped before that was known."""
    patterns, network = settings.record.symbols, settings.network
    if not any(map(is_pattern, patterns)):
        return patterns
    with build_asker(settings, exchange, clock, limiter) as ask:
        find = partial(find_symbols, patterns, exchange, store, ask, clock.now())
        return _find(find, Backoff(network.retry_initial, network.retry_max, _rng()), clock, stop, until)


def _share(symbols: tuple[str, ...], shard: Shard) -> tuple[str, ...]:
    share = shard.of(symbols)
    if not share:
        raise UsageError(f"shard {shard} holds none of the {len(symbols)} symbols; divide them by less")
    return share


def _options(settings: Settings, run: Run, symbols: tuple[str, ...], shard: Shard) -> SessionOptions:
    okx, book, patterns = settings.okx, settings.orderbook, settings.record.symbols
    return SessionOptions(
        run_id=run.run_id,
        symbols=symbols,
        patterns=patterns if any(map(is_pattern, patterns)) else (),
        shard=shard,
        channels=settings.record.channels,
        sampling=Sampling(book.depth, book.interval // MILLISECOND, book.group),
        reorder_grace=okx.reorder_grace,
        ping_interval=okx.ping_interval,
        silence=okx.silence,
        redundancy=settings.record.redundancy,
        backfill=okx.backfill,
        backfill_limit=okx.backfill_limit,
        shared=scheme(settings.store_url) != "sqlite",  # a file has one recorder
    )


def _build_failover(
    settings: Settings, exchange: Okx, options: SessionOptions, emit: Callable[[Record], object], clock: Clock
) -> FailOver | None:
    if not settings.failover.simulate:
        return None
    return FailOver(exchange, options, emit, after=settings.failover.after, clock=clock)


def _find(
    find: Callable[[], tuple[str, ...]], backoff: Backoff, clock: Clock, stop: Event, until: int | None
) -> tuple[str, ...] | None:
    """Find symbols as soon as that can be, however long it takes; None: stopped before."""
    said = False
    while not stop.is_set():
        try:
            return find()
        except ExchangeError as exc:
            if not said:
                LOG.warning("%s; will keep trying to find out which symbols are meant", exc)
            said = True
            wait = backoff.next()
            if until is not None and clock.monotonic() + wait >= until:
                stop.wait(max(0, until - clock.monotonic()) / SECOND)
                if not stop.is_set():
                    raise
            stop.wait(wait / SECOND)
    return None


def build_feed(settings: Settings, exchange: Okx, clock: Clock) -> LiveFeed:
    """Make the way to the exchange, WebSocket and REST; nothing is connected yet."""
    okx, network = settings.okx, settings.network
    dialer = build_dialer(settings, exchange, clock)
    if dialer.route != Route():
        LOG.info("%s is reached %s", exchange.name, dialer.route.describe())
    return LiveFeed(
        {
            "public": okx.public_url or exchange.sockets["public"],
            "business": okx.business_url or exchange.sockets["business"],
        },
        okx.rest_url or exchange.rest,
        dialer,
        clock=clock,
        rng=_rng(),
        retry_initial=network.retry_initial,
        retry_max=network.retry_max,
        connect_timeout=network.connect_timeout,
        connects_per_second=exchange.capabilities.connects_per_second,
        rest_headers=exchange.rest_headers,
    )


def hosts(settings: Settings) -> str:
    """Return where the sockets go, for whoever shows it: hosts and ports, each once."""
    exchange = Okx(settings.okx.region)
    urls = (
        *(settings.okx.public_url or exchange.sockets["public"]),
        *(settings.okx.business_url or exchange.sockets["business"]),
    )
    return ", ".join(dict.fromkeys(urlsplit(url).netloc.rpartition("@")[2] for url in urls))


def build_dialer(settings: Settings, exchange: Okx, clock: Clock) -> Dialer:
    """Make the one maker of sockets; raise `ConfigurationError` where its route cannot be taken."""
    okx, network = settings.okx, settings.network
    urls = (
        *(okx.public_url or exchange.sockets["public"]), *(okx.business_url or exchange.sockets["business"]),
        *(okx.rest_url or exchange.rest),
    )  # fmt: skip
    route = choose_route(
        proxy=network.proxy, interface=network.interface, dns=network.dns, origin=settings.origin, environ=os.environ,
        hosts=[urlsplit(url).hostname or "" for url in urls],
    )  # fmt: skip
    return Dialer(route, ca_file=network.ca_file, clock=clock, respite=network.retry_max)


@contextmanager
def build_asker(
    settings: Settings, exchange: Okx, clock: Clock, limiter: Limiter | None = None
) -> Iterator[Callable[[str], Response]]:
    """Make a way to ask the exchange's REST interface, one question at a time, no faster than it allows.

    ``limiter`` is that of the whole process, where others ask too.
    """
    okx, network = settings.okx, settings.network
    dialer = build_dialer(settings, exchange, clock)
    limiter = limiter or _limiter(settings, exchange)
    rests = [
        Rest(url, dialer, clock=clock, timeout=network.connect_timeout, headers=exchange.rest_headers)
        for url in okx.rest_url or exchange.rest
    ]

    def ask(path: str) -> Response:
        while not limiter.allows(clock.monotonic()):
            time.sleep(_POLL)
        answer = get_from_any(rests, path)
        if exchange.rebukes(answer.status, answer.body):
            limiter.rebuke(clock.monotonic())
        return answer

    with ExitStack() as opened:
        for rest in rests:
            opened.enter_context(closing(rest))
        yield ask


def _limiter(settings: Settings, exchange: Okx) -> Limiter:
    return Limiter(exchange.capabilities.rest_per_second * settings.okx.rate_share)


def _run(settings: Settings, clock: Clock, shard: Shard) -> Run:
    now, host = clock.now(), socket.gethostname()
    config = settings.as_dict()
    if shard != WHOLE:
        config["record"]["shard"] = str(shard)
    return Run(
        run_id=secrets.token_hex(8),
        name=recorder_name(settings, shard),
        host=host,
        pid=os.getpid(),
        version=__version__,
        config=config,
        started_at=now,
        ended_at=None,
        state="running",
        heartbeat_at=now,
        clock_offset_ms=None,
        counters={},
    )


def recorder_name(settings: Settings, shard: Shard = WHOLE) -> str:
    """Return the name given, or one by host, store and shard: readable, and different for every one of them."""
    store_url = settings.store_url
    if settings.record.name:
        return settings.record.name
    stem = re.sub(r"\W+", "-", store_name(store_url).removesuffix(".db")) or "store"
    part = "" if shard == WHOLE else f"-{shard.number}of{shard.count}"
    return f"{socket.gethostname()}-{stem}-{blake2b(identity(store_url).encode(), digest_size=3).hexdigest()}{part}"


def _rng() -> random.Random:
    return random.Random()  # noqa: S311 - jitter
