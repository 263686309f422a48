"""A callback that was kept is read again in another process, which knows less."""

from msgspec.structs import replace

from gateway.merchants import add_channel
from gateway.model import OrderState
from gateway.payments.accounts import Accounts
from gateway.sandbox.keys import SandboxKeys, paypal_account
from gateway.secrets import Cipher
from tests.payments.test_paypal_payments import PAYPAL, approve, hears
from tests.payments.test_settling import number_in
from tests.rig import MERCHANT, Rig, until
from workers.sweep import settle_unknown


async def test_a_worker_that_has_no_certificate_yet_fetches_it_for_what_was_kept(
    rig: Rig, keys: SandboxKeys
) -> None:
    """F5: who received the callback had the certificate, and is another process."""
    pool, cipher = rig.desk.pool, Cipher(rig.settings.secret_keys)
    account = paypal_account(keys, f"{rig.sandbox_url}/paypal")
    async with pool.acquire() as conn:
        await add_channel(conn, cipher, MERCHANT, "pp", "paypal", account)
    await hears(rig)
    order = await rig.order()
    applied = await rig.apply(order, PAYPAL)
    # The attempt is hidden, as it is to a callback that overtakes the commit.
    await pool.execute("UPDATE attempts SET number = 'hidden' WHERE id = $1", applied.attempt)
    number = number_in(applied.body)
    await approve(rig, number)

    async def kept() -> object:
        return await pool.fetchval("SELECT 1 FROM callbacks WHERE retry_at IS NOT NULL")

    await until(kept)
    await rig.faults("paypal", drop_callbacks=1)  # from here on only what was kept can help
    await pool.execute("UPDATE attempts SET number = $2 WHERE id = $1", applied.attempt, number)
    await pool.execute("UPDATE callbacks SET retry_at = now()")
    await settle_unknown(replace(rig.desk, accounts=Accounts(pool, cipher, rig.http)))
    assert await pool.fetchval("SELECT count(*) FROM callbacks WHERE settled_at IS NULL") == 0
    assert (await rig.read(order)).state is OrderState.OPEN  # an approval; asking goes on with it
