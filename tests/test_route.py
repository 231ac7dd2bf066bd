"""Which way is taken: configuration before environment, and what cannot be kept is refused at the start."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence

import pytest

from cryptofeed_cli.errors import ConfigurationError, DialFailed
from cryptofeed_cli.network import Dialer, Route, choose_route
from cryptofeed_cli.network.names import NameServer

OKX = ("ws.okx.com", "openapi.okx.com")


def choose(
    *,
    proxy: str | None = None,
    interface: str | None = None,
    dns: Sequence[str] = (),
    environ: Mapping[str, str] | None = None,
    hosts: Sequence[str] = OKX,
) -> Route:
    return choose_route(
        proxy=proxy, interface=interface, dns=dns, origin=lambda key: f"origin of {key}", environ=environ or {},
        hosts=hosts,
    )  # fmt: skip


def refusal(**wishes: object) -> str:
    with pytest.raises(ConfigurationError) as failure:
        choose(**wishes)  # type: ignore[arg-type]
    assert failure.value.exit_code == 2
    return str(failure.value)


def test_without_a_wish_the_system_decides() -> None:
    assert choose() == Route()
    assert Route().describe() == "directly; names are resolved by the system"


@pytest.mark.parametrize(
    ("environ", "proxy", "chosen_by"),
    [
        ({"ALL_PROXY": "socks5://a:1"}, "socks5://a:1", "ALL_PROXY"),
        ({"HTTPS_PROXY": "http://b:1", "ALL_PROXY": "socks5://a:1"}, "http://b:1", "HTTPS_PROXY"),
        ({"https_proxy": "http://c:1", "HTTPS_PROXY": "http://b:1"}, "http://c:1", "https_proxy"),
        ({"all_proxy": "corporate.example:3128"}, "http://corporate.example:3128", "all_proxy"),
        ({"HTTPS_PROXY": "", "ALL_PROXY": "socks5://a:1"}, "socks5://a:1", "ALL_PROXY"),
    ],
)
def test_the_proxy_of_the_environment_counts_where_none_is_configured(
    environ: dict[str, str], proxy: str, chosen_by: str
) -> None:
    route = choose(environ=environ)
    assert str(route.proxy_for("ws.okx.com")) == proxy
    assert route.describe().startswith(f"through the proxy {proxy} ({chosen_by})")

    chosen = choose(proxy="socks5h://chosen:1", environ={**environ, "NO_PROXY": "*"})
    assert str(chosen.proxy_for("ws.okx.com")) == "socks5h://chosen:1"
    assert "origin of network.proxy" in chosen.describe()


def test_plain_http_has_no_say() -> None:
    assert choose(environ={"HTTP_PROXY": "http://a:1", "http_proxy": "http://a:1"}) == Route()


def test_an_impossible_proxy_of_the_environment_is_refused_by_the_name_of_its_variable() -> None:
    line = refusal(environ={"ALL_PROXY": "ftp://u:hunter2@h:1"})
    assert line.startswith("environment: ALL_PROXY = ftp://u:***@h:1: must be a URL such as")


@pytest.mark.parametrize(
    ("no_proxy", "host", "direct"),
    [
        ("*", "ws.okx.com", True),
        ("okx.com", "ws.okx.com", True),
        (".okx.com", "ws.okx.com", True),
        ("*.okx.com", "ws.okx.com", True),
        ("okx.com:8443", "ws.okx.com", True),
        ("OKX.com , other.example", "WS.okx.com.", True),
        ("kx.com", "ws.okx.com", False),
        ("ws.okx.com.evil.example", "ws.okx.com", False),
        ("", "ws.okx.com", False),
        (",", "ws.okx.com", False),
        ("10.0.0.0/8", "10.1.2.3", True),
        ("10.0.0.0/8", "11.1.2.3", False),
        ("fd00::/8", "fd00::1", True),
        ("10.1.2.3", "10.1.2.3", True),
        ("okx.com", "10.1.2.3", False),
        ("", "127.0.0.1", True),
        ("", "localhost", True),
    ],
)
def test_no_proxy_exempts_hosts_from_the_proxy_of_the_environment(no_proxy: str, host: str, direct: bool) -> None:
    route = choose(environ={"ALL_PROXY": "http://a:1", "no_proxy": no_proxy})
    assert (route.proxy_for(host) is None) == direct


def test_a_configured_proxy_leads_to_this_machine_too() -> None:
    assert choose(proxy="http://a:1").proxy_for("127.0.0.1") is not None


@pytest.mark.parametrize(("scheme", "better"), [("socks4", "socks4a"), ("socks5", "socks5h")])
def test_a_proxy_that_resolves_no_names_says_who_does(scheme: str, better: str) -> None:
    assert choose(proxy=f"{scheme}://a:1").describe() == (
        f"through the proxy {scheme}://a:1 (origin of network.proxy); "
        f"names are resolved by the system: {scheme} cannot do it, {better} can"
    )


@pytest.mark.parametrize(
    "wishes",
    [
        {"hosts": ["10.0.0.1", "fd00::1"]},
        {"dns": ["10.8.0.1"]},
        {"proxy": "socks5h://10.8.0.1:1080"},
        {"proxy": "http://10.8.0.1:3128"},
        {"proxy": "http://proxy.example:3128", "dns": ["10.8.0.1"]},
    ],
)
def test_an_interface_wants_a_way_to_resolve_names_over_it(wishes: dict[str, object]) -> None:
    assert choose(interface="wg0", **wishes).binding is not None  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("wishes", "name"),
    [
        ({}, "ws.okx.com"),
        ({"proxy": "socks5://10.8.0.1:1080"}, "ws.okx.com"),
        ({"proxy": "socks5h://proxy.example:1080"}, "proxy.example"),
        ({"environ": {"ALL_PROXY": "http://10.8.0.1:1", "NO_PROXY": "openapi.okx.com"}}, "openapi.okx.com"),
    ],
)
def test_an_interface_without_one_is_refused_with_the_three_ways_out(wishes: dict[str, object], name: str) -> None:
    assert refusal(interface="wg0", **wishes) == (
        f"origin of network.interface: network.interface = wg0: no name ({name}) can be resolved over it; set "
        "network.dns to a name server there, or network.proxy to a socks5h:// or http:// proxy given by its address, "
        "or give addresses in okx.*_url"
    )


@pytest.mark.parametrize(
    "wishes", [{"dns": ["127.0.0.53"]}, {"proxy": "socks5h://127.0.0.1:1080"}, {"proxy": "http://localhost:3128"}]
)
def test_what_an_interface_does_not_lead_to_is_refused(wishes: dict[str, object]) -> None:
    assert "is this machine itself and not reached over it" in refusal(interface="wg0", **wishes)


@pytest.mark.parametrize("name", ["a b", "x" * 16, "wg/0", ".."])
def test_what_cannot_be_an_interface_is_refused(name: str) -> None:
    assert f"network.interface = {name}: must be the name of a network interface" in refusal(interface=name)


def test_a_system_that_cannot_bind_to_an_interface_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cryptofeed_cli.network.interface.sys.platform", "freebsd14")
    assert "this system cannot bind a socket to an interface" in refusal(interface="wg0", dns=["10.8.0.1"])


def test_an_address_says_that_it_stops_no_leaks() -> None:
    route = choose(interface="192.0.2.7")
    assert route.describe() == (
        "directly, from source address 192.0.2.7 (which does not stop leaks: the routing table chooses the interface); "
        "names are resolved by the system"
    )
    with pytest.raises(DialFailed, match=r"no interface has the source address 192\.0\.2\.7"):
        Dialer(route).connect("127.0.0.1", 1, timeout=30)


def test_an_address_is_the_source_of_what_is_sent() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        dialer = Dialer(choose(interface="127.0.0.7", hosts=["127.0.0.1"]))
        with dialer.connect(*server.getsockname(), timeout=30):
            client, (source, _) = server.accept()
            client.close()
    assert source == "127.0.0.7"


@pytest.mark.parametrize(
    ("text", "server"),
    [
        ("10.8.0.1", NameServer("10.8.0.1", 53)),
        ("10.8.0.1:5353", NameServer("10.8.0.1", 5353)),
        ("fd00::1", NameServer("fd00::1", 53)),
        ("[fd00::1]:5353", NameServer("fd00::1", 5353)),
    ],
)
def test_a_name_server_is_an_address_with_or_without_a_port(text: str, server: NameServer) -> None:
    assert choose(dns=[text]).servers == (server,)


@pytest.mark.parametrize(
    "text", ["dns.example", "10.8.0.1:", "10.8.0.1:0", "10.8.0.1:65536", "10.8.0.1:dns", "[fd00::1"]
)
def test_what_is_no_name_server_is_refused(text: str) -> None:
    line = f"origin of network.dns: network.dns = {text}: must be the address of a name server such as 10.8.0.1"
    assert refusal(dns=[text]).startswith(line)
