"""The outbox: order, durability and bounds on a real file, and what becomes of a file that is torn or not ours."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptofeed_cli.errors import OutboxBusy, OutboxRefused, StoreTooNew
from cryptofeed_cli.stores.outbox import PAGE, Backlog, Batch, Outbox, inspect
from cryptofeed_cli.stores.outbox_file import VERSION, in_our_words, pack, unpack
from cryptofeed_cli.stores.places import Places, outboxes, places
from cryptofeed_cli.stores.recorder_outbox import RecorderOutbox, open_outbox
from cryptofeed_cli.types import KINDS, Record
from tests.disks import fill_up, small_disk
from tests.processes import wait_until
from tests.stores.records import SAMPLES, records, sample, trade

LIMIT = 100 << 20
ALL = (10**9, 10**9)
"""As much as there is."""


def opened(where: Places, limit: int = LIMIT) -> RecorderOutbox:
    return open_outbox(where, "tests", limit)


@pytest.fixture
def where(tmp_path: Path) -> Places:
    return places(tmp_path, "desk")


@pytest.fixture
def outbox(where: Places) -> Iterator[RecorderOutbox]:
    with closing(opened(where)) as outbox:
        yield outbox


def batches(count: int, size: int = 10, first: int = 0) -> list[list[Record]]:
    return [[trade(first + number * size + place) for place in range(size)] for number in range(count)]


def fill(outbox: RecorderOutbox, several: list[list[Record]]) -> list[int]:
    return [outbox.append(batch, 1000 + place) for place, batch in enumerate(several)]


def flat(several: list[list[Record]]) -> list[Record]:
    return [record for batch in several for record in batch]


def emptied(outbox: RecorderOutbox, most: int = 10**9, found: list[Record] | None = None) -> list[Record]:
    found = [] if found is None else found
    while (batch := outbox.peek(most, 10**9)) is not None:
        found += batch.records
        outbox.remove(batch.number)
    return found


# What comes out


@pytest.mark.parametrize("kind", KINDS)
def test_a_record_comes_out_as_it_went_in(outbox: RecorderOutbox, kind: str) -> None:
    outbox.append([SAMPLES[kind]], 1)

    assert emptied(outbox) == [SAMPLES[kind]]


@given(st.lists(st.one_of([records(kind) for kind in KINDS]), max_size=5))
def test_any_records_survive_their_way_through_bytes_in_order_within_their_kind(some: list[Record]) -> None:
    _, _, contents = pack(some)
    back = unpack(Path("x"), contents)

    for kind in KINDS.values():
        assert [one for one in back if type(one) is kind.record] == [one for one in some if type(one) is kind.record]
    assert len(back) == len(some)


def test_what_no_bytes_can_hold_waits_as_a_reject(outbox: RecorderOutbox) -> None:
    outbox.append([trade(1), sample("orderbooks", sequence=2**70), trade(2, price="\ud800")], 1)

    good, *rejects = emptied(outbox)

    assert good == trade(1)
    assert [(one.channel, one.symbol) for one in rejects] == [("orderbooks", "BTC-USDT"), ("trades", "BTC-USDT")]
    assert all(one.reason.startswith("cannot be stored: ") for one in rejects)
    assert str(2**70) in rejects[0].frame


def test_batches_come_out_in_order_and_small_ones_together(outbox: RecorderOutbox) -> None:
    several = batches(25)
    fill(outbox, several)

    first = outbox.peek(100, 10**9)
    assert first is not None
    assert first.records == flat(several[:10])
    outbox.remove(first.number)

    assert emptied(outbox, 70) == flat(several[10:])


def test_a_batch_larger_than_asked_for_comes_out_whole_and_alone(outbox: RecorderOutbox) -> None:
    several = batches(3, size=50)
    fill(outbox, several)

    assert [outbox.peek(10, 10**9), outbox.peek(10**9, 10)] == [Batch(1, several[0], False)] * 2


def test_peeking_removes_nothing(outbox: RecorderOutbox) -> None:
    fill(outbox, batches(3))

    assert outbox.peek(*ALL) == outbox.peek(*ALL)
    assert outbox.backlog.records == 30


def test_one_batch_may_be_forgotten_out_of_turn(outbox: RecorderOutbox) -> None:
    several = batches(3)
    numbers = fill(outbox, several)
    outbox.discard(numbers[1])

    assert emptied(outbox) == flat([several[0], several[2]])


def test_an_empty_one_has_nothing(outbox: RecorderOutbox) -> None:
    assert outbox.peek(*ALL) is None
    assert outbox.backlog == Backlog()


# What is told


def test_it_tells_how_much_waits_since_when_and_for_whom(outbox: RecorderOutbox) -> None:
    outbox.bind("mongodb://host/market")
    numbers = fill(outbox, batches(3))
    full = outbox.backlog
    assert (full.records, full.since, full.store) == (30, 1000, "mongodb://host/market")
    assert full.bytes > 0

    outbox.remove(numbers[0])
    assert (outbox.backlog.records, outbox.backlog.since) == (20, 1001)

    emptied(outbox)
    assert outbox.backlog == Backlog(store="mongodb://host/market")


def test_others_may_look_at_it_while_it_is_in_use(outbox: RecorderOutbox) -> None:
    outbox.bind("sqlite:////m.db")
    fill(outbox, batches(3))

    seen = inspect(outbox.path)

    assert (seen.records, seen.since, seen.store) == (30, 1000, "sqlite:////m.db")
    assert outboxes(outbox.path.parent) == [outbox.path]


@pytest.mark.parametrize("name", ["desk", "host-market.1", "a/b", "..", ".hidden", "ü b", "x" * 300, "", "\udc80"])
def test_every_name_has_files_of_its_own_in_the_directory(tmp_path: Path, name: str) -> None:
    found = places(tmp_path, name)
    others = [places(tmp_path, other) for other in ("a-b", "-.", "-hidden", "x" * 299)]

    assert {path.parent for path in found} == {tmp_path}
    assert not {*found} & {path for other in others for path in other}
    found.outbox.touch()
    assert outboxes(tmp_path) == [found.outbox]


# Bounds


def test_it_takes_no_more_than_its_limit_and_keeps_what_it_has(where: Places) -> None:
    limit = 400_000
    taken: list[list[Record]] = []
    with closing(opened(where, limit)) as outbox:
        with pytest.raises(OutboxRefused, match="outbox_max"):  # noqa: PT012
            for number in range(10_000):
                batch: list[Record] = [sample("rejects", frame=os.urandom(5000).hex(), reject_id=str(number))]
                outbox.append(batch, 1)
                taken.append(batch)

        assert len(taken) > 10
        assert outbox.backlog.bytes <= limit
        assert outbox.path.stat().st_size <= limit
        first = outbox.peek(1, 1)
        assert first is not None
        outbox.remove(first.number)
        outbox.append(batch, 1)
        assert emptied(outbox, 1) == flat([*taken[1:], batch])


def test_the_file_shrinks_again_when_it_is_empty(outbox: RecorderOutbox) -> None:
    fill(outbox, [[sample("rejects", frame=os.urandom(5000).hex(), reject_id=str(one))] for one in range(200)])
    wal = outbox.path.with_name(f"{outbox.path.name}-wal")
    assert outbox.path.stat().st_size + wal.stat().st_size > 10 * 100_000

    emptied(outbox)

    assert outbox.path.stat().st_size + wal.stat().st_size <= 10 * 4096


# Restarts


def test_what_an_earlier_run_left_comes_first_and_apart(where: Places) -> None:
    before, after = batches(3), batches(2, first=100)
    with closing(opened(where)) as outbox:
        fill(outbox, before)
    with closing(opened(where)) as outbox:
        assert outbox.inherits
        fill(outbox, after)

        left = outbox.peek(*ALL)
        assert left is not None
        assert (left.records, left.inherited) == (flat(before), True)
        outbox.remove(left.number)
        assert not outbox.inherits
        ours = outbox.peek(*ALL)
        assert ours is not None
        assert (ours.records, ours.inherited) == (flat(after), False)


def test_numbers_are_never_used_twice(where: Places) -> None:
    with closing(opened(where)) as outbox:
        (first, second) = fill(outbox, batches(2))
        emptied(outbox)
    with closing(opened(where)) as outbox:
        assert not outbox.inherits
        assert first < second < outbox.append([trade(1)], 1)


CHILD = """
import sys
from pathlib import Path
from cryptofeed_cli.stores.places import places
from tests.stores.records import trade
outbox = open_outbox(places(Path(sys.argv[1]), "desk"), "child", 1 << 30)
number = 0
while True:
    outbox.append([trade(number * 10 + place) for place in range(10)], 1)
    number += 1
    print(number, flush=True)
