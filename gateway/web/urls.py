"""URLs that merchants give us: absolute, without credentials; webhooks not into private networks.

Here the literal targets are refused, so that the merchant hears of it at once. What a name resolves
to is checked where it counts, at every delivery, in `gateway.webhooks`.
"""

import ipaddress
import socket
from urllib.parse import urlsplit

from gateway.errors import InvalidRequest


def check_return_url(url: str) -> None:
    _host("return_url", url)


def check_notify_url(url: str, *, allow_private: bool) -> None:
    host = _host("notify_url", url)
    if not allow_private and _is_private(host):
        raise InvalidRequest(
            "notify_url",
            f"{host} is in a private network, where webhooks do not go; use a public address "
            "(or, on your own machine, start with PAYONCE_ALLOW_PRIVATE_WEBHOOKS=1).",
        )


def _host(field: str, url: str) -> str:
    """Return the host of an absolute URL, or raise InvalidRequest."""
    try:
        parts = urlsplit(url)
        host, _port = parts.hostname, parts.port  # `port` raises for what is not one
    except ValueError:
        host = None
    else:
        if "@" in parts.netloc:
            raise InvalidRequest(field, "Leave user names and passwords out of the URL.")
    if not host:
        raise InvalidRequest(field, "Send an absolute URL, such as https://shop.example/path.")
    return host


def _is_private(host: str) -> bool:
    name = host.rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        try:
            # The old spellings of an IPv4 address (127.1, 0x7f000001, 2130706433) reach it as well.
            address = ipaddress.ip_address(socket.inet_aton(name))
        except OSError:
            return False
    mapped = getattr(address, "ipv4_mapped", None)
    return not (mapped or address).is_global or address.is_multicast
