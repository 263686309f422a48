"""Stripe's noes, in its envelope."""

from collections.abc import Mapping


class StripeRefusal(Exception):
    """The API says no. `executed`: it got so far that the answer is kept under its key.

    `intent` is the PaymentIntent that the error shows.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        kind: str = "invalid_request_error",
        code: str = "",
        param: str = "",
        intent: Mapping[str, object] | None = None,
        executed: bool = False,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.kind = kind
        self.code = code
        self.param = param
        self.intent = intent
        self.executed = executed

    def body(self, request_id: str) -> dict[str, object]:
        said: dict[str, object] = {
            "type": self.kind,
            "message": self.message,
            "request_log_url": f"https://dashboard.stripe.com/test/logs/{request_id}",
        }
        if self.code:
            said |= {
                "code": self.code,
                "doc_url": f"https://stripe.com/docs/error-codes/{self.code}",
            }
        if self.param:
            said["param"] = self.param
        if self.intent is not None:
            said["payment_intent"] = self.intent
        return {"error": said}


def no_such(noun: str, thing_id: str, param: str) -> StripeRefusal:
    return StripeRefusal(
        f"No such {noun}: '{thing_id}'", status=404, code="resource_missing", param=param
    )
