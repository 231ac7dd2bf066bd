"""A recorder of OKX market data that knows what it missed."""

__version__ = "0.1.0"
