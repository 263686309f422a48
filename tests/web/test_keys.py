"""Who may call: the merchant's key, its two lives while it is rotated, and its end."""

from datetime import timedelta

import pytest

from gateway.db import merchants
from gateway.merchants import let_key_in
from gateway.secrets import hash_api_key, new_api_key
from gateway.web.auth import KeyRing
from gateway.web.calls import Merchant, MerchantOnce
from gateway.web.openapi import plain_path
from gateway.web.routes import ROUTES
from tests.rig import MERCHANT
from tests.web.api import Api

MERCHANTS_ROUTES = [route for route in ROUTES if isinstance(route.call, Merchant | MerchantOnce)]


def filled(path: str) -> str:
    for noun in ("order", "attempt", "refund", "event"):
        path = path.replace(f"{{{noun}}}", f"{noun[:3]}_{'0' * 26}")
    return path.replace("eve_", "evt_")


@pytest.mark.parametrize("route", MERCHANTS_ROUTES, ids=lambda route: route.name)
@pytest.mark.parametrize(
    "said",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Bearer po_wrong",
        "Basic cG9fd3Jvbmc6",
        "Bearer schlüssel",
        "Bearer \udcff",
    ],
)
async def test_without_a_good_key_nothing_is_told(
    api: Api, route: object, said: str | None
) -> None:
    assert isinstance(route, type(MERCHANTS_ROUTES[0]))
    headers = {} if said is None else {"Authorization": said}
    url = api.rig.url + filled(plain_path(route))
    async with api.rig.http.request(route.method, url, headers=headers) as answer:
        assert answer.status == 401
        assert answer.headers["WWW-Authenticate"] == 'Bearer realm="payonce"'
        assert (await answer.json(content_type=None))["code"] == "unauthorized"


async def test_two_keys_overlap_while_they_are_rotated(api: Api) -> None:
    new = new_api_key()
    async with api.rig.desk.pool.acquire() as conn:
        await merchants.retire_keys(conn, MERCHANT, timedelta(hours=1))
        await let_key_in(conn, MERCHANT, new)
    assert (await api.get("/v1/orders")).status == 200
    assert (await Api(api.rig, new).get("/v1/orders")).status == 200


async def test_a_key_that_ended_is_refused(api: Api) -> None:
    async with api.rig.desk.pool.acquire() as conn:
        await merchants.retire_keys(conn, MERCHANT, timedelta(0))
    assert (await api.get("/v1/orders")).code == "unauthorized"


async def test_a_known_key_costs_no_look_up(api: Api) -> None:
    assert (await api.get("/v1/orders")).status == 200
    async with api.rig.desk.pool.acquire() as conn:
        await conn.execute("DELETE FROM api_keys")
    assert (await api.get("/v1/orders")).status == 200  # until the ring has forgotten it


async def test_a_key_is_believed_for_seconds_and_no_longer() -> None:
    now = 100.0
    ring = KeyRing(clock=lambda: now)
    ring.add(hash_api_key("po_1"), "demo")
    now += 4.9
    assert ring.find(hash_api_key("po_1")) == "demo"
    now += 0.2
    assert ring.find(hash_api_key("po_1")) is None
