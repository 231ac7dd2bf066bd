"""Real frames, read where $CRYPTOFEED_CAPTURES says; without it, tests that need them are skipped."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.okx_market import Market, Push, chain, instrument

SYMBOLS = ("BTC-USDT", "UNI-USD-SWAP", "BTC-USD-220527")
"""What the 10.8 seconds of 2022-05-13 are about."""
INSTRUMENTS = (
    instrument("BTC-USDT"),
    instrument("UNI-USD-SWAP", ctVal="10", ctType="inverse", settleCcy="UNI", tickSz="0.001"),
    instrument("BTC-USD-220527", ctVal="100", ctType="inverse", settleCcy="BTC", expTime="1653638400000"),
)


def captures() -> Path:
    """Return the directory of the captures, or skip the test."""
    directory = os.environ.get("CRYPTOFEED_CAPTURES")
    if not directory:
        pytest.skip("CRYPTOFEED_CAPTURES is not set: no real frames to test with")
    return Path(directory)


@cache
def received_frames() -> tuple[tuple[float, bytes], ...]:
    """Return every frame of the 2022 capture that was received, acks too, as (unix seconds, bytes)."""
    lines = (captures() / "cryptofeed-2022-05/OKX.ws.1.0").read_bytes().splitlines()
    received = (line.split(b": ", 1) for line in lines if line[:1].isdigit())
    return tuple((float(seconds), frame) for seconds, frame in received)


def capture_tape() -> list[Push]:
    """Return the data frames of the 2022 capture, a sequence chain on its books, the same at every call."""
    return list(chain(_pushes(), random.Random(2022)))


def capture_market() -> tuple[Market, list[Push]]:
    """Return a market that knows the first push of each topic, as at its opening, and the rest to be played."""
    market = Market(INSTRUMENTS)
    rest, opened = [], set()
    for push in capture_tape():
        topic = push.channel, push.symbol
        if topic in opened:
            rest.append(push)
            continue
        opened.add(topic)
        for _ in market.publish(push):
            pass
    return market, rest


def _pushes() -> Iterator[Push]:
    last = None
    for seconds, frame in received_frames():
        message = json.loads(frame)
        if "event" in message:
            continue
        channel, symbol = message["arg"]["channel"], message["arg"]["instId"]
        for row in message["data"]:
            yield Push(0.0 if last is None else seconds - last, channel, symbol, row, message.get("action"))
            last = seconds
