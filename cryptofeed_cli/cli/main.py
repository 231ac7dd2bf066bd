"""The shell around every command: the options before it, and what becomes of an error; knows no command's work."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from contextlib import suppress
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from cryptofeed_cli import __version__
from cryptofeed_cli.cli import backfill as refilling
from cryptofeed_cli.cli import copy as copying
from cryptofeed_cli.cli import doctor as examining
from cryptofeed_cli.cli import importing
from cryptofeed_cli.cli import prune as pruning
from cryptofeed_cli.cli import query as querying
from cryptofeed_cli.cli import record as recording
from cryptofeed_cli.cli import replay as replaying
from cryptofeed_cli.cli import simulate as simulating
from cryptofeed_cli.cli import status as standing
from cryptofeed_cli.cli.options import ConfigFile, Invocation
from cryptofeed_cli.cli.title import hide_arguments
from cryptofeed_cli.errors import CryptofeedError, UsageError
from cryptofeed_cli.printable import escape, hide_secrets

INTERRUPTED = 130


class _Shell(TyperGroup):
    """The one place where an error becomes a line on stderr and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        _interrupt_as_usual()
        try:
            result = super().invoke(ctx)
            if sys.stdout is not None:
                sys.stdout.flush()
        except (typer.TyperException, typer.Exit, typer.Abort):
            raise
        except BrokenPipeError as exc:  # who reads us has seen enough
            raise typer.Exit(0) from exc
        except KeyboardInterrupt as exc:
            raise typer.Exit(INTERRUPTED) from exc
        except Exception as exc:  # the last frontier: whatever it is, it becomes one line
            _report(exc, verbose=ctx.params["verbose"])
            raise typer.Exit(exc.exit_code if isinstance(exc, CryptofeedError) else 1) from exc
        return result


app = typer.Typer(
    name="cryptofeed",
    cls=_Shell,
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command(epilog=recording.EXAMPLE)(recording.record)
app.command(epilog=simulating.EXAMPLE)(simulating.simulate)
app.command(cls=querying.QueryCommand, epilog=querying.EXAMPLE)(querying.query)
app.command(epilog=replaying.EXAMPLE)(replaying.replay)
app.command(epilog=refilling.EXAMPLE)(refilling.backfill)
app.command(epilog=pruning.EXAMPLE)(pruning.prune)
app.command(epilog=copying.EXAMPLE)(copying.copy)
app.command("import", epilog=importing.EXAMPLE)(importing.import_tape)
app.command(epilog=standing.EXAMPLE)(standing.status)
app.command(epilog=examining.EXAMPLE)(examining.doctor)


def main() -> None:
    """Run the command line and exit."""
    hide_arguments(sys.argv)
    try:
        app(prog_name="cryptofeed")
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    finally:
        _settle_stdout()


def _interrupt_as_usual() -> None:
    """Let a Ctrl-C be an exception again, so that what a command has opened is closed."""
    if callable(signal.getsignal(signal.SIGINT)):
        with suppress(ValueError):  # outside the main thread no signal comes
            signal.signal(signal.SIGINT, signal.default_int_handler)


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"cryptofeed {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    ctx: typer.Context,
    config: ConfigFile = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log everything; show where errors arose.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Log only warnings and errors.")] = False,
    version: Annotated[  # noqa: ARG001 - its callback does the work
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Record OKX market data, and know exactly what was missed."""
    if verbose and quiet:
        raise UsageError("-v and -q contradict each other; give one of them")
    ctx.obj = Invocation(config=config, verbose=verbose, quiet=quiet)


def _report(error: Exception, *, verbose: bool) -> None:
    if sys.stderr is None:
        return
    if verbose:
        lines = "".join(traceback.format_exception(error)).splitlines()
        sys.stderr.write("".join(f"{escape(hide_secrets(line))}\n" for line in lines))
    text = str(error) if isinstance(error, CryptofeedError) else f"unexpected {type(error).__name__}: {error}"
    sys.stderr.write(f"cryptofeed: {escape(hide_secrets(text))}\n")


def _settle_stdout() -> None:
    # Python flushes once more at exit and would complain in its own words; what had to be said was said before.
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
