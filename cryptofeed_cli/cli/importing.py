"""``cryptofeed import``: parse, open, call, print."""

from __future__ import annotations

import logging
from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from cryptofeed_cli.cli.options import ConfigFile, StoreUrl, configure
from cryptofeed_cli.stores import open_store

LOG = logging.getLogger(__name__)

EXAMPLE = "Example: cryptofeed import --tape tapes --store sqlite:///again.db"


def import_tape(
    ctx: typer.Context,
    tape: Annotated[Path, typer.Option("--tape", metavar="DIR", help="Where `record --tape` wrote.")],
    store: StoreUrl = None,
    config: ConfigFile = None,
) -> None:
    """Make records of tapes again and write them into a store: the same as were recorded live, none twice."""
    settings = configure(ctx, config, {"store.url": store})
    from cryptofeed_cli.cli.signals import leave_on_signals
    from cryptofeed_cli.exchanges.okx import Okx
    from cryptofeed_cli.importing import import_tapes

    leave_on_signals()
    if store is None:
        settings.make_data_directory()
    with closing(open_store(settings.store_url, writable=True)) as opened:
        for done in import_tapes(tape, opened, Okx):
            typer.echo(
                f"run {done.run.run_id} of {done.run.name}: {done.records:,} records, {done.inserted:,} of them new",
                err=True,
            )
