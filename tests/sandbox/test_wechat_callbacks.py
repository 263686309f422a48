"""WeChat Pay's callbacks: encrypted, signed afresh at each send, repeated until acknowledged."""

import asyncio

import msgspec

from tests.sandbox.merchant import Json, Merchant

NUMBER = "ORDER000001"


async def paid(merchant: Merchant, number: str = NUMBER) -> None:
    await merchant.create(number)
    assert (await merchant.pay(number)).status == 200


async def records(merchant: Merchant) -> list[Json]:
    data = (await merchant.control("callbacks")).json["data"]
    assert isinstance(data, list)
    return data


async def test_the_callback_says_what_the_query_says(merchant: Merchant) -> None:
    await paid(merchant)
    (callback,) = await merchant.receiver.until(1)
    assert merchant.verified(callback.headers, callback.body)
    body = callback.json
    assert (body["event_type"], body["resource_type"]) == (
        "TRANSACTION.SUCCESS",
        "encrypt-resource",
    )
    resource = body["resource"]
    assert isinstance(resource, dict)
    assert resource["original_type"] == resource["associated_data"] == "transaction"
    plain = msgspec.json.decode(merchant.decrypted(resource), type=dict[str, object])
    assert plain == (await merchant.query(NUMBER)).json


async def test_an_unacknowledged_callback_is_sent_sixteen_times_under_one_id(
    merchant: Merchant,
) -> None:
    await merchant.faults(pace=0)
    merchant.receiver.status = 500
    await paid(merchant)
    sends = await merchant.receiver.until(16)
    assert len({send.json["id"] for send in sends}) == 1
    assert len({send.headers["Wechatpay-Nonce"] for send in sends}) == 16
    assert all(merchant.verified(send.headers, send.body) for send in sends)


async def test_a_callback_ends_with_its_acknowledgement(merchant: Merchant) -> None:
    await merchant.faults(pace=0)
    merchant.receiver.status = 401
    await paid(merchant)
    await merchant.receiver.until(3)
    merchant.receiver.status = 204
    reached = len(merchant.receiver.received)
    await merchant.receiver.until(reached + 1)
    (record,) = await records(merchant)
    while not record["acknowledged"]:
        (record,) = await records(merchant)
    assert record["last_status"] == 204


async def test_dropped_callbacks_never_arrive(merchant: Merchant) -> None:
    await merchant.faults(drop_callbacks=1, pace=0)
    await paid(merchant)
    (record,) = await records(merchant)
    while record["dropped"] != 16:
        (record,) = await records(merchant)
    assert (record["sends"], merchant.receiver.received) == (0, [])


async def test_dropping_is_a_matter_of_a_seeded_chance(merchant: Merchant) -> None:
    outcomes: list[object] = []
    for _ in range(2):
        await merchant.faults(drop_callbacks=0.5, seed=7, pace=0)
        await paid(merchant)
        (record,) = await records(merchant)
        while not record["acknowledged"]:
            (record,) = await records(merchant)
        outcomes.append(record["dropped"])
        await merchant.control("reset", {})
    assert outcomes[0] == outcomes[1]


async def test_duplicated_callbacks_arrive_together(merchant: Merchant) -> None:
    await merchant.faults(duplicate_callbacks=2)
    await paid(merchant)
    sends = await merchant.receiver.until(3)
    assert len({send.json["id"] for send in sends}) == 1
    (record,) = await records(merchant)
    assert record["sends"] == 3


async def test_a_delayed_callback_comes_after_its_delay(merchant: Merchant) -> None:
    await merchant.faults(delay_callbacks_s=0.3)
    began_at = asyncio.get_running_loop().time()
    await paid(merchant)
    await merchant.receiver.until(1)
    assert asyncio.get_running_loop().time() - began_at >= 0.3


async def test_reordered_callbacks_overtake_each_other(merchant: Merchant) -> None:
    await merchant.faults(reorder_callbacks=True)
    await paid(merchant, "ORDER000001")
    await paid(merchant, "ORDER000002")
    numbers = []
    for send in await merchant.receiver.until(2):
        plain = merchant.decrypted(send.json["resource"])
        numbers.append(msgspec.json.decode(plain, type=dict[str, object])["out_trade_no"])
    assert numbers == ["ORDER000002", "ORDER000001"]


async def test_a_callback_that_nothing_overtakes_comes_all_the_same(merchant: Merchant) -> None:
    await merchant.faults(reorder_callbacks=True)
    await paid(merchant)
    assert await merchant.receiver.until(1)


async def test_a_forged_callback_claims_an_unpaid_order_and_does_not_verify(
    merchant: Merchant,
) -> None:
    merchant.receiver.status = 401
    await merchant.faults(forge_callbacks=True)
    await merchant.create(NUMBER)
    (forged,) = await merchant.receiver.until(1)
    assert forged.headers["Wechatpay-Serial"] == merchant.keys.public_key_id
    assert not merchant.verified(forged.headers, forged.body)
    plain = msgspec.json.decode(merchant.decrypted(forged.json["resource"]), type=dict[str, object])
    assert plain["trade_state"] == "SUCCESS"
    assert (await merchant.query(NUMBER)).json["trade_state"] == "NOTPAY"


async def test_a_probe_goes_ahead_and_must_be_refused(merchant: Merchant) -> None:
    await merchant.faults(probe_callbacks=True)
    await paid(merchant)
    sends = await merchant.receiver.until(2)
    probes = [
        send
        for send in sends
        if send.headers["Wechatpay-Signature"].startswith("WECHATPAY/SIGNTEST/")
    ]
    assert len(probes) == 1
    assert not merchant.verified(probes[0].headers, probes[0].body)


async def test_while_a_merchant_migrates_callbacks_are_signed_by_either_key(
    merchant: Merchant,
) -> None:
    await merchant.faults(callback_signer="mixed", pace=0, duplicate_callbacks=40)
    await paid(merchant)
    sends = await merchant.receiver.until(41)
    signers = {send.headers["Wechatpay-Serial"] for send in sends}
    assert signers == {merchant.keys.public_key_id, merchant.keys.platform[0].serial}
    assert all(merchant.verified(send.headers, send.body) for send in sends)


async def test_callbacks_follow_a_rotated_certificate(merchant: Merchant) -> None:
    await merchant.faults(callback_signer="certificate", rotate_certificate=True)
    await paid(merchant)
    (send,) = await merchant.receiver.until(1)
    assert send.headers["Wechatpay-Serial"] == merchant.keys.platform[1].serial
    assert merchant.verified(send.headers, send.body)


async def test_another_amount_than_the_price_is_told_as_it_arrived(merchant: Merchant) -> None:
    await merchant.create(NUMBER)
    await merchant.pay(NUMBER, amount=1)
    (send,) = await merchant.receiver.until(1)
    plain = msgspec.json.decode(merchant.decrypted(send.json["resource"]), type=dict[str, object])
    amount = plain["amount"]
    assert isinstance(amount, dict)
    assert amount["total"] == 1
