"""Collects the configuration from defaults, a file, the environment and flags; knows no key of it."""

from __future__ import annotations

import difflib
import os.path
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import platformdirs

from cryptofeed_cli.clock import format_duration
from cryptofeed_cli.config.rules import RefusedValue, nearest
from cryptofeed_cli.config.settings import TABLES, Settings, rules
from cryptofeed_cli.errors import ConfigurationError
from cryptofeed_cli.printable import escape, hide_secrets

PREFIX = "CRYPTOFEED_"
LARGEST_FILE = 1024**2

_NOT_KEYS = ("CRYPTOFEED_CONFIG", "CRYPTOFEED_DATA_DIR", "CRYPTOFEED_CAPTURES")
# Kubernetes sets these in every pod beside a service of the name "cryptofeed".
_NOT_OURS = ("CRYPTOFEED_SERVICE_", "CRYPTOFEED_PORT")


class Flag(NamedTuple):
    """A command-line flag that sets a key. ``value`` is its text, or a value as TOML would have it."""

    name: str
    key: str
    value: object


class _Given(NamedTuple):
    origin: str
    key: str
    value: object


def load(path: Path | None, environ: Mapping[str, str], flags: Sequence[Flag] = ()) -> Settings:
    """Return the configuration: flag > environment > file > default.

    Args: ``path`` is the file asked for with ``--config``; None: `find_file`. Raises `ConfigurationError` at the first
    value, in any of these places, that cannot be used.
    """
    file = find_file(path, environ)
    given = [*(_from_file(*file) if file else ()), *_from_environment(environ), *_from_flags(flags)]
    values: dict[str, dict[str, Any]] = {table: {} for table in TABLES}
    origins: dict[str, str] = {}
    for one in given:
        table, name = one.key.split(".")
        values[table][name] = _read(one)
        origins[one.key] = one.origin
    tables: dict[str, Any] = {table: struct(**values[table]) for table, struct in TABLES.items()}
    settings = Settings(**tables, data_directory=data_directory(environ), origins=origins)
    _check_together(settings)
    return msgspec.structs.replace(settings, warnings=tuple(_warnings(settings)))


def find_file(path: Path | None, environ: Mapping[str, str]) -> tuple[str, Path] | None:
    """Return who names the configuration file and its path; None: there is none, and none was asked for."""
    if path is not None:
        return "--config", path
    if named := environ.get("CRYPTOFEED_CONFIG"):
        return "CRYPTOFEED_CONFIG", Path(named)
    for found in (Path("cryptofeed.toml"), Path(platformdirs.user_config_dir("cryptofeed")) / "config.toml"):
        if os.path.exists(found):  # unlike Path.exists, no error in a directory we may not enter
            return "configuration", found
    return None


def data_directory(environ: Mapping[str, str]) -> Path:
    """Return the absolute directory that holds what we write unasked; it need not exist."""
    named = environ.get("CRYPTOFEED_DATA_DIR") or platformdirs.user_data_dir("cryptofeed")
    return Path(named).expanduser().absolute()


def _from_file(named_by: str, path: Path) -> Iterator[_Given]:
    for table, keys in _tables(named_by, path).items():
        if table not in TABLES:
            raise _unknown(str(path), f"[{table}]", f"unknown table; known are {', '.join(TABLES)}",
                           nearest(table, list(TABLES)))  # fmt: skip
        if not isinstance(keys, dict):
            raise ConfigurationError(str(path), table, _shown(keys), f"must be a table: [{table}]")
        for name, value in keys.items():
            key = f"{table}.{name}"
            if key not in rules():
                known = [known.partition(".")[2] for known in rules() if known.startswith(f"{table}.")]
                raise _unknown(str(path), key, f"unknown key; known are {', '.join(known)}", nearest(name, known))
            yield _Given(str(path), key, value)


def _tables(named_by: str, path: Path) -> dict[str, Any]:
    try:
        with path.expanduser().open("rb") as file:
            data = file.read(LARGEST_FILE + 1)
    except OSError as exc:
        raise ConfigurationError(named_by, str(path), None, f"cannot be read: {exc.strerror}") from exc
    if len(data) > LARGEST_FILE:
        raise ConfigurationError(named_by, str(path), None, "is larger than 1 MiB, and no configuration")
    try:
        return tomllib.loads(data.decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise ConfigurationError(named_by, str(path), None, f"is not TOML: {escape(str(exc))}") from exc


def _from_environment(environ: Mapping[str, str]) -> Iterator[_Given]:
    variables = {PREFIX + key.replace(".", "_").upper(): key for key in rules()}
    for name in sorted(environ):
        if not name.startswith(PREFIX) or name in _NOT_KEYS or name.startswith(_NOT_OURS):
            continue
        if name not in variables:
            near = difflib.get_close_matches(name, [*variables, *_NOT_KEYS], n=1, cutoff=0.8)
            raise _unknown("environment", name, "unknown variable; known are CRYPTOFEED_<TABLE>_<KEY>, "
                           "CRYPTOFEED_CONFIG and CRYPTOFEED_DATA_DIR", near[0] if near else None)  # fmt: skip
        key = variables[name]
        yield _Given(name, key, rules()[key].from_text(environ[name]))


def _from_flags(flags: Sequence[Flag]) -> Iterator[_Given]:
    for name, key, value in flags:
        yield _Given(name, key, rules()[key].from_text(value) if isinstance(value, str) else value)


def _read(given: _Given) -> Any:
    rule = rules()[given.key]
    try:
        return rule.read(given.value)
    except RefusedValue as exc:
        raise ConfigurationError(given.origin, given.key, _shown(given.value), rule.allowed, exc.suggestion) from exc


def _check_together(settings: Settings) -> None:
    initial, most = settings.network.retry_initial, settings.network.retry_max
    if initial > most:
        key = "network.retry_max" if "network.retry_max" in settings.origins else "network.retry_initial"
        raise ConfigurationError(
            settings.origin(key), "network.retry_max", f'"{format_duration(most)}"',
            f'must be at least network.retry_initial ("{format_duration(initial)}")',
        )  # fmt: skip


def _warnings(settings: Settings) -> Iterator[str]:
    for key in ("okx.public_url", "okx.business_url", "okx.rest_url"):
        for url in getattr(settings.okx, key.removeprefix("okx.")):
            if ":8443" in url:
                yield (
                    f"{settings.origin(key)}: {key} = {_shown(url)}: port 8443 is switched off since 2026-10-31; "
                    "leave the port out"
                )


def _unknown(origin: str, key: str, allowed: str, suggestion: str | None) -> ConfigurationError:
    return ConfigurationError(origin, escape(key), None, allowed, suggestion)


def _shown(value: object) -> str:
    text = escape(hide_secrets(_toml(value)))
    return text if len(text) <= 200 else f"{text[:200]}..."


def _toml(value: object) -> str:
    match value:
        case bool():
            return str(value).lower()
        case str():
            return f'"{value}"'
        case list():
            return f"[{', '.join(map(_toml, value))}]"
    return str(value)
