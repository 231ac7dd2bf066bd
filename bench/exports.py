"""A million trades out of each store as CSV and JSON, against the tools that come with the databases.

Each side is a process of its own, start included, that writes to nowhere. The shell prints the columns as they are
stored, in the same order; where it also has to write times as we do, that is a figure of its own.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.race import Figure, Side, Size, Skipped, race
from bench.stores import BATCH, made_up
from cryptofeed_cli.stores import open_store
from tests.mongod import Mongod, MongodMissing

TRADES = 1_000_000
FEW, MANY = 10_000, 10_000_000
"""Of which the last five are asked for."""
MEMORY_LIMIT = 150
"""MiB that a process may hold at most."""
OF_SHELL, OF_MONGO_CSV, OF_MONGO_JSON = 0.4, 1.2, 2.0

_COLUMNS = "timestamp, received_at, exchange, symbol, source, trade_id, price, size, side, rpi"
_AS_WE_WRITE = (
    "strftime('%Y-%m-%dT%H:%M:%S.', timestamp / 1000, 'unixepoch') || substr(timestamp, -3) || 'Z', "
    "strftime('%Y-%m-%dT%H:%M:%S.', received_at / 1000000000, 'unixepoch') || substr(received_at, -9) || 'Z', "
    "exchange, symbol, source, trade_id, price, size, side, iif(rpi, 'true', 'false')"
)
_FROM = "FROM trades JOIN series ON series.id = trades.series ORDER BY timestamp, symbol, trade_id"


def sqlite_figures(*, rounds: int, quick: bool) -> list[Figure | Size]:
    """Race CSV and JSON lines against the shell's CSV and JSON; measure memory. Raises `Skipped`."""
    shell = shutil.which("sqlite3")
    if shell is None:
        raise Skipped("no sqlite3 shell on the PATH")
    amount = TRADES // 100 if quick else TRADES
    with TemporaryDirectory(prefix="cryptofeed-bench-") as directory:
        path = Path(directory, "market.db")
        url = f"sqlite:///{path}"
        _fill(url, amount)
        csv, jsonl = _ours(url, "csv"), _ours(url, "jsonl")
        figures: list[Figure | Size] = [
            race(
                "sqlite: CSV", "trades", _side(csv), _shell(shell, path, "csv", _COLUMNS), amount=amount,
                rounds=rounds, goal=OF_SHELL,
            ),
            race(
                "sqlite: CSV, same text", "trades", _side(csv), _shell(shell, path, "csv", _AS_WE_WRITE),
                amount=amount, rounds=rounds,
            ),
            race(
                "sqlite: JSON lines", "trades", _side(jsonl), _shell(shell, path, "json", _COLUMNS), amount=amount,
                rounds=rounds, goal=OF_SHELL,
            ),
        ]  # fmt: skip
        figures += [
            Size(f"sqlite: memory, {form}", _peak(_ours(url, form)), MEMORY_LIMIT, "MiB")
            for form in ("csv", "jsonl", "parquet")
        ]
    return figures


def mongo_figures(*, rounds: int, quick: bool) -> list[Figure | Size]:
    """Race CSV and JSON lines against ``mongoexport``, given by ``$MONGOEXPORT`` or on the PATH. Raises `Skipped`."""
    program = os.environ.get("MONGOEXPORT") or shutil.which("mongoexport")
    amount = TRADES // 100 if quick else TRADES
    with TemporaryDirectory(prefix="cryptofeed-bench-") as directory:
        try:
            with Mongod(Path(directory)) as server:
                url = f"{server.url}/bench"
                _fill(url, amount)
                figures: list[Figure | Size] = [
                    Size(f"mongodb: memory, {form}", _peak(_ours(url, form)), MEMORY_LIMIT, "MiB")
                    for form in ("csv", "jsonl")
                ]
                if program is None:
                    raise Skipped("no mongoexport on the PATH, nor named by $MONGOEXPORT")
                names = _COLUMNS.replace(" ", "")
                theirs = [program, "--quiet", f"--uri={url}", "--collection=trades", f"--fields={names}"]
                order = '--sort={"timestamp": 1, "symbol": 1, "trade_id": 1}'
                for name, form, flag, goal in (
                    ("mongodb: CSV", "csv", "--type=csv", OF_MONGO_CSV),
                    ("mongodb: JSON lines", "jsonl", "--type=json", OF_MONGO_JSON),
                ):
                    figures.append(
                        race(
                            name, "trades", _side(_ours(url, form)), _side([*theirs, flag, order]), amount=amount,
                            rounds=rounds, goal=goal,
                        )
                    )  # fmt: skip
                return figures
        except MongodMissing as exc:
            raise Skipped(str(exc)) from exc


def tail_figures(*, rounds: int, quick: bool) -> list[Figure | Size]:
    """Race ``query --tail 5`` in a large store against the same in a small one."""
    with TemporaryDirectory(prefix="cryptofeed-bench-") as directory:
        urls = [f"sqlite:///{directory}/{name}.db" for name in ("few", "many")]
        few, many = _side(_tail(urls[0])), _side(_tail(urls[1]))
        _fill(urls[0], FEW)
        _fill(urls[1], MANY // 100 if quick else MANY)
        return [race("query --tail 5, 10 M trades", "queries", many, few, amount=1, rounds=rounds, goal=0.667)]


def _fill(url: str, amount: int) -> None:
    rng = random.Random(1)
    with closing(open_store(url, writable=True)) as store:
        for first in range(0, amount, BATCH * 10):
            store.write(made_up(rng, first, min(BATCH * 10, amount - first)))


def _ours(url: str, form: str) -> list[str]:
    return [sys.executable, "-m", "cryptofeed_cli", "query", "trades", "--store", url, "-f", form]


def _tail(url: str) -> list[str]:
    return [*_ours(url, "jsonl"), "--tail", "5"]


def _shell(shell: str, path: Path, mode: str, columns: str) -> Side:
    return _side([shell, "-readonly", f"-{mode}", "-header", str(path), f"SELECT {columns} {_FROM}"])


def _side(command: Sequence[str]) -> Side:
    def run(_: int) -> float:
        begin = time.perf_counter()
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
        return time.perf_counter() - begin

    return run


def _peak(command: Sequence[str]) -> float:
    """Return the most memory that a process held, in MiB."""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    unit = 1 if sys.platform == "darwin" else 1024
    return usage.ru_maxrss * unit / 2**20
