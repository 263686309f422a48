"""Alipay's notifications: told until somebody says success, in words that can be verified."""

from urllib.parse import parse_qsl

import msgspec
import pytest
from cryptography.x509 import load_pem_x509_certificate

from gateway.sandbox.keys import SandboxKeys
from tests.sandbox.alipay_merchant import AlipayMerchant
from tests.sandbox.merchant import Json

NUMBER = "ORDER000001"


async def records(alipay: AlipayMerchant) -> list[Json]:
    data = (await alipay.control("callbacks")).json["data"]
    assert isinstance(data, list)
    return data


async def test_a_paid_trade_is_told_in_full(alipay: AlipayMerchant) -> None:
    await alipay.precreate(NUMBER, body="一杯拿铁", passback_params="a%3Db")
    await alipay.pay(NUMBER)
    (send,) = await alipay.receiver.until(1)
    assert send.headers["Content-Type"].startswith("application/x-www-form-urlencoded")
    words = alipay.told(send.body)
    assert words["trade_status"] == "TRADE_SUCCESS"
    assert (words["out_trade_no"], words["total_amount"]) == (NUMBER, "12.34")
    assert words["trade_no"] == (await alipay.query(NUMBER)).body["trade_no"]
    assert words["seller_id"] == alipay.account["seller_id"]
    assert words["app_id"] == words["auth_app_id"] == alipay.account["app_id"]
    assert (words["body"], words["passback_params"]) == ("一杯拿铁", "a%3Db")
    funds = msgspec.json.decode(words["fund_bill_list"])
    assert funds == [{"amount": "12.34", "fundChannel": "ALIPAYACCOUNT"}]


async def test_only_the_word_success_ends_the_sends(alipay: AlipayMerchant) -> None:
    alipay.receiver.answer = b"success\n"
    await alipay.precreate(NUMBER)
    await alipay.pay(NUMBER)
    await alipay.receiver.until(1)
    alipay.receiver.answer = b"success"
    sends = [alipay.told(send.body) for send in await alipay.receiver.until(2)]
    assert sends[0]["notify_id"] == sends[1]["notify_id"]
    (record,) = await records(alipay)
    while not record["acknowledged"]:
        (record,) = await records(alipay)
    assert record["sends"] == 2


async def test_after_the_documented_ladder_nothing_is_sent_any_more(
    alipay: AlipayMerchant,
) -> None:
    await alipay.faults(pace=0)
    alipay.receiver.status = 500
    await alipay.precreate(NUMBER)
    await alipay.pay(NUMBER)
    await alipay.receiver.until(8)
    (record,) = await records(alipay)
    assert (record["acknowledged"], record["sends"]) == (False, 8)


async def test_an_order_without_a_notify_url_is_not_told(alipay: AlipayMerchant) -> None:
    await alipay.call("alipay.trade.precreate", alipay.order(NUMBER))
    await alipay.pay(NUMBER)
    assert await records(alipay) == []


@pytest.mark.parametrize("method", ["page", "wap", "app"])
async def test_a_refund_on_the_web_is_told_as_the_trade_again(
    alipay: AlipayMerchant, method: str
) -> None:
    async with alipay.session.get(alipay.link(method, NUMBER)) as cashier:
        assert cashier.status == 200
    await alipay.pay(NUMBER)
    await alipay.receiver.until(1)
    await alipay.refund(NUMBER, "R1", "2.34")
    await alipay.receiver.until(2)
    await alipay.refund(NUMBER, "R2", "10.00")
    words = [alipay.told(send.body) for send in await alipay.receiver.until(3)]
    assert [one["trade_status"] for one in words] == [
        *("TRADE_SUCCESS", "TRADE_SUCCESS", "TRADE_CLOSED"),
    ]
    assert [one.get("refund_fee") for one in words] == [None, "2.34", "12.34"]
    assert [one.get("out_biz_no") for one in words] == [None, "R1", "R2"]
    assert len({one["notify_id"] for one in words}) == 3
    assert len({one["trade_no"] for one in words}) == 1


async def test_a_refund_of_a_scanned_code_is_not_told(alipay: AlipayMerchant) -> None:
    await alipay.precreate(NUMBER)
    await alipay.pay(NUMBER)
    await alipay.refund(NUMBER, "R1")
    assert [one["kind"] for one in await records(alipay)] == ["TRADE_SUCCESS"]


async def test_a_forged_notification_is_signed_by_the_merchants_own_key(
    alipay: AlipayMerchant,
) -> None:
    await alipay.faults(forge_callbacks=True)
    await alipay.precreate(NUMBER)
    (send,) = await alipay.receiver.until(1)
    words = dict(parse_qsl(send.body.decode()))
    assert words["trade_status"] == "TRADE_SUCCESS"
    assert not alipay.notified(words)
    assert await alipay.captured() == [(0, 0, "open")]


async def test_notifications_can_be_signed_by_the_certificate_in_use(
    alipay: AlipayMerchant, keys: SandboxKeys
) -> None:
    await alipay.faults(callback_signer="certificate", rotate_certificate=True)
    await alipay.precreate(NUMBER)
    await alipay.pay(NUMBER)
    (send,) = await alipay.receiver.until(1)
    words = dict(parse_qsl(send.body.decode()))
    assert not alipay.notified(words)
    certificate = load_pem_x509_certificate(keys.alipay.alipay[1].certificate.encode())
    alipay.trusted = certificate.public_key()  # type: ignore[assignment]
    assert alipay.notified(words)


async def test_notifications_are_lost_repeated_and_late_as_asked(alipay: AlipayMerchant) -> None:
    await alipay.faults(drop_callbacks=1)
    await alipay.precreate(NUMBER)
    await alipay.pay(NUMBER)
    await alipay.faults(drop_callbacks=0, duplicate_callbacks=1)
    sends = await alipay.receiver.until(2)
    assert sends[0].body == sends[1].body
