"""Builds a recorder from the configuration; the one place that knows which part goes with which."""

from __future__ import annotations

import logging
import os
import random
import re
import secrets
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from hashlib import blake2b
from threading import Event

from cryptofeed_cli import __version__
from cryptofeed_cli.asking import Limiter
from cryptofeed_cli.clock import MILLISECOND, SECOND, Clock
from cryptofeed_cli.config import Settings
from cryptofeed_cli.errors import ConfigurationError, ExchangeError
from cryptofeed_cli.exchanges.okx import Okx
from cryptofeed_cli.feeds.live import LiveFeed
from cryptofeed_cli.feeds.pacing import Backoff
from cryptofeed_cli.network import Dialer
from cryptofeed_cli.past import recall
from cryptofeed_cli.recorder import Recorder, View
from cryptofeed_cli.rest import Response, Rest
from cryptofeed_cli.session import Session, SessionOptions
from cryptofeed_cli.stores import redact
from cryptofeed_cli.stores.base import Store
from cryptofeed_cli.streams import Sampling
from cryptofeed_cli.symbols import find_symbols, is_pattern
from cryptofeed_cli.types import Record, Run
from cryptofeed_cli.writer import Writer

LOG = logging.getLogger(__name__)

_POLL = 0.01
"""Seconds between two looks at whether the exchange may be asked again."""

_NOT_YET = {
    "record.tape": None,
    "network.proxy": None,
    "network.interface": None,
    "network.dns": None,
    "store.retention": None,
}
"""Keys whose promise this version cannot keep, and the only value it takes: ignoring them would be a lie."""


def build_recorder(
    settings: Settings,
    store: Store,
    *,
    clock: Clock,
    stop: Event,
    until: int | None = None,
    watch: Callable[[View], object] | None = None,
) -> Recorder | None:
    """Put a recorder together. It owns everything but the store; its threads start here.

    Patterns need an exchange that answers, or a store that knows its instruments: as long as there is neither this
    waits, until ``stop`` is set (then there is no recorder), or raises the `ExchangeError` when the monotonic clock
    reaches ``until``.
    """
    exchange = Okx(settings.okx.region)
    records: list[Record] = []
    run = _run(settings, clock)
    okx, book = settings.okx, settings.orderbook
    patterns = settings.record.symbols
    symbols = patterns
    limiter = _limiter(settings, exchange)
    if any(map(is_pattern, patterns)):
        network = settings.network
        backoff = Backoff(network.retry_initial, network.retry_max, random.Random())  # noqa: S311 - jitter
        with build_asker(settings, exchange, clock, limiter) as ask:
            find = partial(find_symbols, patterns, exchange, store, ask, clock.now())
            found = _find(find, backoff, clock, stop, until)
        if found is None:
            return None
        symbols = found
    options = SessionOptions(
        run_id=run.run_id,
        symbols=symbols,
        patterns=patterns if symbols != patterns else (),
        channels=settings.record.channels,
        sampling=Sampling(book.depth, book.interval // MILLISECOND, book.group),
        reorder_grace=okx.reorder_grace,
        ping_interval=okx.ping_interval,
        silence=okx.silence,
        redundancy=settings.record.redundancy,
        backfill=okx.backfill,
        backfill_limit=okx.backfill_limit,
    )
    session = Session(exchange, options, records.append, recall(store, exchange.name, options.symbols), limiter)
    return Recorder(
        build_feed(settings, exchange, clock), session, records, Writer(store), run,
        clock=clock, flush_interval=settings.store.flush_interval, flush_records=settings.store.flush_records,
        watch=watch,
    )  # fmt: skip


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
    return LiveFeed(
        {
            "public": okx.public_url or exchange.sockets["public"],
            "business": okx.business_url or exchange.sockets["business"],
        },
        okx.rest_url or exchange.rest,
        Dialer(ca_file=network.ca_file),
        clock=clock,
        rng=random.Random(),  # noqa: S311 - jitter
        retry_initial=network.retry_initial,
        retry_max=network.retry_max,
        connect_timeout=network.connect_timeout,
        connects_per_second=exchange.capabilities.connects_per_second,
        rest_headers=exchange.rest_headers,
    )


@contextmanager
def build_asker(
    settings: Settings, exchange: Okx, clock: Clock, limiter: Limiter | None = None
) -> Iterator[Callable[[str], Response]]:
    """Make a way to ask the exchange's REST interface, one question at a time, no faster than it allows.

    ``limiter`` is that of the whole process, where others ask too.
    """
    okx, network = settings.okx, settings.network
    urls = okx.rest_url or exchange.rest
    dialer = Dialer(ca_file=network.ca_file)
    limiter = limiter or _limiter(settings, exchange)
    rest = Rest(urls[0], dialer, clock=clock, timeout=network.connect_timeout, headers=exchange.rest_headers)

    def ask(path: str) -> Response:
        while not limiter.allows(clock.monotonic()):
            time.sleep(_POLL)
        answer = rest.get(path)
        if exchange.rebukes(answer.status, answer.body):
            limiter.rebuke(clock.monotonic())
        return answer

    with closing(rest):
        yield ask


def _limiter(settings: Settings, exchange: Okx) -> Limiter:
    return Limiter(exchange.capabilities.rest_per_second * settings.okx.rate_share)


def refuse_what_is_missing(settings: Settings) -> None:
    """Raise `ConfigurationError` for a key that this version would have to ignore."""
    for key, taken in _NOT_YET.items():
        table, name = key.split(".")
        value = getattr(getattr(settings, table), name)
        if value != taken:
            raise ConfigurationError(
                settings.origin(key), key, redact(str(value)), "is not supported by this version; leave it out"
            )


def _run(settings: Settings, clock: Clock) -> Run:
    now, host = clock.now(), socket.gethostname()
    return Run(
        run_id=secrets.token_hex(8),
        name=settings.record.name or _default_name(host, settings.store_url),
        host=host,
        pid=os.getpid(),
        version=__version__,
        config=settings.as_dict(),
        started_at=now,
        ended_at=None,
        state="running",
        heartbeat_at=now,
        clock_offset_ms=None,
        counters={},
    )


def _default_name(host: str, store_url: str) -> str:
    """Name a recorder by its host and its store: readable, and different for every store."""
    stem = re.sub(r"\W+", "-", store_url.rpartition("/")[2].partition("?")[0].removesuffix(".db")) or "store"
    return f"{host}-{stem}-{blake2b(redact(store_url).encode(), digest_size=3).hexdigest()}"
