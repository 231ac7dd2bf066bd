"""Clocks, and times and durations as text; knows nothing of markets.

Wall-clock times are integers: nanoseconds since 1970 for our own clock, milliseconds for the exchange's.
Durations are integer nanoseconds, measured on the monotonic clock.
"""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime, timedelta
from typing import Protocol

from cryptofeed_cli.errors import UsageError

MICROSECOND = 1_000
MILLISECOND = 1_000_000
SECOND = 1_000_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR

MAX_MILLISECONDS = 253_402_300_799_999
"""9999-12-31T23:59:59.999Z, the last instant that ISO 8601 text can show."""

_UNITS = {"ms": MILLISECOND, "s": SECOND, "m": MINUTE, "h": HOUR, "d": DAY}
_DURATION = re.compile(r"(\d{1,9})(ms|s|m|h|d)", re.ASCII)
_TIME = re.compile(
    r"(\d{4}-\d\d-\d\d)(?:[Tt ](\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|z|[+-]\d\d:\d\d)?)?", re.ASCII
)
_EPOCH_DIGITS = {10: SECOND, 13: MILLISECOND, 16: MICROSECOND, 19: 1}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Clock(Protocol):
    """Both clocks of this machine, as an argument."""

    def now(self) -> int:
        """Return the wall clock, in nanoseconds since 1970 UTC."""

    def monotonic(self) -> int:
        """Return the monotonic clock, in nanoseconds since an arbitrary start."""


class Moment(Protocol):
    """One instant on both clocks: what every event carries."""

    @property
    def at(self) -> int:
        """The wall clock, in nanoseconds since 1970 UTC."""

    @property
    def monotonic(self) -> int:
        """The monotonic clock, in nanoseconds."""


class SystemClock:
    """The clocks of the operating system."""

    now = staticmethod(time.time_ns)
    monotonic = staticmethod(time.monotonic_ns)


def parse_duration(text: str) -> int:
    """Return the nanoseconds of ``250ms``, ``5s``, ``10m``, ``2h`` or ``7d``; raise `UsageError` otherwise."""
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"{text!r} is not a duration; write a whole number and a unit: 250ms, 5s, 10m, 2h, 7d")
    return int(match[1]) * _UNITS[match[2]]


def format_duration(nanoseconds: int) -> str:
    """Write a duration in the largest unit that holds it whole: the inverse of `parse_duration`."""
    for unit in ("d", "h", "m", "s"):
        if nanoseconds and nanoseconds % _UNITS[unit] == 0:
            return f"{nanoseconds // _UNITS[unit]}{unit}"
    return "0s" if nanoseconds == 0 else f"{nanoseconds // MILLISECOND}ms"


def parse_time(text: str, now: int) -> int:
    """Return the nanoseconds since 1970 that ``text`` names; raise `UsageError` otherwise.

    Understood: RFC 3339 with an offset, a date (00:00 UTC), ``now``, a duration (that long before ``now``), and epoch
    seconds, milliseconds, microseconds or nanoseconds told apart by their 10, 13, 16 or 19 digits.
    """
    text = text.strip()
    if text == "now":
        return now
    if text.isascii() and text.isdigit() and len(text) in _EPOCH_DIGITS:
        return int(text) * _EPOCH_DIGITS[len(text)]
    if _DURATION.fullmatch(text):
        return now - parse_duration(text)
    match = _TIME.fullmatch(text)
    if match is None:
        raise UsageError(
            f"{text!r} is not a time; write 2026-11-22T10:00:00Z, 2026-11-22, now, 15m (ago), or epoch s/ms/us/ns"
        )
    date, clock, fraction, offset = match.groups()
    if clock is not None and offset is None:
        raise UsageError(f"{text!r} has no UTC offset; add Z, or +hh:mm")
    try:
        whole = datetime.fromisoformat(f"{date}T{clock or '00:00:00'}{(offset or 'Z').upper()}")
        seconds = (whole - _EPOCH) // timedelta(seconds=1)
    except (ValueError, OverflowError) as exc:
        raise UsageError(f"{text!r} is not a time: {exc}") from exc
    return seconds * SECOND + int((fraction or "0").ljust(9, "0"))


def format_milliseconds(milliseconds: int) -> str:
    """Write exchange time as ``2025-05-04T10:39:13.123Z``."""
    seconds, rest = divmod(milliseconds, 1000)
    return f"{_seconds(seconds)}.{rest:03d}Z"


def format_nanoseconds(nanoseconds: int) -> str:
    """Write our own time as ``2025-05-04T10:39:13.187654321Z``."""
    seconds, rest = divmod(nanoseconds, SECOND)
    return f"{_seconds(seconds)}.{rest:09d}Z"


def _seconds(seconds: int) -> str:
    return (_EPOCH + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S").rjust(19, "0")
