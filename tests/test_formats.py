"""Every format holds the same values, and the tools that people use read them back exactly."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptofeed_cli.clock import format_milliseconds, format_nanoseconds
from cryptofeed_cli.errors import UsageError
from cryptofeed_cli.output import Fields, Format, paged, write_pages
from cryptofeed_cli.types import KINDS, Encoding, Kind, Reject
from tests.stores.records import NOON, numbered, sample, trade
from tests.stores.records import records as any_records

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LATE = "99999999.99999999999999999999"
"""A price with more digits than any float has."""


def written(form: Format, kind: Kind, records: list[Any], *fields: str) -> bytes:
    stream = io.BytesIO()
    assert write_pages(form, Fields(kind, fields), paged(kind, records), stream) == len(records)
    return stream.getvalue()


def trades() -> list[Any]:
    """Some trades, absent values and odd prices among them."""
    odd = [trade(10_000, None, rpi=None), trade(10_001, NOON + 1, price=LATE, received_at=NOON * 10**6 + 1)]
    return [numbered("trades", number) for number in range(700)] + odd


@pytest.mark.parametrize("kind", KINDS)
def test_json_is_the_json_lines_in_an_array(kind: str) -> None:
    records = [numbered(kind, number) for number in range(600)]

    lines = [json.loads(line) for line in written(Format.jsonl, KINDS[kind], records).splitlines()]
    assert json.loads(written(Format.json, KINDS[kind], records)) == lines
    assert len(lines) == 600


def test_no_records_are_an_empty_array_an_empty_text_and_a_header() -> None:
    kind = KINDS["trades"]

    assert written(Format.json, kind, []) == b"[]\n"
    assert written(Format.jsonl, kind, []) == b""
    assert written(Format.csv, kind, []) == f"{','.join(kind.fields)}\n".encode()
    assert written(Format.table, kind, []).decode().split() == list(kind.fields)


@settings(max_examples=40)
@given(st.data())
def test_csv_says_what_json_lines_say(data: st.DataObject) -> None:
    kind = KINDS[data.draw(st.sampled_from(sorted(KINDS)))]
    records = data.draw(st.lists(any_records(kind.name), max_size=5))

    lines = [json.loads(line) for line in written(Format.jsonl, kind, records).split(b"\n")[:-1]]
    rows = list(csv.DictReader(io.StringIO(written(Format.csv, kind, records).decode(), newline="")))
    assert len(rows) == len(lines)
    for row, line in zip(rows, lines, strict=True):
        for name in kind.fields:
            match line[name]:
                case None:
                    assert row[name] == ""
                case str():
                    assert row[name] == line[name]
                case value:
                    assert json.loads(row[name]) == value


def test_fields_are_printed_in_the_order_asked_for() -> None:
    assert written(Format.csv, KINDS["trades"], [trade(5)], "price", "symbol") == b"price,symbol\n91250.1,BTC-USDT\n"
    assert written(Format.jsonl, KINDS["trades"], [trade(5)], "price", "symbol") == (
        b'{"price":"91250.1","symbol":"BTC-USDT"}\n'
    )
    with pytest.raises(UsageError, match="trades have no field 'prise'; did you mean 'price'"):
        Fields(KINDS["trades"], ["prise"])


def test_a_table_is_aligned_numbers_to_the_right_and_long_lists_cut_off() -> None:
    book = sample("orderbooks", bids=[("91250", "1")] * 30, asks=[])
    text = written(Format.table, KINDS["orderbooks"], [book], "symbol", "sequence", "bids", "asks").decode()

    assert text == (
        "symbol    sequence  bids                                      asks\n"
        'BTC-USDT  51200400  [["91250","1"],["91250","1"],["91250","…  []\n'
    )


@pytest.mark.parametrize("form", [Format.table, Format.csv, Format.jsonl, Format.json])
def test_what_came_off_the_wire_reaches_no_terminal_raw(form: Format) -> None:
    hostile = [Reject(1, "OKX", "\x9b2J", None, "\x1b]0;owned\x07\u202e", "\x1b[2J\r\x08", "id")]
    ours, theirs = pty.openpty()
    try:
        with os.fdopen(theirs, "wb") as terminal:
            write_pages(form, Fields(KINDS["rejects"]), paged(KINDS["rejects"], hostile), terminal)
            shown = os.read(ours, 8192).decode().replace("\r\n", "")
    finally:
        os.close(ours)

    assert shown.isprintable()
    assert "2J" in shown


def test_a_table_is_harmless_in_a_file_too() -> None:
    text = written(Format.table, KINDS["rejects"], [Reject(1, "OKX", None, None, "\x1b[2J", "\n", "id")]).decode()

    assert "\x1b" not in text
    assert "\\x1b[2J" in text
    assert text.count("\n") == 2


@pytest.fixture(scope="module")
def parquet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("pyarrow", reason="the extra `arrow` is not installed")
    path = tmp_path_factory.mktemp("parquet") / "trades.parquet"
    path.write_bytes(written(Format.parquet, KINDS["trades"], trades()))
    return path


def texts(one: Any) -> tuple[Any, ...]:
    """What the readers below must give back of a trade, times as the text of nanoseconds and milliseconds."""
    return (
        None if one.timestamp is None else one.timestamp * 10**6, one.received_at, one.symbol, one.trade_id, one.price,
        one.size, one.rpi,
    )  # fmt: skip


NAMES = ["timestamp", "received_at", "symbol", "trade_id", "price", "size", "rpi"]


def test_pandas_reads_the_parquet_exactly(parquet: Path) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.read_parquet(parquet)

    assert str(frame.dtypes["timestamp"]) == str(frame.dtypes["received_at"]) == "datetime64[ns, UTC]"
    for row, one in zip(frame[NAMES].itertuples(index=False), trades(), strict=True):
        found = [None if value is None or value is pandas.NaT else value for value in row]
        assert (None if found[0] is None else found[0].value, found[1].value, *found[2:]) == texts(one)


def test_polars_reads_the_parquet_exactly_and_its_prices_as_decimals(parquet: Path) -> None:
    polars = pytest.importorskip("polars")
    frame = polars.read_parquet(parquet)

    assert frame.schema["timestamp"] == frame.schema["received_at"] == polars.Datetime("ns", "UTC")
    rows = frame.with_columns(polars.col("timestamp", "received_at").cast(polars.Int64)).select(NAMES).rows()
    assert rows == [texts(one) for one in trades()]
    prices = frame["price"].cast(polars.Decimal(38, 20)).to_list()
    assert prices == [Decimal(one.price) for one in trades()]


def test_duckdb_reads_the_parquet_exactly_and_its_prices_as_decimals(parquet: Path) -> None:
    duckdb = pytest.importorskip("duckdb")
    with duckdb.connect() as connection:
        rows = connection.execute(
            "SELECT epoch_ns(timestamp), epoch_ns(received_at), symbol, trade_id, price, size, rpi, "
            "price::DECIMAL(38, 20) FROM read_parquet(?)", [str(parquet)]
        ).fetchall()  # fmt: skip

    assert rows == [(*texts(one), Decimal(one.price)) for one in trades()]


def test_all_files_of_a_kind_have_one_schema_and_books_are_nested() -> None:
    pq = pytest.importorskip("pyarrow.parquet")
    files = [
        pq.ParquetFile(io.BytesIO(written(Format.parquet, KINDS["book_updates"], records)))
        for records in ([], [sample("book_updates")], [sample("book_updates", timestamp=None, bids=[])])
    ]

    assert len({str(file.schema_arrow) for file in files}) == 1
    (row,) = files[1].read().to_pylist()
    assert row["bids"] == [{"price": "91250", "size": "1", "orders": 3}]
    assert row["asks"] == []
    assert files[1].metadata.row_group(0).column(0).compression == "ZSTD"


@pytest.mark.parametrize("kind", KINDS)
def test_parquet_says_what_json_lines_say(kind: str) -> None:
    pq = pytest.importorskip("pyarrow.parquet")
    records = [numbered(kind, number) for number in range(300)]
    lines = [json.loads(line) for line in written(Format.jsonl, KINDS[kind], records).splitlines()]

    table = pq.read_table(io.BytesIO(written(Format.parquet, KINDS[kind], records)))

    assert table.column_names == list(KINDS[kind].fields)
    encodings = KINDS[kind].encodings
    for name in table.column_names:
        column = table[name]
        if encodings[name] in (Encoding.MILLISECONDS, Encoding.NANOSECONDS):
            write = format_milliseconds if encodings[name] is Encoding.MILLISECONDS else format_nanoseconds
            unit = 10**6 if encodings[name] is Encoding.MILLISECONDS else 1
            found = [None if ns is None else write(ns // unit) for ns in column.cast("int64").to_pylist()]
        elif encodings[name] is Encoding.JSON and name not in ("bids", "asks"):
            found = [json.loads(text) for text in column.to_pylist()]
        elif encodings[name] is Encoding.JSON:
            found = [[list(level.values()) for level in levels] for levels in column.to_pylist()]
        else:
            found = column.to_pylist()
        assert found == [line[name] for line in lines], name


def test_row_groups_are_written_as_they_fill() -> None:
    pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    from cryptofeed_cli.output.parquet import GROUP

    records = (trade(number) for number in range(GROUP + 1_000))
    stream = io.BytesIO()
    write_pages(Format.parquet, Fields(KINDS["trades"]), paged(KINDS["trades"], records), stream)

    file = pq.ParquetFile(stream)
    assert [file.metadata.row_group(place).num_rows for place in range(file.num_row_groups)] == [GROUP, 1_000]


def test_a_time_without_nanoseconds_is_refused_in_words() -> None:
    pytest.importorskip("pyarrow")

    with pytest.raises(UsageError, match=r"a value has no place in Parquet: .*; export as csv or jsonl"):
        written(Format.parquet, KINDS["trades"], [trade(1, 253_402_300_799_000)])


def test_pandas_polars_and_duckdb_read_the_csv_exactly(tmp_path: Path) -> None:
    pandas, polars, duckdb = (pytest.importorskip(name) for name in ("pandas", "polars", "duckdb"))
    path = tmp_path / "trades.csv"
    path.write_bytes(written(Format.csv, KINDS["trades"], trades()))
    expected = [(one.trade_id, one.price, one.size) for one in trades()]
    names = ["trade_id", "price", "size"]

    frame = pandas.read_csv(path, dtype=dict.fromkeys(names, str), parse_dates=["timestamp", "received_at"])
    assert list(frame[names].itertuples(index=False, name=None)) == expected
    assert frame["received_at"].astype("datetime64[ns, UTC]").astype("int64").tolist() == [
        one.received_at for one in trades()
    ]
    read = polars.read_csv(path, schema_overrides=dict.fromkeys(names, polars.String))
    assert read.select(names).rows() == expected
    with duckdb.connect() as connection:
        rows = connection.execute(
            "SELECT trade_id, price, size, epoch_ns(received_at::TIMESTAMP_NS), epoch_ms(timestamp::TIMESTAMP) "
            "FROM read_csv(?, all_varchar = true)", [str(path)]
        ).fetchall()  # fmt: skip
    assert rows == [(*cells, one.received_at, one.timestamp) for cells, one in zip(expected, trades(), strict=True)]


@given(st.integers(-(10**12), 253_402_300_799_999), st.integers(0, 2**63 - 1))
def test_times_are_what_the_calendar_says(timestamp: int, received_at: int) -> None:
    line = json.loads(written(Format.jsonl, KINDS["trades"], [trade(1, timestamp, received_at=received_at)]))

    assert datetime.fromisoformat(line["timestamp"].rjust(24, "0")) == EPOCH + timedelta(milliseconds=timestamp)
    seconds, _, fraction = line["received_at"].rstrip("Z").partition(".")
    whole = datetime.fromisoformat(f"{seconds}+00:00") - EPOCH
    assert whole // timedelta(seconds=1) * 10**9 + int(fraction) == received_at
    assert len(fraction) == 9
