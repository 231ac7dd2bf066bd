"""The command line as a user has it: real processes, their output, their one line of error and their exit code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from cryptofeed_cli import __version__
from cryptofeed_cli.cli.options import Invocation, flags, print_configuration
from cryptofeed_cli.config import load, rules
from cryptofeed_cli.stores import open_store
from cryptofeed_cli.types import KINDS, Trade

COMMAND = (sys.executable, "-m", "cryptofeed_cli")
Run = Callable[..., "subprocess.CompletedProcess[str]"]
AT = 1_746_355_153_000


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """An environment without any configuration, whose home is empty."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("CRYPTOFEED_", "XDG_"))}
    return {**kept, "HOME": str(tmp_path), "CRYPTOFEED_DATA_DIR": str(tmp_path)}


@pytest.fixture
def run(tmp_path: Path, environment: dict[str, str]) -> Run:
    """Runs the command in an empty directory, with variables added to the environment."""

    def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        command, env = [*COMMAND, *arguments], {**environment, **variables}
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=env, timeout=60)

    return run


def trade(number: int, symbol: str = "BTC-USDT-SWAP", source: str = "live") -> Trade:
    run_id, episode = ("r1", 1) if source == "simulated" else (None, None)
    return Trade(
        AT + number, AT * 1_000_000 + number, "OKX", symbol, source, str(number), "96123.40", "0.010", "buy", None,
        run_id, episode,
    )  # fmt: skip


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    """The default store, with five trades of two symbols, one of them backfilled and one simulated."""
    path = tmp_path / "market.db"
    store = open_store(f"sqlite:///{path}", writable=True)
    store.write([
        trade(10), trade(9), trade(11, source="backfill"), trade(12, symbol="ETH-USDT-SWAP"),
        trade(13, source="simulated"),
    ])  # fmt: skip
    store.close()
    return path


def ids(text: str) -> list[str]:
    return [json.loads(line)["trade_id"] for line in text.splitlines()]


def test_the_version_is_printed(run: Run) -> None:
    done = run("--version")

    assert (done.stdout, done.stderr, done.returncode) == (f"cryptofeed {__version__}\n", "", 0)


