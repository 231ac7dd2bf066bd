"""The tables of the SQLite store, as numbered migrations; knows no records.

Times are integers: ``timestamp``, ``start``, ``end`` and other exchange times in milliseconds, ``received_at`` and
other times of ours in nanoseconds, since 1970 UTC. Levels are JSON. In a NOT NULL column -1 or '' stands for absent.
"""

from __future__ import annotations

import sqlite3

APPLICATION_ID = 0x63666564
"""Marks a file as ours (``cfed``); its schema version is SQLite's ``user_version``."""

_ENVELOPE = """
    series INTEGER NOT NULL REFERENCES series (id),
    timestamp INTEGER NOT NULL,
    received_at INTEGER NOT NULL,
    source TEXT NOT NULL"""

_RUN = """,
    run_id TEXT NOT NULL,
    episode INTEGER NOT NULL"""

_LEVELS = """
    bids TEXT NOT NULL,
    asks TEXT NOT NULL"""

_TICKER_FIGURES = "".join(
    f"\n    {name} TEXT,"
    for name in (
        "last", "last_size", "bid", "bid_size", "ask", "ask_size", "open_24h", "high_24h", "low_24h",
        "volume_24h", "volume_currency_24h", "open_utc0", "open_utc8",
    )
)  # fmt: skip


def _market_tables(prefix: str, run: str, run_key: str) -> tuple[str, ...]:
    """The tables of the market kinds (version 1), or of their simulated twins."""
    # Rows of trades and tickers are small and live in the key's own tree: 81 bytes a trade, two indexes cost 199.
    return (
        f"""CREATE TABLE {prefix}trades ({_ENVELOPE},
    trade_id INTEGER NOT NULL,
    price TEXT NOT NULL,
    size TEXT NOT NULL,
    side TEXT NOT NULL,
    rpi INTEGER{run},
    PRIMARY KEY (series, timestamp, trade_id{run_key})
) WITHOUT ROWID, STRICT""",
        f"CREATE UNIQUE INDEX {prefix}trades_by_id ON {prefix}trades (series, trade_id{run_key})",
        f"""CREATE TABLE {prefix}tickers ({_ENVELOPE},{_TICKER_FIGURES}
    content INTEGER NOT NULL{run},
    PRIMARY KEY (series, timestamp, content{run_key})
) WITHOUT ROWID, STRICT""",
        f"""CREATE TABLE {prefix}orderbooks ({_ENVELOPE},
    sequence INTEGER NOT NULL,
    depth INTEGER NOT NULL,
    "group" TEXT NOT NULL,{_LEVELS}{run},
    UNIQUE (series, timestamp, sequence, depth, "group"{run_key})
) STRICT""",
        f"""CREATE TABLE {prefix}book_updates ({_ENVELOPE},
    action TEXT NOT NULL,
    prev_sequence INTEGER NOT NULL,
    sequence INTEGER NOT NULL,{_LEVELS}{run},
    UNIQUE (series, timestamp, sequence, prev_sequence, action{run_key})
) STRICT""",
        f"""CREATE TABLE {prefix}instruments (
    series INTEGER NOT NULL REFERENCES series (id),
    timestamp INTEGER,
    received_at INTEGER NOT NULL,
    source TEXT NOT NULL,
    type TEXT NOT NULL,
    base TEXT, quote TEXT, settle TEXT,
    tick_size TEXT, lot_size TEXT, min_size TEXT,
    contract_value TEXT, contract_multiplier TEXT, contract_type TEXT,
    listed_at INTEGER, expires_at INTEGER,
    state TEXT,
    raw TEXT NOT NULL{run},
    UNIQUE (series, received_at{run_key})
) STRICT""",
    )


MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE series (
    id INTEGER PRIMARY KEY,
    exchange TEXT NOT NULL,
    symbol TEXT NOT NULL,
    UNIQUE (exchange, symbol)
) STRICT""",
        *_market_tables("", "", ""),
        *_market_tables("simulated_", _RUN, ", run_id, episode"),
        """CREATE TABLE gaps (
    gap_id TEXT NOT NULL PRIMARY KEY,
    run_id TEXT NOT NULL,
    exchange TEXT NOT NULL, symbol TEXT NOT NULL, channel TEXT NOT NULL,
    kind TEXT NOT NULL, fault TEXT NOT NULL,
    start INTEGER NOT NULL, "end" INTEGER,
    first_missing TEXT, last_missing TEXT,
    missing INTEGER, filled INTEGER NOT NULL,
    status TEXT NOT NULL, reason TEXT NOT NULL,
    revision INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT""",
        "CREATE INDEX gaps_by_start ON gaps (start, symbol, channel, gap_id)",
        """CREATE TABLE runs (
    run_id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL, host TEXT NOT NULL, pid INTEGER NOT NULL, version TEXT NOT NULL,
    config TEXT NOT NULL,
    started_at INTEGER NOT NULL, ended_at INTEGER,
    state TEXT NOT NULL,
    heartbeat_at INTEGER NOT NULL,
    clock_offset_ms INTEGER,
    counters TEXT NOT NULL
) STRICT""",
        "CREATE INDEX runs_by_start ON runs (started_at, run_id)",
        """CREATE TABLE rejects (
    received_at INTEGER NOT NULL,
    exchange TEXT NOT NULL, channel TEXT, symbol TEXT,
    reason TEXT NOT NULL,
    frame TEXT NOT NULL,
    reject_id TEXT NOT NULL PRIMARY KEY
) STRICT""",
        "CREATE INDEX rejects_by_receipt ON rejects (received_at, reject_id)",
    ),
)
"""What each version adds to the one before it. Never edited once released: a change is a new entry."""

VERSION = len(MIGRATIONS)


def version_of(connection: sqlite3.Connection) -> int | None:
    """Return the schema version of a file: 0 where it is empty, None where somebody else made it."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (objects,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if application == APPLICATION_ID:
        return int(version)
    return None if application or version or objects else 0


def migrate(connection: sqlite3.Connection) -> None:
    """Bring a file of ours, or an empty one, to `VERSION`: one transaction a version."""
    while _migrate_once(connection):
        pass


def _migrate_once(connection: sqlite3.Connection) -> bool:
    # The version is read under the lock: another process may be migrating the same file.
    connection.execute("BEGIN IMMEDIATE")
    try:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version >= VERSION:
            connection.execute("ROLLBACK")
            return False
        for statement in MIGRATIONS[version]:
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {version + 1}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return True
