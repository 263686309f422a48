"""A second UnionPay, small and obstinate, written from the protocol's description alone.

The sandbox is the first. An adapter that satisfies both has not been written around the mistakes of
one; so nothing here is taken from the sandbox or the adapter. It runs in the test's own process and
is driven by method calls. Faults are given per verb and hit the next calls of that verb.

Everything is kept by (orderId, txnTime): whoever comes with another time has another payment.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from aiohttp import web

from tests.fakes.keys import Certified
from tests.fakes.unionpay_bills import Bills
from tests.fakes.unionpay_crypto import MER_ID, Form, UnionPaySide, answer_text, signed, signed_by

Key = tuple[str, str]
FRONT = "/gateway/api/frontTransReq.do"
FIXED = {
    "version": "5.1.0",
    "encoding": "UTF-8",
    "signMethod": "01",
    "accessType": "0",
    "merId": MER_ID,
}
ECHOED = ("merId", "orderId", "txnTime", "txnType", "txnSubType", "bizType")


class Refused(Exception):
    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


@dataclass
class Payment:
    fields: Form
    query_id: str
    code: str = "05"
    paid: int = 0


@dataclass
class Refund:
    fields: Form
    query_id: str
    of: Key
    code: str = "05"

    @property
    def amount(self) -> int:
        return int(self.fields["txnAmt"])


@dataclass(frozen=True)
class Fault:
    """What happens to one call: carried out or not, then answered with `said` (an HTTP status, or
    a code inside a signed answer) or cut off.
    """

    executes: bool
    said: int | str | None


@dataclass
class UnionPayStub:
    """The channel."""

    side: UnionPaySide
    payments: dict[Key, Payment] = field(default_factory=dict)
    refunds: dict[Key, Refund] = field(default_factory=dict)
    seen: list[Form] = field(default_factory=list)  # of every call that came through the door
    calls: Counter[str] = field(default_factory=Counter)
    faults: dict[str, list[Fault]] = field(default_factory=dict)
    answers: dict[str, Form] = field(default_factory=dict)  # said, signed, in addition
    raw: dict[str, tuple[int, bytes]] = field(default_factory=dict)  # given as it is
    spoilt: int = 0  # how many answers carry a signature by somebody else
    refunds_fail: bool = False
    signer: Certified | None = None  # who signs answers; None: UnionPay
    bills: Bills = field(default_factory=Bills)
    headers: dict[str, str] = field(default_factory=dict)  # of the last call, names in lower case

    def __post_init__(self) -> None:
        self.gate = asyncio.Event()  # answers wait for it
        self.gate.set()

    def application(self) -> web.Application:
        app = web.Application()
        for name in ("front", "app", "back"):
            app.router.add_post(f"/gateway/api/{name}TransReq.do", self._serve)
        app.router.add_post("/gateway/api/queryTrans.do", self._serve)
        app.router.add_post("/files/", self._serve)
        return app

    # What the buyer and the banks do.

    def pay(self, number: str, amount: int | None = None) -> None:
        _, payment = self.find(number)
        assert not payment.paid
        assert moment(payment.fields["payTimeout"]) > datetime.now(UTC)
        payment.paid = int(payment.fields["txnAmt"]) if amount is None else amount
        payment.code = "00"

    def end_refund(self, number: str) -> None:
        refund = self.refund_of(number)
        refund.code = "61" if self.refunds_fail else "A6"

    def find(self, number: str) -> tuple[Key, Payment]:
        return next((key, one) for key, one in self.payments.items() if key[0] == number)

    def refund_of(self, number: str) -> Refund:
        return next(one for key, one in self.refunds.items() if key[0] == number)

    # What it tells of its own accord.

    def notice(self, number: str) -> dict[str, str]:
        """The fields of a notification about a payment, without its signature."""
        _, payment = self.find(number)
        return self._told(payment.fields, payment.query_id, str(payment.paid), payment.code)

    def refund_notice(self, number: str) -> dict[str, str]:
        refund = self.refund_of(number)
        return self._told(refund.fields, refund.query_id, refund.fields["txnAmt"], refund.code) | {
            "origQryId": refund.fields["origQryId"]
        }

    def _told(self, fields: Form, query_id: str, amount: str, code: str) -> dict[str, str]:
        return {
            **FIXED,
            **{name: fields[name] for name in ECHOED},
            "respCode": code,
            "respMsg": "Success! 成功[0000000]",
            "queryId": query_id,
            "txnAmt": amount,
            "currencyCode": "156",
            "settleAmt": amount,
            "settleCurrencyCode": "156",
            "settleDate": "1122",
            "traceNo": "736902",
            "traceTime": "1122103456",
            "accNo": "6226********8888",
        }

    # The calls.

    def _create(self, fields: Form, *, front: bool) -> dict[str, str]:
        product = (fields["txnSubType"], fields["bizType"], fields["channelType"])
        allowed = [("01", "000201", "08"), ("01", "000201", "07")] if front else []
        allowed += [] if front else [("07", "000000", "08"), ("01", "000201", "08")]
        if product not in allowed or fields["currencyCode"] != "156" or not fields["backUrl"]:
            raise Refused("10")
        if front and not fields["frontUrl"]:
            raise Refused("13")
        if moment(fields["payTimeout"]) <= datetime.now(UTC):
            raise Refused("39")
        key = (fields["orderId"], fields["txnTime"])
        known = self.payments.get(key)
        # To the byte: stricter than the real one may be.
        if known is not None and (known.paid or known.fields != fields):
            raise Refused("12")
        if known is None:
            query_id = f"2026112210345{len(self.payments):08d}"
            self.payments[key] = Payment(fields, query_id)
        return {"tn": "837" + key[0][-18:], "qrCode": f"https://qr.95516.com/0/{key[0]}=+&"[:-1]}

    def _query(self, fields: Form) -> dict[str, str]:
        key = (fields["orderId"], fields["txnTime"])
        refund, payment = self.refunds.get(key), self.payments.get(key)
        if refund is not None:
            told = self.refund_notice(key[0])
            return {**told, "respCode": "00", "origRespCode": refund.code}
        if payment is None:
            raise Refused("34")
        found = self.notice(key[0]) if payment.paid else {}
        return {**found, "respCode": "00", "origRespCode": payment.code, "origRespMsg": "见文档"}

    def _refund(self, fields: Form) -> dict[str, str]:
        key = (fields["orderId"], fields["txnTime"])
        if abs(moment(fields["txnTime"]) - datetime.now(UTC)) > timedelta(minutes=15):
            raise Refused("39")
        if key in self.refunds:
            # Unlike the sandbox: the repeat is told yes, with the first one's id.
            return {**_amount(fields), "queryId": self.refunds[key].query_id}
        of = next(
            (at for at, one in self.payments.items() if one.query_id == fields["origQryId"]), None
        )
        if of is None:
            raise Refused("34")
        paid = self.payments[of].paid
        gone = sum(one.amount for one in self.refunds.values() if one.of == of)
        amount = int(fields["txnAmt"])
        if amount > paid - gone or (fields["txnType"] == "31" and amount != paid):
            raise Refused("36")
        query_id = f"2026112210355{len(self.refunds):08d}"
        self.refunds[key] = Refund(fields, query_id, of)
        return {**_amount(fields), "queryId": query_id}

    async def _serve(self, request: web.Request) -> web.Response:
        fields = {name: str(value) for name, value in (await request.post()).items()}
        verb = self._verb(request.path, fields)
        self.calls[verb] += 1
        self.headers = {name.lower(): value for name, value in request.headers.items()}
        await self.gate.wait()
        if verb in self.raw:
            status, text = self.raw.pop(verb)
            return web.Response(status=status, body=text)
        faults = self.faults.get(verb)
        fault = faults.pop() if faults else None
        said: Form = {}
        if fault is None or fault.executes:
            said = self._said(verb, fields, front=request.path == FRONT)
        if fault is None:
            return self._written(fields, said)
        if isinstance(fault.said, int):
            return web.Response(status=fault.said, text="<html>nginx</html>")
        if fault.said is not None:
            return self._written(fields, {"respCode": fault.said, "respMsg": "见文档"})
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    def _bill(self, fields: Form) -> dict[str, str]:
        if (fields["txnType"], fields["txnSubType"], fields["fileType"]) != ("76", "01", "00"):
            raise Refused("10")
        said = {"settleDate": fields["settleDate"], "fileType": "00"}
        if not (content := self.bills.content(fields["settleDate"])):
            return {**said, "respCode": "98", "respMsg": "文件不存在"}
        return {**said, "fileName": f"{MER_ID}.zip", "fileContent": content}

    def _verb(self, path: str, fields: Form) -> str:
        if path == "/files/":
            return "bill"
        if path.endswith("queryTrans.do"):
            key = (fields["orderId"], fields["txnTime"])
            return "query_refund" if key in self.refunds else "query"
        return "refund" if fields["txnType"] in ("04", "31") else "create"

    def _said(self, verb: str, fields: Form, *, front: bool) -> Form:
        acts: dict[str, Callable[[Form], dict[str, str]]] = {
            "create": lambda sent: self._create(sent, front=front),
            "query": self._query,
            "refund": self._refund,
            "query_refund": self._query,
            "bill": self._bill,
        }
        try:
            self._let_in(fields)
            self.seen.append(fields)
            said = {"respCode": "00", "respMsg": "成功[0000000]", **acts[verb](fields)}
        except Refused as refusal:
            return {"respCode": refusal.code, "respMsg": "见文档"}
        return {**said, **self.answers.pop(verb, {})}

    def _let_in(self, fields: Form) -> None:
        if any(fields.get(name) != value for name, value in FIXED.items()):
            raise Refused("10")
        number = fields.get("orderId", "")
        if fields["txnType"] != "76" and not (number.isalnum() and 8 <= len(number) <= 40):
            raise Refused("10")
        serial = str(self.side.merchant.certificate.serial_number)
        if fields["certId"] != serial or not signed_by(self.side.merchant, fields):
            raise Refused("11")

    def _written(self, fields: Form, said: Form) -> web.Response:
        echoed = {name: fields[name] for name in ECHOED if name in fields}
        by = None
        if self.spoilt:
            self.spoilt -= 1
            by = self.side.merchant
        told = signed(self.signer or self.side.unionpay, {**FIXED, **echoed, **said}, by=by)
        return web.Response(body=answer_text(told), content_type="text/html", charset="utf-8")


def moment(text: str) -> datetime:
    """Read a time as UnionPay writes it: Beijing's, which it does not say."""
    return datetime.strptime(f"{text} +0800", "%Y%m%d%H%M%S %z")


def _amount(fields: Form) -> dict[str, str]:
    return {"txnAmt": fields["txnAmt"], "origQryId": fields["origQryId"]}
