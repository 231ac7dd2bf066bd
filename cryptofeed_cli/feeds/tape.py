"""Tapes: everything that a session was told, as JSON lines in compressed files; knows no session and no exchange.

A file is named ``tape-TIME-RUN-NUMBER.jsonl.zst`` and begins with a `Begun` line: ``zstdcat`` and ``jq`` read it. Each
flush is a compressed frame of its own with a checksum, so a crash costs what came after the last one.
"""

from __future__ import annotations

import fcntl
import io
import logging
import time
from base64 import b64decode, b64encode
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import zstandard

from cryptofeed_cli.clock import HOUR, SECOND, Clock
from cryptofeed_cli.errors import TapeRefused
from cryptofeed_cli.feeds.base import Action, Answer, Closed, Connect, Drop, Event, Fetch, Frame, Opened, Send, Tick
from cryptofeed_cli.feeds.base import LookedUp as Found
from cryptofeed_cli.types import Run

LOG = logging.getLogger(__name__)

VERSION = 1
PATTERN = "tape-*.jsonl.zst"
FILE_BYTES = 256 << 20
"""How large a file becomes, compressed,"""
FILE_TIME = HOUR
"""and for how long it is written."""
_LEVEL = 3


class Line(msgspec.Struct, frozen=True, tag_field="line"):
    """What every line is."""


class Begun(Line, frozen=True, tag="begun"):
    """A file begins. ``number`` counts the files of a run from 1."""

    schema_version: int
    number: int
    run: Run


class Started(Line, frozen=True, tag="started"):
    """The session was made, and started at this moment: what it was given."""

    at: int
    monotonic: int
    options: msgspec.Raw
    pasts: msgspec.Raw
    limiter: tuple[int, int, int, int]


class Learnt(Line, frozen=True, tag="learnt"):
    """What earlier runs left was learnt late."""

    at: int
    monotonic: int
    pasts: msgspec.Raw


class Halted(Line, frozen=True, tag="halted"):
    """Nothing could be made durable: what was given back, and how far everything was durable."""

    at: int
    monotonic: int
    reason: str
    refused: bytes
    durable: list[tuple[str, str, int]]


class Resumed(Line, frozen=True, tag="resumed"):
    """Something could be made durable again."""

    at: int
    monotonic: int


class Remarked(Line, frozen=True, tag="remarked"):
    """Something was added to the reasons of open gaps."""

    at: int
    text: str


class Finished(Line, frozen=True, tag="finished"):
    """The session ended, and was not cut off."""

    at: int
    monotonic: int


class Received(Line, frozen=True, tag="frame", omit_defaults=True):
    """A frame as it left the socket."""

    connection: int
    at: int
    monotonic: int
    text: str | None = None
    base64: str | None = None
    """Of what is no text."""


class Up(Line, frozen=True, tag="opened"):
    """A connection is up."""

    connection: int
    at: int
    monotonic: int
    announced: str | None


class Down(Line, frozen=True, tag="closed"):
    """A connection is gone."""

    connection: int
    at: int
    monotonic: int
    code: int | None
    reason: str
    retry_in: int


class Ticked(Line, frozen=True, tag="tick"):
    """Time passed."""

    at: int
    monotonic: int


class Answered(Line, frozen=True, tag="answer"):
    """What REST said. ``body`` is base64."""

    request_id: int
    at: int
    monotonic: int
    status: int | None
    body: bytes
    error: str | None
    announced: str | None


class LookedUp(Line, frozen=True, tag="looked_up"):
    """What the store said."""

    request_id: int
    at: int
    monotonic: int
    missing: list[tuple[int, int]] | None


class Sent(Line, frozen=True, tag="sent"):
    """What was sent, asked for or connected, for whoever reads the tape: nothing is made of it."""

    at: int
    what: str
    number: int
    """Of the connection or the request."""
    text: str = ""


AnyLine = (
    Begun | Started | Learnt | Halted | Resumed | Remarked | Finished | Received | Up | Down | Ticked | Answered
    | LookedUp | Sent
)  # fmt: skip
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(AnyLine).decode


def line_of(event: Event) -> Line | None:
    """Return the line of an event; None: it has none."""
    match event:
        case Frame(connection, data, at, monotonic):
            try:
                return Received(connection, at, monotonic, data.decode())
            except UnicodeDecodeError:
                return Received(connection, at, monotonic, base64=b64encode(data).decode())
        case Tick(at, monotonic):
            return Ticked(at, monotonic)
        case Opened(connection, at, monotonic, announced):
            return Up(connection, at, monotonic, announced)
        case Closed(connection, at, monotonic, code, reason, retry_in):
            return Down(connection, at, monotonic, code, reason, retry_in)
        case Answer(request_id, at, monotonic, status, body, error, announced):
            return Answered(request_id, at, monotonic, status, body, error, announced)
        case Found(request_id, at, monotonic, missing):
            return LookedUp(request_id, at, monotonic, missing)
    return None


def event_of(line: Line) -> Event | None:
    """Return the event of a line; None: it is of none."""
    match line:
        case Received(connection, at, monotonic, text, base64):
            return Frame(connection, b64decode(base64 or "") if text is None else text.encode(), at, monotonic)
        case Ticked(at, monotonic):
            return Tick(at, monotonic)
        case Up(connection, at, monotonic, announced):
            return Opened(connection, at, monotonic, announced)
        case Down(connection, at, monotonic, code, reason, retry_in):
            return Closed(connection, at, monotonic, code, reason, retry_in)
        case Answered(request_id, at, monotonic, status, body, error, announced):
            return Answer(request_id, at, monotonic, status, body, error, announced)
        case LookedUp(request_id, at, monotonic, missing):
            return Found(request_id, at, monotonic, missing)
    return None


