"""A name server of a few names, over UDP and TCP, that can be told to be silent or wrong; knows no client."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Mapping, Sequence
from typing import Self

import dns.flags
import dns.message
import dns.rcode
import dns.rrset

_LOOK_AROUND = 0.1
"""Seconds between two looks at whether it is to stop."""


class NameServer:
    """Answers on one port until it is stopped; a context manager."""

    def __init__(self, names: Mapping[str, Sequence[str]], host: str = "127.0.0.1", port: int = 0) -> None:
        self.names = names
        """The addresses of each name; a name that is not there does not exist."""
        self.silent = False
        self.code: int | None = None
        """Answered to everything, where it is given."""
        self.truncating = False
        """Whether answers over UDP say that the whole one has to be had over TCP."""
        self.asked: list[tuple[str, str]] = []
        """Every question: name and type."""
        self._tcp = socket.create_server((host, port))
        self.port: int = self._tcp.getsockname()[1]
        self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._udp.bind((host, self.port))
        self._stopped = False
        self._threads = []
        for sock, serve in ((self._udp, self._serve_udp), (self._tcp, self._serve_tcp)):
            sock.settimeout(_LOOK_AROUND)
            self._threads.append(threading.Thread(target=serve, name="name-server", daemon=True))
            self._threads[-1].start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped = True
        for thread in self._threads:
            thread.join(60)
        self._udp.close()
        self._tcp.close()

    def _serve_udp(self) -> None:
        while not self._stopped:
            with contextlib.suppress(OSError):
                wire, client = self._udp.recvfrom(4096)
                if wire and (answer := self._answer(wire, udp=True)) is not None:
                    self._udp.sendto(answer, client)

    def _serve_tcp(self) -> None:
        while not self._stopped:
            with contextlib.suppress(OSError):
                client, _ = self._tcp.accept()
                with client:
                    client.settimeout(60)
                    size = int.from_bytes(client.recv(2, socket.MSG_WAITALL), "big")
                    answer = self._answer(client.recv(size, socket.MSG_WAITALL), udp=False)
                    if answer is not None:
                        client.sendall(len(answer).to_bytes(2, "big") + answer)

    def _answer(self, wire: bytes, *, udp: bool) -> bytes | None:
        question = dns.message.from_wire(wire)
        name, kind = str(question.question[0].name).rstrip("."), question.question[0].rdtype.name
        self.asked.append((name, kind))
        if self.silent:
            return None
        answer = dns.message.make_response(question)
        addresses = self.names.get(name)
        if self.code is not None:
            answer.set_rcode(dns.rcode.Rcode(self.code))
        elif addresses is None:
            answer.set_rcode(dns.rcode.NXDOMAIN)
        elif udp and self.truncating:
            answer.flags |= dns.flags.TC
        else:
            fitting = [one for one in addresses if (":" in one) == (kind == "AAAA")]
            if fitting:
                alias = dns.rrset.from_text(f"{name}.", 60, "IN", "CNAME", f"alias.{name}.")
                answer.answer += [alias, dns.rrset.from_text_list(f"alias.{name}.", 60, "IN", kind, fitting)]
        return answer.to_wire()
