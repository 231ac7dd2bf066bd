"""What Ctrl-C, SIGTERM and SIGHUP do to a command: ask it to stop and end it at the second one, or undo and leave."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from threading import Event
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_SHOW_CURSOR = b"\x1b[?25h"


def stop_on_signals(stop: Event) -> None:
    """Set ``stop`` at the first signal; leave at once at the second. A SIGHUP that is ignored stays so (nohup)."""

    def handle(number: int, _frame: FrameType | None) -> None:
        if stop.is_set():
            _leave_terminal()
            os._exit(128 + number)
        stop.set()

    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, handle)


def leave_on_signals() -> None:
    """Let SIGTERM and SIGHUP end the program the way Ctrl-C does: what is half done is undone."""

    def handle(number: int, _frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, handle)


def _leave_terminal() -> None:
    # The live view hides the cursor, and is not asked to tidy up when everything ends at once.
    if sys.stderr is not None and sys.stderr.isatty():
        with suppress(OSError):
            os.write(sys.stderr.fileno(), _SHOW_CURSOR)
