"""Who may call WeChat Pay, in which order that is checked, and how answers are signed."""

import time

import pytest

from tests.sandbox.merchant import Merchant

QUERY = "/v3/pay/transactions/out-trade-no/ORDER000001?mchid="
SCHEME = "WECHATPAY2-SHA256-RSA2048 "
MALFORMED = "Http头Authorization值格式错误，请参考《微信支付商户REST API签名规则》"
STALE = "Http头Authorization中的timestamp与发起请求的时间不得超过5分钟"
WRONG_SERIAL = "商户证书序列号有误。请使用签名私钥匹配的证书序列号"


@pytest.fixture
def query(merchant: Merchant) -> str:
    return QUERY + merchant.keys.mchid


async def test_a_call_without_user_agent_is_refused_before_its_signature(
    merchant: Merchant,
) -> None:
    answer = await merchant.call("GET", "/v3/certificates", drop=("User-Agent", "Authorization"))
    assert (answer.status, answer.code) == (400, "INVALID_REQUEST")
    assert answer.message == "Http头缺少Accept或User-Agent"


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer abc",
        SCHEME,
        SCHEME + 'mchid="1"',
        SCHEME + 'mchid="1", nonce_str="2",signature="3",timestamp="4",serial_no="5"',
        SCHEME + 'mchid="1",nonce_str="2",signature="3",timestamp="x",serial_no="5"',
        SCHEME + f'mchid="1",nonce_str="2",signature="3",timestamp="{"9" * 5000}",serial_no="5"',
        SCHEME + 'mchid="1",mchid="2",signature="3",timestamp="4",serial_no="5"',
    ],
)
async def test_a_malformed_authorization_is_named_first(
    merchant: Merchant, query: str, header: str
) -> None:
    answer = await merchant.call("GET", query, headers={"Authorization": header})
    assert (answer.status, answer.code, answer.message) == (401, "SIGN_ERROR", MALFORMED)


async def test_an_order_call_without_authorization_gets_its_own_sentence(
    merchant: Merchant, query: str
) -> None:
    answer = await merchant.call("GET", query, drop=("Authorization",))
    assert (answer.status, answer.message) == (401, "签名信息错误，验签失败")
    answer = await merchant.call("GET", "/v3/certificates", drop=("Authorization",))
    assert (answer.status, answer.message) == (401, MALFORMED)


@pytest.mark.parametrize("shift_s", [-310, 310])
async def test_a_stale_timestamp_is_refused_before_the_signature_is_looked_at(
    merchant: Merchant, query: str, shift_s: int
) -> None:
    answer = await merchant.call("GET", query, signed_path="/wrong", clock_shift_s=shift_s)
    assert (answer.status, answer.message) == (401, STALE)


async def test_a_timestamp_within_five_minutes_is_fresh(merchant: Merchant, query: str) -> None:
    answer = await merchant.call("GET", query, clock_shift_s=-290)
    assert (answer.status, answer.code) == (404, "ORDER_NOT_EXIST")


async def test_the_channels_clock_can_be_wrong(merchant: Merchant, query: str) -> None:
    await merchant.faults(clock_shift_s=3600)
    answer = await merchant.call("GET", query)
    assert answer.message == STALE
    answer = await merchant.call("GET", query, clock_shift_s=3600)
    assert answer.code == "ORDER_NOT_EXIST"


@pytest.mark.parametrize("part", ["mchid", "serial_no"])
async def test_a_stranger_is_told_that_the_serial_is_wrong(
    merchant: Merchant, query: str, part: str
) -> None:
    known = {"mchid": merchant.keys.mchid, "serial_no": merchant.keys.merchant.serial}[part]
    header = merchant.authorization("GET", query, b"", stamp=_now_s())
    answer = await merchant.call(
        "GET", query, headers={"Authorization": header.replace(known, "1" * len(known))}
    )
    assert (answer.status, answer.message) == (401, WRONG_SERIAL)


async def test_a_signature_over_something_else_is_refused(merchant: Merchant, query: str) -> None:
    for signed in (query + "&x=1", query.partition("?")[0], "/other"):
        answer = await merchant.call("GET", query, signed_path=signed)
        assert (answer.status, answer.message) == (401, "签名错误")
    header = merchant.authorization("POST", "/v3/refund/domestic/refunds", b"{}", _now_s())
    answer = await merchant.call(
        "POST", "/v3/refund/domestic/refunds", {"a": 1}, headers={"Authorization": header}
    )
    assert answer.message == "签名错误"


