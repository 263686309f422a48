"""The sandbox as one aiohttp application: channels, control calls and the wallet.

It imports nothing of the gateway, so that the two cannot share a mistake about the protocols.
"""

from collections.abc import AsyncIterator, Mapping
from pathlib import Path

from aiohttp import web

from gateway.sandbox.alipay import Alipay
from gateway.sandbox.callbacks import CallbackSender
from gateway.sandbox.channel import SandboxChannel, Shared
from gateway.sandbox.control import CHANNELS, SHARED, control_routes
from gateway.sandbox.faults import FaultBoard, Faults
from gateway.sandbox.journal import Journal
from gateway.sandbox.keys import SandboxKeys
from gateway.sandbox.ledger import Ledger, Payment
from gateway.sandbox.paypal import PayPal
from gateway.sandbox.stripe import Boleto, Card, Stripe
from gateway.sandbox.unionpay import UnionPay
from gateway.sandbox.wallet import add_wallet
from gateway.sandbox.wechat import Wechat


def sandbox_app(
    keys: SandboxKeys,
    *,
    public_url: str,
    state_file: Path | None = None,
    pace: float = 1.0,
    webhooks: Mapping[str, str] | None = None,
) -> web.Application:
    """Make the sandbox.

    `public_url` is how buyers' browsers reach it, without a slash at the end. `state_file` keeps
    the ledger between runs (JSON lines). `pace` multiplies the waits between sends of a callback:
    1 is what the channels document, 0.001 suits a test. `webhooks` are URLs that a merchant sets
    once, on the site of the channel, by kind of account. Raises ValueError, naming file and line,
    when the state file holds something else than a ledger.
    """
    journal = Journal(state_file, Payment) if state_file is not None else None
    faults = FaultBoard(Faults(pace=pace))
    shared = Shared(
        Ledger(journal),
        faults,
        CallbackSender(faults),
        public_url.rstrip("/"),
        dict(webhooks or {}),
    )
    stripe = Stripe(keys, shared)
    channels: dict[str, SandboxChannel] = {
        "wechat": Wechat(keys, shared),
        "alipay": Alipay(keys, shared),
        "unionpay": UnionPay(keys, shared),
        "paypal": PayPal(keys, shared),
        "card": Card(stripe),
        "boleto": Boleto(stripe),
    }

    app = web.Application()
    app[SHARED] = shared
    app[CHANNELS] = channels
    app.add_routes(control_routes())
    for channel in channels.values():
        app.add_routes(channel.routes())
    add_wallet(app, keys.merchant_name)
    app.cleanup_ctx.append(_send_callbacks)
    return app


async def _send_callbacks(app: web.Application) -> AsyncIterator[None]:
    """Send callbacks while the application runs, beginning with what a stop interrupted."""
    shared = app[SHARED]
    shared.callbacks.start()
    for channel in app[CHANNELS].values():
        channel.resume()
    yield
    for channel in app[CHANNELS].values():
        channel.reset()
    await shared.callbacks.stop()
    shared.ledger.end()
