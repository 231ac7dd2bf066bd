"""``cryptofeed``, also as ``python -m cryptofeed_cli``: loads the command line, and may be interrupted meanwhile."""

from __future__ import annotations

import os
import signal


def main() -> None:
    """Run the command line and exit. A Ctrl-C that comes before there is anything to stop ends it without a word."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else it is ignored, and stays so
        signal.signal(signal.SIGINT, lambda number, _frame: os._exit(128 + number))
    from cryptofeed_cli.cli import main as run

    run()


if __name__ == "__main__":
    main()
