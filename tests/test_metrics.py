"""The metrics of a recorder: what is told, what a scrape may not do, and who serves it."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from random import Random
from urllib.error import URLError
from urllib.request import urlopen

import pytest
from prometheus_client.parser import text_string_to_metric_families

from cryptofeed_cli.clock import SECOND, SystemClock
from cryptofeed_cli.metrics import Figures, serving
from cryptofeed_cli.stores.base import Written
from cryptofeed_cli.stores.outbox import Backlog
from cryptofeed_cli.views import State, SymbolView, View
from tests.okx_market import Market, generate, instrument
from tests.okx_server import OkxServer
from tests.processes import PATIENCE, Recording, environment, query, run, wait_until

ROW = SymbolView("BTC-USDT", "1", 42, True, 3, {"trades": 7}, "1", "2", 1, 500)
VIEW = View(
    State.RECONNECTING, 9 * SECOND, 100, 2, Written(7, 1, 0, 0), [ROW, SymbolView("ETH", None, None, None, 0, {})], {},
    Backlog(5, 4096, 1), "does not answer", 4, -12, 1,
)  # fmt: skip

Told = dict[tuple[str, ...], float]


def told(text: str) -> Told:
    """Return every sample by its name and the values of its labels."""
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def scraped(url: str) -> Told:
    with urlopen(url, timeout=PATIENCE) as answer:  # noqa: S310 - ours
        return told(answer.read().decode())


@pytest.fixture
def port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as sock:
        found: int = sock.getsockname()[1]
        return found


def test_every_figure_of_the_latest_view_is_told(port: int) -> None:
    with serving("127.0.0.1", port, SystemClock()) as publish:
        publish(VIEW)
        found = scraped(f"http://127.0.0.1:{port}/metrics")

    assert found.pop(("cryptofeed_outbox_age_seconds",)) > 10**9
    assert found == {
        ("cryptofeed_frames_total",): 100, ("cryptofeed_rejects_total",): 2, ("cryptofeed_connects_total",): 4,
        ("cryptofeed_simulated_episodes_total",): 1, ("cryptofeed_written_total", "inserted"): 7,
        ("cryptofeed_written_total", "duplicates"): 1, ("cryptofeed_written_total", "conflicts"): 0,
        ("cryptofeed_written_total", "refused"): 0, ("cryptofeed_state", "connecting"): 0,
        ("cryptofeed_state", "live"): 0, ("cryptofeed_state", "reconnecting"): 1, ("cryptofeed_state", "simulated"): 0,
        ("cryptofeed_state", "halted"): 0, ("cryptofeed_store_up",): 0, ("cryptofeed_uptime_seconds",): 9,
        ("cryptofeed_clock_offset_seconds",): -0.012, ("cryptofeed_outbox_records",): 5,
        ("cryptofeed_outbox_bytes",): 4096, ("cryptofeed_records_total", "trades", "BTC-USDT"): 7,
        ("cryptofeed_gaps_total", "BTC-USDT"): 3, ("cryptofeed_gaps_total", "ETH"): 0,
        ("cryptofeed_gaps_open", "BTC-USDT"): 1, ("cryptofeed_gaps_open", "ETH"): 0,
        ("cryptofeed_lag_seconds", "BTC-USDT"): 0.042, ("cryptofeed_last_frame_age_seconds", "BTC-USDT"): 0.5,
        ("cryptofeed_book_valid", "BTC-USDT"): 1,
    }  # fmt: skip


def test_before_the_first_view_nothing_is_told() -> None:
    assert list(Figures(SystemClock()).collect()) == []


def test_when_the_recording_is_over_nobody_listens(port: int) -> None:
    with serving("127.0.0.1", port, SystemClock()):
        pass
    with pytest.raises(URLError):
        scraped(f"http://127.0.0.1:{port}/metrics")


def test_an_address_that_is_taken_is_said_in_one_line(tmp_path: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as sock:
        port = sock.getsockname()[1]
        done = run(["record", "BTC-USDT", "--metrics", str(port)], environment(tmp_path), tmp_path)

    assert done.returncode == 2
    assert done.stderr.decode() == (
        f"cryptofeed: --metrics 127.0.0.1:{port}: Address already in use; name another address\n"
    )


@pytest.mark.parametrize("address", ["somewhere", "127.0.0.1:", "70000", "host:http"])
def test_what_is_no_address_is_refused(tmp_path: Path, address: str) -> None:
    done = run(["record", "--metrics", address], environment(tmp_path), tmp_path)

    assert done.returncode == 2
    assert f"--metrics '{address}' is no address" in done.stderr.decode()


def test_without_its_library_the_way_to_it_is_told(tmp_path: Path) -> None:
    code = (
        "import importlib.util as util; real = util.find_spec;"
        "util.find_spec = lambda name, *rest: None if name == 'prometheus_client' else real(name, *rest);"
        "import sys; sys.argv = ['cryptofeed', 'record', '--metrics', '9108'];"
        "from cryptofeed_cli.__main__ import main; sys.exit(main())"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment(tmp_path), cwd=tmp_path, capture_output=True)

    assert done.returncode == 2
    assert b"pip install 'cryptofeed-cli[metrics]'" in done.stderr


def test_a_real_recorder_tells_what_is_in_its_store(tmp_path: Path, port: int) -> None:
    url = f"sqlite:///{tmp_path}/m.db"
    tape = generate(["BTC-USDT"], 300, Random(1), 1_795_000_000_000)
    count = sum(push.channel == "trades" for push in tape)
    with (
        OkxServer(Market([instrument("BTC-USDT")])) as server,
        Recording(["BTC-USDT", "--store", url, "--metrics", str(port)], environment(tmp_path, server), tmp_path) as one,
    ):
        for channel in ("trades-all", "tickers", "books"):
            server.wait_for("subscribe", channel=channel)
        server.push(*tape)
        where = f"http://127.0.0.1:{port}/metrics"
        name = ("cryptofeed_records_total", "trades", "BTC-USDT")
        wait_until(lambda: scraped(where).get(name) == count, "the trades among the metrics")
        found = scraped(where)
        assert one.stop() == 0
        assert re.search(rf"metrics at http://127\.0\.0\.1:{port}/metrics", one.said)

    assert int(query(url, "--count", cwd=tmp_path)) == count
    assert found["cryptofeed_state", "live"] == 1
    assert found["cryptofeed_store_up",] == 1
    assert found["cryptofeed_frames_total",] >= len(tape)
