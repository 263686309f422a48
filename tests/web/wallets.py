"""Buyers inside a wallet's own browser: one that keeps cookies, and is sent there and back."""

from collections.abc import Mapping
from http.cookies import SimpleCookie
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from gateway.model import Order
from tests.rig import Rig
from tests.web.buyer import PHONE, WECHAT, Buyer, Shown

ALIPAY: Final = f"{PHONE} AlipayClient/10.5.60"
UNIONPAY: Final = f"{PHONE} UnionPay/1.0 CloudPay"


class WalletBuyer(Buyer):
    """A buyer whose browser keeps what it is told to, by name; paths are for real browsers."""

    def __init__(self, rig: Rig, order: Order, user_agent: str = WECHAT) -> None:
        super().__init__(rig, order, user_agent)
        self.cookies: dict[str, str] = {}
        self.person: dict[str, str] = {}  # what the sandbox's WeChat knows this browser by
        self.seen: list[str] = []  # every URL that the browser was at or sent to

    async def call(
        self,
        method: str,
        path: str = "",
        *,
        headers: Mapping[str, str] | None = None,
        form: Mapping[str, str] | bytes | None = None,
        json: object = None,
    ) -> Shown:
        sent = {"Cookie": cookie_header(self.cookies), **(headers or {})}
        shown = await super().call(method, path, headers=sent, form=form, json=json)
        self.seen += [self.url + path, shown.headers.get("Location", "")]
        for line in shown.headers.getall("Set-Cookie", []):
            _take(self.cookies, line)
        return shown

    async def scan(self) -> str:
        """Open the one code; returns the path that it leads to, after /checkout/{token}."""
        url = self.url.replace("/checkout/", "/q/")
        headers = {"User-Agent": self.user_agent}
        async with self.rig.http.get(url, headers=headers, allow_redirects=False) as answer:
            assert answer.status == 303
            location = answer.headers["Location"]
        assert location.startswith(self.path)
        return location.removeprefix(self.path)

    async def leave(self) -> str:
        """Go to the page's /identify and on to WeChat; returns where WeChat sends the browser."""
        sent = await self.call("GET", "/identify")
        assert sent.status == 303
        assert sent.headers["Location"].startswith(self.rig.sandbox_url)
        headers = {"User-Agent": self.user_agent, "Cookie": cookie_header(self.person)}
        async with self.rig.http.get(
            sent.headers["Location"], headers=headers, allow_redirects=False
        ) as answer:
            assert answer.status == 302, await answer.text()
            for line in answer.headers.getall("Set-Cookie", []):
                _take(self.person, line)
            back = answer.headers["Location"]
        assert back.startswith(f"{self.url}/identified?")
        return back.removeprefix(self.url)

    async def identify(self) -> Shown:
        """Let WeChat say who is here, and look at the page that this leads to."""
        answer = await self.call("GET", await self.leave())
        assert answer.headers["Location"] == f"{self.path}?go=1"
        return await self.get("?go=1")


def cookie_header(cookies: Mapping[str, str]) -> str:
    return "; ".join(f"{name}={value}" for name, value in cookies.items())


def changed(path: str, **changes: str) -> str:
    """Return a path with other values in its query."""
    parts = urlsplit(path)
    query = dict(parse_qsl(parts.query)) | changes
    return parts._replace(query="&".join(f"{name}={text}" for name, text in query.items())).geturl()


def _take(cookies: dict[str, str], line: str) -> None:
    for name, morsel in SimpleCookie(line).items():
        if morsel["max-age"] == "0":
            cookies.pop(name, None)
        else:
            cookies[name] = morsel.value
