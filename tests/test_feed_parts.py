"""The parts of the live feed that need no socket, or no exchange."""

from __future__ import annotations

import random
import socket
import threading
import time
from contextlib import ExitStack

import pytest

from cryptofeed_cli.clock import MILLISECOND, SECOND, SystemClock
from cryptofeed_cli.feeds.base import Frame
from cryptofeed_cli.feeds.buffer import EVENT_BYTES, EventBuffer
from cryptofeed_cli.feeds.pacing import Backoff, Limiter
from cryptofeed_cli.feeds.stream import ForwardClock, Stream


class SetClock:
    """Shows what it is set to."""

    def __init__(self) -> None:
        self.wall = 0
        self.steady = 0

    def now(self) -> int:
        return self.wall

    def monotonic(self) -> int:
        return self.steady


def frame(number: int) -> Frame:
    return Frame(1, b"%d" % number, number, number)


def never() -> bool:
    return False


def start(target: object, *args: object) -> threading.Thread:
    thread = threading.Thread(target=target, args=args, daemon=True)  # type: ignore[arg-type]
    thread.start()
    return thread


def test_waits_double_up_to_the_cap_and_lie_between_half_and_all_of_it() -> None:
    backoff = Backoff(SECOND, 5 * SECOND, random.Random(1))
    for ceiling in (1, 2, 4, 5, 5, 5):
        assert ceiling * SECOND / 2 <= backoff.next() <= ceiling * SECOND


def test_waits_begin_again_after_a_reset() -> None:
    backoff = Backoff(SECOND, 30 * SECOND, random.Random(1))
    for _ in range(100):
        backoff.next()
    backoff.reset()
    assert backoff.next() <= SECOND


def test_two_processes_that_fail_together_do_not_return_together() -> None:
    first, second = (Backoff(SECOND, 30 * SECOND, random.Random(seed)) for seed in (1, 2))
    assert [first.next() for _ in range(3)] != [second.next() for _ in range(3)]


def test_the_limiter_lets_no_more_through_in_any_period_whenever_each_visit_is_counted() -> None:
    clock, rng = SetClock(), random.Random(1)
    limiter = Limiter(3, SECOND, clock)
    under_way: list[tuple[int, int, ExitStack]] = []
    counted: list[int] = []
    while len(counted) < 100:
        for visit in [visit for visit in under_way if visit[1] <= clock.steady]:
            under_way.remove(visit)
            counted.append(rng.randrange(visit[0], visit[1] + 1))
            visit[2].close()
        while limiter.enter() == 0:
            stack = ExitStack()
            stack.enter_context(limiter.visit())
            under_way.append((clock.steady, clock.steady + rng.randrange(SECOND), stack))
        clock.steady += 7 * MILLISECOND
    counted.sort()
    assert all(later - earlier >= SECOND for earlier, later in zip(counted, counted[3:], strict=False))


def test_the_limiter_tells_how_long_to_wait() -> None:
    clock = SetClock()
    limiter = Limiter(1, SECOND, clock)
    assert limiter.enter() == 0
    assert limiter.enter() > 0  # nobody knows how long the visit takes
    with limiter.visit():
        clock.steady = SECOND
    clock.steady += SECOND // 4
    assert limiter.enter() == SECOND * 3 // 4


def test_a_visit_that_fails_gives_its_place_back() -> None:
    clock = SetClock()
    limiter = Limiter(1, SECOND, clock)
    assert limiter.enter() == 0
    with pytest.raises(OSError, match="refused"), limiter.visit():
        raise OSError("refused")
    clock.steady += SECOND
    assert limiter.enter() == 0


def test_everything_is_taken_at_once_and_in_order() -> None:
    buffer = EventBuffer(1 << 20, 100)
    for number in range(3):
        buffer.put(frame(number), 1, never)
    assert [event.at for event in buffer.take(0)] == [0, 1, 2]
    assert buffer.take(0) == []


def test_taking_waits_for_the_first_event() -> None:
    buffer = EventBuffer(1 << 20, 100)
    taken: list[object] = []
    taker = start(lambda: taken.extend(buffer.take(10)))
    buffer.put(frame(1), 1, never)
    taker.join(5)
    assert taken == [frame(1)]


