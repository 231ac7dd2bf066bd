"""Tapes: what was recorded live comes out of them again byte for byte, whatever went wrong, and what bounds them."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
import zstandard

from cryptofeed_cli.clock import HOUR, SECOND
from cryptofeed_cli.errors import TapeRefused
from cryptofeed_cli.feeds import tape as taped
from cryptofeed_cli.feeds.base import Answer, Closed, Event, Frame, LookedUp, Opened, Tick
from cryptofeed_cli.feeds.tape import Begun, TapeWriter, event_of, line_of, read, tapes
from cryptofeed_cli.types import Run
from tests.disks import fill_up, small_disk
from tests.faults import FAULTS, SYMBOLS, Scene, finish, recorded_scene, recorder
from tests.processes import Serving, environment, query, run
from tests.scripted import ManualClock
from tests.stores.records import sample

KINDS = ("trades", "tickers", "orderbooks", "book_updates", "instruments", "rejects")
OURS = ("writer", "downtime")
"""Gaps that a tape cannot tell of."""


def printed(url: str, kind: str, cwd: Path, source: str = "real") -> list[str]:
    """Return the lines of a query; of gaps those that a tape can tell of, without when they were noted."""
    lines = query(url, kind, "--source", source, cwd=cwd).decode().splitlines()
    return lines if kind != "gaps" else [line for line in lines if json.loads(line)["kind"] not in OURS]


def imported(tape: Path, home: Path, name: str = "again.db", **variables: str) -> tuple[str, str]:
    """Import a tape into a store of its own; return its URL and what was said."""
    url = f"sqlite:///{home / name}"
    done = run(["import", "--tape", str(tape), "--store", url], environment(home, **variables), home)
    assert done.returncode == 0, done.stderr.decode()
    return url, done.stderr.decode()


def trouble(scene: Scene, faults: int, seed: int) -> None:
    """Let as many things go wrong."""
    rng = Random(seed)
    scene.go(60)
    for fault in ("malformed frames", *rng.choices(list(FAULTS), k=faults)):
        FAULTS[fault](scene)
        scene.go(rng.randrange(1, 40))


# What comes out


@pytest.mark.parametrize(
    ("seed", "faults", "redundancy"), [(41, 25, 1), (42, 15, 2), pytest.param(43, 200, 2, marks=pytest.mark.soak)]
)
def test_what_was_recorded_comes_out_of_its_tape_byte_for_byte(
    tmp_path: Path, seed: int, faults: int, redundancy: int
) -> None:
    tape = tmp_path / "tapes"
    options = ("--redundancy", str(redundancy), "--tape", str(tape))
    with recorded_scene(tmp_path, seed, 100 * faults + 20_000, *options) as (scene, recording, url):
        trouble(scene, faults, seed)
        finish(scene, recording, url)
    again, said = imported(tape, tmp_path, PYTHONHASHSEED="1")

    for kind in (*KINDS, "gaps"):
        assert printed(again, kind, tmp_path) == printed(url, kind, tmp_path), kind
    assert printed(url, "rejects", tmp_path)
    assert printed(url, "gaps", tmp_path)
    assert said.startswith("run ")


def test_importing_twice_or_into_the_store_of_the_recording_stores_nothing_twice(tmp_path: Path) -> None:
    tape = tmp_path / "tapes"
    with recorded_scene(tmp_path, 44, 20_000, "--tape", str(tape)) as (scene, recording, url):
        scene.go(200)
        finish(scene, recording, url)
    before = {kind: printed(url, kind, tmp_path) for kind in (*KINDS, "gaps", "runs")}
    _, said = imported(tape, tmp_path, "market.db")

    assert said.endswith(" 0 of them new\n")
    assert {kind: printed(url, kind, tmp_path) for kind in before} == before


def test_after_a_kill_the_tape_tells_what_was_flushed_and_the_next_run_goes_on_with_another(tmp_path: Path) -> None:
    tape = tmp_path / "tapes"
    with recorded_scene(tmp_path, 45, 20_000, "--tape", str(tape)) as (scene, recording, url):
        scene.go(300)
        assert recording.stop(signal.SIGKILL) == -signal.SIGKILL
        with recorder(tmp_path, scene.server, "--tape", str(tape)) as second:
            scene.server.wait_for("subscribe", channel="books", count=4)
            scene.go(100)
            finish(scene, second, url)
    again, said = imported(tape, tmp_path)

    assert len(said.splitlines()) == 2
    live, back = (
        [json.loads(line)["trade_id"] for line in printed(one, "trades", tmp_path)] for one in (url, again)
    )
    assert live == back


def test_a_recording_that_halted_has_all_trades_on_its_tape(tmp_path: Path) -> None:
    tape = tmp_path / "tapes"
    with small_disk(tmp_path / "disk", "24m") as disk:
        url = f"sqlite:///{disk}/market.db"
        with recorded_scene(
            tmp_path, 47, 60_000, "--tape", str(tape), url=url, CRYPTOFEED_DATA_DIR=str(disk)
        ) as (scene, recording, _):
            filler = fill_up(disk)
            while "the recording halts" not in recording.said:
                scene.go(20)
            filler.unlink()
            recording.wait_for_line("the recording goes on")
            for channel in ("trades-all", "books"):
                scene.server.wait_for("subscribe", channel=channel, count=2 * len(SYMBOLS))
            scene.go(100)
            finish(scene, recording, url)
        live = [json.loads(line)["trade_id"] for line in printed(url, "trades", tmp_path)]
    again, _ = imported(tape, tmp_path)

    assert [json.loads(line)["trade_id"] for line in printed(again, "trades", tmp_path)] == live


def test_what_a_simulated_exchange_said_stays_simulated(tmp_path: Path) -> None:
    tape = tmp_path / "tapes"
    with Serving("BTC-USDT", cwd=tmp_path) as server:
        home = environment(tmp_path, **server.variables)
        url = f"sqlite:///{tmp_path}/m.db"
        done = run(["record", "BTC-USDT", "--duration", "3s", "--tape", str(tape), "--store", url], home, tmp_path)
        assert done.returncode == 0, done.stderr
    again, _ = imported(tape, tmp_path)

    for kind in ("trades", "tickers", "orderbooks"):
        assert printed(again, kind, tmp_path) == []
        assert printed(again, kind, tmp_path, "simulated") == printed(url, kind, tmp_path, "simulated") != []


def test_a_tape_can_be_replayed_as_a_store_can(tmp_path: Path) -> None:
    tape = tmp_path / "tapes"
    with recorded_scene(tmp_path, 46, 20_000, "--tape", str(tape)) as (scene, recording, url):
        scene.go(200)
        finish(scene, recording, url)
    usual = ["replay", "trades", "tickers", "--speed", "0"]
    one, other = (
        run([*usual, *place], environment(tmp_path), tmp_path) for place in (["--store", url], ["--tape", str(tape)])
    )

    assert (one.returncode, other.returncode) == (0, 0), other.stderr
    assert one.stdout == other.stdout != b""


# Lines


@pytest.mark.parametrize(
    "event",
    [
        Frame(1, b'{"text": "\xc3\xa9"}', 5, 6), Frame(2, b"\xff\xfe no text", 5, 6), Tick(1, 2),
        Opened(1, 2, 3, "replay"), Closed(1, 2, 3, None, "gone", 4), Closed(1, 2, 3, 4005, "slow", 4),
        Answer(1, 2, 3, 200, b"\x00body"), Answer(1, 2, 3, None, b"", "no way"), LookedUp(1, 2, 3, [(4, 5)]),
        LookedUp(1, 2, 3, None),
    ],
    ids=lambda event: type(event).__name__,
)  # fmt: skip
def test_an_event_comes_out_of_its_line_as_it_went_in(event: Event) -> None:
    line = line_of(event)
    assert line is not None

    assert event_of(taped._decode(taped._encode(line))) == event


# Files


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def ran(run_id: str = "r", started_at: int = 1_795_000_000 * SECOND) -> Run:
    one: Run = sample("runs", run_id=run_id, started_at=started_at)
    return one


def ticks(path: Path) -> list[int]:
    return [line.at for line in read(path) if isinstance(line, taped.Ticked)]


def test_a_file_is_json_lines_that_every_tool_reads(tmp_path: Path, clock: ManualClock) -> None:
    tape = TapeWriter(tmp_path, ran(), 1 << 30, clock, SECOND)
    tape.note(line_of(Tick(7, 8)))
    tape.close()
    ((path,),) = tapes(tmp_path).values()
    with path.open("rb") as file:
        lines = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True).read().splitlines()

    assert path.name == "tape-20261118T110640Z-r-000001.jsonl.zst"
    assert [json.loads(line)["line"] for line in lines] == ["begun", "tick"]


def test_a_torn_end_costs_what_came_after_the_last_flush(tmp_path: Path, clock: ManualClock) -> None:
    tape = TapeWriter(tmp_path, ran(), 1 << 30, clock, SECOND)
    ends = []
    ((path,),) = tapes(tmp_path).values()
    for number in range(1, 4):
        tape.note(line_of(Tick(number, number * SECOND)))
        tape.check(clock.monotonic() + number * SECOND)
        ends.append(path.stat().st_size)
    tape.close()
    whole = path.read_bytes()

    for size in range(ends[0], ends[-1]):
        path.write_bytes(whole[:size])
        found = ticks(path)
        assert found == [1, 2, 3][: len(found)]
        assert len(found) >= 1 + (size >= ends[1])


def test_files_are_rotated_and_beyond_the_limit_the_oldest_go(
    tmp_path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = tmp_path / "tape-20200101T000000Z-old-000001.jsonl.zst"
    old.write_bytes(bytes(5_000))
    tape = TapeWriter(tmp_path, ran(), 6_000, clock, SECOND)
    for number in range(30):
        tape.note(line_of(Frame(1, Random(number).randbytes(1_000), number, number)))
        clock.advance(HOUR)
        tape.check(clock.monotonic())
    gone = tape.gone
    tape.close()
    left = sorted(path.name for path in tmp_path.glob(taped.PATTERN))

    assert not old.exists()
    assert gone is not None
    assert left[-1].endswith("-000031.jsonl.zst")
    assert 2 <= len(left) <= 6
    assert left == sorted(left)


def test_what_another_recorder_writes_just_now_is_not_removed(tmp_path: Path, clock: ManualClock) -> None:
    theirs = TapeWriter(tmp_path, ran("theirs", 1_700_000_000 * SECOND), 1 << 30, clock, SECOND)
    ours = TapeWriter(tmp_path, ran("ours"), 0, clock, SECOND)
    for _ in range(3):
        clock.advance(HOUR)
        ours.check(clock.monotonic())
    files = {name: len(paths) for name, paths in tapes(tmp_path).items()}
    ours.close()
    theirs.close()

    assert files == {"theirs": 1, "ours": 1}


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small disk of the test's own, where this user may mount one."""
    with small_disk(tmp_path / "disk", "1m") as mounted:
        yield mounted


