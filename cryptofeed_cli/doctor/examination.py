"""All checks in their order; knows what each one needs, and how none of them works."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, closing

from cryptofeed_cli.assembly import build_dialer, build_feed
from cryptofeed_cli.clock import Clock
from cryptofeed_cli.config import Settings
from cryptofeed_cli.doctor.checks import Check, Examination, Finding
from cryptofeed_cli.doctor.place import look_at_configuration, look_at_disk, look_at_outbox, look_at_store
from cryptofeed_cli.doctor.service import Service
from cryptofeed_cli.doctor.way import Way
from cryptofeed_cli.exchanges.base import Topic
from cryptofeed_cli.exchanges.okx import Okx
from cryptofeed_cli.feeds.live import LiveFeed
from cryptofeed_cli.symbols import is_pattern

NAMES = (
    "configuration", "route", "name resolution", "TCP", "TLS", "WebSocket upgrade", "subscription", "first frame",
    "REST", "clock", "region", "store", "free disk", "outbox",
)  # fmt: skip
"""Every check by its number, from 1 on."""
STAND_IN = "BTC-USDT-SWAP"
"""Subscribed to where only patterns are configured: it trades day and night."""


def examine(load: Callable[[], Settings], clock: Clock, show: Callable[[Check], object]) -> list[Check]:
    """Look at everything; ``load`` reads the configuration, ``show`` is handed each check as it is done."""
    examination = Examination(clock, show)
    loaded: list[Settings] = []

    def configuration() -> Finding:
        loaded.append(load())
        return look_at_configuration(loaded[0])

    examination.check("configuration", configuration, cure="correct the value; `cryptofeed record --dry-run` shows all")
    if loaded:
        with ExitStack() as opened:
            _look_outside(examination, loaded[0], clock, opened)
    else:
        for name in NAMES[1:]:
            examination.check(name, lambda: Finding(""), cure="", needs=["configuration"])
    return examination.checks


def _look_outside(examination: Examination, settings: Settings, clock: Clock, opened: ExitStack) -> None:
    check, exchange, okx = examination.check, Okx(settings.okx.region), settings.okx
    topics = _topics(settings, exchange)
    urls = {"public": okx.public_url, "business": okx.business_url}
    sockets = [urls[endpoint] or exchange.sockets[endpoint] for endpoint in topics]
    timeout = settings.network.connect_timeout
    way = opened.enter_context(closing(Way([*sockets, okx.rest_url or exchange.rest], timeout, clock)))
    service = Service(exchange, topics, okx.region, timeout, clock)
    feeds: list[LiveFeed] = []

    def feed() -> LiveFeed:
        if not feeds:
            feeds.append(opened.enter_context(closing(build_feed(settings, exchange, clock))))
        return feeds[0]

    check("route", lambda: way.route(lambda: build_dialer(settings, exchange, clock)), cure="correct the configuration")
    check("name resolution", way.names, cure="set network.dns", needs=["route"])
    check("TCP", way.tcp, cure="check the network", needs=["route"])
    check("TLS", way.tls, cure="see the reason", needs=["TCP"])
    # Spare hosts may do what the first ones do not, so nothing but the route is needed.
    check("WebSocket upgrade", lambda: service.upgrade(feed()), cure="check okx.*_url", needs=["route"])
    check("subscription", service.subscription, cure="try again", needs=["WebSocket upgrade"])
    check("first frame", service.first_frame, cure="try again", needs=["subscription"])
    check("REST", lambda: service.rest(feed()), cure="check okx.rest_url", needs=["route"])
    check("clock", service.clock, cure="set the clock", needs=["REST"])
    check("region", service.region, cure="check okx.region", needs=["route"])
    check("store", lambda: look_at_store(settings), cure="check store.url and that the server runs")
    check("free disk", lambda: look_at_disk(settings), cure="make room")
    check("outbox", lambda: look_at_outbox(settings), cure="check the data directory")


def _topics(settings: Settings, exchange: Okx) -> dict[str, list[Topic]]:
    """Return what to subscribe to by endpoint: the configured channels of the first symbol."""
    symbol = next((one for one in settings.record.symbols if not is_pattern(one)), STAND_IN)
    found: dict[str, dict[Topic, None]] = {}
    for channel in settings.record.channels:
        wire = exchange.capabilities.wires[channel]
        found.setdefault(wire.endpoint, {})[Topic(wire.channel, symbol)] = None
    return {endpoint: list(topics) for endpoint, topics in found.items()}
