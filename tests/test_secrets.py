"""No password of a proxy or store is found in anything that a run says, shows or leaves behind."""

from __future__ import annotations

import base64
import socket
import sys
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.okx_server import OkxServer
from tests.processes import Recording, environment, run
from tests.proxies import MoodyProxy, RealProxy

USER, PASSWORD = "jane", "hunter2 @/:?#zebra%"
TRACES = (b"hunter2", b"zebra", base64.b64encode(f"{USER}:{PASSWORD}".encode()).rstrip(b"="))
"""Pieces that are left however the password is quoted, cut or encoded."""
SECRET = f"{USER}:{quote(PASSWORD, safe='')}"


def found_in(data: bytes) -> list[bytes]:
    return [trace for trace in TRACES if trace in data]


def left_behind(home: Path) -> list[Path]:
    """Every file that holds a trace."""
    return [path for path in home.rglob("*") if path.is_file() and found_in(path.read_bytes())]


def test_the_traces_are_what_would_be_found(tmp_path: Path) -> None:
    (tmp_path / "log").write_text(f"socks5h://{SECRET}@h and {PASSWORD}")
    assert left_behind(tmp_path) == [tmp_path / "log"]


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_recording_through_a_proxy_keeps_its_password_to_itself(tmp_path: Path, form: str) -> None:
    with RealProxy((USER, PASSWORD.replace("#", ""))) as proxy, OkxServer() as server:
        env = environment(
            tmp_path, server, CRYPTOFEED_LOG_FILE=str(tmp_path / "recorder.log"), CRYPTOFEED_LOG_FORMAT=form,
            CRYPTOFEED_LOG_LEVEL="debug",
        )  # fmt: skip
        with Recording(["BTC-USDT", "--proxy", proxy.url("http")], env, tmp_path) as recording:
            server.wait_for("subscribe", channel="trades-all", symbol="BTC-USDT")
            command_line = Path(f"/proc/{recording.process.pid}/cmdline")
            if sys.platform == "linux":
                assert b"jane:***@" in command_line.read_bytes()
                assert found_in(command_line.read_bytes()) == []
            proxy.kill()
            recording.wait_for_line("cannot be reached")
            proxy.credentials = (USER, "another")
            proxy.start()
            recording.wait_for_line("lost OKX")
            assert recording.stop() == 0
    assert (tmp_path / "market.db").stat().st_size
    assert (tmp_path / "recorder.log").stat().st_size
    assert left_behind(tmp_path) == []


def echo(client: socket.socket) -> None:
    """Send back what was asked, credentials and all, in the status line, a header and the body."""
    request = client.recv(4096).replace(b"\r\n", b" ")
    page = f"<html>{SECRET} {PASSWORD}</html>".encode()
    client.sendall(b"HTTP/1.1 407 " + request + b"\r\nX-You-Said: " + request + b"\r\n\r\n" + page)


@pytest.mark.parametrize(
    "arguments",
    [
        ["record", "--duration", "1s", "--proxy", "{http}"],
        ["record", "--duration", "1s", "--proxy", "{socks5h}"],
        ["record", "--duration", "1s", "--proxy={https}"],
        ["record", "--dry-run", "--proxy", "{http}", "--store", "{mongodb}"],
        ["record", "--duration", "1s", "--store", "{mongodb}"],
        ["record", "--duration", "1s", "--store", "{postgres}"],
        ["query", "--store", "{mongodb}"],
        ["status", "--json", "--store", "{mongodb}"],
        ["backfill", "--proxy", "{http}", "--store", "{mongodb}"],
        ["doctor", "--proxy", "{http}", "--store", "{mongodb}"],
        ["doctor", "--json", "--proxy", "{socks5h}", "--store", "{mongodb}"],
        ["doctor", "--proxy", "{broken}"],
    ],
)
def test_no_command_shows_a_password_whatever_goes_wrong(tmp_path: Path, arguments: list[str]) -> None:
    """With -v: the line of an error is there as without, and where it arose too."""
    with MoodyProxy() as proxy, OkxServer() as server:
        proxy.answer = echo
        place = f"127.0.0.1:{proxy.port}"
        urls = {scheme: f"{scheme}://{SECRET}@{place}" for scheme in ("http", "https", "socks5h", "postgres")}
        urls["mongodb"] = f"mongodb://{SECRET}@{place}/market?serverSelectionTimeoutMS=300"
        urls["broken"] = f"http://{USER}:{PASSWORD}@{place}"
        env = environment(
            tmp_path, server, CRYPTOFEED_LOG_FILE=str(tmp_path / "run.log"),
            CRYPTOFEED_NETWORK_CONNECT_TIMEOUT="1s", CRYPTOFEED_NETWORK_RETRY_MAX="200ms",
        )  # fmt: skip
        done = run(["-v", *(argument.format(**urls) for argument in arguments)], env, tmp_path)

    assert done.stdout or done.stderr
    assert found_in(done.stdout) == []
    assert found_in(done.stderr) == []
    assert left_behind(tmp_path) == []


def test_the_environment_may_hold_it_too(tmp_path: Path) -> None:
    with MoodyProxy() as proxy, OkxServer() as server:
        proxy.answer = echo
        env = environment(
            tmp_path, server, CRYPTOFEED_OKX_REST_URL=f"http://ws.okx.test:{server.port}",
            ALL_PROXY=f"http://{SECRET}@127.0.0.1:{proxy.port}", CRYPTOFEED_NETWORK_CONNECT_TIMEOUT="1s",
        )  # fmt: skip
        done = run(["-v", "doctor"], env, tmp_path)

    assert b"(ALL_PROXY)" in done.stdout
    assert found_in(done.stdout + done.stderr) == []
    assert left_behind(tmp_path) == []


