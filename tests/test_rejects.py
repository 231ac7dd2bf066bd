"""Rejects: verbatim, and bounded."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptofeed_cli.clock import HOUR
from cryptofeed_cli.rejects import KEPT_BYTES, KEPT_PER_HOUR, REASONS, Rejects
from cryptofeed_cli.types import Reject

NOON = 12 * HOUR


class Kept:
    """Rejects and everything they emitted."""

    def __init__(self) -> None:
        self.emitted: list[Reject] = []
        self.rejects = Rejects("OKX", self.emitted.append)


@pytest.fixture
def kept() -> Kept:
    return Kept()


@given(st.binary())
def test_every_frame_can_be_had_back_byte_for_byte(frame: bytes) -> None:
    kept = Kept()
    kept.rejects.keep(frame, "not JSON", NOON)
    text = kept.emitted[0].frame
    text.encode()
    head, _, body = text.partition("base64:")
    assert frame in (text.encode(), base64.b64decode(body) if not head else None)


def test_text_is_kept_as_text_and_the_rest_as_base64(kept: Kept) -> None:
    kept.rejects.keep("{é".encode(), "not JSON", NOON)
    kept.rejects.keep(b"\xff\xfe", "not UTF-8", NOON)
    assert [reject.frame for reject in kept.emitted] == ["{é", "base64://4="]


@pytest.mark.parametrize("character", [b"x", "\u00e9".encode(), b"\xff"], ids=["text", "umlauts", "binary"])
def test_of_a_frame_that_is_too_long_the_beginning_is_kept_and_its_length(kept: Kept, character: bytes) -> None:
    frame = b"{" + character * (3 << 20)
    kept.rejects.keep(frame, "not JSON", NOON)
    text, cut, length = kept.emitted[0].frame.partition(" (cut: ")
    beginning = base64.b64decode(text.removeprefix("base64:")) if text.startswith("base64:") else text.encode()

    assert (cut, length) == (" (cut: ", f"{len(frame)} bytes long)")
    assert frame.startswith(beginning)
    assert KEPT_BYTES - 4 < len(beginning) <= KEPT_BYTES


def test_a_reject_tells_where_it_came_from_and_why(kept: Kept) -> None:
    kept.rejects.keep(b"{", "not JSON", NOON, channel="trades", symbol="BTC-USDT")
    reject = kept.emitted[0]
    assert (reject.received_at, reject.exchange, reject.channel, reject.symbol, reject.reason) == (
        NOON, "OKX", "trades", "BTC-USDT", "not JSON",
    )  # fmt: skip


def test_a_hundred_are_kept_per_reason_and_the_rest_is_counted(kept: Kept) -> None:
    for number in range(KEPT_PER_HOUR + 50):
        kept.rejects.keep(b"x%d" % number, "not JSON", NOON)
        kept.rejects.keep(b"y%d" % number, "unexpected shape", NOON)
    assert [reject.reason for reject in kept.emitted].count("not JSON") == KEPT_PER_HOUR
    assert len(kept.emitted) == 2 * KEPT_PER_HOUR
    assert kept.rejects.count == 2 * (KEPT_PER_HOUR + 50)


def test_every_hour_begins_anew(kept: Kept) -> None:
    for hour in range(3):
        for number in range(KEPT_PER_HOUR + 1):
            kept.rejects.keep(b"%d" % number, "not JSON", NOON + hour * HOUR + number)
    assert len(kept.emitted) == 3 * KEPT_PER_HOUR


def test_reasons_without_end_share_one_budget(kept: Kept) -> None:
    for number in range(2 * REASONS):
        kept.rejects.keep(b"{}", f"unexpected shape {number}", NOON + number)
    assert len(kept.emitted) == REASONS + KEPT_PER_HOUR


def test_two_frames_have_two_identities_and_one_frame_has_one(kept: Kept) -> None:
    for frame, at in ((b"a", NOON), (b"b", NOON), (b"a", NOON + 1), (b"a", NOON)):
        kept.rejects.keep(frame, "not JSON", at)
    identities = [reject.reject_id for reject in kept.emitted]
    assert len(set(identities)) == 3
    assert identities[0] == identities[3]