@pytest.mark.parametrize("bounds", [(1 << 20, 2), (2 * (EVENT_BYTES + 1), 100)], ids=["count", "bytes"])
def test_a_full_buffer_makes_the_producer_wait_and_loses_nothing(bounds: tuple[int, int]) -> None:
    buffer = EventBuffer(*bounds)
    producer = start(lambda: [buffer.put(frame(number), 1, never) for number in range(50)])
    taken: list[object] = []
    while len(taken) < 50 and (events := buffer.take(5)):
        assert len(events) <= 2
        taken += events
    producer.join(5)
    assert taken == list(map(frame, range(50)))
    assert buffer.depth().most_events == 2
    assert buffer.depth().waits > 0


def test_one_event_above_the_bound_still_passes() -> None:
    buffer = EventBuffer(10, 10)
    assert buffer.put(frame(1), 1000, never)
    assert buffer.depth().most_bytes == 1000 + EVENT_BYTES


def test_a_producer_that_gives_up_adds_nothing_more() -> None:
    buffer = EventBuffer(1 << 20, 1)
    given_up = threading.Event()
    buffer.put(frame(1), 1, never)
    outcome: list[bool] = []
    producer = start(lambda: outcome.append(buffer.put(frame(2), 1, given_up.is_set)))
    given_up.set()
    buffer.recheck()
    producer.join(5)
    assert outcome == [False]
    assert buffer.take(0) == [frame(1)]
    assert not buffer.put(frame(3), 1, given_up.is_set)


def test_closing_the_buffer_wakes_producer_and_taker() -> None:
    full, empty = EventBuffer(1 << 20, 1), EventBuffer(1 << 20, 1)
    full.put(frame(1), 1, never)
    threads = [start(full.put, frame(2), 1, never), start(empty.take, 60)]
    full.close()
    empty.close()
    for thread in threads:
        thread.join(5)
        assert not thread.is_alive()


def test_what_the_taker_causes_itself_is_added_above_the_bound() -> None:
    buffer = EventBuffer(1 << 20, 1)
    for number in range(3):
        buffer.put_now(frame(number))
    assert len(buffer.take(0)) == 3


def test_time_stands_still_while_the_wall_clock_goes_back() -> None:
    clock = SetClock()
    forward = ForwardClock(clock)
    seen = []
    for clock.wall in (5, 9, 3, 8, 10):
        seen.append(forward.now())
    assert seen == [5, 9, 9, 9, 10]


def test_a_posted_text_is_delivered_by_the_owner_while_it_waits_to_receive() -> None:
    ours, theirs = socket.socketpair()
    stream = Stream(ours, SystemClock(), patience=SECOND)
    stream.allow(100)
    stream.deliver = lambda text: stream.send(text.encode())
    received: list[bytes] = []
    owner = start(lambda: received.append(stream.recv(10)))
    stream.post("hello")
    theirs.settimeout(5)
    assert theirs.recv(10) == b"hello"
    theirs.sendall(b"x")
    owner.join(5)
    assert received == [b"x"]
    stream.close()
    theirs.close()


def test_a_send_that_nobody_reads_times_out() -> None:
    ours, theirs = socket.socketpair()
    stream = Stream(ours, SystemClock(), patience=SECOND // 10)
    with pytest.raises(TimeoutError):
        stream.send(b"x" * (64 << 20))
    stream.close()
    theirs.close()


def test_an_interruption_ends_a_send_that_nobody_reads() -> None:
    ours, theirs = socket.socketpair()
    stream = Stream(ours, SystemClock(), patience=60 * SECOND)
    reasons: list[str] = []

    def send() -> None:
        with pytest.raises(ConnectionAbortedError) as interruption:
            stream.send(b"x" * (64 << 20))
        reasons.append(str(interruption.value))

    owner = start(send)
    stream.interrupt("enough")
    owner.join(5)
    assert reasons == ["enough"]
    stream.close()
    theirs.close()


def test_waiting_costs_no_processor_time_after_a_post_in_the_middle_of_a_send() -> None:
    ours, theirs = socket.socketpair()
    stream = Stream(ours, SystemClock(), patience=SECOND // 2)
    stream.deliver = [].append
    stream.post("waits until the send is over")
    before = time.thread_time()
    with pytest.raises(TimeoutError):
        stream.send(b"x" * (8 << 20))
    assert time.thread_time() - before < 0.25
    stream.close()
    theirs.close()


def test_requests_that_pile_up_unsent_end_the_connection() -> None:
    ours, theirs = socket.socketpair()
    stream = Stream(ours, SystemClock(), patience=SECOND)
    stream.allow(100)
    stream.deliver = [].append
    for _ in range(1001):
        stream.post("x")
    with pytest.raises(ConnectionAbortedError, match="more than 1000 requests wait to be sent"):
        stream.recv(1)
    stream.close()
    theirs.close()
