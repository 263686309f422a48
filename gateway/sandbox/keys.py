"""The sandbox's key material: what a merchant and the channel would have exchanged on paper.

It is made once and kept in a folder, because making RSA keys takes a noticeable fraction of a
second and because a gateway that was set up yesterday must still be believed today.
"""

import os
import secrets
import string
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import NameOID

from gateway.sandbox.alipay_keys import AlipayKeys, new_alipay_keys
from gateway.sandbox.paypal_keys import PayPalKeys, new_paypal_keys
from gateway.sandbox.pem import new_rsa_key, private_pem, public_pem
from gateway.sandbox.stripe_keys import StripeKeys, new_stripe_keys
from gateway.sandbox.unionpay_keys import UnionPayKeys, new_unionpay_keys

FILE_NAME = "sandbox-keys.json"
CERTIFICATE_YEARS = 5


class CertifiedKey(msgspec.Struct, frozen=True):
    """A private key with the certificate that names it; `serial` is upper-case hexadecimal."""

    serial: str
    key: str
    certificate: str


class SandboxKeys(msgspec.Struct, frozen=True, kw_only=True):
    """Everything secret on both sides of the sandbox, as PEM text: WeChat Pay's, then
    the other channels', each under its name.

    `platform` holds two certificates: the second is the one that a rotation moves to.
    """

    mchid: str
    appid: str
    merchant_name: str
    apiv3_key: str
    merchant: CertifiedKey
    public_key_id: str
    public_key_pair: str
    public_key: str
    platform: tuple[CertifiedKey, CertifiedKey]
    app_secret: str = msgspec.field(default_factory=lambda: secrets.token_hex(16))
    alipay: AlipayKeys = msgspec.field(default_factory=new_alipay_keys)
    unionpay: UnionPayKeys = msgspec.field(default_factory=new_unionpay_keys)
    paypal: PayPalKeys = msgspec.field(default_factory=new_paypal_keys)
    stripe: StripeKeys = msgspec.field(default_factory=new_stripe_keys)


def sandbox_keys(folder: Path | None) -> SandboxKeys:
    """Answer the keys kept in `folder`, making them the first time; None keeps them nowhere.

    A file from before the sandbox knew a channel keeps what it has and gains that channel's keys.
    Raises ValueError, naming the file, when what is kept there cannot be read.
    """
    if folder is None:
        return _new_keys()
    path = folder / FILE_NAME
    kept = path.read_bytes() if path.exists() else None
    try:
        keys = _new_keys() if kept is None else msgspec.json.decode(kept, type=SandboxKeys)
    except msgspec.DecodeError as error:
        raise ValueError(
            f"{path} does not hold sandbox keys ({error}); delete it and new ones are made"
        ) from error
    whole = msgspec.json.encode(keys)
    if whole != kept:
        folder.mkdir(parents=True, exist_ok=True)
        _write_private(path, whole)
    return keys


def wechat_account(keys: SandboxKeys, base_url: str) -> dict[str, str]:
    """The settings that WeChat Pay's merchant would type in, pointed at this sandbox.

    `base_url` is where the sandbox serves WeChat Pay: its own URL followed by `/wechat`.
    """
    return {
        "mchid": keys.mchid,
        "appid": keys.appid,
        "merchant_serial": keys.merchant.serial,
        "merchant_key": keys.merchant.key,
        "apiv3_key": keys.apiv3_key,
        "public_key_id": keys.public_key_id,
        "public_key": keys.public_key,
        "base_url": base_url,
        "app_secret": keys.app_secret,
        "oauth_base_url": base_url,
        "oauth_api_base_url": base_url,
    }


def alipay_account(keys: SandboxKeys, base_url: str) -> dict[str, str]:
    """The settings that Alipay's merchant would type in for public-key mode.

    `base_url` is where the sandbox serves Alipay: its own URL followed by `/alipay`.
    """
    return {
        "app_id": keys.alipay.app_id,
        "app_key": keys.alipay.app_key,
        "alipay_public_key": keys.alipay.alipay_public_key,
        "seller_id": keys.alipay.seller_id,
        "base_url": base_url,
    }


