"""Alipay's methods as both of its protocols need them: what each does, and what a call is about."""

from collections.abc import Callable

import msgspec

from gateway.sandbox.alipay_bodies import number_in
from gateway.sandbox.alipay_gate import KIND, Sent
from gateway.sandbox.faults import Call, Verb
from gateway.sandbox.ledger import Ledger

Act = Callable[[Sent], msgspec.Struct]
"""What a method does with its parameters: an answer to sign; raises AlipayRefusal."""


class Method(msgspec.Struct, frozen=True):
    """A method that is answered: its act, and how the control calls name and number its calls."""

    act: Act
    verb: Verb
    numbered_by: tuple[str, ...] = ("out_trade_no",)

    def call(self, sent: Sent, ledger: Ledger) -> Call:
        """Say what a call is about, in the merchant's number also when it gives Alipay's."""
        body = sent.get("biz_content", "")
        payment = ledger.find_by_ref(KIND, number_in(body, "trade_no"))
        number = number_in(body, *self.numbered_by) or (payment.number if payment else "")
        return Call(KIND, self.verb, number)