"""


def test_a_kill_loses_nothing_that_was_taken(where: Places) -> None:
    for _ in range(3):
        where.outbox.unlink(missing_ok=True)
        command = [sys.executable, "-c", CHILD, str(where.outbox.parent)]
        root = Path(__file__).parents[2]
        with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=root) as child:
            assert child.stdout is not None
            taken = [child.stdout.readline() for _ in range(20)]
            child.send_signal(signal.SIGKILL)
            taken += child.stdout.readlines()
        told = len([line for line in taken if line.endswith(b"\n")])

        with closing(opened(where)) as outbox:
            found = emptied(outbox)
        assert len(found) in (10 * told, 10 * told + 10)  # the last one may have been taken and not told
        assert found == flat(batches(len(found) // 10))


def test_two_recorders_of_one_name_exclude_each_other(where: Places, outbox: RecorderOutbox) -> None:
    with pytest.raises(OutboxBusy, match="held by tests; stop it, or give this one another --name"):
        opened(where)
    outbox.close()
    opened(where).close()


# Damage


def test_an_outbox_of_a_newer_version_is_refused_untouched(where: Places) -> None:
    opened(where).close()
    with closing(sqlite3.connect(where.outbox)) as database:
        database.execute(f"PRAGMA user_version = {VERSION + 1}")
    before = where.outbox.read_bytes()

    with pytest.raises(StoreTooNew):
        opened(where)
    assert where.outbox.read_bytes() == before


def damaged(where: Places) -> list[Path]:
    return sorted(path for path in where.outbox.parent.iterdir() if ".damaged-" in path.name)


@pytest.mark.parametrize("content", [b"garbage" * 1000, b"SQLite format 3\0" + b"\xff" * 5000])
def test_garbage_is_set_aside_and_said_and_nothing_is_refused(
    where: Places, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    where.outbox.write_bytes(content)

    with closing(opened(where)) as outbox:
        outbox.append([trade(1)], 1)
        assert emptied(outbox) == [trade(1)]
    (aside,) = damaged(where)
    assert aside.read_bytes() == content
    assert f"set aside as {aside}" in caplog.text


def test_a_database_of_another_program_is_set_aside_whole(where: Places) -> None:
    with closing(sqlite3.connect(where.outbox)) as database:
        database.execute("PRAGMA application_id = 7")
        database.execute("CREATE TABLE theirs (x)")

    opened(where).close()
    with closing(sqlite3.connect(damaged(where)[0])) as database:
        assert database.execute("SELECT count(*) FROM theirs").fetchone() == (0,)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.99])
def test_of_a_truncated_file_what_can_be_read_waits_on(where: Places, share: float) -> None:
    several: list[list[Record]] = [
        [sample("rejects", frame=os.urandom(3000).hex(), reject_id=str(one))] for one in range(60)
    ]
    with closing(opened(where)) as outbox:
        fill(outbox, several)
    size = where.outbox.stat().st_size
    os.truncate(where.outbox, int(size * share))

    with closing(opened(where)) as outbox:
        found = emptied(outbox, 1)
    assert damaged(where) or share == 0

    expected = flat(several)
    assert all(record in expected for record in found)
    assert len(found) < 60
    if share == 0.99:
        assert len(found) > 0


def test_a_batch_that_is_torn_inside_is_noticed_and_the_others_wait_on(where: Places) -> None:
    several = batches(5)
    with closing(opened(where)) as outbox:
        numbers = fill(outbox, several)
    with closing(sqlite3.connect(where.outbox)) as database, database:
        (contents,) = database.execute("SELECT contents FROM batches WHERE id = ?", (numbers[2],)).fetchone()
        torn = contents[:-20] + bytes(20)
        database.execute("UPDATE batches SET contents = ? WHERE id = ?", (torn, numbers[2]))

    with closing(opened(where)) as outbox:
        assert [outbox.append(batch, 1) for batch in batches(2, first=100)] == [6, 7]
        mended = outbox.peek(*ALL)
        assert mended is not None
        assert (mended.number, mended.inherited) == (5, True)
        assert mended.records == flat([*several[:2], *several[3:]])
        outbox.remove(5)
        assert outbox.peek(*ALL) == Batch(7, flat(batches(2, first=100)), False)
        with pytest.raises(OutboxBusy):
            opened(where)
    assert damaged(where)


def torn_inside(where: Places, several: list[list[Record]], which: int) -> None:
    """Leave an outbox of several batches, for a store, one of which is torn."""
    with closing(opened(where)) as outbox:
        outbox.bind("sqlite:////m.db")
        number = fill(outbox, several)[which]
    with closing(sqlite3.connect(where.outbox)) as database, database:
        database.execute("UPDATE batches SET contents = zeroblob(50) WHERE id = ?", (number,))


class Killed(BaseException):
    """Stands for the end of the process."""


MOMENTS = [
    *((Outbox, "append", nth, when) for nth in (1, 2, 4) for when in ("before", "after")),
    *((Path, "rename", nth, when) for nth in (1, 2, 3, 4) for when in ("before", "after")),
]


@pytest.mark.parametrize(("owner", "name", "nth", "when"), MOMENTS)
def test_a_kill_at_any_moment_of_a_salvage_loses_nothing_that_can_be_read(
    where: Places, monkeypatch: pytest.MonkeyPatch, owner: type, name: str, nth: int, when: str
) -> None:
    several = batches(5)
    torn_inside(where, several, 2)
    really = getattr(owner, name)
    calls = []

    def deadly(*arguments: Any) -> Any:
        calls.append(arguments)
        if len(calls) == nth and when == "before":
            raise Killed
        result = really(*arguments)
        if len(calls) == nth:
            raise Killed
        return result

    with closing(opened(where)) as outbox, monkeypatch.context() as patch:
        patch.setattr(owner, name, deadly)
        with pytest.raises(Killed):
            outbox.peek(*ALL)

    with closing(opened(where)) as outbox:
        assert outbox.inherits
        assert outbox.backlog.store == "sqlite:////m.db"
        assert emptied(outbox) == flat([*several[:2], *several[3:]])
    (aside, *logs) = damaged(where)
    assert all(log.name.startswith(f"{aside.name}-") for log in logs)
    assert not list(where.outbox.parent.glob("*.new*"))


def test_a_log_that_a_kill_left_of_a_damaged_file_is_set_aside_before_the_new_one_gets_its_place(where: Places) -> None:
    with closing(opened(where)) as outbox:
        fill(outbox, batches(2))
    name = where.outbox.name
    where.outbox.rename(where.outbox.with_name(f"{name}.new"))
    aside = where.outbox.with_name(f"{name}.damaged-20260101T000000Z")
    aside.touch()
    where.outbox.with_name(f"{name}-wal").write_bytes(b"of the damaged one")

    with closing(opened(where)) as outbox:
        assert emptied(outbox) == flat(batches(2))
    assert damaged(where) == [aside, aside.with_name(f"{aside.name}-wal")]
    assert damaged(where)[1].read_bytes() == b"of the damaged one"


def test_a_new_file_that_is_not_complete_takes_no_place(where: Places) -> None:
    new = where.outbox.with_name(f"{where.outbox.name}.new")
    with closing(Outbox(new, LIMIT)) as half:
        half.append([trade(1)], 1)
        with closing(opened(where)) as outbox:
            assert outbox.backlog.records == 0
    assert not new.exists()


def test_what_is_left_of_a_salvage_is_removed_where_the_outbox_is_in_its_place(where: Places) -> None:
    opened(where).close()
    new = where.outbox.with_name(f"{where.outbox.name}.new")
    new.write_bytes(b"half")
    opened(where).close()
    assert not new.exists()


def test_a_salvage_loses_nothing_to_the_limit(where: Places) -> None:
    several = batches(50)
    torn_inside(where, several, 20)
    with closing(opened(where, 1)) as outbox:
        assert outbox.peek(*ALL) is not None
        with pytest.raises(OutboxRefused, match="outbox_max"):
            outbox.append([trade(1)], 1)
        assert emptied(outbox) == flat([*several[:20], *several[21:]])


def test_a_salvage_that_finds_no_room_leaves_the_damaged_file_in_its_place(
    where: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    torn_inside(where, batches(5), 2)

    def full(*_: Any) -> int:
        raise OutboxRefused("x", "the disk is full; make room")

    with closing(opened(where)) as outbox:
        with monkeypatch.context() as patch:
            patch.setattr(Outbox, "append", full)
            with pytest.raises(OutboxRefused, match="the disk is full"):
                outbox.peek(*ALL)
            assert outbox.backlog.records == 50
        assert not damaged(where)
        assert len(emptied(outbox)) == 40


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small disk of the test's own, where this user may mount one."""
    with small_disk(tmp_path / "disk", "1m") as mounted:
        yield mounted


