"""What the README and the helps show: every command of theirs runs, as it is written, against a simulated exchange."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from cryptofeed_cli.cli.main import app
from tests.processes import COMMAND, PATIENCE, Serving, environment, wait_until
from tests.proxies import RealProxy

README = Path(__file__).parents[1] / "README.md"
SYMBOLS = ("BTC-USDT-SWAP", "BTC-USDT", "ETH-USDT")
EXAMPLE = re.compile(r"(?:Example: )?(cryptofeed .*?)(?:\s+#.*)?")
_READ_JSON = """
import json, sys
text = sys.stdin.read().strip()
while text:
    value, end = json.JSONDecoder().raw_decode(text)
    text = text[end:].strip()
    print(value)
"""
SHIMS = {
    "cryptofeed": shlex.join(COMMAND) + ' "$@"',
    "jq": f"{sys.executable} -c {shlex.quote(_READ_JSON)}",
    "your-strategy": "cat",
}
"""Programs that the examples run, for who has none of them."""
UNUSUAL = {
    "cryptofeed query book ": 6,  # no book of that day
    "cryptofeed status --certify": 6,  # no trades of that day
    "cryptofeed status": 5,  # no recorder runs any more
}
"""What else than 0 an example ends with here, and why."""


def shown() -> list[str]:
    """Return the commands of the README and of every help, without what is said about them."""
    lines = [line[4:] for line in README.read_text().splitlines() if line.startswith("    ")]
    for command in app.registered_commands:
        lines += (command.epilog or "").splitlines()
    return list(dict.fromkeys(match[1] for line in lines if (match := EXAMPLE.fullmatch(line))))


def made_short(example: str) -> str:
    """Let an example end by itself soon."""
    example = re.sub(r"--duration \w+", "--duration 1s", example)
    if example.startswith(("cryptofeed record", "cryptofeed simulate")) and "--duration" not in example:
        example += " --duration 1s"
    return example


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, dict[str, str]]]:
    """A directory with the recording of a few seconds, and the variables for more of it; the exchange is made up."""
    path = tmp_path_factory.mktemp("place")
    programs = path / "programs"
    programs.mkdir()
    for name, line in SHIMS.items():
        (programs / name).write_text(f"#!/bin/sh\nexec {line}\n")
        (programs / name).chmod(0o755)
    with Serving(*SYMBOLS, "--rate", "200", cwd=path) as server:
        variables = environment(path, **server.variables)
        variables["PATH"] = f"{programs}:{variables['PATH']}"
        options = "--channels trades,tickers,orderbooks,book_updates --tape tapes --duration 3s"
        recorded = shell(f"cryptofeed record {' '.join(SYMBOLS)} {options}", path, variables)
        assert recorded.returncode == 0, recorded.stderr
        yield path, variables


@pytest.fixture(scope="module")
def proxy() -> Iterator[RealProxy]:
    """A proxy on loopback."""
    with RealProxy() as running:
        yield running


def shell(line: str, path: Path, variables: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a line to its end; what watches is stopped once it has shown something."""
    with (path / "out").open("w+") as out, (path / "err").open("w+") as err:
        process = subprocess.Popen(
            ["bash", "-o", "pipefail", "-c", line], cwd=path, env=variables, stdin=subprocess.DEVNULL, stdout=out,
            stderr=err, start_new_session=True,
        )  # fmt: skip
        try:
            if "--watch" in line:
                wait_until(lambda: (path / "out").stat().st_size, "the first picture")
                os.killpg(process.pid, signal.SIGINT)
            code = process.wait(PATIENCE)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    return subprocess.CompletedProcess(line, code, (path / "out").read_text(), (path / "err").read_text())


@pytest.mark.parametrize("example", shown())
def test_an_example_runs_as_it_is_written(
    place: tuple[Path, dict[str, str]], proxy: RealProxy, mongo_url: str, example: str
) -> None:
    path, variables = place
    line = made_short(example).replace("mongodb://localhost/market", mongo_url).replace(" wg0", " lo")
    line = line.replace("--serve 8765", "--serve 0").replace("--metrics 9108", "--metrics 0")
    expected = next((code for start, code in UNUSUAL.items() if example.startswith(start)), 0)

    done = shell(line.replace("socks5h://127.0.0.1:1080", proxy.url("socks5h")), path, variables)

    assert done.returncode == expected, done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "example",
    [one for one in shown() if re.match("cryptofeed (query|replay)", one) and not re.search("2026|gaps|--serve", one)],
)
def test_an_example_that_reads_prints_what_was_recorded_once_it_asks_for_simulated_data(
    place: tuple[Path, dict[str, str]], example: str
) -> None:
    path, variables = place
    command, *rest = example.split(" | ")

    force = "--force" if " -o " in command else ""
    done = shell(" | ".join([f"{command} --source simulated {force}", *rest]), path, variables)

    assert done.returncode == 0, done.stderr
    assert done.stdout or force


@pytest.mark.parametrize("name", [command.name or command.callback.__name__ for command in app.registered_commands])  # type: ignore[union-attr]
def test_every_command_shows_an_example_in_its_help(name: str) -> None:
    assert any(one.startswith(f"cryptofeed {name}") for one in shown())
