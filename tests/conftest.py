"""What tests of several modules share: one real MongoDB server, one database a test; signals as they were."""

from __future__ import annotations

import signal
from collections.abc import Generator, Iterator
from uuid import uuid4

import pytest
from hypothesis import settings
from pymongo import MongoClient

from cryptofeed_cli.cli.signals import SIGNALS
from tests.mongod import Mongod, MongodMissing

settings.register_profile("seeded", derandomize=True, deadline=None)
settings.load_profile("seeded")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Make what a test wrote fit to be sent to the process that reports: tests write what is no text, too."""
    report = yield
    report.sections = [(name, text.encode(errors="backslashreplace").decode()) for name, text in report.sections]
    return report


@pytest.fixture(autouse=True)
def signals() -> Iterator[None]:
    """Take back what a command that runs within the test's own process does to signals."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(scope="session")
def mongod(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mongod]:
    """A running server; the tests that need one are skipped where there is none."""
    server = Mongod(tmp_path_factory.mktemp("mongod"))
    try:
        server.start()
    except MongodMissing as exc:
        pytest.skip(str(exc))
    yield server
    server.stop()


@pytest.fixture
def mongo_url(mongod: Mongod) -> Iterator[str]:
    """The URL of a database of the test's own, which is empty."""
    name = f"test_{uuid4().hex[:12]}"
    yield f"{mongod.url}/{name}"
    with MongoClient(mongod.url) as client:
        client.drop_database(name)
