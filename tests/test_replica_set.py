"""A replica set as the store: what is written is on a majority, and outlives the primary."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from cryptofeed_cli.errors import StoreUnreachable
from cryptofeed_cli.stores import open_store
from cryptofeed_cli.stores.base import Series
from cryptofeed_cli.types import KINDS, Trade
from tests.mongod import MongodMissing
from tests.processes import environment, run, wait_until
from tests.replica_set import ReplicaSet
from tests.stores.records import NOON, trade

BTC = Series("OKX", "BTC-USDT")


@pytest.fixture(scope="module")
def replicas(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReplicaSet]:
    try:
        with ReplicaSet(tmp_path_factory.mktemp("replicas")) as replicas:
            yield replicas
    except MongodMissing as exc:
        pytest.skip(str(exc))


def test_every_member_gets_what_is_written(replicas: ReplicaSet) -> None:
    with closing(open_store(replicas.url("all"), writable=True)) as store:
        store.write([trade(number) for number in range(100)])

    wait_until(
        lambda: all(replicas.count(member, "all", "trades") == 100 for member in replicas.members),
        "the trades on every member",
    )


def test_what_was_written_outlives_the_primary_and_writing_goes_on(replicas: ReplicaSet) -> None:
    durable: list[Trade] = []
    with closing(open_store(replicas.url("failover"), writable=True)) as store:
        for number in range(20):
            batch = [trade(number * 50 + place, NOON + number) for place in range(50)]
            if number == 10:
                killed = replicas.primary()
                assert killed is not None
                killed.kill()

            def written(batch: list[Trade] = batch) -> bool:
                try:
                    store.write(batch)
                except StoreUnreachable:
                    return False
                return True

            wait_until(written, "a majority that takes the batch")
            durable += batch
        assert list(store.scan(KINDS["trades"], BTC)) == durable
    done = run(["query", "--count", "--store", replicas.url("failover")], environment(Path.cwd()), Path.cwd())
    killed.start()

    assert done.stdout == b"1000\n"
    wait_until(lambda: replicas.count(killed, "failover", "trades") == 1000, "the member that was killed to catch up")