def test_where_there_is_no_room_it_is_opened_once_there_is(disk: Path) -> None:
    filler = fill_up(disk)
    outbox = RecorderOutbox(places(disk, "desk"), "tests", LIMIT)
    with closing(outbox):
        with pytest.raises(OutboxRefused):
            outbox.append([trade(1)], 1)
        assert not outbox.is_open
        filler.unlink()
        outbox.bind("sqlite:////m.db")
        outbox.append([trade(1)], 1)
        assert outbox.backlog.store == "sqlite:////m.db"
        assert emptied(outbox) == [trade(1)]


def test_what_finds_no_room_for_the_name_of_its_store_is_opened_once_it_does(
    where: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OutboxRefused("x", "the disk is full; make room")

    with closing(opened(where)) as outbox:
        with monkeypatch.context() as patch:
            patch.setattr(Outbox, "bind", full)
            outbox.bind("sqlite:////m.db")
        assert not outbox.is_open
        outbox.append([trade(1)], 1)
        assert outbox.backlog.store == "sqlite:////m.db"


def test_what_holds_records_for_another_store_takes_none_for_this_one(where: Places) -> None:
    with closing(opened(where)) as outbox:
        outbox.bind("sqlite:////m.db")
        outbox.append([trade(1)], 1)
    late = RecorderOutbox(where, "tests", LIMIT)
    late.bind("sqlite:////other.db")
    with closing(late), pytest.raises(OutboxRefused, match="holds 1 records for the store sqlite:////m"):
        late.append([trade(2)], 2)


def test_a_disk_that_turned_read_only_may_become_writable_again(where: Places, outbox: RecorderOutbox) -> None:
    with (
        closing(sqlite3.connect(f"{where.outbox.as_uri()}?mode=ro", uri=True)) as database,
        pytest.raises(OutboxRefused, match="its disk is read-only"),
        in_our_words(where.outbox),
    ):
        database.execute("DELETE FROM batches")


def test_two_that_are_set_aside_in_one_second_are_both_kept(where: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.strftime", lambda *_: "20260101T000000Z")
    for content in (b"garbage" * 1000, b"rubbish" * 1000):
        where.outbox.write_bytes(content)
        opened(where).close()
    assert [path.read_bytes()[:7] for path in damaged(where)] == [b"garbage", b"rubbish"]


LEAF = 0x0D
"""What a page of rows begins with."""


def tear(path: Path, share: float, content: bytes) -> int:
    """Overwrite one page of batches, that share of them into the file; return how many batches are on it."""
    with path.open("r+b") as file:
        whole = file.read()
        leaves = [at for at in range(PAGE * 2, len(whole), PAGE) if whole[at] == LEAF and whole[at + 4] > 1]
        at = leaves[int(share * (len(leaves) - 1))]
        file.seek(at)
        file.write(content)
    return whole[at + 4]


@pytest.mark.parametrize("content", [bytes(PAGE), b"\xff" * PAGE], ids=["zeros", "ones"])
@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("delivered", [0, 20_000])
def test_a_torn_page_costs_the_batches_on_it_and_none_before_or_behind_it(
    where: Places, delivered: int, share: float, content: bytes
) -> None:
    several = batches(200)
    with closing(opened(where)) as outbox:
        fill(outbox, [[trade(1)]])
        emptied(outbox)
    with closing(sqlite3.connect(where.outbox)) as database, database:
        database.execute("UPDATE sqlite_sequence SET seq = ?", (delivered,))
    with closing(opened(where)) as outbox:
        fill(outbox, several)
    lost = tear(where.outbox, share, content)

    with closing(opened(where)) as outbox:
        left = emptied(outbox)
    first = next(number for number, batch in enumerate(several) if batch[0] not in left)
    assert left == flat([*several[:first], *several[first + lost :]])
    assert len(damaged(where)) > 0


def test_a_salvage_ends_where_nothing_can_be_read_any_more(where: Places) -> None:
    with closing(opened(where)) as outbox:
        fill(outbox, batches(200))
    whole = where.outbox.read_bytes()
    where.outbox.write_bytes(whole[: 2 * PAGE] + b"\xff" * (len(whole) - 2 * PAGE))
    with closing(opened(where)) as outbox:
        assert outbox.backlog.records == 0


def test_several_threads_may_use_it_at_once(outbox: RecorderOutbox) -> None:
    from threading import Thread

    several = batches(200)
    found: list[Record] = []

    def drain() -> None:
        while len(found) < 2000:
            batch = outbox.peek(70, 10**9)
            if batch is not None:
                found.extend(batch.records)
                outbox.remove(batch.number)

    drainer = Thread(target=drain, daemon=True)
    drainer.start()
    fill(outbox, several)
    wait_until(lambda: not drainer.is_alive(), "the drainer to see the last record")

    assert found == flat(several)
