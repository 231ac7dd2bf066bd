"""The wording, exit code and transience of every error: what users read, and what scripts rely on."""

from __future__ import annotations

import inspect

import pytest

from cryptofeed_cli import errors

TABLE = [
    (errors.CryptofeedError("no such thing"), "no such thing", 1, False),
    (
        errors.ThreadDied("feed-public-0", ValueError("too wide")),
        "thread feed-public-0 ended unexpectedly: ValueError: too wide",
        1,
        False,
    ),
    (errors.UsageError("'5' is not a duration"), "'5' is not a duration", 2, False),
    (
        errors.ConfigurationError("./cryptofeed.toml", "okx.region", '"globl"', "must be one of global, eea", "global"),
        "./cryptofeed.toml: okx.region = \"globl\": must be one of global, eea; did you mean 'global'?",
        2,
        False,
    ),
    (
        errors.ConfigurationError("--config", "absent.toml", None, "cannot be read: No such file or directory"),
        "--config: absent.toml: cannot be read: No such file or directory",
        2,
        False,
    ),
    (
        errors.OutputFailed("standard output", "No space left on device"),
        "cannot write to standard output: No space left on device",
        1,
        False,
    ),
    (errors.ExchangeError("OKX is away"), "OKX is away", 3, False),
    (
        errors.NothingReceived("OKX", "no route to host"),
        "OKX: not one live frame was received (no route to host)",
        3,
        False,
    ),
    (
        errors.SymbolsRefused("OKX", {"BTC-USD": "60018 wrong symbol"}),
        "OKX refused every symbol: BTC-USD: 60018 wrong symbol",
        3,
        False,
    ),
    (
        errors.SymbolsRefused("OKX", {"A": "60018 wrong symbol", "B": "60018", "C": "60018"}),
        "OKX refused every symbol: A (and 2 more): 60018 wrong symbol",
        3,
        False,
    ),
    (
        errors.DialFailed("ws.okx.com:443", "timed out"),
        "cannot connect to ws.okx.com:443: timed out",
        3,
        True,
    ),
    (
        errors.RequestFailed("https://www.okx.com/api/v5/public/time", "HTTP 503"),
        "https://www.okx.com/api/v5/public/time brought no answer: HTTP 503",
        3,
        True,
    ),
    (
        errors.AnswerRefused("OKX", "50011", "Rate limit reached"),
        "OKX answered with error 50011: Rate limit reached",
        3,
        True,
    ),
    (errors.ProtocolError("OKX", "not JSON", b"\x1b[2J{"), r"OKX: not JSON: b'\x1b[2J{'", 3, False),
    (errors.StoreError("sqlite:///a.db", "is malformed"), "store sqlite:///a.db: is malformed", 4, False),
    (errors.StoreUrlInvalid("mysql://h", "unknown kind"), "store mysql://h: unknown kind", 4, False),
    (errors.StoreUnreachable("mongodb://h", "no answer"), "store mongodb://h: no answer", 4, True),
    (errors.StoreRefused("mongodb://h", "bad password"), "store mongodb://h: bad password", 4, False),
    (errors.StoreBusy("sqlite:///a.db", "held by pid 7"), "store sqlite:///a.db: held by pid 7", 4, False),
    (
        errors.StoreTooNew("sqlite:///a.db", 9, 1),
        "store sqlite:///a.db: schema version 9 is newer than this program's 1; upgrade cryptofeed",
        4,
        False,
    ),
    (errors.OutboxError("/d/a.outbox", "is locked"), "outbox /d/a.outbox: is locked", 4, False),
    (errors.OutboxRefused("/d/a.outbox", "the disk is full"), "outbox /d/a.outbox: the disk is full", 4, True),
    (errors.OutboxDamaged("/d/a.outbox", "is torn"), "outbox /d/a.outbox: is torn", 4, False),
    (errors.OutboxBusy("/d/a.outbox", "held by pid 7"), "outbox /d/a.outbox: held by pid 7", 4, False),
    (errors.StoreDamaged("sqlite:///a.db", "is torn"), "store sqlite:///a.db: is torn", 4, False),
    (errors.TapeRefused("/d/tapes", "there is none"), "tape /d/tapes: there is none", 4, False),
    (errors.Unhealthy("no recorder is running"), "no recorder is running", 5, False),
    (errors.Incomplete("trades have 2 holes"), "trades have 2 holes", 6, False),
]


@pytest.mark.parametrize(
    ("error", "text", "exit_code", "transient"), TABLE, ids=[type(error).__name__ for error, *_ in TABLE]
)
def test_an_error_has_its_exact_text_exit_code_and_transience(
    error: errors.CryptofeedError, text: str, exit_code: int, transient: bool
) -> None:
    assert (str(error), error.exit_code, error.transient) == (text, exit_code, transient)


def test_every_error_is_in_the_table() -> None:
    defined = {cls for _, cls in inspect.getmembers(errors, inspect.isclass) if issubclass(cls, Exception)}

    assert defined == {type(error) for error, *_ in TABLE}


def test_every_error_is_in_the_tree_at_the_top_of_its_module() -> None:
    tree = errors.__doc__ or ""

    for error, *_ in TABLE:
        assert any(type(error).__name__ in line and str(error.exit_code) in line for line in tree.splitlines())


def test_a_payload_is_shown_only_in_part() -> None:
    assert len(str(errors.ProtocolError("OKX", "not JSON", b"x" * 100_000))) < 300
