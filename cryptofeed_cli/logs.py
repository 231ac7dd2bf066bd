"""What the program says while it works: calm lines or JSON on stderr and in a rotated file; knows no market.

Modules log to ``logging.getLogger(__name__)``. No line holds a control character or a password, whatever came in.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import TextIO

import msgspec

from cryptofeed_cli.printable import escape, escape_lines, hide_secrets

ROOT = "cryptofeed_cli"
FILE_BYTES = 10 * 1024**2
FILE_COUNT = 5
"""Kept besides the current file."""


def configure(*, level: str, form: str, file: Path | None, stream: TextIO | None) -> None:
    """Send our log to ``stream``, and to ``file`` too; a second call replaces the first.

    Args: ``level`` is ``debug``, ``info``, ``warning`` or ``error`` (libraries are heard from ``warning`` on), ``form``
    ``text`` or ``json``, ``stream`` None where stderr is closed. Raises `OSError` where the file cannot be written.
    """
    handlers: list[logging.Handler] = []
    if file is not None:
        handlers.append(_File(file))
    if stream is not None:
        handlers.append(_Stream(stream))
    formatter = _Json() if form == "json" else _Text(tracebacks=level == "debug")
    root = logging.getLogger()
    for old in [handler for handler in root.handlers if isinstance(handler, _Stream | _File)]:
        root.removeHandler(old)
        old.close()
    for handler in handlers:
        handler.setFormatter(formatter)
        root.addHandler(handler)
    logging.getLogger(ROOT).setLevel(level.upper())


@contextmanager
def diverted(show: Callable[[str], object]) -> Iterator[None]:
    """Hand the lines that are meant for stderr to ``show`` while the block runs."""
    root = logging.getLogger()
    streams: list[logging.Handler] = [handler for handler in root.handlers if isinstance(handler, _Stream)]
    stand_ins: list[logging.Handler] = [_Diverted(handler, show) for handler in streams]
    root.handlers[:] = [handler for handler in root.handlers if handler not in streams] + stand_ins
    try:
        yield
    finally:
        root.handlers[:] = [handler for handler in root.handlers if handler not in stand_ins] + streams


class _Diverted(logging.Handler):
    def __init__(self, original: logging.Handler, show: Callable[[str], object]) -> None:
        super().__init__()
        self.setFormatter(original.formatter)
        self._show = show

    def emit(self, record: logging.LogRecord) -> None:
        self._show(self.format(record))


class _Text(logging.Formatter):
    def __init__(self, *, tracebacks: bool) -> None:
        super().__init__()
        self._tracebacks = tracebacks

    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created, UTC).strftime("%Y-%m-%d %H:%M:%S")
        line = f"{moment} {record.levelname.lower()} {_name(record)}: {_message(record)}"
        if not record.exc_info or record.exc_info[1] is None:
            return line
        if not self._tracebacks:
            return f"{line}: {escape(_error(record.exc_info[1]))}"
        traceback = hide_secrets(self.formatException(record.exc_info))
        return "\n".join([line, *map(escape, traceback.splitlines())])


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line = {
            "time": moment.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": _name(record),
            "message": _message(record),
        }
        if record.exc_info and record.exc_info[1] is not None:
            line["error"] = escape(_error(record.exc_info[1]))
            line["traceback"] = hide_secrets(self.formatException(record.exc_info))
        return escape_lines(msgspec.json.encode({key: _encodable(value) for key, value in line.items()}).decode())


class _Stream(logging.StreamHandler[TextIO]):
    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """Stay silent where stderr is closed or full: there is no other place to say so."""
        if not isinstance(sys.exc_info()[1], OSError | ValueError):
            super().handleError(record)


class _File(RotatingFileHandler):
    def __init__(self, path: Path) -> None:
        super().__init__(path, maxBytes=FILE_BYTES, backupCount=FILE_COUNT, encoding="utf-8", errors="backslashreplace")
        self._failed = False

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """Say once on stderr that the file takes no lines; the work goes on."""
        if not isinstance(sys.exc_info()[1], OSError | ValueError):
            super().handleError(record)
        elif not self._failed and sys.stderr is not None:
            sys.stderr.write(f"cryptofeed: log file {escape(self.baseFilename)}: {_error(sys.exc_info()[1])}\n")
        self._failed = True

    def close(self) -> None:
        """Close the file; lines that a full disk did not take were reported when they were written."""
        with suppress(OSError):
            super().close()


def _name(record: logging.LogRecord) -> str:
    return escape(record.name.removeprefix(f"{ROOT}."))


def _message(record: logging.LogRecord) -> str:
    return escape(hide_secrets(record.getMessage()))


def _error(error: BaseException | None) -> str:
    return hide_secrets(f"{type(error).__name__}: {error}")


def _encodable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
