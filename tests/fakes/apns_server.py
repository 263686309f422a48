"""Apple's push server: HTTP/2 over TLS, on a local port, with a CA of its own."""

import asyncio
import json
import re
import ssl
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import cache
from ipaddress import ip_address
from pathlib import Path

import jwt
import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, RequestReceived, StreamEnded, StreamReset
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes, Settings
from msgspec import Struct

from tests.fakes.platforms import FakePlatform, Mood, Shown

KEY_ID = "ABC123DEFG"
TEAM_ID = "DEF123GHIJ"
TOPIC = "com.example.shop"
GO_AWAY = Mood(status=0)
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class Alert(Struct, forbid_unknown_fields=True):
    title: str
    body: str


class Aps(Struct, forbid_unknown_fields=True, rename="kebab"):
    alert: Alert
    sound: str
    thread_id: str


class Payload(Struct, forbid_unknown_fields=True):
    aps: Aps
    order: str
    version: str
    state: str
    surplus: str


@cache
def signing_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def p8() -> str:
    """The key file, as Apple hands it out."""
    return _pem(signing_key())


class Refused(Exception):
    """Why Apple does not take it: the status, and the reason in its words."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


class FakeApns(FakePlatform):
    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        super().__init__()
        self.clock = clock
        self.signatures: list[tuple[str, float]] = []  # each provider token, since when
        self.ids: list[str] = []
        self.connections = 0

    def judge(self, headers: dict[str, str], body: bytes) -> Shown:
        """Take a request, or raise Refused."""
        self._judge_signature(headers.get("authorization", ""))
        if headers["apns-topic"] != TOPIC or headers["apns-push-type"] != "alert":
            raise Refused(400, "BadTopic")
        if headers["apns-priority"] != "10" or not _UUID.fullmatch(headers["apns-id"]):
            raise Refused(400, "BadPriority")
        if int(headers["apns-expiration"]) <= self.clock():
            raise Refused(400, "BadExpirationDate")
        if len(headers["apns-collapse-id"]) > 64 or len(body) > 4096:
            raise Refused(400, "BadCollapseId")
        token = headers[":path"].removeprefix("/3/device/")
        if not re.fullmatch(r"[0-9a-f]{64}", token):
            raise Refused(400, "BadDeviceToken")
        if token not in self.living:
            raise Refused(410, "Unregistered")
        said = msgspec.json.decode(body, type=Payload)
        data = {name: str(getattr(said, name)) for name in ("order", "version", "state", "surplus")}
        alert, collapse = said.aps.alert, headers["apns-collapse-id"]
        return Shown(token, collapse, alert.title, alert.body, data)

    def _judge_signature(self, authorization: str) -> None:
        signed = authorization.removeprefix("bearer ")
        try:
            head = jwt.get_unverified_header(signed)
            public = signing_key().public_key()
            claims = jwt.decode(
                signed, public, algorithms=["ES256"], issuer=TEAM_ID, options={"verify_iat": False}
            )
        except jwt.PyJWTError as error:
            raise Refused(403, "InvalidProviderToken") from error
        if head["kid"] != KEY_ID:
            raise Refused(403, "InvalidProviderToken")
        if not -60 <= self.clock() - claims["iat"] <= 3600:
            raise Refused(403, "ExpiredProviderToken")
        if not self.signatures or signed != self.signatures[-1][0]:
            if self.signatures and self.clock() - self.signatures[-1][1] < 20 * 60:
                raise Refused(429, "TooManyProviderTokenUpdates")
            self.signatures.append((signed, self.clock()))

    @asynccontextmanager
    async def serving(self, port: int, folder: Path) -> AsyncIterator[None]:
        """Serve; `ca_file` of the folder is the CA to be believed."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificates(folder))
        context.set_alpn_protocols(["h2"])
        open_connections: set[asyncio.Task[None]] = set()

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            open_connections.add(task)
            task.add_done_callback(open_connections.discard)
            self.connections += 1
            with suppress(ConnectionError, ssl.SSLError, ProtocolError):
                await _Conversation(self, reader, writer).hold()
            writer.close()

        server = await asyncio.start_server(connected, "127.0.0.1", port, ssl=context)
        self.url = f"https://127.0.0.1:{port}"
        try:
            yield
        finally:
            server.close()
            for task in open_connections:
                task.cancel()
            await asyncio.gather(*open_connections, return_exceptions=True)


