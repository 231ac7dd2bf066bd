"""Three real MongoDB servers on loopback as one replica set, for the tests; knows nothing of ours."""

from __future__ import annotations

from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from pymongo import MongoClient
from pymongo.errors import PyMongoError

from tests.mongod import Mongod
from tests.processes import wait_until

NAME = "rs0"


class ReplicaSet:
    """A set of three; a context manager. Set up as ``docs/scaling.md`` tells."""

    def __init__(self, directory: Path) -> None:
        options = ("--replSet", NAME, "--oplogSize", "64")
        self.members = [Mongod(directory / str(number), *options) for number in range(3)]
        self._stack = ExitStack()

    def __enter__(self) -> ReplicaSet:
        for member in self.members:
            member.start()
            self._stack.callback(member.kill)  # in good order a secondary would wait for the others first
        first = self.members[0]
        members = [{"_id": number, "host": f"127.0.0.1:{one.port}"} for number, one in enumerate(self.members)]
        settings = {"electionTimeoutMillis": 2000, "heartbeatIntervalMillis": 500}
        with self._ask(first) as client:
            client.admin.command("replSetInitiate", {"_id": NAME, "members": members, "settings": settings})
        wait_until(lambda: self.primary() is not None, "a primary")
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def url(self, database: str) -> str:
        """Return where all of them are to be found."""
        hosts = ",".join(f"127.0.0.1:{member.port}" for member in self.members)
        return f"mongodb://{hosts}/{database}?replicaSet={NAME}"

    def primary(self) -> Mongod | None:
        """Return the member that takes writes; None: there is none just now."""
        for member in self.members:
            with suppress(PyMongoError), self._ask(member) as client:
                if client.admin.command("hello")["isWritablePrimary"]:
                    return member
        return None

    def count(self, member: Mongod, database: str, collection: str) -> int:
        """Count what one member has, primary or not; -1 while it does not say, since it starts or catches up."""
        with suppress(PyMongoError), self._ask(member) as client:
            return int(client[database][collection].count_documents({}))
        return -1

    @staticmethod
    def _ask(member: Mongod) -> MongoClient[dict[str, Any]]:
        return MongoClient(member.url, directConnection=True, serverSelectionTimeoutMS=1000, socketTimeoutMS=5000)
