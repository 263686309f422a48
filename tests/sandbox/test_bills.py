"""When the sandbox's channels make a bill, and how they say that there is none."""

from datetime import UTC, datetime, timedelta

from tests.sandbox.alipay_merchant import AlipayMerchant
from tests.sandbox.merchant import Answer, Merchant
from tests.sandbox.unionpay_merchant import Reply, UnionPayMerchant

ALIPAYS = "alipay.data.dataservice.bill.downloadurl.query"


def beijing_day(ago: int, hours: int = 8) -> str:
    return (datetime.now(UTC) + timedelta(hours=hours) - timedelta(days=ago)).date().isoformat()


async def tradebill(merchant: Merchant, query: str) -> Answer:
    return await merchant.call("GET", f"/v3/bill/tradebill?{query}")


async def test_wechat_refuses_a_bill_in_the_documented_words(merchant: Merchant) -> None:
    for query, code in (
        ("tar_type=GZIP", "PARAM_ERROR"),
        ("bill_date=2026-02-30", "PARAM_ERROR"),
        (f"bill_date={beijing_day(3)}&bill_type=REFUND", "PARAM_ERROR"),
        (f"bill_date={beijing_day(0)}", "INVALID_REQUEST"),
        (f"bill_date={beijing_day(100)}", "INVALID_REQUEST"),
        (f"bill_date={beijing_day(3)}", "NO_STATEMENT_EXIST"),
    ):
        refused = await tradebill(merchant, query)
        assert (refused.status, refused.code) == (400, code), query
    await merchant.faults(bills="late")
    refused = await tradebill(merchant, f"bill_date={beijing_day(3)}")
    assert (refused.status, refused.code) == (400, "STATEMENT_CREATING")


async def test_a_link_of_wechats_is_for_whoever_signs_and_for_five_minutes(
    merchant: Merchant,
) -> None:
    await merchant.faults(bills="at_once")
    await merchant.create("N0000001")
    await merchant.pay("N0000001")
    link = (await tradebill(merchant, f"bill_date={beijing_day(0)}")).json["download_url"]
    path = str(link).removeprefix(f"{merchant.url}/wechat")
    file = await merchant.call("GET", path)
    assert file.status == 200
    assert "Wechatpay-Signature" not in file.headers
    assert ",`N0000001,`" in file.body.decode()
    assert (await merchant.call("GET", path, drop=("Authorization",))).status == 401
    await merchant.faults(clock_shift_s=301)
    late = await merchant.call("GET", path, clock_shift_s=301)
    assert (late.status, late.code) == (400, "INVALID_REQUEST")


async def test_alipay_has_no_bill_of_today_nor_of_a_day_without_trades(
    alipay: AlipayMerchant,
) -> None:
    today = await alipay.call(ALIPAYS, {"bill_type": "trade", "bill_date": beijing_day(0)})
    assert today.code == "isv.invalid_arguments"
    kind = await alipay.call(ALIPAYS, {"bill_type": "signcustomer", "bill_date": beijing_day(3)})
    assert kind.code == "isv.invalid_arguments"
    quiet = await alipay.call(ALIPAYS, {"bill_type": "trade", "bill_date": beijing_day(3)})
    assert quiet.code == "isp.bill_not_exist"


async def test_unionpay_has_a_bill_of_a_settlement_day_from_the_morning_after(
    unionpay: UnionPayMerchant,
) -> None:
    await unionpay.paid("N0000001")
    today = beijing_day(0, hours=9)[5:].replace("-", "")
    assert (await file_of(unionpay, today)).code == "98"
    await unionpay.faults(bills="at_once")
    made = await file_of(unionpay, today)
    assert made.code == "00"
    assert made.fields["fileContent"]
    assert unionpay.verifies(made.fields)
    assert (await file_of(unionpay, beijing_day(30)[5:].replace("-", ""))).code == "98"
    assert (await file_of(unionpay, "9999")).code == "10"
    assert (await file_of(unionpay, today, fileType="01")).code == "10"
    assert (await file_of(unionpay, today, signature="AAAA")).code == "11"


async def file_of(unionpay: UnionPayMerchant, settle_date: str, **changes: str) -> Reply:
    fields = unionpay.signed(
        {
            "txnType": "76",
            "txnSubType": "01",
            "bizType": "000000",
            "fileType": "00",
            "settleDate": settle_date,
        },
        **changes,
    )
    async with unionpay.session.post(f"{unionpay.url}/unionpay/file/", data=fields) as answer:
        return Reply(answer.status, await answer.text())
