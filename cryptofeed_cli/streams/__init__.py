"""What is known of each symbol: its trades, its tickers, its book.

A stream survives its connections. While none of them carries it there is an outage, which is one gap with one cause.
"""

from __future__ import annotations

from cryptofeed_cli.streams.books import CHECKPOINT_MS, BookStream, Sampling
from cryptofeed_cli.streams.group import Stream, Streams
from cryptofeed_cli.streams.tickers import TickerStream
from cryptofeed_cli.streams.trades import TradeStream

__all__ = ["CHECKPOINT_MS", "BookStream", "Sampling", "Stream", "Streams", "TickerStream", "TradeStream"]
