"""``cryptofeed query`` as a user has it: files, patterns, derived kinds, completeness; both stores alike."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
import zstandard

from cryptofeed_cli.clock import MILLISECOND
from cryptofeed_cli.stores import open_store
from cryptofeed_cli.types import KINDS, Gap, Run
from tests.processes import COMMAND, PATIENCE, environment, run, wait_until
from tests.stores.records import NOON, numbered, sample, trade, update

SYMBOLS = ("BTC-USDT", "BTC-USDT-SWAP", "ETH-USDT")
Query = Callable[..., "subprocess.CompletedProcess[bytes]"]


def recording() -> list[Any]:
    """A little of everything, as one recorder leaves it that ran for an hour from noon."""
    config = {"record": {"symbols": list(SYMBOLS), "channels": ["trades", "tickers", "book_updates"]}}
    begin, end = NOON * MILLISECOND, (NOON + 3_600_000) * MILLISECOND
    records: list[Any] = [Run("r", "n", "h", 1, "0", config, begin, end, "stopped", end, None, {})]
    for number in range(600):
        symbol = SYMBOLS[number % 3]
        records.append(trade(number, NOON + number * 1_000, symbol=symbol, price=f"{100 + number % 7}.50"))
        records.append(sample("tickers", timestamp=NOON + number * 1_000, symbol=symbol, last=str(number)))
    records += [numbered(kind, number) for kind in KINDS if kind not in ("runs", "trades") for number in range(9)]
    for symbol in SYMBOLS:
        records.append(
            update(None, 5, action="snapshot", symbol=symbol, timestamp=NOON + 10, asks=[("91251", "1", 1)])
        )
        records += [update(n, n + 1, symbol=symbol, timestamp=NOON + 10 + n, asks=[]) for n in range(5, 30)]
    records.append(trade(9_999, source="simulated", run_id="s", episode=1))
    # Gaps of the time before, so that what is asked for below is complete.
    return [
        msgspec.structs.replace(record, start=NOON - 9_000, end=NOON - 8_000) if isinstance(record, Gap) else record
        for record in records
    ]


@pytest.fixture
def recorded(tmp_path: Path) -> str:
    """The URL of a file with the recording."""
    url = f"sqlite:///{tmp_path}/market.db"
    with closing(open_store(url, writable=True)) as store:
        store.write(recording())
    return url


@pytest.fixture
def query(tmp_path: Path, recorded: str) -> Query:
    """Runs ``query`` on the recording, in an empty directory."""
    directory = tmp_path / "work"
    directory.mkdir()

    def query(*arguments: str, store: str = recorded) -> subprocess.CompletedProcess[bytes]:
        return run(["query", *arguments, "--store", store], environment(tmp_path), directory)

    return query


def rows(done: subprocess.CompletedProcess[bytes]) -> list[dict[str, Any]]:
    assert (done.returncode, done.stderr) == (0, b""), done.stderr.decode()
    return [json.loads(line) for line in done.stdout.splitlines()]


ASKED: list[Sequence[str]] = [
    *([kind] for kind in KINDS),
    ["trades", "-s", "BTC-*", "--tail", "7"],
    ["trades", "--source", "all", "-n", "50", "--fields", "trade_id,price", "-f", "csv"],
    ["trades", "--since", str(NOON + 50_000), "--until", str(NOON + 90_000), "-f", "json"],
    ["trades", "--count", "-s", "*-SWAP"],
    ["candles", "--interval", "7s", "--fill"],
    ["candles", "--interval", "1m", "--source", "all", "-f", "table"],
    ["book", "-s", "BTC-USDT-SWAP", "--at", str(NOON + 25), "--depth", "3"],
    ["spread", "-s", "*USDT", "-f", "csv"],
    ["stats", "--source", "all"],
]


@pytest.mark.parametrize("asked", ASKED, ids=" ".join)
def test_both_stores_answer_alike(query: Query, recorded: str, mongo_url: str, asked: Sequence[str]) -> None:
    with closing(open_store(mongo_url, writable=True)) as store:
        store.write(recording())

    ours, theirs = query(*asked), query(*asked, store=mongo_url)

    assert (ours.returncode, ours.stderr) == (0, b"")
    assert ours.stdout.count(b"\n") >= 1
    assert theirs.stdout == ours.stdout
    assert (theirs.returncode, theirs.stderr) == (0, b"")


def test_patterns_choose_symbols(query: Query) -> None:
    assert {row["symbol"] for row in rows(query("-s", "BTC-*"))} == {"BTC-USDT", "BTC-USDT-SWAP"}
    assert {row["symbol"] for row in rows(query("-s", "*-USDT"))} == {"BTC-USDT", "ETH-USDT"}
    assert rows(query("-s", "DOGE-*")) == []


def test_candles_are_printed(query: Query) -> None:
    first, *_ = rows(query("candles", "-s", "ETH-USDT", "--interval", "3s", "-n", "1"))

    assert list(first) == [
        "timestamp", "exchange", "symbol", "source", "interval", "open", "high", "low", "close", "volume", "vwap",
        "trades", "complete",
    ]  # fmt: skip
    assert (first["interval"], first["trades"], first["complete"]) == ("3s", 1, True)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["spread", "--interval", "1m"], "--interval is for candles, not for spread"),
        (["--at", "now"], "--at is for book, not for trades"),
        (["stats", "--plot"], "--plot is for candles and spread and book, not for stats"),
        (["candles", "--interval", "500ms"], "--interval 500ms: give whole seconds, from 1s to 1d"),
        (["book", "--group", "0"], "--group '0' is not a price step; give a positive number such as 0.5 or 10"),
        (["candels"], "unknown kind 'candels'; did you mean 'candles'?"),
        (["--fields", "price,sise"], "trades have no field 'sise'; did you mean 'size'?"),
        (["-o", "x.csv", "--count"], "--count and -o exclude each other; give one of them"),
        (["-o", "x.txt"], "-o x.txt: its suffix names no format; end it in .csv, .jsonl, .json, .parquet"),
        (["-o", "x.csv.gz", "-f", "jsonl"], "-o x.csv.gz contradicts -f jsonl; change one of them"),
        (["-o", "x.parquet.zst"], "-o x.parquet.zst: parquet is compressed within; leave out .zst"),
        (["-o", "no/x.csv"], "-o no/x.csv: the directory "),
        (["-o", "."], "-o .: its suffix names no format"),
        (["-o", "/dev/null", "-f", "csv"], "-o /dev/null is not a file; name one, or redirect with >"),
        (["--force"], "--force is for -o FILE and --plot FILE"),
        (["gaps", "--require-complete"], "--require-complete cannot judge gaps of these sources"),
        (["--source", "simulated", "--require-complete"], "--require-complete cannot judge trades of these sources"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_one_line_and_exit_2(query: Query, arguments: list[str], line: str) -> None:
    done = query(*arguments)

    assert done.stderr.decode().startswith(f"cryptofeed: {line}")
    assert (done.stderr.count(b"\n"), done.stdout, done.returncode) == (1, b"", 2)


def test_a_format_whose_library_is_missing_is_refused_with_what_to_install(tmp_path: Path, recorded: str) -> None:
    script = (
        "import sys; sys.modules['pyarrow'] = None; import importlib.util as util; find = util.find_spec\n"
        "util.find_spec = lambda name, *rest: None if name in ('pyarrow', 'plotext') else find(name, *rest)\n"
        f"sys.argv = ['cryptofeed', 'query', '--store', {recorded!r}, *sys.argv[1:]]\n"
        "from cryptofeed_cli.cli import main; main()\n"
    )

    def answer(*arguments: str) -> subprocess.CompletedProcess[bytes]:
        command = [sys.executable, "-c", script, *arguments]
        return subprocess.run(command, capture_output=True, env=environment(tmp_path), cwd=tmp_path, timeout=PATIENCE)

    parquet, plot = answer("-o", "x.parquet"), answer("candles", "--plot")
    assert parquet.stderr == (
        b"cryptofeed: parquet needs pyarrow, which is not installed; pip install 'cryptofeed-cli[arrow]'\n"
    )
    assert plot.stderr == (
        b"cryptofeed: --plot needs plotext, which is not installed; pip install 'cryptofeed-cli[plot]'\n"
    )
    assert (parquet.returncode, plot.returncode) == (2, 2)
    assert not (tmp_path / "x.parquet").exists()


@pytest.mark.parametrize("name", ["t.csv", "t.jsonl", "t.json", "t.csv.gz", "t.jsonl.zst"])
def test_a_file_holds_what_stdout_gets(query: Query, tmp_path: Path, name: str) -> None:
    done = query("-o", name)
    data = (tmp_path / "work" / name).read_bytes()
    form = name.split(".")[1]

    assert (done.stdout, done.stderr, done.returncode) == (b"", b"", 0)
    if name.endswith(".gz"):
        data = gzip.decompress(data)
    elif name.endswith(".zst"):
        data = zstandard.ZstdDecompressor().decompressobj().decompress(data)
    assert data == query("-f", form).stdout


def test_the_format_given_wins_where_the_suffix_says_nothing(query: Query, tmp_path: Path) -> None:
    query("-o", "t.gz", "-f", "csv", "-n", "1")

    assert gzip.decompress((tmp_path / "work" / "t.gz").read_bytes()).startswith(b"timestamp,received_at,")


def test_a_file_is_not_overwritten_unless_forced(query: Query, tmp_path: Path) -> None:
    path = tmp_path / "work" / "t.csv"
    path.write_text("precious")

    refused = query("-o", "t.csv")
    assert refused.stderr == (
        b"cryptofeed: -o t.csv exists; name another file, or overwrite it with --force\n"
    )
    assert (refused.returncode, path.read_text()) == (2, "precious")
    assert query("-o", "t.csv", "--force").returncode == 0
    assert path.read_text().startswith("timestamp,")
    assert sorted(entry.name for entry in path.parent.iterdir()) == ["t.csv", "t.csv.manifest.json"]


def test_the_manifest_tells_what_is_in_the_file(query: Query, tmp_path: Path) -> None:
    arguments = ["-s", "BTC-*", "--since", str(NOON), "--until", str(NOON + 60_000), "--fields", "trade_id,price"]
    query(*arguments, "-o", "a.csv.gz")
    query(*arguments, "-o", "b.csv.gz")
    path = tmp_path / "work" / "a.csv.gz"
    manifest = json.loads((tmp_path / "work" / "a.csv.gz.manifest.json").read_bytes())

    judged = [
        {"symbol": symbol, "channel": "trades", "since": "2026-11-18T12:00:00.000Z",
         "until": "2026-11-18T12:01:00.000Z", "complete": True, "holes": []}
        for symbol in ("BTC-USDT", "BTC-USDT-SWAP")
    ]  # fmt: skip
    program = manifest.pop("program")
    assert manifest == {
        "file": "a.csv.gz", "sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "bytes": path.stat().st_size,
        "format": "csv", "compression": "gz", "kind": "trades", "symbols": ["BTC-*"], "sources": ["backfill", "live"],
        "since": "2026-11-18T12:00:00.000000000Z", "until": "2026-11-18T12:01:00.000000000Z",
        "fields": ["trade_id", "price"], "options": {}, "rows": 40, "complete": True, "judged": judged,
    }  # fmt: skip
    assert program.startswith("cryptofeed ")
    other = json.loads((tmp_path / "work" / "b.csv.gz.manifest.json").read_bytes())
    assert {**other, "file": "a.csv.gz"} == {**manifest, "program": program}


def test_an_interrupted_export_leaves_nothing(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/big.db"
    with closing(open_store(url, writable=True)) as store:
        store.write([trade(number, NOON + number) for number in range(60_000)])
    work = tmp_path / "work"
    work.mkdir()
    command = [*COMMAND, "query", "--store", url, "-o", "t.jsonl"]
    for number in (signal.SIGTERM, signal.SIGINT):
        export = subprocess.Popen(command, cwd=work, env=environment(tmp_path), stderr=subprocess.PIPE)
        wait_until(lambda: list(work.glob(".t.jsonl.*.part")), "the beginning of the file")
        export.send_signal(number)
        export.communicate(timeout=PATIENCE)

        assert export.returncode == 128 + number
        assert list(work.iterdir()) == []


def test_an_export_shows_its_progress_on_a_terminal_only(tmp_path: Path, recorded: str) -> None:
    ours, theirs = pty.openpty()
    command = [*COMMAND, "query", "--store", recorded, "-o", "t.csv"]
    env = {**environment(tmp_path), "TERM": "xterm", "COLUMNS": "100"}
    with os.fdopen(theirs, "wb") as terminal:
        export = subprocess.run(
            command, cwd=tmp_path, env=env, stderr=terminal, stdout=subprocess.PIPE, timeout=PATIENCE, check=False
        )
    shown = os.read(ours, 1 << 16).decode()
    os.close(ours)

    assert (export.stdout, export.returncode) == (b"", 0)
    assert "600 rows, " in shown
    assert "100%" in shown


def test_what_is_complete_is_let_through(query: Query) -> None:
    done = query("--require-complete", "-s", "BTC-USDT", "--since", str(NOON), "--until", str(NOON + 10_000))

    assert len(rows(done)) == 4


def test_what_is_not_complete_is_named_and_nothing_is_written(query: Query, tmp_path: Path, recorded: str) -> None:
    with closing(open_store(recorded, writable=True)) as store:
        store.write([sample("gaps", gap_id="g", start=NOON + 5_000, end=NOON + 7_000, status="partial")])
    span = ["--since", str(NOON), "--until", str(NOON + 10_000)]

    for kind in ("trades", "candles"):
        done = query(kind, "--require-complete", "-s", "BTC-USDT,XRP-USDT", *span, "-o", "t.csv")
        assert done.stderr.decode() == (
            f"cryptofeed: {kind} are not complete: BTC-USDT trades: trade_ids gap (partial) from "
            "2026-11-18T12:00:05.000Z to 2026-11-18T12:00:07.000Z; XRP-USDT trades: not recorded from "
            "2026-11-18T12:00:00.000Z to 2026-11-18T12:00:10.000Z\n"
        )
        assert (done.returncode, done.stdout, list((tmp_path / "work").iterdir())) == (6, b"", [])
    query("-s", "BTC-USDT", *span, "-o", "t.csv")
    manifest = json.loads((tmp_path / "work" / "t.csv.manifest.json").read_bytes())
    assert manifest["complete"] is False
    assert [hole["gap_id"] for hole in manifest["judged"][0]["holes"]] == ["g"]


def test_a_book_inside_a_gap_is_exit_6(query: Query, recorded: str) -> None:
    with closing(open_store(recorded, writable=True)) as store:
        store.write([
            sample("gaps", gap_id="g", channel="book_updates", start=NOON + 20, end=NOON + 30, status="unrecoverable")
        ])  # fmt: skip

    done = query("book", "-s", "BTC-USDT", "--at", str(NOON + 25))

    assert done.stderr.startswith(b"cryptofeed: the book of BTC-USDT at 2026-11-18T12:00:00.025Z is not known: inside")
    assert (done.returncode, done.stdout) == (6, b"")
    assert len(rows(query("book", "-s", "ETH-USDT", "--at", str(NOON + 25)))) == 1


@pytest.mark.parametrize("kind", ["candles", "spread", "book"])
def test_a_plot_is_drawn_here_or_into_a_file(query: Query, tmp_path: Path, kind: str) -> None:
    pytest.importorskip("plotext", reason="the extra `plot` is not installed")
    asked = [kind, "-s", "BTC-USDT"]

    here = query("--plot", *asked)
    assert (here.stderr, here.returncode) == (b"", 0)
    text = here.stdout.decode()
    assert text.splitlines()[0].split()[0] == "BTC-USDT"
    assert "\x1b" not in text
    assert "┤" in text
    assert query(*asked, "--plot", "p.txt").returncode == query(*asked, "--plot=p.html").returncode == 0
    assert (tmp_path / "work" / "p.txt").read_text().split() == text.split()
    assert (tmp_path / "work" / "p.html").read_text().startswith("<!doctype html>")
    assert query(*asked, "--plot", "p.txt").stderr.startswith(b"cryptofeed: --plot p.txt exists;")


def test_a_plot_of_nothing_or_of_too_much_is_refused(query: Query, recorded: str) -> None:
    pytest.importorskip("plotext", reason="the extra `plot` is not installed")
    with closing(open_store(recorded, writable=True)) as store:
        store.write([trade(1, symbol=f"S{number}") for number in range(9)])

    assert query("candles", "--plot").stderr == (
        b"cryptofeed: --plot draws at most 6 symbols; choose some with -s\n"
    )
    assert query("candles", "-s", "NONE", "--plot").stderr == (
        b"cryptofeed: --plot has nothing to draw: no candles there\n"
    )


def test_the_help_of_every_command_has_an_example(tmp_path: Path) -> None:
    listed = run(["--help"], environment(tmp_path), tmp_path).stdout.decode()
    commands = [line.split()[0] for line in listed.partition("Commands:")[2].splitlines() if line.strip()]

    assert {"record", "query", "status", "backfill"} <= set(commands)
    for command in commands:
        text = run([command, "--help"], environment(tmp_path), tmp_path).stdout.decode()
        assert f"cryptofeed {command}" in text.partition("Example")[2]
