"""One connection: every topic is acknowledged or named, no socket is left quiet, nothing is asked for in a hurry."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest

from cryptofeed_cli.clock import MINUTE, SECOND
from cryptofeed_cli.connections import ACK_TIMEOUT, ATTEMPTS, RETRY_AFTER, SHORTEST_REQUEST, Connection, Note, plan
from cryptofeed_cli.exchanges.base import Refused, Topic, Verdict
from cryptofeed_cli.exchanges.okx import Okx
from cryptofeed_cli.feeds.base import Action, Reset, Send, Tick

PING_INTERVAL = 15 * SECOND
TOPICS = [Topic("books", "BTC-USDT"), Topic("tickers", "BTC-USDT"), Topic("tickers", "X-Y")]


class Line:
    """A connection, and what came of it."""

    def __init__(self, topics: Sequence[Topic] = TOPICS) -> None:
        self.actions: list[Action] = []
        self.notes: list[Note] = []
        self.now = Tick(10**18, 10**9)
        self.connection = Connection(
            3, "public", topics, Okx(), PING_INTERVAL, self.actions.append, self.notes.append
        )  # fmt: skip
        self.connection.opened("live", self.now)

    def wait(self, nanoseconds: int, step: int = SECOND) -> None:
        """Let time pass, and hear something all the time."""
        for _ in range(nanoseconds // step):
            self.hear()
            self.tick(step)

    def tick(self, nanoseconds: int) -> None:
        self.now = Tick(self.now.at + nanoseconds, self.now.monotonic + nanoseconds)
        self.connection.check(self.now)

    def hear(self) -> None:
        self.connection.last_heard = self.now.monotonic

    def acknowledge(self, *topics: Topic) -> None:
        for topic in topics:
            self.connection.subscribed(topic, self.now)

    def refuse(
        self, verdict: Verdict, *, topic: Topic | None = None, request_id: str | None = None, code: str = "60018"
    ) -> list[Topic]:
        return self.connection.refused(Refused(code, f"no ({code})", verdict, request_id, topic), self.now)

    def asked(self) -> list[tuple[str, set[Topic]]]:
        """Every request since the last call: its id and its topics."""
        texts = [action.text for action in self.actions if isinstance(action, Send) and action.text != "ping"]
        self.actions[:] = [action for action in self.actions if not isinstance(action, Send) or action.text == "ping"]
        requests = [json.loads(text) for text in texts]
        return [(one["id"], {Topic(arg["channel"], arg["instId"]) for arg in one["args"]}) for one in requests]

    def warnings(self) -> list[str]:
        return [note.text for note in self.notes if note.level == "warning"]


@pytest.fixture
def line() -> Line:
    return Line()


# Asking


def test_everything_is_asked_for_at_once_when_the_socket_opens(line: Line) -> None:
    assert [topics for _, topics in line.asked()] == [set(TOPICS)]


def test_what_is_acknowledged_is_not_asked_for_again(line: Line) -> None:
    line.asked()
    line.acknowledge(*TOPICS)
    line.wait(10 * MINUTE)
    assert line.asked() == []
    assert line.notes == []


def test_what_is_not_acknowledged_is_asked_for_again_in_one_request(line: Line) -> None:
    line.asked()
    line.acknowledge(TOPICS[0])
    line.wait(ACK_TIMEOUT - SECOND)
    assert line.asked() == []
    line.wait(SECOND)
    assert [topics for _, topics in line.asked()] == [set(TOPICS[1:])]


def test_what_stays_without_an_answer_is_named_once(line: Line) -> None:
    line.acknowledge(*TOPICS[1:])
    line.wait(60 * MINUTE)
    assert line.warnings() == ["OKX does not acknowledge books of BTC-USDT"]


def test_silence_is_answered_ever_more_patiently_and_for_ever(line: Line) -> None:
    line.asked()
    line.acknowledge(*TOPICS[1:])
    line.wait(60 * MINUTE)
    first_hour = len(line.asked())
    line.wait(120 * MINUTE)
    assert ATTEMPTS < first_hour < 40
    assert 20 <= len(line.asked()) <= 40


def test_every_request_has_an_id_of_its_own(line: Line) -> None:
    line.wait(10 * MINUTE)
    identities = [identity for identity, _ in line.asked()]
    assert len(identities) > 2
    assert len(set(identities)) == len(identities)
    assert all(identity.isalnum() and len(identity) <= 32 for identity in identities)


def test_a_closed_connection_asks_for_nothing(line: Line) -> None:
    line.asked()
    line.connection.closed()
    line.tick(MINUTE)
    line.connection.renew(TOPICS[:1], line.now)
    assert line.actions == []


def test_a_reopened_connection_asks_for_everything_anew(line: Line) -> None:
    line.acknowledge(*TOPICS)
    line.connection.closed()
    line.asked()
    line.connection.opened("live", line.now)
    assert [topics for _, topics in line.asked()] == [set(TOPICS)]


def test_a_renewal_drops_one_topic_and_asks_for_it_again(line: Line) -> None:
    line.acknowledge(*TOPICS)
    line.asked()
    line.connection.renew(TOPICS[:1], line.now)
    assert [json.loads(action.text)["op"] for action in line.actions if isinstance(action, Send)] == [
        "unsubscribe", "subscribe",
    ]  # fmt: skip
    assert [topics for _, topics in line.asked()] == [{TOPICS[0]}] * 2


def test_while_a_topic_is_being_asked_for_it_is_not_renewed(line: Line) -> None:
    line.asked()
    line.connection.renew(TOPICS[:1], line.now)
    assert line.asked() == []


def test_an_acknowledgement_of_what_nobody_asked_for_means_nothing(line: Line) -> None:
    line.acknowledge(*TOPICS)
    line.acknowledge(*(Topic(f"channel{number}", "Z") for number in range(1000)))
    assert set(line.connection.confirmed) == set(TOPICS)


def test_after_a_request_that_was_too_long_they_become_shorter(line: Line) -> None:
    line = Line([Topic("tickers", f"COIN{number:03d}-USDT") for number in range(400)])
    longest = max(len(action.text) for action in line.actions if isinstance(action, Send))
    for _ in range(6):
        line.asked()
        line.connection.closed()
        allowed = line.connection.ask_for_less()
        assert allowed == max(longest // 2, SHORTEST_REQUEST)
        line.connection.opened("live", line.now)
        longest = max(len(action.text) for action in line.actions if isinstance(action, Send))
        assert longest <= allowed
    assert allowed == SHORTEST_REQUEST
    assert {topic for _, topics in line.asked() for topic in topics} == set(line.connection.topics)


# Refusals


def test_a_refused_topic_is_given_up_and_the_others_go_on(line: Line) -> None:
    line.asked()
    assert line.refuse(Verdict.GIVE_UP_TOPIC, topic=TOPICS[2]) == [TOPICS[2]]
    assert line.connection.topics == TOPICS[:2]
    line.wait(ACK_TIMEOUT)
    assert [topics for _, topics in line.asked()] == [set(TOPICS[:2])]


def test_a_refusal_of_one_among_several_is_found_by_halving(line: Line) -> None:
    ((request, _),) = line.asked()
    assert line.refuse(Verdict.GIVE_UP_TOPIC, request_id=request) == []
    halves = line.asked()
    assert [topics for _, topics in halves] == [{TOPICS[0]}, {TOPICS[1], TOPICS[2]}]
    line.acknowledge(TOPICS[0])
    assert line.refuse(Verdict.GIVE_UP_TOPIC, request_id=halves[1][0]) == []
    singles = line.asked()
    assert [topics for _, topics in singles] == [{TOPICS[1]}, {TOPICS[2]}]
    line.acknowledge(TOPICS[1])
    assert line.refuse(Verdict.GIVE_UP_TOPIC, request_id=singles[1][0]) == [TOPICS[2]]
    assert line.connection.topics == TOPICS[:2]


def test_a_refusal_that_blames_nothing_known_is_named(line: Line) -> None:
    assert line.refuse(Verdict.GIVE_UP_TOPIC, code="60011") == []
    assert line.warnings() == ["OKX refused a request: no (60011)"]
    assert line.connection.topics == TOPICS


def test_a_refusal_of_a_topic_that_was_never_asked_for_gives_nothing_up(line: Line) -> None:
    assert line.refuse(Verdict.GIVE_UP_TOPIC, topic=Topic("candle1m", "BTC-USDT")) == []
    assert line.connection.topics == TOPICS


@pytest.mark.parametrize("named", [True, False], ids=["one topic", "the whole request"])
def test_a_busy_exchange_is_asked_again_later_for_all_it_refused(line: Line, named: bool) -> None:
    ((request, _),) = line.asked()
    refused = TOPICS[:1] if named else TOPICS
    line.acknowledge(*set(TOPICS) - set(refused))
    line.refuse(Verdict.RETRY, topic=TOPICS[0] if named else None, request_id=request, code="60014")
    assert line.asked() == []
    line.wait(RETRY_AFTER)
    assert [topics for _, topics in line.asked()] == [set(refused)]
    assert line.connection.topics == TOPICS


def test_a_busy_exchange_is_asked_ever_more_patiently(line: Line) -> None:
    ((request, _),) = line.asked()
    requests = 0
    line.refuse(Verdict.RETRY, request_id=request, code="60014")
    for _ in range(60 * 60):
        line.wait(SECOND)
        for again, _ in line.asked():
            requests += 1
            line.refuse(Verdict.RETRY, request_id=again, code="60014")
    assert 10 < requests < 60
    assert line.connection.topics == TOPICS


# Keeping alive


def test_a_quiet_socket_is_pinged(line: Line) -> None:
    line.acknowledge(*TOPICS)
    line.asked()
    line.tick(PING_INTERVAL - 1)
    assert line.actions == []
    line.tick(1)
    assert line.actions == [Send(3, "ping")]


def test_a_busy_socket_is_not_pinged(line: Line) -> None:
    line.acknowledge(*TOPICS)
    line.asked()
    line.wait(10 * MINUTE)
    assert line.actions == []


def test_a_socket_that_answers_no_ping_is_given_up_once(line: Line) -> None:
    line.acknowledge(*TOPICS)
    line.asked()
    line.tick(PING_INTERVAL)
    line.tick(PING_INTERVAL - 1)
    assert line.actions == [Send(3, "ping")]
    line.tick(1)
    line.tick(SECOND)
    assert line.actions[1:] == [Reset(3, "no answer to a ping")]


def test_any_frame_after_a_ping_is_a_sign_of_life(line: Line) -> None:
    line.acknowledge(*TOPICS)
    line.asked()
    line.tick(PING_INTERVAL)
    line.now = Tick(line.now.at + 1, line.now.monotonic + 1)
    line.hear()
    line.tick(PING_INTERVAL - 1)
    assert line.actions == [Send(3, "ping")]
    line.tick(1)
    assert line.actions == [Send(3, "ping")] * 2


# Dividing


def symbols(count: int) -> list[str]:
    return [f"COIN{number:03d}-USDT" for number in range(count)]


def divided(count: int) -> list[tuple[str, list[Topic]]]:
    wanted = [("trades-all", "business", False), ("tickers", "public", False), ("books", "public", True)]
    return plan(
        Okx(),
        [(Topic(channel, symbol), endpoint, deep) for symbol in symbols(count) for channel, endpoint, deep in wanted],
    )


@pytest.mark.parametrize(("count", "sockets"), [(1, 1), (29, 1), (30, 2), (58, 2), (59, 3), (300, 11)])
def test_no_socket_carries_thirty_deep_topics(count: int, sockets: int) -> None:
    public = [topics for endpoint, topics in divided(count) if endpoint == "public"]
    assert len(public) == sockets
    for topics in public:
        assert 0 < sum(topic.channel == "books" for topic in topics) < 30


def test_every_topic_is_on_exactly_one_socket() -> None:
    topics = [topic for _, members in divided(70) for topic in members]
    assert sorted(topics) == sorted(
        Topic(channel, symbol) for symbol in symbols(70) for channel in ("trades-all", "tickers", "books")
    )


def test_the_topics_of_a_symbol_share_a_socket() -> None:
    for _, topics in divided(70):
        channels = {topic.channel for topic in topics}
        assert len(topics) == len(channels) * len({topic.symbol for topic in topics})


def test_each_topic_is_on_the_socket_that_serves_it() -> None:
    for endpoint, topics in divided(40):
        served = {"trades-all"} if endpoint == "business" else {"tickers", "books"}
        assert {topic.channel for topic in topics} == served


@pytest.mark.parametrize("length", [10, 300, 3000], ids=["short names", "long names", "very long names"])
def test_no_request_is_larger_than_the_exchange_takes(length: int) -> None:
    topics = [Topic("tickers", f"{number:0{length}d}-USDT") for number in range(500)]
    line = Line(topics)
    texts = [action.text for action in line.actions if isinstance(action, Send)]
    assert all(len(text.encode()) < 64 * 1024 for text in texts)
    requests = line.asked()
    assert sum(len(members) for _, members in requests) == 500
    assert {topic for _, members in requests for topic in members} == set(topics)
    assert len(requests) <= max(500 // 200 + 1, 500 * (length + 60) // (60 * 1024) + 1)
