"""What stands on the terminal: the live view, the report, the status; hostile text, odd sizes, no terminal at all."""

from __future__ import annotations

import io
import logging
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest

from cryptofeed_cli import logs
from cryptofeed_cli.clock import SECOND
from cryptofeed_cli.coverage import Coverage
from cryptofeed_cli.dashboard.live import live_view
from cryptofeed_cli.dashboard.report import print_report
from cryptofeed_cli.dashboard.standing import ago, draw_status
from cryptofeed_cli.status.report import ChannelStatus, Continuity, RecorderStatus, RoomStatus, SeriesStatus, Status
from cryptofeed_cli.stores import open_store
from cryptofeed_cli.stores.base import Written
from cryptofeed_cli.stores.outbox import Backlog
from cryptofeed_cli.types import KINDS
from cryptofeed_cli.views import State, SymbolView, View
from tests.okx_market import Market, generate, instrument
from tests.okx_server import OkxServer
from tests.processes import COMMAND, PATIENCE, environment, query, wait_until

STORE = "sqlite:////home/anna/.local/share/cryptofeed/market.db"
USUAL = ("BTC-USDT-SWAP", "ETH-USDT-SWAP", "SOL-USDT")
HOSTILE = "A\x1b[2J\x1b]0;owned\x07\x9b31mB\r\n\x08[red]C[/red]:smile:\u202e"
CHANNELS = ("trades", "tickers", "orderbooks")
"""What is recorded by default."""
SEQUENCE = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


