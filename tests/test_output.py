"""What is printed: the fields of the contract in their order, exact values, and valid JSON lines and CSV."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptofeed_cli.errors import UsageError
from cryptofeed_cli.output import BATCH, write_csv, write_jsonl
from cryptofeed_cli.types import KINDS, BookUpdate, Gap, Instrument, OrderBook, Reject, Run, Ticker, Trade

AT = 1_746_355_153_123
RECEIVED = 1_746_355_153_187_654_321
ENVELOPE = (AT, RECEIVED, "OKX", "BTC-USDT-SWAP", "live")
ENVELOPE_JSON = (
    '"timestamp":"2025-05-04T10:39:13.123Z","received_at":"2025-05-04T10:39:13.187654321Z","exchange":"OKX",'
    '"symbol":"BTC-USDT-SWAP","source":"live"'
)
ENVELOPE_CSV = "2025-05-04T10:39:13.123Z,2025-05-04T10:39:13.187654321Z,OKX,BTC-USDT-SWAP,live"

TRADE = Trade(*ENVELOPE, "1234567890", "96123.40", "0.010", "buy", rpi=True, run_id="secret", episode=7)
RECORDS: dict[str, Any] = {
    "trades": TRADE,
    "tickers": Ticker(*ENVELOPE, "1.0", None, "0.9", "2", "1.1", "3", *[None] * 7),
    "orderbooks": OrderBook(*ENVELOPE, 12, 25, None, [("0.9", "2")], []),
    "book_updates": BookUpdate(*ENVELOPE, "update", 11, 12, [("0.9", "0", 0)], [("1.1", "3", 2)]),
    "instruments": Instrument(
        *ENVELOPE, "SWAP", None, None, "USDT", "0.1", "1", "1", "0.01", "1", "linear", AT, None, "live", '{"a": 1}'
    ),
    "gaps": Gap(
        "g1", "r1", "OKX", "BTC-USDT-SWAP", "trades", "trade_ids", "venue", AT, None, "5", "6", 2, 0, "open",
        'lost, "they" say', 1, RECEIVED,
    ),
    "runs": Run("r1", "n", "h", 7, "0.1.0", {"log": {"level": "info"}}, RECEIVED, None, "running", RECEIVED, None,
                {"trades": 3}),
    "rejects": Reject(RECEIVED, "OKX", None, None, "not JSON", "a\rb\n", "id"),
}  # fmt: skip

LINES = {
    "trades": (
        f'{{{ENVELOPE_JSON},"trade_id":"1234567890","price":"96123.40","size":"0.010","side":"buy","rpi":true}}',
        f"{ENVELOPE_CSV},1234567890,96123.40,0.010,buy,true",
    ),
    "tickers": (
        f'{{{ENVELOPE_JSON},"last":"1.0","last_size":null,"bid":"0.9","bid_size":"2","ask":"1.1","ask_size":"3",'
        '"open_24h":null,"high_24h":null,"low_24h":null,"volume_24h":null,"volume_currency_24h":null,'
        '"open_utc0":null,"open_utc8":null}',
        f"{ENVELOPE_CSV},1.0,,0.9,2,1.1,3,,,,,,,",
    ),
    "orderbooks": (
        f'{{{ENVELOPE_JSON},"sequence":12,"depth":25,"group":null,"bids":[["0.9","2"]],"asks":[]}}',
        f'{ENVELOPE_CSV},12,25,,"[[""0.9"",""2""]]",[]',
    ),
    "book_updates": (
        f'{{{ENVELOPE_JSON},"action":"update","prev_sequence":11,"sequence":12,"bids":[["0.9","0",0]],'
        '"asks":[["1.1","3",2]]}',
        f'{ENVELOPE_CSV},update,11,12,"[[""0.9"",""0"",0]]","[[""1.1"",""3"",2]]"',
    ),
    "instruments": (
        f'{{{ENVELOPE_JSON},"type":"SWAP","base":null,"quote":null,"settle":"USDT","tick_size":"0.1","lot_size":"1",'
        '"min_size":"1","contract_value":"0.01","contract_multiplier":"1","contract_type":"linear",'
        '"listed_at":"2025-05-04T10:39:13.123Z","expires_at":null,"state":"live","raw":"{\\"a\\": 1}"}',
        f'{ENVELOPE_CSV},SWAP,,,USDT,0.1,1,1,0.01,1,linear,2025-05-04T10:39:13.123Z,,live,"{{""a"": 1}}"',
    ),
    "gaps": (
        '{"gap_id":"g1","run_id":"r1","exchange":"OKX","symbol":"BTC-USDT-SWAP","channel":"trades",'
        '"kind":"trade_ids","fault":"venue","start":"2025-05-04T10:39:13.123Z","end":null,"first_missing":"5",'
        '"last_missing":"6","missing":2,"filled":0,"status":"open","reason":"lost, \\"they\\" say","revision":1,'
        '"updated_at":"2025-05-04T10:39:13.187654321Z"}',
        "g1,r1,OKX,BTC-USDT-SWAP,trades,trade_ids,venue,2025-05-04T10:39:13.123Z,,5,6,2,0,open,"
        '"lost, ""they"" say",1,2025-05-04T10:39:13.187654321Z',
    ),
    "runs": (
        '{"run_id":"r1","name":"n","host":"h","pid":7,"version":"0.1.0","config":{"log":{"level":"info"}},'
        '"started_at":"2025-05-04T10:39:13.187654321Z","ended_at":null,"state":"running",'
        '"heartbeat_at":"2025-05-04T10:39:13.187654321Z","clock_offset_ms":null,"counters":{"trades":3}}',
        'r1,n,h,7,0.1.0,"{""log"":{""level"":""info""}}",2025-05-04T10:39:13.187654321Z,,running,'
        '2025-05-04T10:39:13.187654321Z,,"{""trades"":3}"',
    ),
    "rejects": (
        '{"received_at":"2025-05-04T10:39:13.187654321Z","exchange":"OKX","channel":null,"symbol":null,'
        '"reason":"not JSON","frame":"a\\rb\\n"}',
        '2025-05-04T10:39:13.187654321Z,OKX,,,not JSON,"a\rb\n"',
    ),
}


def jsonl(kind: str, *records: Any, fields: tuple[str, ...] = ()) -> str:
    stream = io.BytesIO()
    assert write_jsonl(KINDS[kind], records, stream, fields) == len(records)
    return stream.getvalue().decode()


def as_csv(kind: str, *records: Any, fields: tuple[str, ...] = ()) -> str:
    stream = io.BytesIO()
    assert write_csv(KINDS[kind], records, stream, fields) == len(records)
    return stream.getvalue().decode()


def test_every_kind_has_its_expected_lines() -> None:
    assert set(RECORDS) == set(LINES) == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_a_record_is_one_json_object_with_the_fields_in_order(kind: str) -> None:
    assert jsonl(kind, RECORDS[kind]) == LINES[kind][0] + "\n"


@pytest.mark.parametrize("kind", KINDS)
def test_a_record_is_one_csv_row_under_a_header(kind: str) -> None:
    assert as_csv(kind, RECORDS[kind]) == f"{','.join(KINDS[kind].fields)}\n{LINES[kind][1]}\n"


def test_nothing_is_printed_of_nothing_but_the_csv_header() -> None:
    assert jsonl("trades") == ""
    assert as_csv("trades") == "timestamp,received_at,exchange,symbol,source,trade_id,price,size,side,rpi\n"


def test_fields_are_selected_and_ordered_as_asked() -> None:
    assert jsonl("trades", TRADE, fields=("price", "timestamp", "price")) == (
        '{"price":"96123.40","timestamp":"2025-05-04T10:39:13.123Z"}\n'
    )
    assert as_csv("trades", TRADE, fields=("rpi", "price")) == "rpi,price\ntrue,96123.40\n"


@pytest.mark.parametrize("field", ["run_id", "episode", "prise"])
def test_an_unknown_or_hidden_field_is_refused(field: str) -> None:
    with pytest.raises(UsageError, match=f"trades have no field '{field}'") as refused:
        jsonl("trades", TRADE, fields=(field,))

    assert ("did you mean 'price'?" in str(refused.value)) is (field == "prise")


def test_an_absent_time_is_null_and_a_time_near_the_epoch_is_whole() -> None:
    records = [Trade(time, 5, *ENVELOPE[2:], "1", "1", "1", "buy") for time in (None, 0, 7, 999, 1000, -1)]

    times = [json.loads(line)["timestamp"] for line in jsonl("trades", *records).splitlines()]
    assert times == [
        None,
        "1970-01-01T00:00:00.000Z",
        "1970-01-01T00:00:00.007Z",
        "1970-01-01T00:00:00.999Z",
        "1970-01-01T00:00:01.000Z",
        "1969-12-31T23:59:59.999Z",
    ]


@given(
    st.lists(
        st.builds(
            Reject, st.integers(0, 2**61), st.just("OKX"), st.none() | st.text(), st.none(), st.text(), st.text(),
            st.just("id"),
        ),
        max_size=8,
    )
)  # fmt: skip
def test_whatever_the_text_csv_and_json_readers_get_it_back(records: list[Reject]) -> None:
    rows = list(csv.DictReader(io.StringIO(as_csv("rejects", *records), newline="")))
    lines = [json.loads(line) for line in jsonl("rejects", *records).split("\n")[:-1]]

    for field in ("channel", "reason", "frame"):
        assert [line[field] for line in lines] == [getattr(record, field) for record in records]
        assert [row[field] for row in rows] == [getattr(record, field) or "" for record in records]


def test_the_only_cell_of_a_row_is_never_an_empty_line() -> None:
    records = [Reject(1, "OKX", channel, None, "r", "f", "id") for channel in (None, "books", None)]

    text = as_csv("rejects", *records, fields=("channel",))
    assert list(csv.reader(io.StringIO(text))) == [["channel"], [""], ["books"], [""]]


def test_batches_leave_no_seam() -> None:
    records = [Trade(AT + n, RECEIVED, *ENVELOPE[2:], str(n), "1", "1", "buy") for n in range(2 * BATCH + 1)]

    assert [json.loads(line)["trade_id"] for line in jsonl("trades", *records).splitlines()] == [
        str(n) for n in range(2 * BATCH + 1)
    ]
    assert as_csv("trades", *records).count("\n") == 2 * BATCH + 2


@pytest.mark.parametrize("write", [write_jsonl, write_csv])
def test_memory_does_not_grow_with_the_number_of_records(write: Any) -> None:
    def peak(records: int) -> int:
        def trades() -> Iterator[Trade]:
            for n in range(records):
                yield Trade(AT + n, RECEIVED + n, *ENVELOPE[2:], str(n), "96123.4", "0.01", "buy")

        with open(os.devnull, "wb") as nowhere:
            tracemalloc.start()
            write(KINDS["trades"], trades(), nowhere)
            most = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        return most

    peak(BATCH)
    assert peak(40 * BATCH) < 2 * peak(2 * BATCH)


@pytest.mark.parametrize("write", [write_jsonl, write_csv])
def test_a_terminal_gets_no_control_character(write: Any) -> None:
    ours, theirs = pty.openpty()
    try:
        with os.fdopen(theirs, "wb") as terminal:
            write(KINDS["rejects"], [Reject(1, "OKX", None, None, "\x7f\x9b", "\x1b[2J\u202e", "id")], terminal)
            shown = os.read(ours, 4096).decode().replace("\r\n", "")
    finally:
        os.close(ours)

    assert shown.isprintable()
    assert "\\u001b[2J\\u202e" in shown


def test_a_file_gets_every_character_as_it_is() -> None:
    record = Reject(1, "OKX", None, None, "\x7f\x9b", "\x1b[2J\u202e", "id")

    assert "\x1b[2J\u202e" in as_csv("rejects", record)
    assert json.loads(jsonl("rejects", record))["frame"] == "\x1b[2J\u202e"
