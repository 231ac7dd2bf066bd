"""Times and durations as text: what is understood, what is refused, and that writing and reading are inverses."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptofeed_cli.clock import (
    DAY,
    HOUR,
    MAX_MILLISECONDS,
    MILLISECOND,
    MINUTE,
    SECOND,
    SystemClock,
    format_duration,
    format_milliseconds,
    format_nanoseconds,
    parse_duration,
    parse_time,
)
from cryptofeed_cli.errors import UsageError

NOW = 1_746_355_153_187_654_321
FIRST = -62_135_596_800_000
"""0001-01-01T00:00:00Z, in milliseconds."""


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("250ms", 250 * MILLISECOND),
        ("5s", 5 * SECOND),
        ("10m", 10 * MINUTE),
        ("2h", 2 * HOUR),
        ("7d", 7 * DAY),
        ("0s", 0),
        (" 5s ", 5 * SECOND),
    ],
)
def test_a_duration_is_a_whole_number_and_a_unit(text: str, nanoseconds: int) -> None:
    assert parse_duration(text) == nanoseconds


@pytest.mark.parametrize("text", ["", "5", "s", "-5s", "1.5s", "5 s", "5S", "5us", "1h30m", "9876543210s", "\u0665s"])
def test_anything_else_is_no_duration(text: str) -> None:
    with pytest.raises(UsageError, match="is not a duration; write a whole number and a unit") as refusal:
        parse_duration(text)

    assert repr(text) in str(refusal.value)


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [(0, "0s"), (MILLISECOND, "1ms"), (1500 * MILLISECOND, "1500ms"), (90 * MINUTE, "90m"), (48 * HOUR, "2d")],
)
def test_a_duration_is_written_in_the_largest_unit_that_holds_it_whole(nanoseconds: int, text: str) -> None:
    assert format_duration(nanoseconds) == text


@given(st.integers(0, 999_999_999), st.sampled_from(["ms", "s", "m", "h", "d"]))
def test_a_duration_that_was_read_is_written_so_that_it_is_read_the_same(number: int, unit: str) -> None:
    nanoseconds = parse_duration(f"{number}{unit}")

    assert parse_duration(format_duration(nanoseconds)) == nanoseconds


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("now", NOW),
        ("15m", NOW - 15 * MINUTE),
        ("2h", NOW - 2 * HOUR),
        ("1970-01-01", 0),
        ("1970-01-02", DAY),
        ("1970-01-01T00:00:01Z", SECOND),
        ("1970-01-01t00:00:01z", SECOND),
        ("1970-01-01 00:00:01Z", SECOND),
        ("1970-01-01T01:00:00+01:00", 0),
        ("1969-12-31T19:00:00-05:00", 0),
        ("1970-01-01T00:00:00.000000001Z", 1),
        ("1970-01-01T00:00:00.5Z", SECOND // 2),
        ("1969-12-31T23:59:59.5Z", -SECOND // 2),
        ("1746355153", 1_746_355_153 * SECOND),
        ("1746355153187", 1_746_355_153_187 * MILLISECOND),
        ("1746355153187654", 1_746_355_153_187_654_000),
        ("1746355153187654321", NOW),
        (" now ", NOW),
    ],
)
def test_a_time_is_read(text: str, nanoseconds: int) -> None:
    assert parse_time(text, NOW) == nanoseconds


@pytest.mark.parametrize("text", ["2025-05-04T10:39:13", "2025-05-04 10:39:13", "2025-05-04T10:39:13.123"])
def test_a_time_without_an_offset_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"has no UTC offset; add Z, or \+hh:mm"):
        parse_time(text, NOW)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "Now",
        "123456789",
        "12345678901",
        "-1746355153",
        "1746355153.5",
        "2025-5-4",
        "04.05.2025",
        "2025-05-04T10:39Z",
        "2025-05-04T10:39:13.Z",
        "2025-05-04T10:39:13.1234567890Z",
        "2025-05-04Z",
        "2025-02-30",
        "2025-13-01",
        "0000-01-01",
        "2025-05-04T24:00:01Z",
        "2025-05-04T10:61:00Z",
        "2025-05-04T10:39:13+25:00",
        "2025-05-04T10:39:13 UTC",
        "\uff12025-05-04",
    ],
)
def test_anything_else_is_no_time(text: str) -> None:
    with pytest.raises(UsageError, match="is not a time") as refusal:
        parse_time(text, NOW)

    assert repr(text) in str(refusal.value)


@given(st.text())
def test_no_text_breaks_the_reading_of_times(text: str) -> None:
    try:
        parse_time(text, NOW)
    except UsageError:
        return


def test_times_are_written_with_all_their_digits() -> None:
    assert format_milliseconds(1_746_355_153_007) == "2025-05-04T10:39:13.007Z"
    assert format_nanoseconds(1_746_355_153_000_000_007) == "2025-05-04T10:39:13.000000007Z"
    assert format_milliseconds(MAX_MILLISECONDS) == "9999-12-31T23:59:59.999Z"
    assert format_milliseconds(FIRST) == "0001-01-01T00:00:00.000Z"


@given(st.integers(FIRST, MAX_MILLISECONDS))
def test_milliseconds_are_written_so_that_they_are_read_the_same(milliseconds: int) -> None:
    text = format_milliseconds(milliseconds)

    assert parse_time(text, NOW) == milliseconds * MILLISECOND
    assert len(text) == len("2025-05-04T10:39:13.123Z")


@given(st.integers(FIRST * MILLISECOND, MAX_MILLISECONDS * MILLISECOND))
def test_nanoseconds_are_written_so_that_they_are_read_the_same(nanoseconds: int) -> None:
    assert parse_time(format_nanoseconds(nanoseconds), NOW) == nanoseconds


@given(st.datetimes(timezones=st.just(UTC)))
def test_the_standard_librarys_text_is_read_as_its_instant(moment: datetime) -> None:
    whole = moment.replace(microsecond=0)

    assert parse_time(whole.isoformat(), NOW) == int(whole.timestamp()) * SECOND


def test_the_systems_clocks_go_forward() -> None:
    clock = SystemClock()
    wall, monotonic = clock.now(), clock.monotonic()

    assert clock.monotonic() >= monotonic
    assert abs(clock.now() - wall) < HOUR
