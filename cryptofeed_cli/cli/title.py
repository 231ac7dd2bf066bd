"""What `ps` shows of this process; knows no option.

Arguments are readable by every user of the machine, and some of ours are URLs with passwords in them.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from cryptofeed_cli.printable import escape, hide_secrets


def hide_arguments(arguments: Sequence[str]) -> None:
    """Replace the passwords in the command line of this process by ``***``, where there are any."""
    shown = [hide_secrets(argument) for argument in arguments]
    if shown == list(arguments):
        return
    from setproctitle import setproctitle

    setproctitle(escape(shlex.join(["cryptofeed", *shown[1:]])))
