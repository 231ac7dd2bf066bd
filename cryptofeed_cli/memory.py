"""Memory that nobody uses any more, given back to the system; knows nothing of whose it was."""

from __future__ import annotations

import ctypes
from collections.abc import Callable


def trimmer() -> Callable[[], object]:
    """Return what gives free memory back; it does nothing where the C library has no ``malloc_trim`` (glibc has).

    glibc keeps what is freed in the midst of a heap. In a process that runs for months bursts of frames leave more and
    more such pieces: nothing leaks, and yet it grows.
    """
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError):
        return lambda: None
    trim.argtypes, trim.restype = (ctypes.c_size_t,), ctypes.c_int
    return lambda: trim(0)