def alipay_certificate_account(keys: SandboxKeys, base_url: str) -> dict[str, str]:
    """The same merchant in certificate mode: three certificates take the public key's place."""
    account = alipay_account(keys, base_url)
    del account["alipay_public_key"]
    return account | {
        "app_certificate": keys.alipay.app_certificate,
        "alipay_certificate": keys.alipay.alipay[0].certificate,
        "root_certificate": keys.alipay.root_certificates,
    }


def unionpay_account(keys: SandboxKeys, base_url: str) -> dict[str, str]:
    """The settings that UnionPay's merchant would type in.

    `base_url` is where the sandbox serves UnionPay: its own URL followed by `/unionpay`.
    """
    return {
        "mer_id": keys.unionpay.mer_id,
        "pfx": keys.unionpay.pfx,
        "pfx_password": keys.unionpay.pfx_password,
        "root_cert": keys.unionpay.root_certificate,
        "middle_cert": keys.unionpay.middle_certificate,
        "base_url": base_url,
        "file_base_url": f"{base_url}/file",
    }


def paypal_account(keys: SandboxKeys, base_url: str) -> dict[str, str]:
    """The settings that PayPal's merchant would type in.

    `base_url` is where the sandbox serves PayPal: its own URL followed by `/paypal`.
    """
    return {
        "client_id": keys.paypal.client_id,
        "client_secret": keys.paypal.client_secret,
        "webhook_id": keys.paypal.webhook_id,
        "merchant_id": keys.paypal.merchant_id,
        "webhook_cert_hosts": urlsplit(base_url).netloc,
        "webhook_root_certs": keys.paypal.root_certificate,
        "base_url": base_url,
    }


def stripe_account(keys: SandboxKeys, base_url: str) -> dict[str, str]:
    """The settings that Stripe's merchant would type in, for cards and Boleto.

    `base_url` is where the sandbox serves Stripe: its own URL followed by `/stripe`. Where the
    merchant hears news is told the sandbox apart, as it is told Stripe on its site.
    """
    return {
        "secret_key": keys.stripe.secret_key,
        "webhook_secret": keys.stripe.webhook_secret,
        "base_url": base_url,
    }


def _new_keys() -> SandboxKeys:
    mchid = "16" + _random_text(string.digits, 8)
    pair = new_rsa_key()
    alphabet = string.ascii_letters + string.digits
    return SandboxKeys(
        mchid=mchid,
        appid="wx" + secrets.token_hex(8),
        merchant_name="山间茶铺 Hillside Tea",
        apiv3_key=_random_text(alphabet, 32),
        merchant=_certified_key(f"sandbox merchant {mchid}"),
        public_key_id=f"PUB_KEY_ID_0{mchid}{_random_text(string.digits, 22)}",
        public_key_pair=private_pem(pair),
        public_key=public_pem(pair.public_key()),
        platform=(_certified_key("sandbox platform 1"), _certified_key("sandbox platform 2")),
    )


def _certified_key(common_name: str) -> CertifiedKey:
    key = new_rsa_key()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    made_at = datetime.now(UTC) - timedelta(days=1)  # a clock that is behind still accepts it
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        # Twenty bytes that start neither with a zero nor with the sign bit, so that every
        # library prints the same forty hexadecimal digits.
        .serial_number(int.from_bytes(b"\x5a" + secrets.token_bytes(19)))
        .not_valid_before(made_at)
        .not_valid_after(made_at + timedelta(days=365 * CERTIFICATE_YEARS))
        .sign(key, hashes.SHA256())
    )
    return CertifiedKey(
        serial=f"{certificate.serial_number:040X}",
        key=private_pem(key),
        certificate=certificate.public_bytes(serialization.Encoding.PEM).decode(),
    )


def _random_text(alphabet: str, length: int) -> str:
    return "".join(secrets.choice(alphabet) for _ in range(length))


def _write_private(path: Path, content: bytes) -> None:
    """Write whole or not at all, and readable by nobody else."""
    written = path.with_suffix(".new")
    with os.fdopen(os.open(written, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    written.replace(path)
