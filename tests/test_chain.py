"""The documented cases of a sequence chain, and what arrives out of order."""

from __future__ import annotations

import msgspec
import pytest

from cryptofeed_cli.chain import HELD, REMEMBERED, Chain, Link
from cryptofeed_cli.types import BookUpdate, CountedLevel

ONE_LEVEL: list[CountedLevel] = [("100", "1", 1)]


def update(
    previous: int | None, sequence: int, levels: list[CountedLevel] = ONE_LEVEL, timestamp: int | None = 1
) -> BookUpdate:
    return BookUpdate(timestamp, 1, "OKX", "BTC-USDT", "live", "update", previous, sequence, levels, [])


def snapshot(sequence: int) -> BookUpdate:
    return BookUpdate(1, 1, "OKX", "BTC-USDT", "live", "snapshot", None, sequence, ONE_LEVEL, [])


def heartbeat(sequence: int) -> BookUpdate:
    return update(sequence, sequence, [])


@pytest.fixture
def chain() -> Chain:
    """A chain that stands at 20, after one update."""
    chain = Chain()
    assert chain.judge(snapshot(10)) is Link.SNAPSHOT
    assert chain.judge(update(10, 20)) is Link.FOLLOWS
    return chain


def test_a_snapshot_begins_the_chain() -> None:
    chain = Chain()
    assert chain.last is None
    assert chain.judge(snapshot(10)) is Link.SNAPSHOT
    assert chain.last == 10


def test_before_a_snapshot_everything_is_useless() -> None:
    chain = Chain()
    assert chain.judge(update(10, 20)) is Link.USELESS
    assert chain.judge(heartbeat(20)) is Link.USELESS
    assert chain.last is None


def test_an_update_that_follows_advances_the_chain(chain: Chain) -> None:
    assert chain.judge(update(20, 27)) is Link.FOLLOWS
    assert chain.last == 27


def test_an_empty_update_with_a_new_sequence_follows(chain: Chain) -> None:
    assert chain.judge(update(20, 27, [])) is Link.FOLLOWS
    assert chain.last == 27


def test_a_heartbeat_leaves_the_chain_where_it_is(chain: Chain) -> None:
    assert chain.judge(heartbeat(20)) is Link.HEARTBEAT
    assert chain.last == 20


def test_a_lower_sequence_that_follows_is_a_legal_reset(chain: Chain) -> None:
    assert chain.judge(update(20, 3)) is Link.RESET
    assert chain.judge(update(3, 5)) is Link.FOLLOWS


def test_an_accepted_pair_that_comes_again_is_a_duplicate(chain: Chain) -> None:
    assert chain.judge(update(20, 30)) is Link.FOLLOWS
    assert chain.judge(update(10, 20)) is Link.DUPLICATE
    assert chain.judge(update(20, 30)) is Link.DUPLICATE
    assert chain.last == 30


def test_the_second_copy_of_a_reset_is_a_duplicate(chain: Chain) -> None:
    chain.judge(update(20, 3))
    assert chain.judge(update(20, 3)) is Link.DUPLICATE


def test_after_a_reset_numbers_seen_before_are_new(chain: Chain) -> None:
    chain.judge(update(20, 10))
    assert chain.judge(update(10, 20)) is Link.FOLLOWS


def test_an_old_heartbeat_is_a_duplicate(chain: Chain) -> None:
    chain.judge(update(20, 30))
    assert chain.judge(heartbeat(20)) is Link.DUPLICATE


def test_duplicates_are_known_for_as_long_as_promised() -> None:
    chain = Chain()
    chain.judge(snapshot(0))
    for sequence in range(1, REMEMBERED + 2):
        chain.judge(update(sequence - 1, sequence))
    assert chain.judge(update(1, 2)) is Link.DUPLICATE
    assert chain.judge(update(0, 1, timestamp=2)) is Link.EARLY


@pytest.mark.parametrize("stranger", [update(27, 30), update(15, 30), update(None, 30), heartbeat(27)])
def test_what_follows_something_unknown_is_early(chain: Chain, stranger: BookUpdate) -> None:
    assert chain.judge(stranger) is Link.EARLY
    assert chain.last == 20


