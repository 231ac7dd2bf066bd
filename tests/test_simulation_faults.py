"""What goes wrong on request: the words it is asked for with, and what a session makes of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest

from cryptofeed_cli.clock import MILLISECOND
from cryptofeed_cli.errors import UsageError
from cryptofeed_cli.feeds.base import Closed, Event, Opened
from cryptofeed_cli.simulation.draws import generator
from cryptofeed_cli.simulation.faults import Fault, Faults, Outage, parse_faults
from cryptofeed_cli.simulator import recorded_outages
from cryptofeed_cli.stores import open_store
from cryptofeed_cli.stores.base import Span, Store
from cryptofeed_cli.types import BookUpdate, Gap, Reject, Trade
from tests.processes import environment, run
from tests.simulations import SYMBOLS, Rehearsal, plan
from tests.stores.records import NOON, sample


def test_a_specification_is_understood() -> None:
    assert parse_faults("gaps/30s, disconnects/2m:15s,silence/1h,malformed/500ms") == (
        Fault("gaps", 30_000, 0), Fault("disconnects", 120_000, 15_000), Fault("silence", 3_600_000, 45_000),
        Fault("malformed", 500, 0),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("gap/30s", "unknown fault 'gap'; did you mean 'gaps'?"),
        ("fire/30s", r"unknown fault 'fire' \(faults: gaps, malformed, disconnects, silence\)"),
        ("gaps", "'gaps' does not say how often; write such as gaps/2m"),
        ("gaps/soon", "'gaps/soon': 'soon' is not a duration"),
        ("gaps/1ms", "'gaps/1ms': nothing is shorter than 100ms"),
        ("gaps/1m:5s", "gaps have no length; write gaps/1m"),
        ("silence/1m:", "'silence/1m:': '' is not a duration"),
        ("gaps/1m,gaps/2m", "gaps stands there twice"),
        (" , ", "--faults is empty"),
    ],
)
def test_what_is_wrong_with_a_specification_is_said(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        parse_faults(text)


def test_faults_come_about_as_often_as_was_asked_for() -> None:
    faults = Faults(parse_faults("gaps/10s"), generator("often"), 0)
    begun = sum(len(faults.step(ms)) for ms in range(0, 3_600_000, 10))

    assert 360 * 0.8 < begun < 360 * 1.2


def test_lost_frames_break_the_chain_and_a_snapshot_mends_it() -> None:
    rehearsal = Rehearsal(plan(4, faults="gaps/2s")).run(60)

    snapshots = [one for one in rehearsal.of(BookUpdate) if one.action == "snapshot"]
    assert len(snapshots) > len(SYMBOLS)
    ids = [int(one.trade_id) for one in rehearsal.of(Trade, SYMBOLS[0])]
    assert ids[-1] - ids[0] + 1 > len(ids)
    assert rehearsal.of(Reject) == []


def test_malformed_frames_are_rejects() -> None:
    rehearsal = Rehearsal(plan(4, faults="malformed/2s")).run(60)

    assert len(rehearsal.of(Reject)) > 10


def test_a_disconnect_cuts_every_connection_and_lasts_its_time() -> None:
    rehearsal = Rehearsal(plan(4, faults="disconnects/20s:5s"))
    events: list[Event] = []
    handle = rehearsal.session.handle
    rehearsal.session.handle = lambda batch: (events.extend(batch), handle(batch))  # type: ignore[method-assign]
    rehearsal.run(60)

    cut = next(place for place, one in enumerate(events) if isinstance(one, Closed))
    back = next(place for place, one in enumerate(events) if place > cut and isinstance(one, Opened))
    assert 5 * 10**9 <= events[back].at - events[cut].at < 7 * 10**9
    assert isinstance(events[cut + 1], Closed)


def test_silence_leaves_connections_open_and_sends_nothing() -> None:
    rehearsal = Rehearsal(plan(4, faults="silence/30s:10s")).run(60)

    times = sorted({frame.at for frame in rehearsal.frames if b'"channel":"books"' in frame.data})
    assert max(after - before for before, after in pairwise(times)) >= 9 * 10**9
    assert rehearsal.session.complete


def test_the_same_faults_come_again() -> None:
    again = [Rehearsal(plan(6, faults="gaps/1s,malformed/1s")).run(20).frames for _ in range(2)]

    assert again[0] == again[1]


# Outages of a ledger


def test_an_outage_happens_when_it_is_told_to_and_once() -> None:
    faults = Faults((), generator("planned"), 1_000, (Outage("disconnects", 500, 300), Outage("silence", 2_000, 100)))
    states = {ms: (faults.step(ms), faults.down, faults.silent) for ms in range(1_000, 4_000, 100)}

    assert {ms: begun for ms, (begun, _, _) in states.items() if begun} == {1_500: ["disconnects"], 3_000: ["silence"]}
    assert [ms for ms, (_, down, _) in states.items() if down] == [1_500, 1_600, 1_700]
    assert [ms for ms, (_, _, silent) in states.items() if silent] == [3_000]


def gap(kind: str, start: int, end: int | None, channel: str = "trades") -> Gap:
    made: Gap = sample("gaps", gap_id=f"{start}{channel}", start=start, end=end, channel=channel)
    return msgspec.structs.replace(made, kind=kind)  # type: ignore[type-var]


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Store]:
    with closing(open_store(f"sqlite:///{tmp_path}/m.db", writable=True)) as store:
        store.write([
            gap("disconnect", NOON, NOON + 15_000), gap("disconnect", NOON + 40, NOON + 15_500, "tickers"),
            gap("silence", NOON + 60_000, NOON + 60_000), gap("disconnect", NOON + 90_000, None),
            gap("downtime", NOON + 70_000, NOON + 80_000),
        ])  # fmt: skip
        yield store


def test_what_befell_several_channels_at_once_is_one_outage_and_what_was_ours_is_none(ledger: Store) -> None:
    assert recorded_outages(ledger, Span()) == (
        Outage("disconnects", 10_000, 15_500), Outage("silence", 70_000, 100),
    )  # fmt: skip


def test_of_a_span_outages_keep_their_distance_to_its_beginning(ledger: Store) -> None:
    span = Span(since=(NOON + 5_000) * MILLISECOND, until=(NOON + 30_000) * MILLISECOND)

    assert recorded_outages(ledger, span) == (Outage("disconnects", 0, 10_500),)


def test_a_ledger_without_outages_is_refused_by_name(ledger: Store) -> None:
    with pytest.raises(UsageError, match="its ledger names no outage that is over in that time"):
        recorded_outages(ledger, Span(until=(NOON - 1_000) * MILLISECOND))


def test_simulate_repeats_the_outages_of_a_store(tmp_path: Path, ledger: Store) -> None:
    arguments = ["--seed", "7", "--start", "2026-11-22", "--speed", "0", "--duration", "40s"]
    done = run(["simulate", *arguments, "--outages-from", ledger.url], environment(tmp_path), tmp_path)
    times = [json.loads(line)["timestamp"][14:19] for line in done.stdout.splitlines()]

    assert done.returncode == 0
    assert b"2 recorded outages will happen again, the last one 70s after the opening" in done.stderr
    assert not [one for one in times if "00:11" <= one <= "00:23"]
    assert [one for one in times if one > "00:30"]
