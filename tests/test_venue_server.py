"""The server's own manners: whom it cuts off, and when. Everything else is tried through ``simulate --serve``."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from queue import Queue

import pytest
from websockets import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from cryptofeed_cli import venue_server
from cryptofeed_cli.cli.addresses import parse_address
from cryptofeed_cli.clock import SystemClock
from cryptofeed_cli.errors import UsageError
from cryptofeed_cli.exchanges.base import Sockets, Topic
from cryptofeed_cli.exchanges.okx import Okx
from cryptofeed_cli.venue_server import VenueServer
from tests.processes import PATIENCE
from tests.simulations import plan

PATHS = Okx().listening.paths
SUBSCRIBE = Okx().subscribe([Topic("books", "ETH-USDT")], "1")


@pytest.fixture
def address() -> Iterator[str]:
    """Where a server listens that lets nobody idle for longer than half a second."""
    stop, bound = threading.Event(), Queue[str]()
    server = VenueServer(lambda: plan(1).stage(Okx()), Sockets(PATHS, 0.5, 1000), clock=SystemClock())
    thread = threading.Thread(target=server.run, args=("127.0.0.1", 0, stop, None, bound.put))
    thread.start()
    yield bound.get(timeout=PATIENCE)
    stop.set()
    thread.join(PATIENCE)
    assert not thread.is_alive()


def read_on(client: ClientConnection) -> None:
    """Read until the socket is closed, and raise that."""
    while True:
        client.recv(PATIENCE)


def test_a_client_that_asks_for_nothing_is_let_go(address: str) -> None:
    with connect(f"ws://{address}/ws/v5/public") as client, pytest.raises(ConnectionClosed) as caught:
        client.recv(PATIENCE)

    assert caught.value.rcvd is not None
    assert caught.value.rcvd.code == 4004


def test_pings_keep_a_socket_open(address: str) -> None:
    with connect(f"ws://{address}/ws/v5/business") as client:
        until = time.monotonic() + 1.5
        while time.monotonic() < until:
            client.send("ping")
            assert client.recv(PATIENCE) == "pong"


def test_a_subscriber_is_sent_its_topic_and_nothing_else(address: str) -> None:
    with connect(f"ws://{address}/ws/v5/public") as client:
        client.send(SUBSCRIBE)
        frames = [json.loads(client.recv(PATIENCE)) for _ in range(5)]

    assert [frame.get("event") or frame["action"] for frame in frames] == ["subscribe", "snapshot", *["update"] * 3]
    assert {frame["arg"]["instId"] for frame in frames} == {"ETH-USDT"}


@pytest.mark.parametrize("message", [b"\xff\xfe", "x" * 1001])
def test_whoever_sends_nonsense_is_let_go_and_the_others_are_not(address: str, message: str | bytes) -> None:
    with connect(f"ws://{address}/ws/v5/public") as good, connect(f"ws://{address}/ws/v5/public") as bad:
        good.send(SUBSCRIBE)
        bad.send(message)
        with pytest.raises(ConnectionClosed):
            read_on(bad)
        for _ in range(3):
            good.recv(PATIENCE)


def test_a_client_for_whom_too_much_waits_is_cut_off(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(venue_server, "QUEUE_BYTES", 1_000)  # less than one book
    with connect(f"ws://{address}/ws/v5/public", max_queue=1) as client:
        client.send(SUBSCRIBE)
        with pytest.raises(ConnectionClosed):
            read_on(client)


@pytest.mark.parametrize(
    ("text", "address"),
    [("8765", ("127.0.0.1", 8765)), (":0", ("127.0.0.1", 0)), ("0.0.0.0:80", ("0.0.0.0", 80)), ("[::1]:9", ("::1", 9))],
)
def test_an_address_is_on_loopback_unless_it_names_another(text: str, address: tuple[str, int]) -> None:
    assert parse_address("--serve", text) == address


@pytest.mark.parametrize("text", ["", "host", "host:", "1:99999", "1:x", ":-1"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is no address"):
        parse_address("--serve", text)
