"""An account whose keys are replaced while processes run: they follow, and what comes signed with
the old key is still read where the channel has both.
"""

import pytest

from gateway.errors import ChannelRefusal
from gateway.merchants import change_channel
from gateway.model import OrderState
from gateway.payments import accounts
from gateway.sandbox.keys import SandboxKeys, sandbox_keys
from gateway.secrets import Cipher
from tests.payments.test_settling import number_in
from tests.rig import ACCOUNT, Rig


@pytest.fixture(autouse=True)
def read_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A change of an account is seen by the next request, not seconds later."""
    monkeypatch.setattr(accounts, "_FRESH_S", 0.0)


async def change(rig: Rig, *, without: tuple[str, ...] = (), **settings: str) -> None:
    async with rig.desk.pool.acquire() as conn:
        cipher = Cipher(rig.settings.secret_keys)
        await change_channel(conn, cipher, ACCOUNT, settings, without=without)


async def test_a_replaced_merchant_key_is_signed_with_from_then_on(
    rig: Rig, keys: SandboxKeys
) -> None:
    """WeChat Pay has the new certificate only: what the old one signs is refused."""
    old = sandbox_keys(None).merchant
    await change(rig, merchant_serial=old.serial, merchant_key=old.key)
    order = await rig.order()
    with pytest.raises(ChannelRefusal, match="SIGN_ERROR"):
        await rig.apply(order)
    await change(rig, merchant_serial=keys.merchant.serial, merchant_key=keys.merchant.key)
    await rig.pay(number_in((await rig.apply(order)).body))
    await rig.until_order(order, OrderState.PAID)


@pytest.mark.parametrize("signer", ["certificate", "public_key"])
async def test_while_an_account_moves_to_the_public_key_callbacks_of_both_are_read(
    rig: Rig, keys: SandboxKeys, signer: str
) -> None:
    await change(rig, without=("public_key", "public_key_id"))
    order = await rig.order()
    number = number_in((await rig.apply(order)).body)
    await change(rig, public_key=keys.public_key, public_key_id=keys.public_key_id)
    await rig.faults(callback_signer=signer)
    await rig.pay(number)
    await rig.until_order(order, OrderState.PAID)
