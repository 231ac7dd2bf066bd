"""The one dialer, for WebSocket and REST: every socket to the exchange is made here; knows no protocol above TLS.

Nothing of it reads the environment by itself, so no connection takes another way than the one that was chosen.
"""

from __future__ import annotations

from cryptofeed_cli.network.dialer import USER_AGENT, Dialer
from cryptofeed_cli.network.reasons import explain
from cryptofeed_cli.network.route import Route, choose_route

__all__ = ["USER_AGENT", "Dialer", "Route", "choose_route", "explain"]
