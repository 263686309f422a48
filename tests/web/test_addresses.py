"""Whose address a request comes from: the peer's, or what trusted proxies say of their callers."""

from ipaddress import ip_network

import msgspec
import pytest

from gateway.web.addresses import client_of
from tests.rig import Rig, StartRig
from tests.web.buyer import PHONE, Buyer

PROXIES = [ip_network(network) for network in ("10.0.0.0/8", "2001:db8::/32")]


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        pytest.param("203.0.113.9", "198.51.100.1", "203.0.113.9", id="the peer is no proxy"),
        pytest.param("10.0.0.1", "203.0.113.9", "203.0.113.9", id="one proxy"),
        pytest.param("10.0.0.1", "203.0.113.9, 10.0.0.2", "203.0.113.9", id="two proxies"),
        pytest.param("10.0.0.1", "198.51.100.1, 203.0.113.9", "203.0.113.9", id="it was forged"),
        pytest.param("10.0.0.1", "10.9.9.9, 203.0.113.9", "203.0.113.9", id="forged as a proxy"),
        pytest.param("10.0.0.1", "10.0.0.3,10.0.0.2", "10.0.0.3", id="proxies all the way"),
        pytest.param("10.0.0.1", "203.0.113.9, unknown", "10.0.0.1", id="the proxy hides it"),
        pytest.param("10.0.0.1", "203.0.113.9, ", "10.0.0.1", id="the proxy says nothing"),
        pytest.param("2001:db8::1", "2001:db9::7", "2001:db9::7", id="IPv6"),
        pytest.param("::ffff:10.0.0.1", "203.0.113.9", "203.0.113.9", id="IPv4 in IPv6"),
        pytest.param("", "203.0.113.9", "None", id="no address"),
    ],
)
def test_the_header_is_read_from_the_right_through_trusted_proxies_only(
    peer: str, forwarded: str, client: str
) -> None:
    assert str(client_of(peer, forwarded, PROXIES)) == client


async def address_told_to_the_channel(rig: Rig, forwarded: str) -> object:
    """Apply as a buyer on a phone; return the address that WeChat Pay's H5 is told."""
    buyer = Buyer(rig, await rig.order(), PHONE)
    headers = {"X-Forwarded-For": forwarded}
    shown = await buyer.call("POST", "/attempts", json={"channel": "wechat"}, headers=headers)
    assert shown.status == 201
    stored = await rig.desk.pool.fetchval("SELECT parameters FROM attempts ORDER BY id DESC")
    return msgspec.json.decode(stored)["client_ip"]


async def test_the_channel_is_told_the_buyers_address_and_not_the_proxys(
    start_rig: StartRig,
) -> None:
    rig = await start_rig(trusted_proxies=("127.0.0.0/8",))
    forged = "198.51.100.1, 203.0.113.9"
    assert await address_told_to_the_channel(rig, forged) == "203.0.113.9"


async def test_without_trusted_proxies_the_header_says_nothing(rig: Rig) -> None:
    assert await address_told_to_the_channel(rig, "203.0.113.9") == "127.0.0.1"


async def test_a_socket_opens_through_a_trusted_proxy(start_rig: StartRig) -> None:
    rig = await start_rig(trusted_proxies=("127.0.0.0/8",))
    order = await rig.order()
    url, headers = f"{rig.url}/checkout/{order.token}/ws", {"X-Forwarded-For": "203.0.113.9"}
    async with rig.http.ws_connect(url, headers=headers) as page:
        assert (await page.receive_json())["order"] == order.id
