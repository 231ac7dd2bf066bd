"""The log: one harmless line per event, on stderr and in a rotated file."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptofeed_cli import logs
from cryptofeed_cli.printable import escape, escape_lines, hide_secrets

LOG = logging.getLogger("cryptofeed_cli.feeds.live")
ANY_TEXT = st.text(st.characters(exclude_categories=()))


@pytest.fixture(autouse=True)
def _restore() -> Iterator[None]:
    root, ours = logging.getLogger(), logging.getLogger(logs.ROOT)
    handlers, level = root.handlers[:], ours.level
    yield
    for handler in root.handlers:
        if handler not in handlers:
            handler.close()
    root.handlers[:] = handlers
    ours.setLevel(level)


def start(*, level: str = "info", form: str = "text", file: Path | None = None) -> io.StringIO:
    stream = io.StringIO()
    logs.configure(level=level, form=form, file=file, stream=stream)
    return stream


def fail(words: str) -> None:
    raise ValueError(words)


def log_failure(words: str) -> None:
    try:
        fail(words)
    except ValueError:
        LOG.exception("cannot go on")


def test_a_line_says_when_how_bad_who_and_what() -> None:
    stream = start()
    LOG.warning("%s is away", "OKX")

    date, time, *rest = stream.getvalue().split(" ", 2)
    assert len(f"{date} {time}") == len("2026-11-22 12:34:56")
    assert rest == ["warning feeds.live: OKX is away\n"]


def test_json_is_one_object_a_line() -> None:
    stream = start(form="json")
    LOG.warning("%s is away\n", "OKX")
    log_failure("x")

    first, second = map(json.loads, stream.getvalue().splitlines())
    assert first.pop("time").endswith("Z")
    assert first == {"level": "warning", "logger": "feeds.live", "message": "OKX is away\\n"}
    assert second["error"] == "ValueError: x"
    assert "in fail" in second["traceback"]


@pytest.mark.parametrize(("level", "lines"), [("debug", 4), ("info", 3), ("warning", 2), ("error", 1)])
def test_the_level_decides_what_is_said(level: str, lines: int) -> None:
    stream = start(level=level)
    for say in (LOG.debug, LOG.info, LOG.warning, LOG.error):
        say("hello")

    assert stream.getvalue().count("\n") == lines


def test_libraries_are_heard_from_warnings_on_only() -> None:
    stream = start(level="debug")
    logging.getLogger("urllib3").info("chatter")
    logging.getLogger("urllib3").warning("trouble")

    assert "chatter" not in stream.getvalue()
    assert "urllib3: trouble" in stream.getvalue()


def test_a_traceback_is_shown_at_level_debug_only() -> None:
    calm, verbose = start(), None
    log_failure("x")
    verbose = start(level="debug")
    log_failure("x")

    assert calm.getvalue().endswith("error feeds.live: cannot go on: ValueError: x\n")
    assert calm.getvalue().count("\n") == 1
    assert "in fail" in verbose.getvalue()


@pytest.mark.parametrize("form", ["text", "json"])
def test_no_control_character_and_no_password_gets_through(form: str) -> None:
    stream = start(form=form, level="debug")
    LOG.warning("frame %s from %s", "\x1b[2J\r\n\x9b\u202e\udc80", "mongodb://user:hunter2@host/db")
    log_failure("\x1b[2J at socks5h://user:hunter2@host")

    text = stream.getvalue()
    assert "hunter2" not in text
    assert text == escape_lines(text)


def test_a_second_configuration_replaces_the_first() -> None:
    first, second = start(), start()
    LOG.info("hello")

    assert first.getvalue() == ""
    assert second.getvalue().count("\n") == 1


def test_a_file_gets_the_same_lines_and_is_rotated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "FILE_BYTES", 1000)
    stream = start(file=tmp_path / "log")
    for number in range(200):
        LOG.info("line %d", number)

    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == ["log", *(f"log.{number}" for number in range(1, logs.FILE_COUNT + 1))]
    assert all(path.stat().st_size <= 1000 for path in tmp_path.iterdir())
    assert stream.getvalue().endswith((tmp_path / "log").read_text())


def test_a_file_that_cannot_be_written_is_refused_and_the_log_stays(tmp_path: Path) -> None:
    stream = start()
    with pytest.raises(OSError, match="No such file or directory"):
        logs.configure(level="info", form="text", file=tmp_path / "absent" / "log", stream=None)
    LOG.info("hello")

    assert "hello" in stream.getvalue()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_is_said_once_and_does_not_stop_the_work(capsys: pytest.CaptureFixture[str]) -> None:
    stream = io.StringIO()
    logs.configure(level="info", form="text", file=Path("/dev/full"), stream=stream)
    LOG.info("one")
    LOG.info("two")

    assert stream.getvalue().count("\n") == 2
    assert capsys.readouterr().err == "cryptofeed: log file /dev/full: OSError: [Errno 28] No space left on device\n"


def test_a_closed_stream_is_borne_in_silence(capsys: pytest.CaptureFixture[str]) -> None:
    stream = start()
    stream.close()
    LOG.info("hello")

    assert capsys.readouterr().err == ""


@given(ANY_TEXT)
def test_escaped_text_is_one_encodable_line_and_stays_as_it_is(text: str) -> None:
    shown = escape(text)

    assert len((shown + "x").splitlines()) == 1
    assert shown.encode().decode() == shown
    assert escape(shown) == shown
    assert not any(ord(character) < 32 or 0x7F <= ord(character) < 0xA0 for character in shown)


@given(st.lists(st.text()))
def test_escaped_json_lines_are_the_same_json_lines(texts: list[str]) -> None:
    lines = "\n".join(json.dumps(text, ensure_ascii=False) for text in texts)
    shown = escape_lines(lines).split("\n") if texts else []

    assert [json.loads(line) for line in shown] == texts


@given(st.from_regex(r"[a-z0-9]{0,8}", fullmatch=True), st.from_regex(r"[!-~ ]{1,20}", fullmatch=True))
def test_whatever_a_password_is_made_of_it_is_hidden(user: str, password: str) -> None:
    secret = f"<{password}>"

    assert secret not in hide_secrets(f"cannot reach mongodb://{user}:{secret}@host/db")


@pytest.mark.parametrize(
    "text",
    [
        "sqlite:////data/market.db",
        "mongodb://host:27017/db?replicaSet=rs0",
        "12:34:56 sent 3 frames to wss://ws.okx.com:443/ws/v5/public",
        "socks5h://user@host:1080",
    ],
)
def test_text_without_a_password_stays_as_it_is(text: str) -> None:
    assert hide_secrets(text) == text
