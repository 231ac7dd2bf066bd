"""A file that is there whole or not at all: written beside its name, compressed, hashed, and renamed at the end."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, cast
from uuid import uuid4

from cryptofeed_cli.errors import UsageError
from cryptofeed_cli.output.formats import Compression

_BUFFER = 1 << 18


def check_target(path: Path, *, force: bool, option: str = "-o") -> None:
    """Raise `UsageError` where ``path`` cannot be written: it is there already (and not ``force``), or no file."""
    if path.exists() and not path.is_file():
        raise UsageError(f"{option} {path} is not a file; name one, or redirect with >")
    if path.exists() and not force:
        raise UsageError(f"{option} {path} exists; name another file, or overwrite it with --force")
    if not path.absolute().parent.is_dir():
        raise UsageError(f"{option} {path}: the directory {path.absolute().parent} does not exist; create it first")


class Hashed(io.RawIOBase):
    """Passes bytes on to a file, and keeps their number and SHA-256."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__()
        self._file = file
        self._hash = hashlib.sha256()
        self.size = 0

    @property
    def sha256(self) -> str:
        """The digest of what was written so far."""
        return self._hash.hexdigest()

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        view = memoryview(data)  # type: ignore[arg-type]
        self._file.write(view)
        self._hash.update(view)
        self.size += view.nbytes
        return view.nbytes


@contextmanager
def whole_file(path: Path, compression: Compression | None = None) -> Iterator[tuple[BinaryIO, Hashed]]:
    """Yield a stream to write to, and what knows of the bytes that reach the disk.

    When the block ends the file stands there under its name, whole and on disk; when it fails nothing is left. Only a
    SIGKILL or a power cut leaves a hidden ``.NAME.*.part`` beside it. Raises `UsageError` where it cannot be made.
    """
    target = path.resolve()  # a link stays a link
    part = target.with_name(f".{target.name}.{uuid4().hex[:8]}.part")
    try:
        file = part.open("xb")
    except OSError as exc:
        raise UsageError(f"{path} cannot be written: {exc.strerror}") from exc
    try:
        with file:
            hashed = Hashed(file)
            stream = _compressed(io.BufferedWriter(hashed, _BUFFER), compression)
            yield stream, hashed
            stream.close()
            file.flush()
            os.fsync(file.fileno())
        part.replace(target)
    except BaseException:
        with suppress(OSError):
            part.unlink()
        raise


def _compressed(raw: io.BufferedWriter, compression: Compression | None) -> BinaryIO:
    match compression:
        case Compression.gz:
            # Neither name nor time: the same records give the same file.
            return cast("BinaryIO", _Gzip(raw))
        case Compression.zst:
            import zstandard

            return cast("BinaryIO", zstandard.ZstdCompressor(level=3, write_checksum=True).stream_writer(raw))
        case None:
            return raw


class _Gzip(gzip.GzipFile):
    """Closes what it writes to, as other streams do."""

    def __init__(self, raw: io.BufferedWriter) -> None:
        super().__init__(filename="", mode="wb", compresslevel=6, fileobj=raw, mtime=0)
        self._raw = raw

    def close(self) -> None:
        super().close()
        self._raw.close()