@pytest.mark.parametrize("arguments", [["--help"], ["query", "--help"]])
def test_help_is_printed_without_loading_what_commands_need(arguments: list[str]) -> None:
    heavy = "{'pymongo', 'bson', 'requests', 'urllib3', 'websocket', 'rich', 'sqlite3', 'ssl', 'tenacity'}"
    script = (
        "import atexit, sys\n"
        f"atexit.register(lambda: print('loaded:', sorted({heavy} & set(sys.modules)), file=sys.stderr))\n"
        f"sys.argv = ['cryptofeed', *{arguments!r}]\n"
        "from cryptofeed_cli.cli import main\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)

    assert (done.stderr, done.returncode) == ("loaded: []\n", 0)
    assert done.stdout.startswith("Usage: cryptofeed ")
    assert "\x1b" not in done.stdout


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            ["query", "trade"],
            "unknown kind 'trade'; did you mean 'trades'? (kinds: trades, tickers, orderbooks, book_updates, "
            "instruments, gaps, runs, rejects, candles, book, spread, stats)",
        ),
        (["query", "\x1b[2J"], "unknown kind '\\x1b[2J' (kinds: trades, tickers, orderbooks, book_updates, "
         "instruments, gaps, runs, rejects, candles, book, spread, stats)"),
        (["query", "--since", "2025-05-04T10:39:13"], "'2025-05-04T10:39:13' has no UTC offset; add Z, or +hh:mm"),
        (["query", "--since", "1h", "--until", "2h"], "--since 1h is not before --until 2h"),
        (["query", "-n", "1", "--tail", "1"], "--limit and --tail exclude each other; give one of them"),
        (["-v", "-q", "query"], "-v and -q contradict each other; give one of them"),
        (["--config", "absent.toml", "query"], "--config: absent.toml: cannot be read: No such file or directory"),
        (["query", "--config", "absent.toml"], "--config: absent.toml: cannot be read: No such file or directory"),
        (
            ["query", "--store", "postgres://user:hunter2@host/db"],
            '--store: store.url = "postgres://user:***@host/db": must be a URL such as sqlite:///relative.db, '
            "sqlite:////absolute.db or mongodb://host/database (sqlite, mongodb, mongodb+srv), or empty",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_one_line_and_exit_2(run: Run, arguments: list[str], line: str) -> None:
    done = run(*arguments)

    assert done.stderr.splitlines()[-1:] == [f"cryptofeed: {line}"]
    assert len(done.stderr.splitlines()) == 1 or "-v" in arguments
    assert (done.stdout, done.returncode) == ("", 2)


@pytest.mark.parametrize("arguments", [[], ["qery"], ["query", "--frobnicate"], ["query", "-n", "many"]])
def test_usage_errors_go_to_stderr_and_exit_2(run: Run, arguments: list[str]) -> None:
    done = run(*arguments)

    assert "Usage: cryptofeed" in done.stderr
    assert (done.stdout, done.returncode) == ("", 2)


def test_a_wrong_file_variable_and_flag_are_told_apart(run: Run, tmp_path: Path) -> None:
    (tmp_path / "cryptofeed.toml").write_text("[log]\nlevel = 5\n")
    file = run("query")
    (tmp_path / "cryptofeed.toml").unlink()
    variable = run("query", CRYPTOFEED_LOG_LEVEL="loud")

    assert file.stderr.startswith("cryptofeed: cryptofeed.toml: log.level = 5: ")
    assert variable.stderr.startswith('cryptofeed: CRYPTOFEED_LOG_LEVEL: log.level = "loud": ')
    assert (file.returncode, variable.returncode) == (2, 2)


def test_a_log_file_that_cannot_be_written_is_a_configuration_error(run: Run) -> None:
    done = run("query", CRYPTOFEED_LOG_FILE="/absent/log")

    assert done.stderr == (
        "cryptofeed: CRYPTOFEED_LOG_FILE: log.file = /absent/log: cannot be written: No such file or directory\n"
    )
    assert done.returncode == 2


def test_a_store_that_is_not_there_is_exit_4(run: Run) -> None:
    done = run("query", "--store", "sqlite:///absent.db")

    assert done.stderr.startswith("cryptofeed: store sqlite:///absent.db: ")
    assert done.stderr.count("\n") == 1
    assert done.returncode == 4


def test_a_traceback_is_shown_with_v_only(run: Run) -> None:
    calm, verbose = run("query", "nothing"), run("-v", "query", "nothing")

    assert "Traceback" not in calm.stderr
    assert "Traceback" in verbose.stderr
    assert verbose.stderr.endswith(calm.stderr)


def test_query_prints_real_trades_in_order(run: Run, recorded: Path) -> None:
    done = run("query")

    assert ids(done.stdout) == ["9", "10", "11", "12"]
    assert done.stdout.splitlines()[0] == (
        '{"timestamp":"2025-05-04T10:39:13.009Z","received_at":"2025-05-04T10:39:13.000000009Z","exchange":"OKX",'
        '"symbol":"BTC-USDT-SWAP","source":"live","trade_id":"9","price":"96123.40","size":"0.010","side":"buy",'
        '"rpi":null}'
    )
    assert (done.stderr, done.returncode) == ("", 0)


def test_query_prints_csv(run: Run, recorded: Path) -> None:
    done = run("query", "trades", "-f", "csv", "-s", "ETH-USDT-SWAP")

    assert done.stdout == (
        "timestamp,received_at,exchange,symbol,source,trade_id,price,size,side,rpi\n"
        "2025-05-04T10:39:13.012Z,2025-05-04T10:39:13.000000012Z,OKX,ETH-USDT-SWAP,live,12,96123.40,0.010,buy,\n"
    )


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["-s", "BTC-USDT-SWAP"], ["9", "10", "11"]),
        (["-s", "BTC-USDT-SWAP,ETH-USDT-SWAP"], ["9", "10", "11", "12"]),
        (["-s", "BTC-USDT-SWAP", "-s", "ETH-USDT-SWAP"], ["9", "10", "11", "12"]),
        (["-s", "XRP-USDT-SWAP"], []),
        (["--source", "live"], ["9", "10", "12"]),
        (["--source", "backfill"], ["11"]),
        (["--source", "simulated"], ["13"]),
        (["--source", "all"], ["9", "10", "11", "12", "13"]),
        (["--since", f"{AT + 10}", "--until", f"{AT + 12}"], ["10", "11"]),
        (["--since", "1h"], []),
        (["-n", "2"], ["9", "10"]),
        (["-n", "0"], []),
        (["--tail", "2"], ["11", "12"]),
        (["--source", "all", "--tail", "1"], ["13"]),
    ],
)
def test_query_selects(run: Run, recorded: Path, arguments: list[str], expected: list[str]) -> None:
    done = run("query", *arguments)

    assert (ids(done.stdout), done.stderr, done.returncode) == (expected, "", 0)


