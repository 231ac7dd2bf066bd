"""The formats by name, and what the name of a file says of them; writes nothing itself."""

from __future__ import annotations

from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from typing import BinaryIO

from cryptofeed_cli.errors import UsageError
from cryptofeed_cli.output.columns import Fields
from cryptofeed_cli.output.table import Table
from cryptofeed_cli.output.text import Csv, JsonArray, JsonLines, Writer


class Format(StrEnum):
    """How records are written."""

    table = "table"
    csv = "csv"
    jsonl = "jsonl"
    json = "json"
    parquet = "parquet"


class Compression(StrEnum):
    """How a file is compressed, by its last suffix."""

    gz = "gz"
    zst = "zst"


_WRITERS: dict[Format, type[Writer]] = {
    Format.table: Table, Format.csv: Csv, Format.jsonl: JsonLines, Format.json: JsonArray,
}  # fmt: skip
_SUFFIXES = {f".{form.value}": form for form in (Format.csv, Format.jsonl, Format.json, Format.parquet)}
_COMPRESSED = {f".{how.value}": how for how in Compression}


def check_installed(form: Format) -> None:
    """Raise `UsageError` where a format needs what is not installed."""
    if form is Format.parquet and find_spec("pyarrow") is None:
        raise UsageError("parquet needs pyarrow, which is not installed; pip install 'cryptofeed-cli[arrow]'")


def check_plot_installed() -> None:
    """Raise `UsageError` where plotting needs what is not installed."""
    if find_spec("plotext") is None:
        raise UsageError("--plot needs plotext, which is not installed; pip install 'cryptofeed-cli[plot]'")


def writer(form: Format, fields: Fields, stream: BinaryIO) -> Writer:
    """Return what writes a format. Raises `UsageError` where that needs what is not installed."""
    check_installed(form)
    if form is Format.parquet:
        if stream.isatty():
            raise UsageError("parquet is not for a terminal; name a file with -o, or choose another format with -f")
        from cryptofeed_cli.output.parquet import Parquet

        return Parquet(fields, stream)
    return _WRITERS[form](fields, stream)


def of_file(path: Path, given: Format | None) -> tuple[Format, Compression | None]:
    """Return the format and compression of a file: by its suffix, or the one ``given``.

    Raises `UsageError` where they contradict each other, or where nothing tells the format.
    """
    suffixes = path.suffixes
    compression = _COMPRESSED.get(suffixes[-1]) if suffixes else None
    suffix = "".join(suffixes[-2:-1] if compression else suffixes[-1:])
    told = _SUFFIXES.get(suffix)
    if told is None and given is None:
        raise UsageError(
            f"-o {path}: its suffix names no format; end it in {', '.join(_SUFFIXES)} (and .gz or .zst), or give -f"
        )
    if told is not None and given is not None and told is not given:
        raise UsageError(f"-o {path} contradicts -f {given}; change one of them")
    form = given or told or Format.jsonl
    if form is Format.parquet and compression is not None:
        raise UsageError(f"-o {path}: parquet is compressed within; leave out .{compression}")
    return form, compression
