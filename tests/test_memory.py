"""Free memory is given back to the system."""

from __future__ import annotations

import platform
import resource
from pathlib import Path

import pytest

from cryptofeed_cli.memory import trimmer

BLOCKS, SIZE = 4_000, 16_384


def resident() -> int:
    """Return the bytes of memory that this process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc gives memory back when it is told to")
def test_what_is_free_between_things_in_use_is_given_back() -> None:
    blocks = [bytes([number % 256]) * SIZE for number in range(BLOCKS)]
    between = [blocks[number] for number in range(0, BLOCKS, 20)]
    del blocks
    before = resident()
    trimmer()()
    assert before - resident() > BLOCKS * SIZE // 2
    assert len(between) == BLOCKS // 20


def test_without_such_a_c_library_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctypes.CDLL", lambda _: object())
    assert trimmer()() is None