@pytest.mark.parametrize(("arguments", "count"), [([], 4), (["--source", "all"], 5), (["-s", "ETH-USDT-SWAP"], 1)])
def test_query_counts(run: Run, recorded: Path, arguments: list[str], count: int) -> None:
    assert run("query", "--count", *arguments).stdout == f"{count}\n"


@pytest.mark.parametrize("kind", KINDS)
def test_query_knows_every_kind(run: Run, recorded: Path, kind: str) -> None:
    done = run("query", kind, "-f", "csv")

    assert done.stdout.splitlines()[0] == ",".join(KINDS[kind].fields)
    assert (done.stderr, done.returncode) == ("", 0)


def test_the_store_comes_from_flag_environment_or_file(run: Run, recorded: Path, tmp_path: Path) -> None:
    elsewhere = recorded.rename(tmp_path / "elsewhere.db")
    url = f"sqlite:///{elsewhere}"
    (tmp_path / "named.toml").write_text(f'store.url = "{url}"')

    assert run("query", "--count", "--store", url).stdout == "4\n"
    assert run("query", "--count", CRYPTOFEED_STORE_URL=url).stdout == "4\n"
    assert run("--config", "named.toml", "query", "--count").stdout == "4\n"
    assert run("query", "--count", "--config", "named.toml").stdout == "4\n"


def test_a_closed_pipe_ends_quietly(recorded: Path, environment: dict[str, str]) -> None:
    store = open_store(f"sqlite:///{recorded}", writable=True)
    store.write([trade(number) for number in range(100, 5000)])
    store.close()

    query = subprocess.Popen([*COMMAND, "query"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)
    assert query.stdout is not None
    assert query.stdout.readline().startswith(b'{"timestamp":')
    query.stdout.close()
    _, err = query.communicate(timeout=60)

    assert (err, query.returncode) == (b"", 0)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize(
    "arguments", [["query"], ["query", "-f", "csv"], ["query", "--count"], ["status"], ["status", "--json"]]
)
def test_a_full_disk_behind_stdout_is_one_line_and_exit_1(recorded: Path, arguments: list[str]) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [*COMMAND, *arguments, "--store", f"sqlite:///{recorded}"], stdout=full, stderr=subprocess.PIPE, text=True,
            timeout=60,
        )  # fmt: skip

    assert done.stderr == "cryptofeed: cannot write to standard output: No space left on device\n"
    assert done.returncode == 1


def test_a_closed_stdout_is_refused(recorded: Path, environment: dict[str, str]) -> None:
    shell = f'exec "{sys.executable}" -m cryptofeed_cli query >&-'
    done = subprocess.run(["sh", "-c", shell], stderr=subprocess.PIPE, env=environment, timeout=60)

    assert done.stderr == b"cryptofeed: standard output is closed; there is nowhere to print to\n"
    assert done.returncode == 2


def test_warnings_of_the_configuration_are_logged(run: Run, recorded: Path) -> None:
    url = "wss://ws.okx.com:8443/ws/v5/public"
    loud = run("query", "--count", CRYPTOFEED_OKX_PUBLIC_URL=url)

    assert loud.stderr.count("\n") == 1
    assert "warning" in loud.stderr
    assert "port 8443 is switched off since 2026-10-31" in loud.stderr
    assert (loud.stdout, loud.returncode) == ("4\n", 0)


def test_the_effective_configuration_is_toml_with_origins_and_without_secrets(
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = {"store.url": "mongodb://user:hunter2@host/db", "record.name": "a"}
    settings = load(Path(os.devnull), {"CRYPTOFEED_OKX_SILENCE": "90s"}, flags(Invocation(), given))
    print_configuration(settings)

    text = capsys.readouterr().out
    assert [f"{table}.{key}" for table, keys in tomllib.loads(text).items() for key in keys] == list(rules())
    assert {
        'url = "mongodb://user:***@host/db"  # --store',
        'name = "a"  # --name',
        'silence = "90s"  # CRYPTOFEED_OKX_SILENCE',
        "backfill = true  # default",
        'symbols = ["BTC-USDT-SWAP"]  # default',
        'tape_max = "100GiB"  # default',
    } <= set(text.splitlines())
    assert "hunter2" not in text


def test_options_of_record_are_flags_of_the_configuration() -> None:
    given = {"record.symbols": ["A,B", "C"], "failover.simulate": False, "network.proxy": None, "okx.region": None}
    settings = load(Path(os.devnull), {}, flags(Invocation(quiet=True), given))

    assert settings.record.symbols == ("A", "B", "C")
    assert settings.failover.simulate is False
    assert settings.origins == {
        "record.symbols": "SYMBOL",
        "failover.simulate": "--simulate/--no-simulate",
        "log.level": "-q",
    }
