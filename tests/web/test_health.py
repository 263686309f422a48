"""Whether a process lives, can serve, and what it counts."""

from gateway.ports import free_port
from tests.rig import StartRig
from tests.web.api import Api


async def test_a_healthy_gateway_says_so_to_anybody(api: Api) -> None:
    api.api_key = "none"
    live, ready = await api.get("/health/live"), await api.get("/health/ready")
    assert (live.status, live.json) == (200, {"status": "ok"})
    assert (ready.status, ready.json["status"]) == (200, "ok")


async def test_without_redis_the_gateway_serves_and_says_degraded(start_rig: StartRig) -> None:
    api = Api(await start_rig(redis_url=f"redis://127.0.0.1:{free_port()}/0"))
    ready = await api.get("/health/ready")
    assert (ready.status, ready.json["status"], ready.json["redis"]) == (
        200,
        "degraded",
        "unreachable",
    )
    order = await api.open_order()
    attempt = await api.apply(order.id)
    assert attempt.status == 201
    changed = await api.get(f"/v1/orders/{order.id}?version=1&wait=5")
    assert changed.json["attempts"]


async def test_requests_are_counted_by_route_and_never_by_token(api: Api) -> None:
    order = await api.open_order()
    token = str(order.json["checkout_url"]).rpartition("/")[2]
    await api.get(f"/checkout/{token}/status")
    await api.get(f"/nowhere/{token}")
    text = (await api.get("/metrics")).body.decode()
    assert 'payonce_request_seconds_count{method="POST",route="/v1/orders",status="201"}' in text
    assert 'route="/checkout/{token}/status",status="200"' in text
    assert 'route="unknown",status="404"' in text
    assert token not in text
