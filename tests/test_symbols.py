"""Patterns of symbols: what they mean, and what joins and leaves a recording that was started with one."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Any

import pytest

from cryptofeed_cli.clock import MINUTE, SECOND
from cryptofeed_cli.exchanges.okx import Okx
from cryptofeed_cli.feeds.base import Connect
from cryptofeed_cli.shards import Shard
from cryptofeed_cli.symbols import resolve
from cryptofeed_cli.types import Instrument
from tests.okx_market import Market, dump, generate, instrument
from tests.okx_server import OkxServer
from tests.processes import Recording, environment, query, run, wait_until
from tests.tapes import START_MS, Tape, fill_frame

NAMES = ("BTC-USDT", "BTC-USDT-SWAP", "BTC-USD-SWAP", "ETH-USDT-SWAP", "BTC-USD-261225", "A[B]-USDT")
OPTIONS = ("BTC-USD-261225-50000-C", "BTC-USD-261225-50000-P")


def listed(*rows: dict[str, Any]) -> list[Instrument]:
    body = dump({"code": "0", "msg": "", "data": list(rows)})
    return Okx().parse_instruments(body, 1, "backfill")


ALL = listed(*map(instrument, NAMES), *(instrument(name, instType="OPTION") for name in OPTIONS))


@pytest.mark.parametrize(
    ("patterns", "meant"),
    [
        (["BTC-*-SWAP"], ["BTC-USD-SWAP", "BTC-USDT-SWAP"]),
        (["*-USDT-SWAP"], ["BTC-USDT-SWAP", "ETH-USDT-SWAP"]),
        (["BTC-USDT"], ["BTC-USDT"]),
        (["NO-SUCH"], ["NO-SUCH"]),
        (["ETH-USDT-SWAP", "*-SWAP"], ["ETH-USDT-SWAP", "BTC-USD-SWAP", "BTC-USDT-SWAP"]),
        (["BTC-USD-*"], ["BTC-USD-261225", "BTC-USD-SWAP"]),
        (["BTC-USD-*-*-C"], ["BTC-USD-261225-50000-C"]),
        (["*"], sorted(NAMES)),
        (["A[B]*"], ["A[B]-USDT"]),
        (["btc-*"], []),
        (["???-USDT"], ["BTC-USDT"]),
    ],
)
def test_a_pattern_means_what_trades_and_matches(patterns: list[str], meant: list[str]) -> None:
    assert resolve(patterns, ALL) == tuple(meant)


@pytest.mark.parametrize("state", ["suspend", "preopen", "expired", "test"])
def test_a_pattern_means_nothing_that_does_not_trade(state: str) -> None:
    assert resolve(["BTC-*"], listed(instrument("BTC-USDT", state=state))) == ()


def test_options_of_a_pattern_are_asked_for_by_family() -> None:
    assert "/api/v5/public/instruments?instType=OPTION&instFamily=BTC-USD" in Okx().instrument_paths(["BTC-USD-*-*-C"])


# Listings


@pytest.fixture
def tape() -> Tape:
    """A recording of two swaps that were found by a pattern."""
    tape = Tape(("BTC-USDT-SWAP", "ETH-USDT-SWAP"), ("trades", "book_updates"), patterns=("*-USDT-SWAP",))
    tape.open()
    answer(tape, "BTC-USDT-SWAP", "ETH-USDT-SWAP")
    return tape


def answer(tape: Tape, *symbols: str, **fields: str) -> None:
    """Answer the last round of questions for instruments."""
    tape.wait(SECOND)
    for fetch in tape.fetches("instruments")[-3:]:
        rows = [instrument(symbol, **fields) for symbol in symbols] if "SWAP" in fetch.path else []
        tape.answer(fetch, dump({"code": "0", "msg": "", "data": rows}))
    tape.wait()


def test_a_new_listing_joins_within_a_minute_on_the_sockets_there_are(tape: Tape) -> None:
    tape.wait(MINUTE)
    before = len(tape.requests())
    answer(tape, "BTC-USDT-SWAP", "ETH-USDT-SWAP", "NEW-USDT-SWAP", "NEW-USD-SWAP")

    assert tape.session.symbols == ("BTC-USDT-SWAP", "ETH-USDT-SWAP", "NEW-USDT-SWAP")
    asked = [(operation, {topic.symbol for topic in topics}) for operation, topics in tape.requests()[before:]]
    assert asked == [("subscribe", {"NEW-USDT-SWAP"})] * 2
    assert len([action for action in tape.actions if isinstance(action, Connect)]) == 2
    tape.frame(fill_frame(1, symbol="NEW-USDT-SWAP"), 0)
    assert [trade.symbol for trade in tape.records if type(trade).__name__ == "Trade"] == ["NEW-USDT-SWAP"]
    assert tape.gaps() == []


def test_a_new_listing_joins_its_own_shard_only() -> None:
    shard = Shard(1, 3)
    names = [f"NEW{number}-USDT-SWAP" for number in range(20)]
    tape = Tape(("BTC-USDT-SWAP",), ("trades",), patterns=("*-USDT-SWAP",), shard=shard)
    tape.open()
    answer(tape, "BTC-USDT-SWAP", *names)

    assert tape.session.symbols == ("BTC-USDT-SWAP", *sorted(shard.of(names)))
    assert 0 < len(shard.of(names)) < len(names)


def test_more_listings_than_a_socket_may_carry_get_another_one(tape: Tape) -> None:
    tape.wait(MINUTE)
    answer(tape, "BTC-USDT-SWAP", "ETH-USDT-SWAP", *(f"N{number}-USDT-SWAP" for number in range(28)))

    endpoints = [action.endpoint for action in tape.actions if isinstance(action, Connect)]
    assert endpoints == ["business", "public", "public"]


def test_a_delisted_symbol_leaves_once_two_lists_lack_it(tape: Tape) -> None:
    tape.frame(fill_frame(1, symbol="ETH-USDT-SWAP"), 0)
    tape.frame(fill_frame(1, symbol="BTC-USDT-SWAP"), 0)
    for expected in (2, 1):
        tape.wait(MINUTE)
        answer(tape, "BTC-USDT-SWAP")
        assert len(tape.session.symbols) == expected

    operation, topics = tape.requests()[-1]
    assert (operation, {topic.symbol for topic in topics}) == ("unsubscribe", {"ETH-USDT-SWAP"})
    assert [(gap.symbol, gap.kind) for gap in tape.gaps("trades")] == [("ETH-USDT-SWAP", "not_subscribed")]


def test_a_symbol_that_is_only_suspended_stays(tape: Tape) -> None:
    for _ in range(3):
        tape.wait(MINUTE)
        answer(tape, "BTC-USDT-SWAP", "ETH-USDT-SWAP", state="suspend")

    assert len(tape.session.symbols) == 2


def test_a_list_of_which_a_part_failed_proves_nothing(tape: Tape) -> None:
    for _ in range(3):
        tape.wait(MINUTE + SECOND)
        *rest, failing = tape.fetches("instruments")[-3:]
        tape.fail(failing, "connection refused")
        for fetch in rest:
            tape.answer(fetch, dump({"code": "0", "msg": "", "data": []}))

    assert len(tape.session.symbols) == 2


def test_lists_that_lack_nearly_everything_are_not_believed(tape: Tape) -> None:
    for _ in range(3):
        tape.wait(MINUTE)
        answer(tape)

    assert len(tape.session.symbols) == 2
    assert not tape.session.all_refused
    assert any("lists only 0 instruments" in note for note in tape.notes("warning"))


def test_what_has_expired_leaves_even_if_it_is_all_there_is() -> None:
    symbols = ("BTC-USD-261127", "ETH-USD-261127")
    tape = Tape(symbols, ("trades",), patterns=("*-USD-261127",))
    tape.open()
    futures(tape, *symbols)
    for _ in range(2):
        tape.wait(MINUTE)
        futures(tape)

    assert tape.session.symbols == ()


def futures(tape: Tape, *symbols: str) -> None:
    """Answer the last round of questions with futures that expire in a minute."""
    tape.wait(SECOND)
    for fetch in tape.fetches("instruments")[-3:]:
        rows = [instrument(symbol, expTime=str(START_MS + 60_000)) for symbol in symbols if "FUTURES" in fetch.path]
        tape.answer(fetch, dump({"code": "0", "msg": "", "data": rows}))
    tape.wait()


def test_what_comes_late_of_a_symbol_that_left_is_no_reject_and_ends_nothing(tape: Tape) -> None:
    tape.frame(fill_frame(1, symbol="ETH-USDT-SWAP"), 0)
    for _ in range(2):
        tape.wait(MINUTE)
        answer(tape, "BTC-USDT-SWAP")
    tape.frame(fill_frame(2, symbol="ETH-USDT-SWAP"), 0)

    assert tape.session.rejects.count == 0
    assert [(gap.kind, gap.status, gap.end) for gap in tape.gaps("trades")] == [("not_subscribed", "open", None)]


def test_a_symbol_that_is_listed_again_goes_on_where_it_left(tape: Tape) -> None:
    tape.frame(fill_frame(1, symbol="ETH-USDT-SWAP"), 0)
    for _ in range(2):
        tape.wait(MINUTE)
        answer(tape, "BTC-USDT-SWAP")
    tape.wait(MINUTE)
    answer(tape, "BTC-USDT-SWAP", "ETH-USDT-SWAP")
    tape.frame(fill_frame(5, ms=240_000, symbol="ETH-USDT-SWAP"), 0)

    (gap,) = tape.gaps("trades")
    assert (gap.kind, gap.first_missing, gap.last_missing, gap.missing) == ("not_subscribed", "2", "4", 3)


# End to end


def record(home: Path, server: OkxServer | None, *symbols: str, **variables: str) -> Any:
    flags = ["record", *symbols, "--channels", "trades", "--store", f"sqlite:///{home}/m.db", "--duration", "1s"]
    return run(flags, environment(home, server, **variables), home)


def test_record_takes_a_pattern(tmp_path: Path) -> None:
    names = ["BTC-USDT-SWAP", "ETH-USDT-SWAP", "ETH-USDT"]
    url = f"sqlite:///{tmp_path}/m.db"
    with OkxServer(Market(map(instrument, names))) as server:
        flags = ["*-USDT-SWAP", "--channels", "trades", "--store", url]
        with Recording(flags, environment(tmp_path, server), tmp_path) as recording:
            for name in names[:2]:
                server.wait_for("subscribe", channel="trades-all", symbol=name)
            server.play(generate(names, 100, Random(1), 1_795_000_000_000)).result(10)
            recording.wait_for_line("connected to OKX business")
            wait_until(lambda: int(query(url, "--count", cwd=tmp_path)) > 1, "trades")
            assert recording.stop() == 0
    stored = {json.loads(line)["symbol"] for line in query(url, cwd=tmp_path).splitlines()}

    assert stored == {"BTC-USDT-SWAP", "ETH-USDT-SWAP"}


def test_a_pattern_that_means_nothing_is_exit_2(tmp_path: Path) -> None:
    with OkxServer() as server:
        done = record(tmp_path, server, "XYZ-*")

    assert done.returncode == 2
    assert done.stderr.decode() == "cryptofeed: 'XYZ-*' matches no instrument of OKX that is traded\n"


def test_a_pattern_without_anybody_to_ask_is_exit_3(tmp_path: Path) -> None:
    with OkxServer() as server:
        url = server.rest_url
    done = record(tmp_path, None, "BTC-*", CRYPTOFEED_OKX_REST_URL=url)

    assert done.returncode == 3
    assert "connection refused" in done.stderr.decode()


def test_offline_a_pattern_means_what_the_store_knows(tmp_path: Path) -> None:
    with OkxServer() as server:
        url = f"sqlite:///{tmp_path}/m.db"
        flags = ["BTC-USDT-SWAP", "--channels", "trades", "--store", url]
        with Recording(flags, environment(tmp_path, server), tmp_path) as recording:
            server.wait_for("subscribe", channel="trades-all")
            wait_until(
                lambda: Path(tmp_path / "m.db").exists() and query(url, "instruments", cwd=tmp_path), "the instrument"
            )
            assert recording.stop() == 0
        server.answer_rest("/api/v5/public/instruments", 503)
        with Recording(["BTC-*", *flags[1:]], environment(tmp_path, server), tmp_path) as recording:
            recording.wait_for_line("patterns mean the instruments in the store")
            server.wait_for("subscribe", channel="trades-all", symbol="BTC-USDT-SWAP", count=2)
            assert recording.stop() == 0
