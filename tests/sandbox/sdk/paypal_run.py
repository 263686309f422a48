"""Drive the sandbox with PayPal's own SDK, unchanged, and print what it made of the answers.

Runs in the SDK's own environment, where nothing of ours is. Reads one JSON object from standard
input: `{account, sandbox_url}`.
"""

import json
import sys
import time
from urllib.request import Request, urlopen

from paypalserversdk.configuration import (  # type: ignore[import-not-found]
    Configuration,
    Environment,
    Server,
)
from paypalserversdk.exceptions.api_exception import ApiException  # type: ignore[import-not-found]
from paypalserversdk.http.auth.o_auth_2 import (  # type: ignore[import-not-found]
    ClientCredentialsAuthCredentials,
)
from paypalserversdk.models import (  # type: ignore[import-not-found]
    amount_with_breakdown,
    money,
    order_request,
    payment_source,
    paypal_wallet,
    paypal_wallet_experience_context,
    purchase_unit_request,
    refund_request,
)
from paypalserversdk.paypal_serversdk_client import (  # type: ignore[import-not-found]
    PaypalServersdkClient,
)

NUMBER = f"SDKPAYPAL{int(time.time() * 1000)}"
WHOLE = "return=representation"


def order() -> object:
    context = paypal_wallet_experience_context.PaypalWalletExperienceContext(
        return_url="https://shop.example/back", cancel_url="https://shop.example/cancel"
    )
    wallet = paypal_wallet.PaypalWallet(experience_context=context)
    price = amount_with_breakdown.AmountWithBreakdown(currency_code="USD", value="12.34")
    unit = purchase_unit_request.PurchaseUnitRequest(amount=price, custom_id=NUMBER)
    return order_request.OrderRequest(
        intent="CAPTURE",
        purchase_units=[unit],
        payment_source=payment_source.PaymentSource(paypal=wallet),
    )


class Run:
    """One SDK against one sandbox, with notes of what the SDK answered at each step."""

    def __init__(self, account: dict[str, str], sandbox_url: str) -> None:
        urls = Configuration.environments[Environment.SANDBOX]
        urls[Server.DEFAULT] = account["base_url"]
        self.sandbox_url = sandbox_url
        self.seen: dict[str, object] = {}
        self.sdk = PaypalServersdkClient(
            client_credentials_auth_credentials=ClientCredentialsAuthCredentials(
                account["client_id"], account["client_secret"]
            ),
            environment=Environment.SANDBOX,
        )

    def control(self, call: str, **said: object) -> None:
        body = json.dumps({"channel": "paypal", **said}).encode()
        url = f"{self.sandbox_url}/_control/{call}"
        with urlopen(Request(url, body, {"Content-Type": "application/json"})):  # noqa: S310
            pass

    def pay(self) -> str:
        orders = self.sdk.orders
        asked = {"body": order(), "paypal_request_id": NUMBER, "prefer": WHOLE}
        made = orders.create_order(asked)
        again = orders.create_order(asked)
        id_ = str(made.body.id)
        self.seen["create"] = [made.status_code, made.body.status]
        self.seen["replay"] = [again.status_code, again.body.id == id_]
        self.seen["links"] = sorted(link.rel for link in made.body.links)
        capture = {"id": id_, "paypal_request_id": NUMBER + "C1", "prefer": WHOLE}
        self.seen["too_early"] = self.refused(lambda: orders.capture_order(capture))
        self.control("pay", number=NUMBER)
        self.seen["approved"] = orders.get_order({"id": id_}).body.status
        captured = orders.capture_order(capture)
        (one,) = captured.body.purchase_units[0].payments.captures
        self.seen["capture"] = [captured.status_code, captured.body.status, one.status]
        self.seen["capture_again"] = orders.capture_order(capture).status_code
        other = {**capture, "paypal_request_id": NUMBER + "C2"}
        self.seen["already"] = self.refused(lambda: orders.capture_order(other))
        return str(one.id)

    def give_back(self, capture: str) -> None:
        payments = self.sdk.payments
        shown = payments.get_captured_payment({"capture_id": capture}).body
        self.seen["captured"] = [shown.status, shown.amount.value, shown.custom_id == NUMBER]
        body = refund_request.RefundRequest(
            amount=money.Money(currency_code="USD", value="5.00"), custom_id=NUMBER + "R1"
        )
        asked = {"capture_id": capture, "paypal_request_id": NUMBER + "R1", "body": body}
        made = payments.refund_captured_payment(asked)
        again = payments.refund_captured_payment(asked)
        self.seen["refund"] = [made.status_code, made.body.status, made.body.amount.value]
        self.seen["refund_again"] = [again.status_code, again.body.id == made.body.id]
        self.seen["refund_shown"] = payments.get_refund({"refund_id": made.body.id}).body.status
        left = payments.get_captured_payment({"capture_id": capture}).body.status
        self.seen["captured_then"] = left

    def refused(self, call: object) -> list[object]:
        try:
            call()  # type: ignore[operator]
        except ApiException as error:
            (detail,) = error.details
            return [error.response_code, error.name, detail.issue]
        return ["not refused"]


def main() -> None:
    given = json.load(sys.stdin)
    run = Run(given["account"], given["sandbox_url"])
    run.control("faults", refund_takes_s=0)
    run.give_back(run.pay())
    missing = {"id": "5O190127TN364715T"}
    run.seen["unknown"] = run.refused(lambda: run.sdk.orders.get_order(missing))
    json.dump(run.seen, sys.stdout)


main()
