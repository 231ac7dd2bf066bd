"""``cryptofeed copy``: parse, open, call, print."""

from __future__ import annotations

from typing import Annotated

import typer

from cryptofeed_cli.cli.options import ConfigFile, configure, printing
from cryptofeed_cli.errors import Incomplete, UsageError

EXAMPLE = "Example: cryptofeed copy --from sqlite:///market.db --to mongodb://localhost/market"
NAMED = 5
"""How many series that differ are named; the rest is counted."""


def copy(
    ctx: typer.Context,
    source: Annotated[str, typer.Option("--from", metavar="URL", help="The store to read.")],
    target: Annotated[str, typer.Option("--to", metavar="URL", help="The store to write into; made where missing.")],
    config: ConfigFile = None,
) -> None:
    """Copy everything into another store and compare both; interrupted, it goes on where it was."""
    configure(ctx, config, {})
    from contextlib import closing

    from cryptofeed_cli.copying import Copier, portions
    from cryptofeed_cli.dashboard.errands import copy_progress, draw_copy
    from cryptofeed_cli.stores import open_store

    if source == target:
        raise UsageError("--from and --to name the same store; name two")
    with (
        printing() as out,
        closing(open_store(source, writable=False)) as old,
        closing(open_store(target, writable=True)) as new,
    ):
        wanted = portions(old)
        copier = Copier(old, new)
        with copy_progress(copier.done, len(wanted)) as watch:
            copier.run(wanted, watch)
        out.write(draw_copy(copier.done).encode())
    different = [one for one in copier.done if not one.equal]
    if different:
        named = "; ".join(f"{one.portion} ({one.here:,} in --from, {one.there:,} in --to)" for one in different[:NAMED])
        more = f"; and {len(different) - NAMED:,} more" if len(different) > NAMED else ""
        raise Incomplete(f"the stores differ: {named}{more}")
