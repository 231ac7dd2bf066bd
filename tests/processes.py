"""The program as a user runs it: real processes, their output and exit codes; waits for events, never for time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tests.okx_server import OkxServer

COMMAND = (sys.executable, "-m", "cryptofeed_cli")
PATIENCE = 60.0


def environment(home: Path, server: OkxServer | None = None, **variables: str) -> dict[str, str]:
    """Return an environment without any configuration but ``variables``, pointed at ``server``."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("CRYPTOFEED_", "XDG_")) and not name.lower().endswith("_proxy")
    }
    urls = {} if server is None else {
        "CRYPTOFEED_OKX_PUBLIC_URL": server.public_url,
        "CRYPTOFEED_OKX_BUSINESS_URL": server.business_url,
        "CRYPTOFEED_OKX_REST_URL": server.rest_url,
        "CRYPTOFEED_NETWORK_RETRY_INITIAL": "100ms",
    }  # fmt: skip
    return {**kept, "HOME": str(home), "CRYPTOFEED_DATA_DIR": str(home), **urls, **variables}


def run(arguments: Sequence[str], env: Mapping[str, str], cwd: Path) -> subprocess.CompletedProcess[bytes]:
    """Run the command to its end."""
    return subprocess.run([*COMMAND, *arguments], capture_output=True, env=dict(env), cwd=cwd, timeout=PATIENCE)


def query(store: str, *arguments: str, cwd: Path) -> bytes:
    """Return what ``query`` prints; it must succeed."""
    done = run(["query", *arguments, "--store", store], environment(cwd), cwd)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def wait_until(true: Callable[[], object], what: str, patience: float = PATIENCE) -> None:
    """Wait until something holds; fail with ``what`` when it does not come to hold."""
    deadline = time.monotonic() + patience
    while not true():
        assert time.monotonic() < deadline, f"waited {patience:.0f} s in vain for {what}"
        time.sleep(0.05)


class Recording:
    """A ``record`` process, a context manager that leaves none behind."""

    def __init__(self, arguments: Sequence[str], env: Mapping[str, str], cwd: Path) -> None:
        self._log = cwd / "record.log"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [*COMMAND, "record", *arguments], env=dict(env), cwd=cwd, stdout=subprocess.PIPE, stderr=log
            )

    def __enter__(self) -> Recording:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()

    @property
    def said(self) -> str:
        """What it wrote on stderr so far."""
        return self._log.read_text()

    def wait_for_line(self, part: str) -> None:
        """Wait until stderr holds ``part``."""
        wait_until(lambda: part in self.said, f"{part!r} on stderr, which says: {self.said}")

    def stop(self, number: int = signal.SIGINT) -> int:
        """Send a signal and return the exit code."""
        self.process.send_signal(number)
        return self.process.wait(PATIENCE)


class Serving:
    """A ``simulate --serve`` process, or another command's, on a port of its own, which it does not leave behind."""

    def __init__(self, *arguments: str, cwd: Path, command: str = "simulate") -> None:
        self._log = cwd / "serve.log"
        with self._log.open("wb") as log:
            line = [*COMMAND, command, *arguments, "--serve", "0"]
            self.process = subprocess.Popen(line, env=environment(cwd), cwd=cwd, stderr=log)
        wait_until(lambda: "REST_URL=" in self.said or self.process.poll() is not None, "the server's addresses")
        words = [word.partition("=") for word in self.said.split() if word.startswith("CRYPTOFEED_")]
        self.variables = {name: value for name, _, value in words}
        self.rest_url = self.variables["CRYPTOFEED_OKX_REST_URL"]

    def __enter__(self) -> Serving:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(PATIENCE)

    @property
    def said(self) -> str:
        """What it wrote on stderr so far."""
        return self._log.read_text()
