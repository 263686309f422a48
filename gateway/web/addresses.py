"""Whose address a request comes from, where proxies stand between the client and us.

A proxy writes who called it at the right end of `X-Forwarded-For`, and what stands left of that it
was told. So the header is read from right to left, and only as long as whoever wrote is a proxy
that we trust: from the first address that is not one of those, nothing is believed.
"""

from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TypeAlias

from aiohttp import hdrs, web

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network


def seen_through(proxies: Sequence[str]) -> Callable[[web.Request], web.Request]:
    """Return what gives a request with its client as `remote`, for these networks of proxies."""
    trusted = [ip_network(network) for network in proxies]

    def see(request: web.Request) -> web.Request:
        forwarded = request.headers.getall(hdrs.X_FORWARDED_FOR, [])
        client = client_of(request.remote, ",".join(forwarded), trusted) if forwarded else None
        return request if client is None else request.clone(remote=str(client))

    return see if trusted else lambda request: request


def client_of(peer: str | None, forwarded: str, trusted: Sequence[Network]) -> Address | None:
    """Return the nearest address that is no trusted proxy; None: the peer's is no address."""
    address = _read(peer or "")
    for said in reversed(forwarded.split(",")):
        if address is None or not any(address in network for network in trusted):
            return address
        before = _read(said)
        if before is None:
            return address  # a proxy that does not say who called it hides the client
        address = before
    return address


def _read(text: str) -> Address | None:
    try:
        address = ip_address(text.strip())
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped  # how a socket that listens for both kinds shows IPv4
    return address
