"""Does an account work? Its channel is asked about a payment that nobody ever made.

A genuine "not found" takes the whole way: the network, the clock, our signature, the merchant's
number, and, where the channel signs its answers, the channel's key. Whatever stops it is said in a
sentence that names the setting. What the adapter cannot know is seen on the wire beside it: why
there was no connection, and how late it is at the channel.
"""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import SimpleNamespace
from typing import Final

import aiohttp
from msgspec import Struct

from gateway.channels.base import Channel, Proving
from gateway.channels.certificates import Certified, certificates_in
from gateway.db.accounts import AccountRow
from gateway.errors import ChannelRefused, ChannelUnavailable, ConfigurationError
from gateway.ids import time_ordered
from gateway.model import Outcome
from gateway.payments.accounts import build, read_row
from gateway.secrets import Cipher

_AT_ONCE: Final = 8
_CLOCK_MAY_DIFFER_S: Final = 60
_SOON_DAYS: Final = 30


class Checked(Struct, frozen=True):
    """What was found of one account; `says` is for people."""

    account: str
    merchant: str
    kind: str
    ok: bool
    says: str


class Wire:
    """What a session sees of a channel beside the answers that its adapter reads."""

    def __init__(self) -> None:
        self.status: int | None = None
        self.ahead_s = 0.0  # our clock before the channel's

    def session(self) -> aiohttp.ClientSession:
        trace = aiohttp.TraceConfig()
        trace.on_request_end.append(self._answered)
        return aiohttp.ClientSession(trace_configs=[trace], cookie_jar=aiohttp.DummyCookieJar())

    async def _answered(
        self,
        _session: aiohttp.ClientSession,
        _context: SimpleNamespace,
        ended: aiohttp.TraceRequestEndParams,
    ) -> None:
        self.status = ended.response.status
        try:
            there = parsedate_to_datetime(ended.response.headers["Date"])
        except (KeyError, ValueError):
            return
        self.ahead_s = (datetime.now(UTC) - there.astimezone(UTC)).total_seconds()


async def check_all(rows: Sequence[AccountRow], cipher: Cipher) -> list[Checked]:
    """Check accounts, a few at a time."""
    turns = asyncio.Semaphore(_AT_ONCE)

    async def in_turn(row: AccountRow) -> Checked:
        async with turns:
            return await check(row, cipher)

    return list(await asyncio.gather(*map(in_turn, rows)))


async def check(row: AccountRow, cipher: Cipher) -> Checked:
    """Say whether an account works, and if not, what has to be put right. Makes nothing."""
    wire = Wire()
    certificates: list[Certified] = []
    fault = None
    try:
        async with wire.session() as http:
            settings, secrets = read_row(row, cipher)
            certificates = certificates_in({**settings, **secrets})
            await _ask(build(row, cipher, http)[0].adapter)
    except ConfigurationError as error:
        fault = "; ".join(str(error).splitlines())
    except (ChannelUnavailable, ChannelRefused) as error:
        fault = _sentence(error, wire)
    faults = [fault, _of_clock(wire), *map(_of_certificate, certificates)]
    found = [each for each in faults if each is not None]
    says = found or ["answers as it should", *map(_good_until, certificates)]
    return Checked(row.id, row.merchant, row.kind, not found, "; ".join(says))


async def _ask(adapter: Channel) -> None:
    nobody = time_ordered()
    report = await adapter.query(nobody, nobody)
    if report.outcome is not Outcome.NOT_FOUND:
        raise ChannelUnavailable(
            f"base_url: answers {report.outcome} for a payment that nobody made; is that a channel?"
        )
    if isinstance(adapter, Proving):
        await adapter.prove()


def _sentence(error: ChannelUnavailable | ChannelRefused, wire: Wire) -> str:
    """Say what stopped the call: the connection, by its exception, or what the adapter says."""
    match _first_cause(error):
        case aiohttp.ClientConnectorError() as cause:
            return f"base_url: {cause.host}:{cause.port} {_unconnected(cause)}"
        case TimeoutError():
            hint = "base_url may be wrong, a firewall silent, or the channel slow; try again"
        case aiohttp.ClientError():
            hint = "the connection was cut; check base_url and its port"
        case _ if wire.status in (301, 302, 307, 308, 404, 405):
            hint = "nothing of the channel is there; check base_url"
        case _:
            return str(error)
    return f"{error}: {hint}"


def _first_cause(error: BaseException) -> BaseException:
    """Return what an adapter met before it said that in its own words, or the words."""
    while isinstance(error, ChannelUnavailable | ChannelRefused) and error.__cause__ is not None:
        error = error.__cause__
    return error


def _unconnected(error: aiohttp.ClientConnectorError) -> str:
    why = error.os_error.strerror or error.os_error
    match error:
        case aiohttp.ClientConnectorDNSError():
            return f"is not known ({why}); check the name, and this machine's DNS"
        case aiohttp.ClientConnectorCertificateError():
            return (
                f"shows a certificate that is not trusted here ({error.certificate_error}); check "
                "the name, and whether a proxy stands between"
            )
        case aiohttp.ClientConnectorSSLError():
            return f"does not speak TLS ({why}); check the port, and https or http"
        case _:
            return f"cannot be reached ({why}); check it, and what may keep this machine from there"


def _of_clock(wire: Wire) -> str | None:
    if abs(wire.ahead_s) < _CLOCK_MAY_DIFFER_S:
        return None
    how = "ahead of" if wire.ahead_s > 0 else "behind"
    return (
        f"this machine's clock is {abs(wire.ahead_s):.0f} s {how} the channel's; let NTP set it, "
        "for what is signed five minutes off is refused"
    )


def _of_certificate(certificate: Certified) -> str | None:
    if certificate.ends_at > datetime.now(UTC):
        return None
    return (
        f"{certificate.setting}: the certificate of {certificate.name} ended on "
        f"{certificate.ends_at:%Y-%m-%d}; get a new one and `payonce channel set` it"
    )


def _good_until(certificate: Certified) -> str:
    days = (certificate.ends_at - datetime.now(UTC)).days
    soon = ", soon: replace it" if days < _SOON_DAYS else ""
    return f"{certificate.setting} is good until {certificate.ends_at:%Y-%m-%d}{soon}"