def sent(action: Action, at: int) -> Line | None:
    """Return the line of an action; None: it has none."""
    match action:
        case Send(connection, text):
            return Sent(at, "send", connection, text)
        case Connect(connection, endpoint):
            return Sent(at, "connect", connection, endpoint)
        case Drop(connection):
            return Sent(at, "drop", connection)
        case Fetch(request_id, path):
            return Sent(at, "fetch", request_id, path)
    return None


class TapeWriter:
    """Writes the tape of one run into a directory. Used by one thread.

    A directory that takes no more ends the tape, loudly, and not the recording. Of all tapes there, this one included,
    the oldest files go beyond ``limit`` bytes.
    """

    def __init__(self, directory: Path, run: Run, limit: int, clock: Clock, flush_interval: int) -> None:
        """Begin the first file. Raises `TapeRefused` where there can be none."""
        self._directory, self._run, self._limit = directory, run, limit
        self._clock, self._flush_interval = clock, flush_interval
        self._lines: list[bytes] = []
        self._file: BinaryIO | None = None
        self._number = self._bytes = 0
        self._begun = self._flushed = clock.monotonic()
        self.gone: int | None = None
        """Up to when tapes were removed, in nanoseconds since 1970; None: none was since somebody told of it."""
        try:
            directory.mkdir(parents=True, exist_ok=True)
            self._next()
        except OSError as exc:
            raise TapeRefused(str(directory), exc.strerror or str(exc)) from exc

    def note(self, line: Line | None) -> None:
        """Take a line; it is on its way to the disk within a flush interval."""
        if line is not None and self._file is not None:
            self._lines.append(_encode(line))

    def check(self, monotonic: int) -> None:
        """Flush and rotate where that is due."""
        if monotonic - self._flushed >= self._flush_interval:
            self._flushed = monotonic
            self.flush()
            if self._bytes >= FILE_BYTES or monotonic - self._begun >= FILE_TIME:
                self._rotate()

    def flush(self) -> None:
        """Hand over to the system what was noted: a crash of the program does not cost it any more."""
        if self._file is None or not self._lines:
            return
        data = b"\n".join(self._lines) + b"\n"
        self._lines.clear()
        rest = memoryview(zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True).compress(data))
        self._bytes += len(rest)
        try:
            while rest:  # a disk that is nearly full takes a part first, and says so at the next one
                rest = rest[self._file.write(rest) :]
        except OSError as exc:
            self._give_up(exc)

    def close(self) -> None:
        """Write what is left. A second call does nothing."""
        self.flush()
        if self._file is not None:
            self._file.close()
            self._file = None

    def _rotate(self) -> None:
        try:
            if self._file is not None:
                self._file.close()
            self._next()
            self._make_room()
        except OSError as exc:
            self._give_up(exc)

    def _next(self) -> None:
        self._number += 1
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(self._run.started_at // SECOND))
        name = f"tape-{stamp}-{self._run.run_id}-{self._number:06}.jsonl.zst"
        self._file = (self._directory / name).open("wb", buffering=0)
        fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # nobody removes what is being written
        self._bytes, self._begun = 0, self._clock.monotonic()
        self.note(Begun(VERSION, self._number, self._run))
        self.flush()

    def _make_room(self) -> None:
        files = sorted(self._directory.glob(PATTERN))
        sizes = {path: path.stat().st_size for path in files}
        for path in files:
            if sum(sizes.values()) <= self._limit:
                return
            if not _is_written(path):
                self.gone = max(self.gone or 0, path.stat().st_mtime_ns)
                path.unlink()
                del sizes[path]
                LOG.info("tape_max: %s is removed, the oldest one there", path)

    def _give_up(self, error: OSError) -> None:
        LOG.error("the tape in %s ends here: %s; the recording goes on without it", self._directory, error.strerror)
        with suppress(OSError):
            if self._file is not None:
                self._file.close()
        self._file = None
        self._lines.clear()


def _is_written(path: Path) -> bool:
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def tapes(directory: Path) -> dict[str, list[Path]]:
    """Return the files of every run in a directory, oldest first; raise `TapeRefused` where there is none."""
    found: dict[str, list[Path]] = {}
    for path in sorted(directory.glob(PATTERN)):
        found.setdefault(path.name.split("-")[2], []).append(path)
    if not found:
        raise TapeRefused(str(directory), "there is no tape; name a directory that `record --tape` wrote into")
    return found


def read(path: Path) -> Iterator[Any]:
    """Yield the lines of a file; one that is torn ends with a word. Raises `TapeRefused`."""
    first = True
    try:
        with path.open("rb") as file:
            stream = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True)
            for text in io.BufferedReader(stream):
                if not text.endswith(b"\n"):
                    break  # its frame is torn
                line = _decode(text)
                if first and not (isinstance(line, Begun) and line.schema_version <= VERSION):
                    raise TapeRefused(str(path), "is no tape that this version can read; upgrade cryptofeed")
                first = False
                yield line
    except (zstandard.ZstdError, msgspec.DecodeError) as exc:
        LOG.warning("tape %s: torn (%s): what is before it counts", path, exc)
    except OSError as exc:
        raise TapeRefused(str(path), exc.strerror or str(exc)) from exc
