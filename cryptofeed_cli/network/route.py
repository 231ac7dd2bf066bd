"""Which way everything takes: chosen once from configuration and environment; sends nothing."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec

from cryptofeed_cli.errors import ConfigurationError
from cryptofeed_cli.network.interface import Binding, Interface, SourceAddress, parse_interface
from cryptofeed_cli.network.names import (
    Names,
    NameServer,
    NoNames,
    ServerNames,
    SystemNames,
    is_address,
    parse_name_server,
)
from cryptofeed_cli.network.proxy import Proxy, parse_proxy

_VARIABLES = ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")
_EXEMPTING = ("no_proxy", "NO_PROXY")


class Route(msgspec.Struct, frozen=True):
    """The way to every host. Without arguments: the way the system takes."""

    proxy: Proxy | None = None
    binding: Binding | None = None
    servers: tuple[NameServer, ...] = ()
    exempt: tuple[str, ...] = ()
    """Hosts that the environment keeps from its proxy, as ``NO_PROXY`` names them."""
    chosen_by: str = ""
    """Who named the proxy: a flag, a file, a variable."""
    local: bool = False
    """Whether this machine itself is reached without the proxy: so where the environment names it."""

    def proxy_for(self, host: str) -> Proxy | None:
        """Return the proxy that leads to a host; None: none does."""
        return None if self.proxy is None or self._is_exempt(host.rstrip(".").lower()) else self.proxy

    def names(self) -> Names:
        """Return who resolves names, where no proxy does."""
        if self.servers:
            return ServerNames(self.servers, self.binding)
        return NoNames(self.binding) if isinstance(self.binding, Interface) else SystemNames()

    def describe(self) -> str:
        """Return in one line which way is taken, and who resolves names."""
        way = "directly" if self.proxy is None else f"through the proxy {self.proxy} ({self.chosen_by})"
        if self.exempt:
            way += f", but directly to {', '.join(self.exempt)} (NO_PROXY)"
        if self.binding is not None:
            way += f", over {self.binding}" if isinstance(self.binding, Interface) else f", from {self.binding}"
        if isinstance(self.binding, SourceAddress):
            way += " (which does not stop leaks: the routing table chooses the interface)"
        if self.proxy is not None and self.proxy.resolves_names:
            return f"{way}; names are resolved by the proxy"
        hint = "" if self.proxy is None else f": {self.proxy.scheme} cannot do it, {_resolving(self.proxy)} can"
        return f"{way}; names are resolved by {self.names()}{hint}"

    def check(self, hosts: Iterable[str], origin: str) -> None:
        """Raise `ConfigurationError` where a host could not be reached by this route, whatever happens."""
        interface = self.binding
        if not isinstance(interface, Interface):
            return
        near = [self.proxy.host] if self.proxy is not None else []
        for host in (*near, *(server.address for server in self.servers)):
            if not interface.is_loopback and (host == "localhost" or (is_address(host) and _is_loopback(host))):
                allowed = f"{host} is this machine itself and not reached over it; leave one of the two out"
                raise ConfigurationError(origin, "network.interface", interface.name, allowed)
        far = [host for host in hosts if (proxy := self.proxy_for(host)) is None or not proxy.resolves_names]
        named = [host for host in (*near, *far) if not is_address(host)]
        if named and not self.servers:
            allowed = (
                f"no name ({named[0]}) can be resolved over it; set network.dns to a name server there, or "
                "network.proxy to a socks5h:// or http:// proxy given by its address, or give addresses in okx.*_url"
            )
            raise ConfigurationError(origin, "network.interface", interface.name, allowed)

    def _is_exempt(self, host: str) -> bool:
        if self.local and (host == "localhost" or (is_address(host) and _is_loopback(host))):
            return True
        return any(_matches(host, pattern) for pattern in self.exempt)


def choose_route(
    *,
    proxy: str | None,
    interface: str | None,
    dns: Sequence[str],
    origin: Callable[[str], str],
    environ: Mapping[str, str],
    hosts: Iterable[str],
) -> Route:
    """Return the route; where no proxy is configured the one of the environment counts.

    Args: ``origin`` tells where the value of a dotted key came from; ``hosts`` are all that will be connected to.
    Raises `ConfigurationError`.
    """
    found: Proxy | None = None
    exempt: tuple[str, ...] = ()
    chosen_by = ""
    if proxy is not None:
        chosen_by = origin("network.proxy")
        found = parse_proxy(proxy, chosen_by)
    elif variable := next((name for name in _VARIABLES if environ.get(name)), None):
        chosen_by, url = variable, environ[variable].strip()
        found = parse_proxy(url if "://" in url else f"http://{url}", "environment", variable)
        named = next((environ[name] for name in _EXEMPTING if environ.get(name)), "")
        exempt = tuple(part.strip().lower() for part in named.split(",") if part.strip())
    origin_of_dns = origin("network.dns")
    route = Route(
        found,
        None if interface is None else parse_interface(interface, origin("network.interface")),
        tuple(parse_name_server(one, origin_of_dns) for one in dns),
        exempt,
        chosen_by,
        local=proxy is None and found is not None,
    )
    route.check(hosts, origin("network.interface"))
    return route


def _matches(host: str, pattern: str) -> bool:
    """Tell whether an entry of ``NO_PROXY`` names a host: ``*``, a domain, an address or a network."""
    if pattern == "*":
        return True
    if is_address(host):
        try:
            return ipaddress.ip_address(host) in ipaddress.ip_network(pattern.strip("[]"), strict=False)
        except ValueError:
            return False
    domain = pattern.rpartition(":")[0] if pattern.count(":") == 1 else pattern
    domain = domain.removeprefix("*").removeprefix(".")
    return bool(domain) and (host == domain or host.endswith(f".{domain}"))


def _is_loopback(address: str) -> bool:
    return ipaddress.ip_address(address.partition("%")[0]).is_loopback


def _resolving(proxy: Proxy) -> str:
    return {"socks4": "socks4a", "socks5": "socks5h"}[proxy.scheme]