def test_a_full_disk_ends_the_tape_and_not_the_recording(
    disk: Path, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    tape = TapeWriter(disk, ran(), 1 << 30, clock, SECOND)
    fill_up(disk)
    for number in range(3):
        tape.note(line_of(Frame(1, Random(number).randbytes(100_000), 1, 1)))
        clock.advance(SECOND)
        tape.check(clock.monotonic())
    tape.close()

    assert "ends here: No space left on device; the recording goes on without it" in caplog.text


@pytest.mark.parametrize("content", [b"", b"no tape", zstandard.compress(b'{"line":"tick","at":1,"monotonic":1}\n')])
def test_what_is_no_tape_is_refused_or_left_out(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "tape-20200101T000000Z-old-000001.jsonl.zst").write_bytes(content)
    done = run(["import", "--tape", str(tmp_path)], environment(tmp_path), tmp_path)

    assert (done.returncode, b"Traceback" in done.stderr) in ((0, False), (4, False))
    assert b"tape" in done.stderr


def test_a_tape_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tape-20200101T000000Z-new-000001.jsonl.zst"
    path.write_bytes(zstandard.compress(taped._encode(Begun(taped.VERSION + 1, 1, ran())) + b"\n"))

    with pytest.raises(TapeRefused, match="is no tape that this version can read; upgrade cryptofeed"):
        list(read(path))


def test_where_there_is_no_tape_it_is_said_in_one_line(tmp_path: Path) -> None:
    done = run(["import", "--tape", str(tmp_path)], environment(tmp_path), tmp_path)

    assert done.returncode == 4
    assert done.stderr.decode() == (
        f"cryptofeed: tape {tmp_path}: there is no tape; name a directory that `record --tape` wrote into\n"
    )


def test_a_run_whose_beginning_is_gone_is_left_out_with_a_word(tmp_path: Path, clock: ManualClock) -> None:
    tape = TapeWriter(tmp_path, ran(), 1 << 30, clock, SECOND)
    clock.advance(HOUR)
    tape.check(clock.monotonic())
    tape.close()
    (first, _) = tapes(tmp_path)["r"]
    first.unlink()
    _, said = imported(tmp_path, tmp_path)

    assert "its beginning is gone, and nothing can be made of the rest; left out" in said