class Terminal(io.StringIO):
    """Says that it is a terminal, and keeps what is written to it."""

    def isatty(self) -> bool:
        return True

    @property
    def lines(self) -> list[str]:
        """What was written, without what moves the cursor and colours the text."""
        return [line.rpartition("\r")[2] for line in SEQUENCE.sub("", self.getvalue()).split("\n")]


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Terminal]:
    """Makes standard error a terminal of some size."""

    def make(columns: int = 80, lines: int = 24, **variables: str) -> Terminal:
        for name in ("NO_COLOR", "FORCE_COLOR", "COLORTERM", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
            monkeypatch.delenv(name, raising=False)
        size = {"TERM": "xterm-256color", "COLUMNS": str(columns), "LINES": str(lines)}
        for name, value in {**size, **variables}.items():
            monkeypatch.setenv(name, value)
        made = Terminal()
        monkeypatch.setattr(sys, "stderr", made)
        return made

    return make


def row(symbol: str, **changes: Any) -> SymbolView:
    stored = {"trades": 1_234_567, "tickers": 45_678, "orderbooks": 9_000}
    usual = SymbolView(symbol, "96123.4", 42, True, 0, stored, "96123.3", "96123.5", 0, 12)
    return msgspec.structs.replace(usual, **changes)


def view(symbols: Sequence[SymbolView], seconds: float = 90, **changes: Any) -> View:
    usual = View(State.LIVE, int(seconds * SECOND), 3_456_789, 0, Written(1_300_000, 12, 0), list(symbols), {})
    return msgspec.structs.replace(usual, **changes)


def draw(*views: View, store: str = STORE, shown: bool | None = None) -> None:
    with live_view(store, shown=shown, endpoint="ws.okx.com:443") as watch:
        assert watch is not None
        for one in views:
            watch(one)


def harmless(text: str) -> bool:
    """Whether a text has no control character but line ends, sequences of ours apart."""
    return not re.search(r"[^\n\r\x20-\x7e\u2026]", SEQUENCE.sub("", text))


# The live view


@pytest.mark.parametrize("columns", [80, 160])
def test_three_usual_symbols_fit_on_the_screen_with_everything_about_them(
    terminal: Callable[..., Terminal], columns: int
) -> None:
    screen = terminal(columns)
    draw(view([row(symbol) for symbol in USUAL]))
    head = next(line for line in screen.lines if "LIVE" in line)
    first = next(line for line in screen.lines if USUAL[0] in line)

    assert max(map(len, screen.lines)) <= columns
    assert head.startswith(" LIVE   1:30  3,456,789 frames  1,300,000 stored  0 rejects")
    assert f"ws.okx.com:443  {STORE}"[:columns] in screen.lines
    more = ["ok", "1,289,245"] if columns == 160 else []
    assert first.split() == ["BTC-USDT-SWAP", "96123.4", "0.2", "0.0", "0.0", "42", "ms", "0", *more]


@pytest.mark.parametrize(("columns", "lines"), [(40, 24), (20, 5), (80, 24), (160, 50), (1, 1)])
def test_more_symbols_than_fit_are_counted_and_never_overflow(
    terminal: Callable[..., Terminal], columns: int, lines: int
) -> None:
    screen = terminal(columns, lines)
    symbols = [row(f"C{number:03}-USDT-SWAP", price=None, lag_ms=None, book_valid=None) for number in range(300)]
    with live_view(STORE, shown=None) as watch:
        assert watch is not None
        before = len(screen.getvalue())
        watch(view(symbols))
        drawn = SEQUENCE.sub("", screen.getvalue()[before:]).strip("\r\n").split("\n")

    assert max(map(len, drawn)) <= columns
    assert len(drawn) <= max(lines - 1, 4)
    if columns >= 40:
        assert f"and {300 - (lines - 5)} more" in drawn


def test_trades_per_second_are_what_was_stored_since_the_view_before(terminal: Callable[..., Terminal]) -> None:
    screen = terminal()
    draw(
        view([row("BTC-USDT", stored={"trades": 100})], 10),
        view([row("BTC-USDT", stored={"trades": 175, "tickers": 9})], 12.5),
    )

    assert [line.split()[3:5] for line in screen.lines if "96123.4" in line][:2] == [["0.0", "0.0"], ["30.0", "33.6"]]


def test_it_is_redrawn_twice_a_second_however_often_it_is_told(terminal: Callable[..., Terminal]) -> None:
    screen = terminal()
    draw(*(view([row("BTC-USDT")], tenth / 10) for tenth in range(21)))

    # At 0, 0.5, 1, 1.5 and 2 s, the first in the place of "starting", and once more when it ends.
    drawn = [line.split()[1] for line in screen.lines if "LIVE" in line]
    assert drawn == ["0:00", "0:00", "0:01", "0:01", "0:02", "0:02"]


@pytest.mark.parametrize("state", State)
def test_every_state_can_be_shown(terminal: Callable[..., Terminal], state: State) -> None:
    screen = terminal()
    draw(view([row("BTC-USDT", gaps=2, book_valid=False, lag_ms=-12_345)], state=state))

    assert any(line.startswith(f" {state} ") for line in screen.lines)


def test_the_last_move_of_the_price_and_its_way_are_drawn(terminal: Callable[..., Terminal]) -> None:
    screen = terminal(100)
    prices = ["100.5", "101", "99.50", "99.5", "100"]
    draw(*(view([row("BTC-USDT", price=price)], 2 * number) for number, price in enumerate(prices)))
    rows = [line.split() for line in screen.lines if "BTC-USDT" in line]

    assert [line[1] for line in rows[:5]] == ["100.5", "\u25b2", "\u25bc", "\u25bc", "\u25b2"]
    assert rows[4][-1] == "\u2585\u2588\u2581\u2581\u2583"


def test_of_what_does_not_fit_it_is_told_what_wants_something(terminal: Callable[..., Terminal]) -> None:
    screen = terminal(80, 8)
    others = [row("C", open_gaps=2), row("D", book_valid=False), row("E", heard_ms=60_000), row("F")]
    draw(view([row("A"), row("B"), row("B2"), *others]))

    assert "and 4 more: 1 with open gaps, 1 without a book, 1 silent" in screen.lines


def test_a_store_that_is_away_and_what_waits_for_it_are_told(terminal: Callable[..., Terminal]) -> None:
    screen = terminal()
    draw(view([row("BTC-USDT")], away="does not answer", outbox=Backlog(1234, 1 << 20, 1_795_000_000 * SECOND)))

    told = "store away: does not answer  outbox 1,234 records, 1.0 MiB since 2026-11-18T11:"
    assert any(line.startswith(told) for line in screen.lines)


def test_a_symbol_that_is_silent_tells_since_when(terminal: Callable[..., Terminal]) -> None:
    screen = terminal()
    draw(view([row("BTC-USDT", heard_ms=125_000, open_gaps=1)]))

    assert any(line.split()[-4:] == ["2m", "ago", "1", "open"] for line in screen.lines)


def test_what_came_off_the_wire_neither_controls_nor_colours_the_terminal(terminal: Callable[..., Terminal]) -> None:
    screen = terminal(240)
    hostile = view([row(HOSTILE)], refused={HOSTILE: HOSTILE})
    logs.configure(level="info", form="text", file=None, stream=sys.stderr)
    with live_view(HOSTILE, shown=None) as watch:
        assert watch is not None
        logging.getLogger("cryptofeed_cli.recorder").warning("refused: %s", HOSTILE)
        watch(hostile)
    print_report(hostile, HOSTILE)
    text = SEQUENCE.sub("", screen.getvalue())

    assert harmless(text)
    literally = r"A\x1b[2J\x1b]0;owned\x07\x9b31mB\r\n\x08[red]C[/red]:smile:\u202e"
    assert text.count(literally) >= 5  # head, row and log line of the view, row and two lines of the report


def test_without_colour_there_is_none(terminal: Callable[..., Terminal]) -> None:
    def colours(screen: Terminal) -> set[str]:
        codes = ";".join(re.findall(r"\x1b\[([0-9;]*)m", screen.getvalue())).split(";")
        return {code for code in codes if code.startswith(("3", "4", "9")) and len(code) > 1} - {"39", "49"}

    plain, coloured = [], []
    for found, variables in ((plain, {"NO_COLOR": "1"}), (coloured, {})):
        screen = terminal(**variables)
        draw(view([row("BTC-USDT", gaps=1)]))
        print_report(view([row("BTC-USDT")]), STORE)
        found += colours(screen)

    assert plain == []
    assert coloured != []


@pytest.mark.parametrize(
    ("shown", "variables"),
    [(False, {}), (None, {"TERM": "dumb"}), (True, {"TERM": "dumb"}), (None, {"TERM": "unknown"})],
)
def test_where_it_is_not_wanted_or_cannot_be_nothing_is_drawn(
    terminal: Callable[..., Terminal], shown: bool | None, variables: dict[str, str]
) -> None:
    screen = terminal(**variables)
    with live_view(STORE, shown=shown) as watch:
        assert watch is None
    assert screen.getvalue() == ""


@pytest.mark.parametrize("shown", [None, True])
def test_where_stderr_is_no_terminal_log_lines_stay_log_lines(
    monkeypatch: pytest.MonkeyPatch, shown: bool | None
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    file = io.StringIO()
    monkeypatch.setattr(sys, "stderr", file)
    logs.configure(level="info", form="text", file=None, stream=sys.stderr)
    with live_view(STORE, shown=shown) as watch:
        logging.getLogger("cryptofeed_cli.recorder").warning("hear me")
        assert watch is None
    print_report(view([row("BTC-USDT")]), STORE)

    assert "warning recorder: hear me\n" in file.getvalue()
    assert "\x1b" not in file.getvalue()


def test_log_lines_that_came_too_late_for_the_view_follow_it(terminal: Callable[..., Terminal]) -> None:
    screen = terminal()
    logs.configure(level="info", form="text", file=None, stream=sys.stderr)
    log = logging.getLogger("cryptofeed_cli.writer")
    with live_view(STORE, shown=None) as watch:
        assert watch is not None
        log.info("seen in the view")
        watch(view([row("BTC-USDT")]))
        log.error("7 records were not stored")
        end = len(screen.getvalue())
    rest = SEQUENCE.sub("", screen.getvalue()[end:]).splitlines()

    assert rest[-1].endswith("error writer: 7 records were not stored")
    assert sum("seen in the view" in line for line in rest) == 1  # in the last drawing, which is then erased


# The report and the status


def test_the_report_tells_what_was_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.StringIO()
    monkeypatch.setattr(sys, "stderr", file)
    rows = [row("BTC-USDT-SWAP", stored={"trades": 1200}, gaps=3), row("ETH-USDT", stored={"trades": 5, "tickers": 7})]
    print_report(view(rows, 3723, refused={"NO-SUCH": "60018: it doesn't exist"}, rejects=4), STORE)

    assert [line.rstrip() for line in file.getvalue().splitlines()] == [
        f"recorded 1:02:03 into {STORE}",
        "symbol         trades  tickers  gaps",
        "BTC-USDT-SWAP   1,200        0     3",
        "ETH-USDT            5        7     0",
        "1,300,000 stored, 12 duplicates, 0 conflicts, 4 rejects",
        "refused: NO-SUCH: 60018: it doesn't exist",
    ]


def test_the_report_folds_what_is_complete_and_shows_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.StringIO()
    monkeypatch.setattr(sys, "stderr", file)
    whole = Coverage(100.0, 100.0, missing=0, filled=0, absent=0, unrecoverable=0)
    repaired = Coverage(100.0, 99.5, missing=3, filled=3, absent=0, unrecoverable=0)
    never = Coverage(None, None, missing=0, filled=0, absent=0, unrecoverable=0)
    rows = [Continuity("OKX", f"COIN{number}-USDT", "trades", whole) for number in range(1200)]
    rows += [Continuity("OKX", "A", "trades", repaired), Continuity("OKX", "B", "trades", never)]
    print_report(view([]), STORE, rows)
    told = [line.split() for line in file.getvalue().splitlines()[3:]]

    assert told[0][:4] == ["symbol", "channel", "verified", "clean"]
    assert [line[0] for line in told[1:3]] == ["A", "B"]
    assert file.getvalue().splitlines()[-1] == (
        "everything else: 100 % verified and clean, nothing missing (1,200 channels)"
    )
    assert len(told) == 4


@pytest.fixture
def status() -> Status:
    """A status with a bit of everything, hostile names included."""
    day = "2026-11-22T12:00:00"
    recorder = RecorderStatus(
        "a-host-with-quite-a-long-name-market-76cd83", "r", "h", 1, "0", "running", "RECONNECTING",
        f"{day}.000000000Z", f"{day}.000000000Z", f"{day}.000000000Z", None, 7,
        {"connects": 2, "stored": 123_456_789, "gaps": 1},
    )  # fmt: skip
    usual = SeriesStatus("OKX", "BTC-USDT-SWAP", "book_updates", False, 123_456_789, f"{day}.123Z", f"{day}.999Z", {})
    return Status(
        STORE, f"{day}Z", False, ["recorder a is dead"], [recorder, msgspec.structs.replace(recorder, name=HOSTILE)],
        [channel("BTC-USDT-SWAP"), channel(HOSTILE)],
        [
            usual,
            msgspec.structs.replace(usual, kind="trades", simulated=True),
            msgspec.structs.replace(usual, symbol=HOSTILE, kind="tickers", first=None, last=None, records=0),
        ],
        {HOSTILE: 3}, RoomStatus(1 << 30, 10 << 30, 10 << 30, 1 << 28, 40.0),
    )  # fmt: skip


def channel(symbol: str, **changes: Any) -> ChannelStatus:
    complete = Coverage(100.0, 99.99, 1234, 1200, 4, 12)
    usual = ChannelStatus("OKX", symbol, "book_updates", 123, 45, 2_345, 98.7, complete, 1)
    return msgspec.structs.replace(usual, **changes)


def test_a_status_is_plain_text_where_stdout_is_no_terminal(status: Status, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    text = draw_status(status)

    assert harmless(text)
    assert "\x1b" not in text
    assert "simulated trades" in text
    assert "! recorder a is dead" in text
    assert "1.0 GiB, 10.0 GiB free, grows 256 MiB a day: full in 40 days" in text
    assert r"3 A\x1b[2J" in text


def test_a_usual_status_fits_80_columns(
    status: Status, terminal: Callable[..., Terminal], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdout", terminal(80))
    usual = msgspec.structs.replace(
        status, recorders=[msgspec.structs.replace(status.recorders[0], name="desk")], series=status.series[:1],
        rejects={}, channels=status.channels[:1], store="sqlite:///m.db",
    )  # fmt: skip
    lines = SEQUENCE.sub("", draw_status(usual)).splitlines()

    assert max(map(len, lines)) <= 80
    assert not any("\u2026" in line for line in lines)
    assert "BTC-USDT-SWAP book_updates  0.1s  2,345  98.7  100.00% 99.99%  1,234   30   12" in lines
    assert any("2026-11-22T12:00:00" in line and "123,456,789" in line for line in lines)


def test_many_channels_are_summed_up_and_those_that_want_something_named(status: Status) -> None:
    fine = Coverage(100.0, 100.0, 0, 0, 0, 0)
    good = [channel(f"C{number}-USDT", coverage=fine, open=0, heard_ms=number) for number in range(300)]
    many = msgspec.structs.replace(status, channels=[*good, channel("BTC-USDT-SWAP")])
    lines = [line.split() for line in draw_status(many).splitlines()]

    assert ["book_updates", "301", "0.3s", "2,345", "29,709", "100.00%", "99.99%", "1,234", "30", "12"] in lines
    assert [line[0] for line in lines if "book_updates" in line[1:2]] == ["BTC-USDT-SWAP"]
    whole = draw_status(many, everything=True).splitlines()
    assert {f"C{number}-USDT" for number in range(300)} <= {line.partition(" ")[0] for line in whole}


@pytest.mark.parametrize(
    ("milliseconds", "told"),
    [(None, "-"), (0, "0.0s"), (9_949, "9.9s"), (45_000, "45s"), (125_000, "2m"), (7_200_000, "2h"), (3 * 10**8, "3d")],
)
def test_how_long_ago_something_was_is_short(milliseconds: int | None, told: str) -> None:
    assert ago(milliseconds) == told


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_closed_pipe_behind_a_status_ends_it_quietly(tmp_path: Path, unbuffered: str) -> None:
    open_store(f"sqlite:///{tmp_path}/market.db", writable=True).close()
    shell = f'"{sys.executable}" -m cryptofeed_cli status | true; echo "${{PIPESTATUS[0]}}"'
    env = environment(tmp_path, PYTHONUNBUFFERED=unbuffered)
    done = subprocess.run(["bash", "-c", shell], capture_output=True, env=env, timeout=60)

    assert (done.stdout, done.stderr) == (b"0\n", b"")


# On real terminals


def test_a_terminal_that_goes_away_does_not_end_the_recording(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/market.db"
    tape = generate(["BTC-USDT"], 60, Random(1), 1_795_000_000_000)
    with OkxServer() as server:
        ours, theirs = pty.openpty()
        process = subprocess.Popen(
            [*COMMAND, "record", "BTC-USDT", "--dashboard"], stderr=theirs, cwd=tmp_path, start_new_session=True,
            env=environment(tmp_path, server, TERM="xterm"),
        )  # fmt: skip
        try:
            os.close(theirs)
            server.wait_for("subscribe", channel="trades-all")
            wait_until(lambda: b"LIVE" in os.read(ours, 65536), "the live view")
            os.close(ours)
            server.push(*tape)
            count = sum(push.channel == "trades" for push in tape)
            wait_until(lambda: int(query(url, "--count", cwd=tmp_path)) == count, "the trades in the store")
            process.send_signal(signal.SIGINT)

            assert process.wait(PATIENCE) == 0
        finally:
            process.kill()
            process.wait()
    with closing(open_store(url, writable=False)) as store:
        assert [run.state for run in store.scan(KINDS["runs"])] == ["stopped"]


class Tmux:
    """A terminal of its own, with a shell in it."""

    def __init__(self, directory: Path, columns: int, lines: int, env: dict[str, str]) -> None:
        self._directory = directory
        self._socket = str(directory / "tmux")
        self._env = {**env, "TERM": "xterm-256color"}
        self._env.pop("TMUX", None)
        (directory / "bashrc").write_text("PS1='$ '\n")
        shell = f"bash --rcfile {directory}/bashrc"
        self("-f", "/dev/null", "new-session", "-d", "-x", str(columns), "-y", str(lines), shell)

    def __call__(self, *arguments: str) -> str:
        command = ["tmux", "-S", self._socket, *arguments]
        done = subprocess.run(
            command, env=self._env, cwd=self._directory, check=True, capture_output=True, text=True, timeout=30
        )
        return done.stdout

    def type(self, *keys: str) -> None:
        self("send-keys", *keys)

    @property
    def screen(self) -> list[str]:
        """What stands on the screen and what scrolled off it, without empty lines."""
        return [line.rstrip() for line in self("capture-pane", "-p", "-J", "-S", "-").splitlines() if line.strip()]

    def wait_for(self, part: str) -> None:
        wait_until(lambda: any(part in line for line in self.screen), f"{part!r} on the screen: {self.screen}")


@pytest.fixture
def tmux(tmp_path: Path) -> Iterator[Callable[..., Tmux]]:
    """Opens terminals, and closes them."""
    if shutil.which("tmux") is None:
        pytest.skip("tmux is not installed")
    opened: list[Tmux] = []

    def open_one(columns: int, lines: int, env: dict[str, str]) -> Tmux:
        opened.append(Tmux(tmp_path, columns, lines, env))
        return opened[-1]

    yield open_one
    for one in opened:
        one("kill-server")


def stored(directory: Path) -> set[tuple[str, str]]:
    """Return the kind and symbol of everything that is in the default store of a directory."""
    with closing(open_store(f"sqlite:///{directory}/market.db", writable=False)) as store:
        return {(kind, series.symbol) for kind in CHANNELS for series in store.series(KINDS[kind])}


@pytest.mark.parametrize(("columns", "lines", "count"), [(80, 24, 3), (160, 50, 3), (80, 24, 40)])
def test_after_the_stop_the_screen_holds_the_report_and_no_debris(
    tmp_path: Path, tmux: Callable[..., Tmux], columns: int, lines: int, count: int
) -> None:
    symbols = [f"C{number:02}-USDT" for number in range(count)]
    with OkxServer(Market(map(instrument, symbols))) as server:
        screen = tmux(columns, lines, environment(tmp_path, server))
        (tmp_path / "go").write_text(f'"{sys.executable}" -m cryptofeed_cli record {" ".join(symbols)}\n')
        screen.wait_for("$")
        screen.type(". ./go", "Enter")
        server.wait_for("subscribe", channel="trades-all", count=count)
        server.play(generate(symbols, 3000, Random(1), 1_795_000_000_000))
        screen.wait_for(" LIVE ")
        screen.wait_for("connected to OKX")
        wait_until(lambda: stored(tmp_path) == {(kind, symbol) for kind in CHANNELS for symbol in symbols}, "records")
        screen.type("C-c")
        screen.wait_for("recorded 0:")
        wait_until(lambda: screen.screen[-1] == "$", "the prompt")

    command, *shown = screen.screen
    assert command == "$ . ./go"
    assert shown[0].startswith("recorded 0:")
    assert [line.split()[0] for line in shown[1 : count + 2]] == ["symbol", *symbols]
    assert shown[count + 2].endswith(" stored, 0 duplicates, 0 conflicts, 0 rejects")
    assert shown[count + 3 :] == [f"100 % verified and clean, nothing missing ({3 * count} channels)", "$"]
    assert screen("display", "-p", "#{cursor_flag}") == "1\n"
