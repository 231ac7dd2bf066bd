"""What a configuration value may be, how it is read from TOML or text, and how it is written; knows no key.

Every rule reads what TOML has (`read`), turns the text of an environment variable or a flag into that first
(`from_text`), and says in one clause what it takes (`allowed`).
"""

from __future__ import annotations

import difflib
import math
import re
from typing import Any
from urllib.parse import urlsplit

from cryptofeed_cli.clock import DAY, format_duration, parse_duration
from cryptofeed_cli.errors import UsageError
from cryptofeed_cli.printable import escape

LONGEST = 3650 * DAY
"""No duration may be longer: timers of the operating system overflow somewhere beyond."""

_SIZE = re.compile(r"(\d{1,15}) ?(B|[KMGT]i?B)", re.ASCII | re.IGNORECASE)
_SIZE_UNITS = {f"{letter}{infix}b": base**power for infix, base in (("i", 1024), ("", 1000))
               for power, letter in enumerate("kmgt", start=1)} | {"b": 1}  # fmt: skip
_BOOLEANS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
_STEP = re.compile(r"(?=[\d.]*[1-9])\d{1,18}(\.\d{1,18})?", re.ASCII)


class RefusedValue(Exception):
    """A value outside its rule, with the nearest value inside it where one is near."""

    def __init__(self, suggestion: str | None = None) -> None:
        super().__init__(suggestion)
        self.suggestion = suggestion


class Rule:
    """The base of all rules: takes any text; an empty one is None (absent)."""

    def __init__(self, allowed: str = "must be text") -> None:
        self.allowed = allowed

    def from_text(self, text: str) -> object:
        """Return what TOML would have had in the place of ``text``."""
        return text

    def read(self, value: object) -> Any:
        """Return the value as the program uses it; raise `RefusedValue` where that is impossible."""
        return _text(value) or None

    def show(self, value: Any) -> Any:
        """Return what TOML would have: the inverse of `read`."""
        return "" if value is None else value


class Flag(Rule):
    """True or false."""

    def __init__(self) -> None:
        super().__init__("must be true or false")

    def from_text(self, text: str) -> object:
        return _BOOLEANS.get(text.strip().lower(), text)

    def read(self, value: object) -> bool:
        if not isinstance(value, bool):
            raise RefusedValue
        return value


