"""The channel's half of UnionPay's cryptography, written from the protocol's description alone.

It shares no line with the adapter or the sandbox: what all three agree on is the protocol.
"""

from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, partial
from hashlib import sha256
from urllib.parse import urlencode

from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, pkcs12
from cryptography.x509.oid import NameOID

from tests.fakes import keys
from tests.fakes.keys import Certified

Form = Mapping[str, str]

UNIONPAYS_NAME = "041@Z2017-11-9@中国银联股份有限公司@0000001"
TEST_NAME = "041@Z12@00040000:SIGN@00000001"
MERCHANTS_NAME = "041@8310000000083040@777290058110048@00000002"
MER_ID = "777290058110048"
PASSWORD = "000000"  # as in all files of the test environment

_CFCA = {NameOID.COUNTRY_NAME: "CN", NameOID.ORGANIZATION_NAME: "China Financial 测试"}

certified = partial(keys.certified, beside=_CFCA)


@dataclass(frozen=True)
class UnionPaySide:
    """What merchant and channel share, and the private halves of both."""

    root: Certified
    middle: Certified
    unionpay: Certified
    merchant: Certified

    def settings(self, base_url: str) -> dict[str, str]:
        """The settings of an account that talks to whoever has these keys."""
        return {
            "mer_id": MER_ID,
            "pfx": b64encode(pfx_of(self.merchant)).decode(),
            "pfx_password": PASSWORD,
            "root_cert": self.root.pem,
            "middle_cert": self.middle.pem,
            "base_url": base_url,
            "file_base_url": f"{base_url}/files",
        }


@cache
def stub_side() -> UnionPaySide:
    """One set of keys for the whole run: making RSA keys takes most of a second."""
    root = certified("CFCA ACS CA", issues=True)
    middle = certified("CFCA ACS OCA31", issuer=root, issues=True)
    return UnionPaySide(
        root=root,
        middle=middle,
        unionpay=certified(UNIONPAYS_NAME, issuer=middle),
        merchant=certified(MERCHANTS_NAME, issuer=middle),
    )


@cache
def pfx_of(one: Certified, password: str = PASSWORD) -> bytes:
    locked = BestAvailableEncryption(password.encode())
    return pkcs12.serialize_key_and_certificates(None, one.key, one.certificate, None, locked)


def signed(signer: Certified, fields: Form, *, by: Certified | None = None) -> dict[str, str]:
    """Fields with the signer's certificate and a signature; `by` signs in the signer's place."""
    pem = "\r\n".join(signer.pem.strip().splitlines())
    told = {**fields, "signPubKeyCert": pem}
    return {**told, "signature": keys.signature((by or signer).key, hash_of(told))}


def signed_by(one: Certified, fields: Form) -> bool:
    return keys.signed_by(one.key, fields["signature"], hash_of(fields))


def hash_of(fields: Form) -> str:
    names = sorted(name for name in fields if fields[name] and name != "signature")
    return sha256("&".join(f"{name}={fields[name]}" for name in names).encode()).hexdigest()


def answer_text(fields: Form) -> bytes:
    """An answer: values as they are."""
    return "&".join(f"{name}={value}" for name, value in fields.items()).encode()


def notice_body(fields: Form) -> bytes:
    """A notification: an ordinary form."""
    return urlencode(fields).encode()
