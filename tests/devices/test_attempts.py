"""A device's token comes with an attempt, changes nothing about it, and is never seen again."""

import logging
from datetime import timedelta
from typing import Final

import pytest
from structlog.testing import capture_logs

from gateway.db import devices
from tests.devices.phones import TOKENS, Phones, StartPushing
from tests.fakes.platforms import LOSE, Mood
from tests.rig import Rig, until
from tests.web.api import NATIVE, Answer, Api

_ROWS: Final = "SELECT platform, token, language FROM devices ORDER BY platform"


def with_token(said: str) -> dict[str, object]:
    return {**NATIVE, "buyer": {"device_token": said}}


def of(name: str) -> dict[str, object]:
    return with_token(f"{name}:{TOKENS[name]}")


async def devices_in(rig: Rig) -> list[tuple[str, bytes, str]]:
    return [tuple(row) for row in await rig.desk.pool.fetch(_ROWS)]


async def test_whoever_asks_for_the_same_on_another_phone_gets_the_same_attempt(
    pushing: StartPushing, phones: Phones
) -> None:
    api = Api(await pushing())
    order = await api.open_order()
    answers = [await api.apply(order.id, body) for body in (of("fcm"), of("apns"), NATIVE)]
    answers += [await api.apply(order.id, of("fcm"))]
    assert [answer.status for answer in answers] == [201, 200, 200, 200]
    assert [answer.json for answer in answers] == [answers[0].json] * 4
    assert [row[0] for row in await devices_in(api.rig)] == ["apns", "fcm"]
    await api.pay(answers[0])
    for name in ("apns", "fcm"):
        await phones.shown(name)


async def test_an_idempotency_key_holds_for_the_device_too(
    pushing: StartPushing, phones: Phones
) -> None:
    api = Api(await pushing())
    order = await api.open_order()
    first = await api.apply(order.id, of("fcm"), key="tap")
    again = await api.apply(order.id, of("fcm"), key="tap")
    other = await api.apply(order.id, of("apns"), key="tap")
    assert (first.status, again.status, again.replayed) == (201, 200, True)
    assert again.id == first.id
    assert other.code == "idempotency_mismatch"
    assert [row[0] for row in await devices_in(api.rig)] == ["fcm"]


async def test_the_buyers_language_is_the_notes(pushing: StartPushing, phones: Phones) -> None:
    api = Api(await pushing("jpush"))
    for language, title in (("zh-CN,zh;q=0.9", "付款成功"), ("en-GB", "Payment received")):
        phones.jpush.taken.clear()
        order = await api.open_order()
        attempt = await api.call(
            "POST",
            f"/v1/orders/{order.id}/attempts",
            of("jpush"),
            headers={"Accept-Language": language},
        )
        await api.pay(attempt)
        assert (await phones.shown("jpush")).title == title


@pytest.mark.parametrize("said", ["0" * 64, "huawei:1", "fcm:", "apns:xyz", "a b", "", "x" * 1025])
async def test_a_token_of_no_platform_is_refused_before_anything_is_made(
    pushing: StartPushing, phones: Phones, said: str
) -> None:
    api = Api(await pushing("fcm", "apns"))
    order = await api.open_order()
    answer = await api.apply(order.id, with_token(said))
    assert (answer.status, answer.code) == (422, "invalid_request")
    assert answer.json["field"] == "buyer.device_token"
    assert not said or said not in str(answer.json["detail"])
    assert (await api.get(f"/v1/orders/{order.id}")).json["attempts"] == []


async def test_where_pushes_are_off_a_token_is_taken_and_not_kept(rig: Rig) -> None:
    api = Api(rig)
    order = await api.open_order()
    answer = await api.apply(order.id, with_token("whatever-the-app-got"))
    assert answer.status == 201
    assert await devices_in(rig) == []


async def test_an_order_keeps_its_newest_five_phones(pushing: StartPushing, phones: Phones) -> None:
    api = Api(await pushing("jpush"))
    order = await api.open_order()
    for number in range(1, 8):
        token = f"1104a89792b7f9a5e{number:02}"
        phones.jpush.living.add(token)
        await api.apply(order.id, with_token(token))
    await api.pay(await api.apply(order.id))
    await until(lambda: len(phones.jpush.taken) == 5)
    assert sorted(note.token[-1] for note in phones.jpush.taken) == ["3", "4", "5", "6", "7"]


async def test_a_week_after_the_last_news_a_phone_is_forgotten(
    pushing: StartPushing, phones: Phones
) -> None:
    api = Api(await pushing("jpush"))
    pool = api.rig.desk.pool
    order, still_open = await api.open_order(), await api.open_order()
    attempt = await api.apply(order.id, of("jpush"))
    await api.apply(still_open.id, of("jpush"))
    await api.pay(attempt)
    await phones.shown("jpush")
    for days, left in ((6, 2), (2, 1)):
        await pool.execute(
            "UPDATE devices SET forget_at = forget_at - $1::interval", timedelta(days=days)
        )
        async with pool.acquire() as conn:
            await devices.forget_old(conn, 100)
        assert await pool.fetchval("SELECT count(*) FROM devices") == left
    assert await pool.fetchval("SELECT order_id FROM devices") == still_open.id


async def test_a_token_is_in_no_log_no_answer_no_webhook_and_not_readable_in_the_database(
    pushing: StartPushing, phones: Phones, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    api = Api(await pushing(worker=True))
    order = await api.open_order()
    seen: list[Answer] = []
    with capture_logs() as lines:
        for name, platform in phones.platforms.items():
            platform.moods.extend([Mood(503), LOSE])
            seen.append(await api.apply(order.id, of(name)))
        seen.append(await api.apply(order.id, with_token("apns:" + "0" * 65 + "z")))
        await api.pay(seen[0])

        async def failed_twice() -> bool:
            sooner = "UPDATE devices SET due_at = now() WHERE due_at IS NOT NULL"
            await api.rig.desk.pool.execute(sooner)
            return all(platform.taken for platform in phones.platforms.values())

        await until(failed_twice)
    seen += [await api.get(path) for path in (f"/v1/orders/{order.id}", "/v1/events")]
    assert any(line["event"] == "push_failed" for line in lines)
    everything = str(lines) + caplog.text + "".join(answer.body.decode() for answer in seen)
    dump = await api.rig.desk.pool.fetch(
        "SELECT row_to_json(d)::text FROM devices d UNION ALL "
        "SELECT row_to_json(a)::text FROM attempts a UNION ALL "
        "SELECT row_to_json(k)::text FROM idempotency_keys k"
    )
    everything += "".join(row[0] for row in dump)
    for token in TOKENS.values():
        assert token not in everything
        assert token.encode().hex() not in everything
