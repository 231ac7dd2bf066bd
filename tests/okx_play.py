"""Serve a market on loopback to whoever connects, for a while: ``python -m tests.okx_play --help``."""

from __future__ import annotations

import argparse
import contextlib
import random
import time

from tests.captures import capture_market
from tests.okx_market import Market, generate
from tests.okx_server import SYMBOLS, OkxServer


def main() -> None:
    """Print the three URLs, wait for a subscription, play, and stop when the time is over."""
    parser = argparse.ArgumentParser(description="An OKX-speaking server on loopback.")
    parser.add_argument("--play", choices=("capture", "generated"), default="generated")
    parser.add_argument("--speed", type=float, default=1.0, help="how many times real time")
    parser.add_argument("--seconds", type=float, default=300.0, help="after which it stops by itself")
    parser.add_argument("--port", type=int, default=0)
    options = parser.parse_args()
    market: Market | None = None
    if options.play == "capture":
        market, tape = capture_market()
    else:
        tape = generate(SYMBOLS, int(options.seconds * 100), random.Random(), time.time_ns() // 10**6)
    with OkxServer(market, port=options.port) as server:
        print(server.public_url, server.business_url, server.rest_url, sep="\n", flush=True)  # noqa: T201
        end = time.monotonic() + options.seconds
        with contextlib.suppress(AssertionError):  # nobody came
            server.wait_for("subscribe", timeout=options.seconds)
            server.play(tape, speed=options.speed)
        time.sleep(max(0.0, end - time.monotonic()))


if __name__ == "__main__":
    main()
