"""Fields chosen out of pages, and what they hold as text; knows no format.

Work goes column by column: what needs no conversion then costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import msgspec

from cryptofeed_cli.clock import SECOND, format_milliseconds, format_nanoseconds
from cryptofeed_cli.config import nearest
from cryptofeed_cli.errors import UsageError
from cryptofeed_cli.stores.base import Page
from cryptofeed_cli.types import Encoding, Kind

Column = Sequence[Any]
Convert = Callable[[Column], Column]


class Fields:
    """Which fields of a kind are printed, in what order. Raises `UsageError` for one that the kind does not have."""

    def __init__(self, kind: Kind, names: Sequence[str] = ()) -> None:
        for name in names:
            if name not in kind.fields:
                near = nearest(name, kind.fields)
                hint = f"; did you mean {near!r}?" if near else ""
                raise UsageError(f"{kind.name} have no field {name!r}{hint} (fields: {', '.join(kind.fields)})")
        self.kind = kind
        self.names = tuple(dict.fromkeys(names)) or kind.fields
        self.encodings = [kind.encodings[name] for name in self.names]
        self._places = [kind.record.__struct_fields__.index(name) for name in self.names]

    def of(self, page: Page) -> list[Column]:
        """Return the columns that are printed."""
        return [page[place] for place in self._places]

    def converters(self, by_encoding: dict[Encoding, Convert]) -> list[Convert | None]:
        """Return what each column goes through; None: nothing."""
        return [by_encoding.get(encoding) for encoding in self.encodings]


def converted(columns: Sequence[Column], converters: Sequence[Convert | None]) -> list[Column]:
    """Return columns as text, or as they are."""
    return [convert(column) if convert else column for column, convert in zip(columns, converters, strict=True)]


class _Seconds(dict[str, str]):
    """The beginning of a time by its seconds since 1970, which neighbours mostly share."""

    def __missing__(self, seconds: str) -> str:
        self[seconds] = text = format_milliseconds(int(seconds) * 1000).partition(".")[0] + "."
        return text


def _times(unit: int, write: Callable[[int], str], column: Column) -> Column:
    try:
        if min(column) >= 10**9 * unit and max(column) < 10**10 * unit:  # seconds have ten digits from 2001 to 2286
            begin = _Seconds()
            return [f"{begin[text[:10]]}{text[10:]}Z" for text in map(str, column)]
    except TypeError:  # an absent value; looking for one first costs as much as all the rest
        pass
    return [None if time is None else write(time) for time in column]


def _json(column: Column) -> Column:
    encode = msgspec.json.Encoder().encode
    return [None if value is None else encode(value).decode() for value in column]


def _numbers(column: Column) -> Column:
    return [None if value is None else str(value) for value in column]


_BOOLEANS = {True: "true", False: "false", None: None}
TIMES: dict[Encoding, Convert] = {
    Encoding.MILLISECONDS: partial(_times, 1000, format_milliseconds),
    Encoding.NANOSECONDS: partial(_times, SECOND, format_nanoseconds),
}
"""For formats that know numbers and truth values: times as ISO 8601."""
TEXTS: dict[Encoding, Convert] = {
    **TIMES,
    Encoding.INTEGER: _numbers,
    Encoding.BOOLEAN: lambda column: list(map(_BOOLEANS.__getitem__, column)),
    Encoding.JSON: _json,
}
"""For formats that know nothing but text; absent stays None."""