class _Conversation:
    """One HTTP/2 connection. Until it heard a good signature, it takes one stream at a time."""

    def __init__(
        self, apns: FakeApns, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._apns = apns
        self._reader = reader
        self._writer = writer
        self._h2 = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        self._headers: dict[int, dict[str, str]] = {}
        self._bodies: dict[int, bytes] = {}
        self._answers: set[asyncio.Task[None]] = set()
        self._trusted = False

    async def hold(self) -> None:
        self._h2.local_settings = Settings(
            client=False, initial_values={SettingCodes.MAX_CONCURRENT_STREAMS: 1}
        )
        self._h2.initiate_connection()
        await self._flush()
        try:
            while data := await self._reader.read(65536):
                for event in self._h2.receive_data(data):
                    self._heard(event)
                await self._flush()
        finally:
            for answer in self._answers:
                answer.cancel()

    def _heard(self, event: object) -> None:
        match event:
            case RequestReceived(stream_id=int(stream), headers=headers):
                self._headers[stream] = {str(name): str(value) for name, value in headers or ()}
                self._bodies[stream] = b""
            case DataReceived(stream_id=int(stream), data=data, flow_controlled_length=length):
                self._bodies[stream] += bytes(data or b"")
                self._h2.acknowledge_received_data(length or 0, stream)
            case StreamEnded(stream_id=int(stream)):
                task = asyncio.create_task(self._answer(stream))
                self._answers.add(task)
                task.add_done_callback(self._answers.discard)
            case StreamReset(stream_id=int(stream)):
                self._headers.pop(stream, None)
            case _:
                pass

    async def _answer(self, stream: int) -> None:
        apns, headers = self._apns, self._headers[stream]
        mood = apns.mood()
        if mood is not None and mood.instead == "stall":
            await apns.stand_still()
        elif mood is not None and mood is GO_AWAY:
            self._h2.close_connection(last_stream_id=0)
            await self._flush()
            self._writer.close()
            return
        elif mood is not None and mood.instead == "answer":
            await self._say(stream, mood.status, mood.body, dict(mood.headers))
            return
        try:
            shown = apns.judge(headers, self._bodies[stream])
        except Refused as refused:
            apns.refused.append(refused.reason)
            await self._say(stream, refused.status, json.dumps({"reason": refused.reason}).encode())
            return
        apns.taken.append(shown)
        apns.ids.append(headers["apns-id"])
        if mood is not None and mood.instead == "lose":
            self._writer.transport.abort()
            return
        if not self._trusted:
            self._trusted = True
            self._h2.update_settings({SettingCodes.MAX_CONCURRENT_STREAMS: 100})
        await self._say(stream, 200, b"", {"apns-id": headers["apns-id"]})

    async def _say(
        self, stream: int, status: int, body: bytes, headers: dict[str, str] | None = None
    ) -> None:
        if stream not in self._headers:
            return  # it was given up
        answer = {":status": str(status), **(headers or {})}
        self._h2.send_headers(stream, list(answer.items()), end_stream=not body)
        if body:
            self._h2.send_data(stream, body, end_stream=True)
        await self._flush()

    async def _flush(self) -> None:
        self._writer.write(self._h2.data_to_send())
        await self._writer.drain()


@cache
def certificates(folder: Path) -> Path:
    """Write the CA to `ca.pem`, and the server's key and certificate to a file; return that."""
    ca_key, server_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    ca = _certificate("Apple's CA, of this test", ca_key, "Apple's CA, of this test", ca_key)
    server = _certificate("127.0.0.1", server_key, "Apple's CA, of this test", ca_key)
    (folder / "ca.pem").write_bytes(ca.public_bytes(Encoding.PEM))
    both = folder / "server.pem"
    both.write_text(_pem(server_key) + server.public_bytes(Encoding.PEM).decode())
    return both


def _certificate(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    issuer: str,
    issuer_key: ec.EllipticCurvePrivateKey,
) -> x509.Certificate:
    now, is_ca = datetime.now(UTC), name == issuer
    usage = x509.KeyUsage(True, False, False, False, False, is_ca, is_ca, False, False)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
        .add_extension(usage, critical=True)
    )
    if not is_ca:
        names = x509.SubjectAlternativeName([x509.IPAddress(ip_address(name))])
        builder = builder.add_extension(names, critical=False)
    return builder.sign(issuer_key, SHA256())


def _pem(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
