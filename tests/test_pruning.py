"""Old records removed on purpose: what goes, what stays, what the ledger tells, and who records meanwhile."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from random import Random
from threading import Event
from typing import Any

import pytest

from cryptofeed_cli.clock import MILLISECOND, SECOND, SystemClock
from cryptofeed_cli.coverage import measure
from cryptofeed_cli.errors import UsageError
from cryptofeed_cli.pruning import STEP, Pruner, count, portions, prunable
from cryptofeed_cli.refill import fillable
from cryptofeed_cli.stores import Store, open_store
from cryptofeed_cli.stores.base import Series, Span
from cryptofeed_cli.types import KINDS, BookUpdate, Gap
from tests.okx_market import Market, generate, instrument
from tests.okx_server import OkxServer
from tests.processes import COMMAND, Recording, environment, query, run, wait_until
from tests.stores.records import MARKET, NOON, realistic_trades, sample, trade, update

BTC = Series("OKX", "BTC-USDT")
T = (NOON + 100) * MILLISECOND


@pytest.fixture(params=["sqlite", "mongodb"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/market.db" if request.param == "sqlite" else request.getfixturevalue("mongo_url")


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    with closing(open_store(url, writable=True)) as store:
        yield store


def prune(store: Store, before: int = T, kind: str | None = None) -> dict[str, int]:
    """Prune, and return how many records went of each kind."""
    pruner = Pruner(store, SystemClock(), Event())
    pruner.run(portions(store, prunable(kind), before))
    gone: dict[str, int] = {}
    for portion, removed in pruner.removed.items():
        name = f"simulated {portion.kind.name}" if portion.simulated else portion.kind.name
        gone[name] = gone.get(name, 0) + removed
    return gone


def held(store: Store, kind: str, series: Series = BTC) -> list[Any]:
    return list(store.scan(KINDS[kind], series if kind in MARKET else None))


def gaps(store: Store) -> list[Gap]:
    return list(store.scan(KINDS["gaps"]))


def whole(sequence: int, at: int, action: str = "checkpoint") -> BookUpdate:
    return update(None, sequence, action=action, timestamp=at)


@pytest.mark.parametrize("kind", ["trades", "tickers", "orderbooks"])
def test_what_is_older_goes_and_the_rest_stays(store: Store, kind: str) -> None:
    own = {"trade_id": str} if kind == "trades" else {}
    records = [
        sample(kind, timestamp=NOON + at, **{name: make(at) for name, make in own.items()}) for at in (0, 99, 100, 200)
    ]
    store.write(records)

    assert prune(store) == {kind: 2}
    assert held(store, kind) == records[2:]


def test_the_ledger_names_what_went_by_symbol_and_channel(store: Store) -> None:
    store.write([trade(1, NOON + 7), trade(2, NOON + 300), trade(1, NOON + 8, symbol="ETH-USDT"), sample("tickers")])
    prune(store)

    told = [(gap.symbol, gap.channel, gap.start, gap.end, gap.kind, gap.fault, gap.status) for gap in gaps(store)]
    assert sorted(told) == [
        ("BTC-USDT", "tickers", NOON, NOON + 100, "pruned", "us", "unrecoverable"),
        ("BTC-USDT", "trades", NOON + 7, NOON + 100, "pruned", "us", "unrecoverable"),
        ("ETH-USDT", "trades", NOON + 8, NOON + 100, "pruned", "us", "unrecoverable"),
    ]


def test_pruning_again_extends_the_same_gap(store: Store) -> None:
    store.write([trade(number, NOON + number) for number in range(200)])
    prune(store)
    prune(store, T + 50 * MILLISECOND)

    (gap,) = gaps(store)
    assert (gap.start, gap.end, gap.revision) == (NOON, NOON + 150, 2)


def test_pruning_less_than_before_takes_nothing_back(store: Store) -> None:
    store.write([trade(number, NOON + number) for number in range(200)])
    prune(store)
    (before,) = gaps(store)
    store.write([trade(7, NOON + 7)])  # copied in, say
    prune(store, T - 50 * MILLISECOND)

    assert gaps(store) == [before]


def test_where_nothing_is_old_nothing_is_told(store: Store) -> None:
    store.write([trade(1, NOON + 100)])

    assert prune(store) == {}
    assert gaps(store) == []


def test_the_book_at_any_later_instant_can_be_rebuilt(store: Store) -> None:
    kept = [whole(30, NOON + 90), update(30, 31, timestamp=NOON + 95), update(31, 32, timestamp=NOON + 120)]
    store.write([whole(10, NOON, "snapshot"), update(10, 30, timestamp=NOON + 50), *kept, whole(32, NOON + 130)])

    assert prune(store) == {"book_updates": 2}
    assert held(store, "book_updates") == [*kept, whole(32, NOON + 130)]
    assert [(gap.start, gap.end) for gap in gaps(store)] == [(NOON, NOON + 90)]


def test_a_whole_book_of_the_very_instant_is_enough(store: Store) -> None:
    store.write([whole(10, NOON, "snapshot"), whole(20, NOON + 100), update(20, 21, timestamp=NOON + 101)])

    assert prune(store) == {"book_updates": 1}


def test_a_book_without_an_older_whole_one_loses_what_no_book_can_be_made_of(store: Store) -> None:
    store.write([update(9, 10, timestamp=NOON), whole(11, NOON + 200)])

    assert prune(store) == {"book_updates": 1}
    assert held(store, "book_updates") == [whole(11, NOON + 200)]


def test_the_version_of_an_instrument_that_was_in_force_stays(store: Store) -> None:
    versions = [sample("instruments", received_at=at * MILLISECOND) for at in (NOON, NOON + 50, NOON + 150)]
    store.write(versions)

    assert prune(store) == {"instruments": 1}
    assert held(store, "instruments") == versions[1:]
    assert gaps(store) == []


def test_simulated_records_go_without_a_word(store: Store) -> None:
    store.write([trade(1, source="simulated", run_id="r", episode=1)])

    assert prune(store) == {"simulated trades": 1}
    assert gaps(store) == []


def test_rejects_go_only_when_they_are_named(store: Store) -> None:
    store.write([sample("rejects"), sample("runs"), sample("gaps"), trade(1)])

    assert prune(store) == {"trades": 1}
    assert prune(store, kind="rejects") == {"rejects": 1}
    assert [len(held(store, kind)) for kind in ("rejects", "runs")] == [0, 1]


@pytest.mark.parametrize(("kind", "said"), [("gaps", "never removed"), ("runs", "never removed"), ("trade", "trades")])
def test_what_tells_of_other_records_is_never_removed(kind: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        prunable(kind)


def test_what_would_go_is_counted(store: Store) -> None:
    store.write([trade(number, NOON + number) for number in range(200)])

    assert [count(store, portion) for portion in portions(store, prunable(None), T)] == [100]


def test_what_was_pruned_is_neither_a_loss_nor_fetched(store: Store) -> None:
    began, ended = NOON * MILLISECOND, (NOON + 200) * MILLISECOND
    run_ = sample("runs", started_at=began, ended_at=ended, state="stopped",
                  config={"record": {"symbols": ["BTC-USDT"], "channels": ["trades"]}})  # fmt: skip
    store.write([run_, *(trade(number, NOON + number) for number in range(200))])
    prune(store)

    found = measure([run_], gaps(store), "BTC-USDT", "trades")
    assert (found.verified, found.clean, found.missing, found.unrecoverable) == (100.0, 100.0, 0, 0)
    assert fillable(store, "OKX", (), Span(), ended + SECOND) == ([], [])


def test_a_pruning_that_is_stopped_leaves_the_rest_and_has_told_of_it(store: Store) -> None:
    store.write([trade(number, NOON) for number in range(3 * STEP)])
    stop = Event()
    pruner = Pruner(store, SystemClock(), stop)
    pruner.run(portions(store, prunable(None), T), watch=stop.set)

    assert list(pruner.removed.values()) == [STEP]
    assert len(held(store, "trades")) == 2 * STEP
    assert [gap.kind for gap in gaps(store)] == ["pruned"]


def test_the_file_gets_smaller(tmp_path: Path) -> None:
    path = tmp_path / "market.db"
    with closing(open_store(f"sqlite:///{path}", writable=True)) as store:
        store.write(realistic_trades(30_000))
    before = path.stat().st_size
    with closing(open_store(f"sqlite:///{path}", writable=True)) as store:
        assert prune(store, (NOON + 10**9) * MILLISECOND) == {"trades": 30_000}

    assert path.stat().st_size < 0.2 * before


# The command


def test_the_command_tells_what_would_go_and_then_removes_it(tmp_path: Path) -> None:
    with closing(open_store(f"sqlite:///{tmp_path}/market.db", writable=True)) as store:
        store.write([trade(number, NOON + number) for number in range(200)] + [sample("tickers", timestamp=NOON + 500)])
        env = environment(tmp_path)
        asked = run(["prune", "--before", str(NOON + 100), "--dry-run"], env, tmp_path)
        left = len(held(store, "trades"))
        done = run(["prune", "--before", str(NOON + 100)], env, tmp_path)

        assert (asked.returncode, left) == (0, 200)
        assert asked.stdout.decode().splitlines()[-1] == "100 records to remove"
        assert "BTC-USDT" in asked.stdout.decode()
        assert "tickers" not in asked.stdout.decode()
        assert (done.returncode, done.stdout.decode().splitlines()[-1]) == (0, "100 records removed")
        assert len(held(store, "trades")) == 100


@pytest.mark.parametrize(
    ("arguments", "code"),
    [(["--before", "soon"], 2), (["--before", "1d", "--kind", "gaps"], 2), ([], 2), (["--before", "1d"], 4)],
)
def test_bad_input_is_told_with_its_exit_code(tmp_path: Path, arguments: list[str], code: int) -> None:
    done = run(["prune", *arguments, "--dry-run"], environment(tmp_path), tmp_path)

    assert (done.returncode, done.stdout) == (code, b"")
    assert done.stderr


def test_a_pruning_that_is_killed_has_told_of_everything_that_went(tmp_path: Path, url: str) -> None:
    with closing(open_store(url, writable=True)) as store:
        store.write([trade(number, NOON + number) for number in range(20_000)])
        arguments = ["prune", "--before", str(NOON + 19_000), "--store", url]
        with subprocess.Popen([*COMMAND, *arguments], env=environment(tmp_path), cwd=tmp_path) as process:
            wait_until(lambda: next(store.scan(KINDS["trades"], BTC)).timestamp > NOON, "the first record to go")
            process.send_signal(signal.SIGKILL)
        (gap,) = gaps(store)
        first = next(store.scan(KINDS["trades"], BTC))
        assert gap.end == NOON + 19_000
        assert NOON < first.timestamp < gap.end

        assert run(arguments, environment(tmp_path), tmp_path).returncode == 0
        assert len(held(store, "trades")) == 1000
        assert gaps(store) == [gap]


def test_a_recorder_goes_on_while_its_file_is_pruned(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/market.db"
    old = [trade(number, NOON - 10**9 + number, symbol="OLD-USDT") for number in range(30_000)]
    with closing(open_store(url, writable=True)) as store:
        store.write(old)
    names = ["BTC-USDT", "ETH-USDT"]
    market = Market(map(instrument, names))
    with OkxServer(market) as server:
        flags = [*names, "--channels", "trades,book_updates", "--store", url]
        with Recording(flags, environment(tmp_path, server), tmp_path) as recording:
            for name in names:
                server.wait_for("subscribe", channel="trades-all", symbol=name)
            played = server.play(generate(names, 1500, Random(3), NOON), speed=4)
            done = run(["prune", "--before", str(NOON - 10**8), "--store", url], environment(tmp_path), tmp_path)
            played.result(60)
            truth = sorted(row["tradeId"] for rows in market.trades.values() for row in rows)
            wait_until(lambda: int(query(url, "--count", cwd=tmp_path)) == len(truth), "every trade, and no old one")
            assert recording.stop() == 0
    stored = sorted(json.loads(line)["trade_id"] for line in query(url, cwd=tmp_path).splitlines())
    told = [json.loads(line) for line in query(url, "gaps", cwd=tmp_path).splitlines()]

    assert (done.returncode, done.stdout.decode().splitlines()[-1]) == (0, "30,000 records removed")
    assert stored == truth
    assert [(gap["kind"], gap["symbol"]) for gap in told] == [("pruned", "OLD-USDT")]


def test_with_a_retention_the_recorder_prunes_by_itself(tmp_path: Path, url: str) -> None:
    with closing(open_store(url, writable=True)) as store:
        store.write([trade(number, NOON - 10**10 + number, symbol="OLD-USDT") for number in range(2000)])
    env = {"CRYPTOFEED_STORE_RETENTION": "1d"}
    with OkxServer() as server:
        flags = ["BTC-USDT", "--channels", "trades", "--store", url]
        with Recording(flags, environment(tmp_path, server, **env), tmp_path) as recording:
            recording.wait_for_line("removed 2,000 records older than 1d")
            assert recording.stop() == 0

    assert query(url, "-s", "OLD-USDT", cwd=tmp_path) == b""
    assert [json.loads(line)["kind"] for line in query(url, "gaps", cwd=tmp_path).splitlines()] == ["pruned"]


def test_a_dry_run_shows_the_retention(tmp_path: Path) -> None:
    done = run(["record", "--dry-run"], environment(tmp_path, CRYPTOFEED_STORE_RETENTION="90d"), tmp_path)

    assert b'retention = "90d"  # CRYPTOFEED_STORE_RETENTION\n' in done.stdout
