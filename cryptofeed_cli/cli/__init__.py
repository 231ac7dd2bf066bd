"""The command line: parse, open, call, print."""

from cryptofeed_cli.cli.main import main

__all__ = ["main"]
