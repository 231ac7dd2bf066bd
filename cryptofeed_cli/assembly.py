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
from contextlib import ExitStack, closing, contextmanager
from hashlib import blake2b
from http import HTTPStatus
from urllib.parse import urlsplit

from cryptofeed_cli import __version__
from cryptofeed_cli.backfill import Limiter
from cryptofeed_cli.clock import MILLISECOND, Clock
from cryptofeed_cli.config import Settings
from cryptofeed_cli.errors import ConfigurationError
from cryptofeed_cli.exchanges.okx import Okx
from cryptofeed_cli.feeds.live import LiveFeed
from cryptofeed_cli.network import Dialer, Route, choose_route
from cryptofeed_cli.past import recall
from cryptofeed_cli.recorder import Recorder, View
from cryptofeed_cli.rest import Response, Rest, get_from_any
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
    "store.retention": None,
}
"""Keys whose promise this version cannot keep, and the only value it takes: ignoring them would be a lie."""


def build_recorder(
    settings: Settings, store: Store, *, clock: Clock, watch: Callable[[View], object] | None = None
) -> Recorder:
    """Put a recorder together. It owns everything but the store; its threads start here."""
    exchange = Okx(settings.okx.region)
    records: list[Record] = []
    run = _run(settings, clock)
    okx, book = settings.okx, settings.orderbook
    patterns = settings.record.symbols
    symbols = patterns
    if any(map(is_pattern, patterns)):
        with build_asker(settings, exchange, clock) as ask:
            symbols = find_symbols(patterns, exchange, store, ask, clock.now())
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
        rate_share=okx.rate_share,
    )
    session = Session(exchange, options, records.append, recall(store, exchange.name, options.symbols))
    return Recorder(
        build_feed(settings, exchange, clock), session, records, Writer(store), run,
        clock=clock, flush_interval=settings.store.flush_interval, flush_records=settings.store.flush_records,
        watch=watch,
    )  # fmt: skip


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
        rng=random.Random(),  # noqa: S311 - jitter
        retry_initial=network.retry_initial,
        retry_max=network.retry_max,
        connect_timeout=network.connect_timeout,
        connects_per_second=exchange.capabilities.connects_per_second,
        rest_headers=exchange.rest_headers,
    )


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
def build_asker(settings: Settings, exchange: Okx, clock: Clock) -> Iterator[Callable[[str], Response]]:
    """Make a way to ask the exchange's REST interface, one question at a time, no faster than it allows."""
    okx, network = settings.okx, settings.network
    dialer = build_dialer(settings, exchange, clock)
    limiter = Limiter(exchange.capabilities.history_per_second * okx.rate_share)
    rests = [
        Rest(url, dialer, clock=clock, timeout=network.connect_timeout, headers=exchange.rest_headers)
        for url in okx.rest_url or exchange.rest
    ]

    def ask(path: str) -> Response:
        while not limiter.allows(clock.monotonic()):
            time.sleep(_POLL)
        answer = get_from_any(rests, path)
        if answer.status == HTTPStatus.TOO_MANY_REQUESTS:
            limiter.rebuke(clock.monotonic())
        return answer

    with ExitStack() as opened:
        for rest in rests:
            opened.enter_context(closing(rest))
        yield ask


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
