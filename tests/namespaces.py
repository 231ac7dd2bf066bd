"""A machine with two ways out, made of network namespaces: the packets of each way are counted.

``home`` is where the program runs: ``vpn0`` and ``wan0`` lead to ``far``, where everybody else lives, under addresses
that either way reaches. The routing table prefers ``wan0``. Nothing leaves this machine. A thread or process that is
started in a namespace stays there.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Self

import pytest

EXCHANGE = "10.77.9.1"
"""An address in ``far``, reached by either way."""
GATEWAY = "10.77.1.1"
"""The far end of the VPN, where its proxy is: the routing table prefers ``vpn0`` for it, as long as that is up."""
_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


class Lab:
    """The two namespaces; a context manager that leaves nothing behind."""

    def __init__(self) -> None:
        self._home, self._far = f"cryptofeed{os.getpid()}home", f"cryptofeed{os.getpid()}far"
        self._vpn = "vpn0"

    def __enter__(self) -> Self:
        if shutil.which("ip") is None:
            pytest.skip("the ip program (iproute2) is not installed: no network namespaces to test with")
        try:
            _ip("netns", "add", self._home)
        except subprocess.CalledProcessError as exc:
            pytest.skip(f"network namespaces are not permitted here: {exc.stderr.decode().strip()}")
        with ExitStack() as undo:
            undo.callback(self._remove)
            _ip("netns", "add", self._far)
            self._build()
            undo.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._remove()

    @contextmanager
    def inside(self, name: str) -> Iterator[None]:
        """Put this thread, and what it starts meanwhile, into ``home`` or ``far``."""
        namespace = {"home": self._home, "far": self._far}[name]
        before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        try:
            with Path(f"/run/netns/{namespace}").open("rb") as there:
                _enter(there.fileno())
            try:
                yield
            finally:
                _enter(before)
        finally:
            os.close(before)

    def sent(self, way: str) -> int:
        """Return how many packets left by ``wan0`` or ``vpn0`` so far."""
        found = json.loads(_ip("-n", self._home, "-j", "-s", "link", "show", self._vpn if way == "vpn0" else way))
        return int(found[0]["stats64"]["tx"]["packets"])

    def vpn_down(self) -> None:
        """Take the VPN down, and its routes with it: the routing table now knows ``wan0`` only."""
        _ip("-n", self._home, "link", "set", self._vpn, "down")

    def vpn_up(self, name: str = "vpn0") -> None:
        """Bring the VPN up again, under another name if need be."""
        if name != self._vpn:
            _ip("-n", self._home, "link", "set", self._vpn, "name", name)
            self._vpn = name
        _ip("-n", self._home, "link", "set", self._vpn, "up")
        _ip("-n", self._home, "route", "replace", "default", "via", "10.77.1.1", "dev", self._vpn, "metric", "200")

    def _build(self) -> None:
        for name, namespace in (("home", self._home), ("far", self._far)):
            with self.inside(name):
                # No packet but what somebody asks for: IPv6 would introduce itself.
                for key in ("ipv6/conf/all/disable_ipv6", "ipv6/conf/default/disable_ipv6"):
                    Path("/proc/sys/net", key).write_text("1")
                for key in ("ipv4/conf/all/rp_filter", "ipv4/conf/default/rp_filter"):
                    Path("/proc/sys/net", key).write_text("0")
            _ip("-n", namespace, "link", "set", "lo", "up")
        for way, subnet in (("vpn0", "10.77.1"), ("wan0", "10.77.2")):
            _ip("-n", self._home, "link", "add", way, "type", "veth", "peer", "name", way, "netns", self._far)
            for namespace, host in ((self._home, 2), (self._far, 1)):
                _ip("-n", namespace, "address", "add", f"{subnet}.{host}/24", "dev", way)
                _ip("-n", namespace, "link", "set", way, "up")
        _ip("-n", self._far, "address", "add", f"{EXCHANGE}/32", "dev", "lo")
        _ip("-n", self._home, "route", "add", "default", "via", "10.77.2.1", "dev", "wan0", "metric", "100")
        self.vpn_up()

    def _remove(self) -> None:
        for namespace in (self._home, self._far):
            subprocess.run(["ip", "netns", "delete", namespace], check=False, capture_output=True, timeout=60)


def _ip(*arguments: str) -> bytes:
    return subprocess.run(["ip", *arguments], check=True, capture_output=True, timeout=60).stdout


def _enter(namespace: int) -> None:
    if _libc.setns(namespace, _CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