def test_held_updates_come_back_in_the_order_of_the_chain(chain: Chain) -> None:
    late = [update(50, 60), update(30, 40), update(40, 50)]
    for number, one in enumerate(late):
        assert chain.judge(one) is Link.EARLY
        assert chain.hold(one, 0, 100 + number)
    assert chain.held_since == 100
    assert chain.next_held() is None
    chain.judge(update(20, 30))
    released = []
    while (held := chain.next_held()) is not None:
        assert chain.judge(*held) is Link.FOLLOWS
        released.append(held[0].sequence)
    assert released == [40, 50, 60]
    assert chain.held_since is None


def test_an_early_heartbeat_does_not_displace_the_update_after_it(chain: Chain) -> None:
    for one in (heartbeat(30), update(30, 40), heartbeat(30)):
        assert chain.hold(one, 0, 100)
    chain.judge(update(20, 30))
    assert chain.next_held() == (update(30, 40), 0)


def test_only_so_many_updates_are_held(chain: Chain) -> None:
    for number in range(HELD):
        assert chain.hold(update(1000 + number, 1001 + number), 0, 100)
    assert not chain.hold(update(9000, 9001), 0, 100)


def test_a_broken_chain_names_the_first_that_waited_and_needs_a_snapshot(chain: Chain) -> None:
    chain.hold(update(40, 50), 0, 100)
    chain.hold(update(30, 40), 0, 101)
    assert chain.break_off() == update(40, 50)
    assert chain.last is chain.held_since is None
    assert chain.judge(update(20, 30)) is Link.USELESS
    assert chain.judge(snapshot(70)) is Link.SNAPSHOT
    assert chain.judge(update(70, 80)) is Link.FOLLOWS


def test_after_a_snapshot_what_was_held_can_be_let_go(chain: Chain) -> None:
    chain.hold(update(30, 40), 0, 100)
    chain.judge(snapshot(40))
    assert chain.let_go() == update(30, 40)
    assert chain.let_go() is None
    assert chain.held_since is None


def test_what_another_subscription_begins_with_is_behind_or_ahead_by_its_time(chain: Chain) -> None:
    chain.judge(update(20, 5, timestamp=100))  # renumbered
    assert chain.judge(snapshot(20), carrier=1) is Link.DUPLICATE
    assert chain.judge(msgspec.structs.replace(snapshot(5), timestamp=100), carrier=1) is Link.DUPLICATE
    assert chain.judge(msgspec.structs.replace(snapshot(3), timestamp=200), carrier=1) is Link.AHEAD
    assert chain.last == 5


def test_the_same_subscription_may_begin_anew_at_any_time(chain: Chain) -> None:
    assert chain.judge(snapshot(90)) is Link.SNAPSHOT
    assert chain.last == 90


def test_a_snapshot_that_is_ahead_is_forgotten_once_the_chain_comes_to_it(chain: Chain) -> None:
    ahead = msgspec.structs.replace(snapshot(40), timestamp=2)
    assert chain.judge(ahead, carrier=1) is Link.AHEAD
    chain.hold(ahead, 1, 100)
    chain.hasten(200)
    assert chain.held_since == 200
    chain.judge(update(20, 30, timestamp=2))
    chain.judge(update(30, 40, timestamp=2))
    assert chain.held_since is None
    assert chain.leap(300) is None


def test_while_whoever_brought_the_chain_is_there_a_snapshot_waits_for_as_long_as_it_takes(chain: Chain) -> None:
    chain.hold(msgspec.structs.replace(snapshot(40), timestamp=2), 1, 100)
    assert chain.held_since is None


def test_when_the_missing_does_not_come_the_chain_goes_on_from_the_snapshot_that_waited(chain: Chain) -> None:
    ahead = msgspec.structs.replace(snapshot(40), timestamp=2)
    chain.hold(ahead, 1, 100)
    chain.hold(update(40, 50, timestamp=3), 1, 110)
    assert chain.leap(300) == ahead
    assert chain.last == 40
    assert chain.next_held() == (update(40, 50, timestamp=3), 1)


def test_an_update_held_from_before_a_renumbering_does_not_follow_its_number_after_it(chain: Chain) -> None:
    chain.hold(update(30, 40, timestamp=5), 1, 100)
    chain.judge(update(20, 7, timestamp=10))
    chain.judge(update(7, 30, timestamp=11))
    assert chain.next_held() is None
    assert chain.held_since is None


def test_what_is_older_than_the_chain_is_a_duplicate_also_with_a_higher_number(chain: Chain) -> None:
    chain.judge(update(20, 3, timestamp=10))
    assert chain.judge(update(80, 90, timestamp=5), carrier=1) is Link.DUPLICATE
