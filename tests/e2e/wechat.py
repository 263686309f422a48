"""WeChat around a page: the bridge that the app puts into its own browser, and who taps in it."""

from typing import Final

from playwright.async_api import Page, expect

from tests.e2e.buyer import Buyer
from tests.e2e.program import Ready

WECHAT: Final = "MicroMessenger/8.0.49"
ALIPAY: Final = "AlipayClient/10.5.60"
UNIONPAY: Final = "UnionPay/1.0 CloudPay"

# The app puts its bridge there after the page has begun, and says so.
_BRIDGE: Final = """
addEventListener("load", () => {
  window.WeixinJSBridge = {
    invoke(name, parameters, tell) { window.askWeChat(name, parameters).then(tell); },
  };
  document.dispatchEvent(new Event("WeixinJSBridgeReady"));
});
"""
_SAID: Final = "get_brand_wcpay_request"


class WeChat:
    """The app on one phone. `will` is what its person does with the wallet: pay, or cancel."""

    def __init__(self, buyer: Buyer, ready: Ready, will: str = "pay") -> None:
        self.will = will
        self.asked = 0
        self._buyer = buyer
        self._ready = ready

    async def install(self) -> None:
        await self._buyer.context.expose_binding("askWeChat", self._ask)
        await self._buyer.context.add_init_script(_BRIDGE)

    async def _ask(
        self, _source: object, name: str, parameters: dict[str, str]
    ) -> dict[str, object]:
        """Take what a page asks for to the sandbox, and open the wallet if it says so."""
        self.asked += 1
        url = f"{self._ready.sandbox_url}/wechat/bridge/{name}"
        answer = await self._buyer.context.request.post(url, data=parameters)
        told: dict[str, object] = await answer.json()
        if told["err_msg"] != f"{_SAID}:ready":
            return told
        if self.will == "cancel":
            return {"err_msg": f"{_SAID}:cancel"}
        await self._pay(
            await self._buyer.open(f"{self._ready.sandbox_url}/wallet?code={told['prepay_id']}")
        )
        return {"err_msg": f"{_SAID}:ok"}

    async def _pay(self, wallet: Page) -> None:
        await self._buyer.confirm(wallet)
        await expect(wallet.locator(".result.paid")).to_be_visible()
        await wallet.close()
