"""Signs of life: runs that ended unseen, the local status file, and what `status` makes of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from cryptofeed_cli.clock import MILLISECOND, SECOND
from cryptofeed_cli.past import DEAD_AFTER, ended_unseen
from cryptofeed_cli.standing import (
    Standing,
    is_alive,
    read_outboxes,
    read_standings,
    write_standing,
)
from cryptofeed_cli.status.gathering import gather
from cryptofeed_cli.stores import identity, open_store
from cryptofeed_cli.stores.base import Store
from cryptofeed_cli.stores.places import places
from cryptofeed_cli.stores.recorder_outbox import open_outbox
from cryptofeed_cli.types import Run
from tests.okx_server import OkxServer
from tests.processes import Recording, environment, run, wait_until
from tests.stores.records import NOON, sample, trade

NOW = NOON * MILLISECOND
STANDING = Standing(
    "desk", "run-1", "host", os.getpid(), "LIVE", "mongodb://host/market", None, "2026-11-18T12:00:00.000000000Z",
    "2026-11-18T11:59:59.000000000Z", 0, 0, None,
)  # fmt: skip


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(open_store(f"sqlite:///{tmp_path}/market.db", writable=True)) as store:
        yield store


# Runs that ended unseen


def told(name: str, heartbeat: int = 0, *, host: str = "here", **changes: object) -> Run:
    """A run that was heard of so many seconds ago."""
    run: Run = sample("runs", run_id=name, name=name, host=host, heartbeat_at=NOW - heartbeat * SECOND, **changes)
    return run


@pytest.mark.parametrize(
    ("other", "over"),
    [
        (told("gone", pid=1), True),
        (told("alive", pid=2), False),
        (told("desk", pid=2), True),  # our own name, which we hold
        (told("elsewhere", pid=1, host="there"), False),
        (told("silent", 21, pid=2), False),  # its signs of life may wait behind its data
        (told("gone and silent", 21, pid=1), True),
        (told("silent elsewhere", 21, pid=1, host="there"), True),
        (told("stopped", 100, pid=1, state="stopped", ended_at=NOW), False),
    ],
    ids=lambda value: value.name if isinstance(value, Run) else "",
)
def test_a_run_whose_process_is_gone_is_found_and_closed_where_it_was_last_heard_of(
    store: Store, monkeypatch: pytest.MonkeyPatch, other: Run, over: bool
) -> None:
    monkeypatch.setattr(store, "now", lambda: NOW)
    ours = told("desk", pid=3)
    ours = msgspec.structs.replace(ours, run_id="ours")
    store.write([other, ours])

    found = ended_unseen(store, ours, lambda pid: pid != 1)

    closed = [msgspec.structs.replace(other, state="failed", ended_at=other.heartbeat_at)]
    assert found == (closed if over else [])


def test_a_process_is_alive_or_it_is_not() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        child.wait()
    assert is_alive(os.getpid())
    assert not is_alive(child.pid)


# The status file


def test_a_standing_is_read_as_it_was_written_and_what_is_none_is_left_out(tmp_path: Path) -> None:
    write_standing(places(tmp_path, "desk").status, msgspec.structs.replace(STANDING, state="CONNECTING"))
    write_standing(places(tmp_path, "desk").status, STANDING)
    (tmp_path / "torn.status.json").write_bytes(b'{"name": "to')

    assert read_standings(tmp_path) == [STANDING]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["desk.status.json", "torn.status.json"]


def test_a_recorder_writes_how_it_stands_and_how_it_ended(tmp_path: Path) -> None:
    with (
        OkxServer() as server,
        Recording(["BTC-USDT", "--name", "desk"], environment(tmp_path, server), tmp_path) as recording,
    ):
        wait_until(lambda: any(one.state == "LIVE" for one in read_standings(tmp_path)), "a status file that says LIVE")
        (one,) = read_standings(tmp_path)
        assert (one.name, one.pid, one.store_away) == ("desk", recording.process.pid, None)
        assert one.store == f"sqlite:///{tmp_path}/market.db"
        assert one.durable_at is not None
        assert recording.stop() == 0

    assert [one.state for one in read_standings(tmp_path)] == ["STOPPED"]


# What status makes of it


def test_a_recorder_is_dead_after_twenty_seconds_by_the_stores_clock(store: Store) -> None:
    store.write([told("desk")])

    states = [gather(store, NOW + DEAD_AFTER + late, [], "").recorders[0].state for late in (0, 1)]

    assert states == ["running", "dead"]


def test_what_waits_in_an_outbox_for_a_minute_is_a_reason_to_worry(store: Store, tmp_path: Path) -> None:
    store.write([told("desk")])
    with closing(open_outbox(places(tmp_path, "desk"), "tests", 1 << 20)) as outbox:
        outbox.bind("ours")
        outbox.append([trade(1), trade(2)], NOW - 30 * SECOND)
    waiting = read_outboxes(tmp_path)

    assert gather(store, NOW, waiting, "ours").healthy
    assert gather(store, NOW, waiting, "ours").outboxes == waiting
    old = [msgspec.structs.replace(waiting[0], since="2026-11-18T11:59:00.000000000Z")]
    assert [reason.partition(" wait ")[0] for reason in gather(store, NOW + 1, old, "ours").reasons] == ["2 records"]
    assert gather(store, NOW + 1, old, "theirs").healthy


def test_an_outbox_that_cannot_be_read_is_told_and_an_empty_one_is_not(store: Store, tmp_path: Path) -> None:
    store.write([told("desk")])
    open_outbox(places(tmp_path, "empty"), "tests", 1 << 20).close()
    (tmp_path / "torn.outbox").write_bytes(b"garbage" * 100)

    (found,) = read_outboxes(tmp_path)

    assert (found.path, found.records) == (str(tmp_path / "torn.outbox"), 0)
    assert "is damaged" in (found.problem or "")
    assert not gather(store, NOW, [found], "ours").healthy


@pytest.mark.parametrize("form", ["text", "json"])
def test_while_the_store_is_unreachable_the_local_files_tell_and_nobody_is_called_dead(
    tmp_path: Path, form: str
) -> None:
    url = "mongodb://user:hunter2@127.0.0.1:9/market?serverSelectionTimeoutMS=200"
    ours = identity(url)
    write_standing(places(tmp_path, "desk").status, msgspec.structs.replace(STANDING, store=ours, outbox_records=2))
    write_standing(places(tmp_path, "other").status, msgspec.structs.replace(STANDING, name="other"))
    with closing(open_outbox(places(tmp_path, "desk"), "tests", 1 << 20)) as outbox:
        outbox.bind(ours)
        outbox.append([trade(1), trade(2)], NOW)

    done = run(["status", "--store", url, *(["--json"] if form == "json" else [])], environment(tmp_path), tmp_path)
    out = done.stdout.decode()

    assert done.returncode == 4
    assert "hunter2" not in out + done.stderr.decode()
    if form == "json":
        told = json.loads(out)
        assert [one["name"] for one in told["recorders"]] == ["desk"]
        assert [(one["records"], one["since"]) for one in told["outboxes"]] == [(2, "2026-11-18T12:00:00.000000000Z")]
        assert told["unreachable"]
    else:
        lines = out.splitlines()
        assert lines[0].startswith(f"store unreachable: {ours}: ")
        assert lines[1] == (
            f"recorder desk (pid {os.getpid()}): LIVE at 2026-11-18T12:00:00, durable up to 2026-11-18T11:59:59"
        )
        assert lines[2].startswith(f"outbox {tmp_path}/desk.outbox: 2 records, 0.0 MiB since 2026-11-18T12:00:00, for ")
        assert "dead" not in out


