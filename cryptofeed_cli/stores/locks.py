"""One holder at a time, told by a locked file beside what is held; knows not what that is."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path


class Held(Exception):
    """Somebody else holds it; the text says who, as far as it was written down."""


class FileLock:
    """Held from its making until `release`, or until the process ends, however it does.

    The file stays: whoever removed it could lock out nobody any more.
    """

    def __init__(self, path: Path, holder: str) -> None:
        """Take the lock. ``holder`` is what others are told. Raises `Held`, or `OSError` where there can be no file."""
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            told = os.read(self._file, 200).decode(errors="replace")
            self.release()
            raise Held(told or "another recorder") from None
        except BaseException:
            self.release()
            raise
        with suppress(OSError):  # a full disk: it is held all the same
            os.ftruncate(self._file, 0)
            os.write(self._file, holder.encode()[:200])

    def release(self) -> None:
        """Let go. A second call does nothing."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