class Whole(Rule):
    """An integer from ``least`` to ``most``."""

    def __init__(self, least: int, most: int) -> None:
        super().__init__(f"must be a whole number from {least} to {most}")
        self.least, self.most = least, most

    def from_text(self, text: str) -> object:
        return int(text) if re.fullmatch(r"\s*\d{1,18}\s*", text, re.ASCII) else text

    def read(self, value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not self.least <= value <= self.most:
            raise RefusedValue
        return value


class Share(Rule):
    """A part of a whole."""

    def __init__(self) -> None:
        super().__init__("must be a number above 0 and at most 1")

    def from_text(self, text: str) -> object:
        try:
            return float(text)
        except ValueError:
            return text

    def read(self, value: object) -> float:
        if not isinstance(value, int | float) or isinstance(value, bool) or math.isnan(value) or not 0 < value <= 1:
            raise RefusedValue
        return float(value)


class Duration(Rule):
    """Nanoseconds, above or from zero, ``below`` a limit."""

    def __init__(self, *, zero: bool = False, below: int | None = None, optional: bool = False) -> None:
        least = "" if zero else " above 0"
        most = "" if below is None else f" and below {format_duration(below)}"
        empty = ", or empty" if optional else ""
        super().__init__(f'must be a duration{least}{most} such as "250ms", "5s", "10m", "2h", "7d"{empty}')
        self.least, self.below, self.optional = 0 if zero else 1, below or LONGEST + 1, optional

    def read(self, value: object) -> int | None:
        text = _text(value)
        if self.optional and not text:
            return None
        try:
            nanoseconds = parse_duration(text)
        except UsageError as exc:
            raise RefusedValue from exc
        if not self.least <= nanoseconds < self.below:
            raise RefusedValue
        return nanoseconds

    def show(self, value: int | None) -> str:
        return "" if value is None else format_duration(value)


class Size(Rule):
    """Bytes."""

    def __init__(self) -> None:
        super().__init__('must be a size above 0 such as "500MB" or "10GiB" (kB MB GB TB, KiB MiB GiB TiB)')

    def read(self, value: object) -> int:
        match = _SIZE.fullmatch(_text(value).strip())
        size = int(match[1]) * _SIZE_UNITS[match[2].lower()] if match else 0
        if not size:
            raise RefusedValue
        return size

    def show(self, value: int) -> str:
        units = sorted(_SIZE_UNITS, key=lambda unit: -_SIZE_UNITS[unit])
        unit = next(unit for unit in units if value % _SIZE_UNITS[unit] == 0)
        return f"{value // _SIZE_UNITS[unit]}{unit.upper().replace('I', 'i').replace('KB', 'kB')}"


class Choice(Rule):
    """One of a few words."""

    def __init__(self, *words: str) -> None:
        super().__init__(f"must be one of {', '.join(words)}")
        self.words = words

    def read(self, value: object) -> str:
        if (text := _text(value)) not in self.words:
            raise RefusedValue(nearest(text, self.words))
        return text


class Symbol(Rule):
    """The exchange's own id of what is traded."""

    def __init__(self) -> None:
        super().__init__("must be an exchange's symbol such as BTC-USDT-SWAP")

    def read(self, value: object) -> str:
        if not re.fullmatch(r"[!-+\--~]{1,64}", text := _text(value)):
            raise RefusedValue
        return text


class Step(Rule):
    """A price step, an exact decimal kept as text."""

    def __init__(self) -> None:
        super().__init__('must be a price step such as "0.5" or "10", or empty')

    def read(self, value: object) -> str | None:
        text = _text(value)
        if text and not _STEP.fullmatch(text):
            raise RefusedValue
        return text or None


class Url(Rule):
    """A URL of one of a few schemes; with ``host``, it must name one."""

    def __init__(self, *schemes: str, optional: bool = False, host: bool = True, example: str) -> None:
        empty = ", or empty" if optional else ""
        super().__init__(f"must be a URL such as {example} ({', '.join(schemes)}){empty}")
        self.schemes, self.optional, self.host = schemes, optional, host

    def read(self, value: object) -> str | None:
        text = _text(value)
        if not text and self.optional:
            return None
        scheme, separator, rest = text.partition("://")
        if not separator or not rest or re.search(r"\s", text):
            raise RefusedValue
        if scheme not in self.schemes:
            raise RefusedValue(nearest(scheme, self.schemes))
        if self.host and not _names_host(text):
            raise RefusedValue
        return text


class ProxyUrl(Url):
    """The URL of a proxy."""

    def __init__(self) -> None:
        super().__init__(
            "http", "socks4", "socks4a", "socks5", "socks5h", optional=True, example="socks5h://127.0.0.1:1080"
        )
        self.allowed += "; no https: what goes through http:// is TLS all the same"


class List(Rule):
    """Several values, each of one rule, without repetition; one alone needs no brackets."""

    def __init__(self, of: Rule, *, empty: bool = False) -> None:
        super().__init__(f"{of.allowed}, or a list of such")
        self.of, self.empty = of, empty

    def from_text(self, text: str) -> object:
        return [part.strip() for part in text.split(",") if part.strip()]

    def read(self, value: object) -> tuple[Any, ...]:
        values = value if isinstance(value, list | tuple) else [value] if _text(value) else []
        if not values and not self.empty:
            raise RefusedValue
        return tuple(dict.fromkeys(self.of.read(one) for one in values if one != "" or not self.empty))

    def show(self, value: tuple[Any, ...]) -> Any:
        return list(value) if value else ""


def nearest(word: str, words: tuple[str, ...] | list[str]) -> str | None:
    """Return the one of ``words`` that ``word`` was probably meant to be; None: no one is near."""
    found = difflib.get_close_matches(word.lower(), words, n=1, cutoff=0.6)
    return found[0] if found else None


def _text(value: object) -> str:
    if not isinstance(value, str) or escape(value) != value:
        raise RefusedValue
    return value


def _names_host(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        return False