async def test_the_path_is_verified_as_it_travelled(merchant: Merchant) -> None:
    path = f"/v3/pay/transactions/out-trade-no/ORDER%7C00001?mchid={merchant.keys.mchid}"
    assert (await merchant.call("GET", path)).code == "ORDER_NOT_EXIST"
    decoded = path.replace("%7C", "|")
    assert (await merchant.call("GET", path, signed_path=decoded)).message == "签名错误"


async def test_a_client_may_sign_the_prefix_that_it_was_given(
    merchant: Merchant, query: str
) -> None:
    answer = await merchant.call("GET", query, signed_path="/wechat" + query)
    assert answer.code == "ORDER_NOT_EXIST"


async def test_refusals_are_unsigned_json(merchant: Merchant, query: str) -> None:
    answer = await merchant.call("GET", query)
    assert answer.status == 404
    assert answer.headers["Content-Type"] == "application/json; charset=utf-8"
    assert not [name for name in answer.headers if name.lower().startswith("wechatpay-")]


async def test_unknown_routes_answer_404_and_wrong_methods_405_both_empty(
    merchant: Merchant,
) -> None:
    nowhere = await merchant.call("GET", "/v3/nowhere")
    assert (nowhere.status, nowhere.body) == (404, b"")
    wrong = await merchant.call("DELETE", "/v3/certificates")
    assert (wrong.status, wrong.body) == (405, b"")


async def test_the_public_key_signs_when_it_is_asked_for_by_its_id(merchant: Merchant) -> None:
    answer = await merchant.create("ORDER000001")
    assert answer.status == 200
    assert answer.headers["Wechatpay-Serial"] == merchant.keys.public_key_id
    assert answer.headers["Wechatpay-Signature-Type"] == "WECHATPAY2-SHA256-RSA2048"
    assert answer.headers["Content-Type"] == "application/json; charset=utf-8"
    assert merchant.verified(answer.headers, answer.body)


async def test_the_platform_certificate_signs_otherwise(merchant: Merchant) -> None:
    merchant.serial = None
    answer = await merchant.create("ORDER000001")
    assert answer.headers["Wechatpay-Serial"] == merchant.keys.platform[0].serial
    assert merchant.verified(answer.headers, answer.body)


async def test_a_serial_that_was_never_given_out_is_refused(merchant: Merchant) -> None:
    merchant.serial = "PUB_KEY_ID_0000"
    answer = await merchant.create("ORDER000001")
    assert (answer.status, answer.message) == (400, "平台证书序列号Wechatpay-Serial错误")
    assert (await merchant.control("ledger")).json == {"data": []}


async def test_204_is_signed_over_an_empty_body(merchant: Merchant) -> None:
    await merchant.create("ORDER000001")
    answer = await merchant.close("ORDER000001")
    assert (answer.status, answer.body) == (204, b"")
    assert merchant.verified(answer.headers, b"")


async def test_certificates_are_encrypted_with_the_apiv3_key(merchant: Merchant) -> None:
    answer = await merchant.call("GET", "/v3/certificates")
    (entry,) = _entries(answer.json["data"])
    assert entry["serial_no"] == merchant.keys.platform[0].serial
    plain = merchant.decrypted(entry["encrypt_certificate"])
    assert plain.decode() == merchant.keys.platform[0].certificate


async def test_a_rotation_lists_both_certificates_and_signs_with_the_new_one(
    merchant: Merchant,
) -> None:
    await merchant.faults(rotate_certificate=True)
    merchant.serial = None
    answer = await merchant.call("GET", "/v3/certificates")
    serials = [entry["serial_no"] for entry in _entries(answer.json["data"])]
    assert serials == [one.serial for one in merchant.keys.platform]
    assert answer.headers["Wechatpay-Serial"] == merchant.keys.platform[1].serial
    assert merchant.verified(answer.headers, answer.body)


async def test_a_probed_answer_carries_a_signature_that_must_fail(merchant: Merchant) -> None:
    await merchant.faults(probe_answers=1)
    probed = await merchant.create("ORDER000001")
    assert probed.headers["Wechatpay-Signature"].startswith("WECHATPAY/SIGNTEST/")
    assert not merchant.verified(probed.headers, probed.body)
    after = await merchant.query("ORDER000001")
    assert merchant.verified(after.headers, after.body)


def _now_s() -> int:
    return int(time.time())


def _entries(data: object) -> list[dict[str, object]]:
    assert isinstance(data, list)
    return data
