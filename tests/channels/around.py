"""An adapter with something put around it: what a test does not change is the adapter's own."""

from datetime import datetime

from gateway.channels.base import (
    Callback,
    CallbackRead,
    Channel,
    CloseResult,
    Created,
    CreateRequest,
    RefundRequest,
    Traits,
)
from gateway.model import ChannelReport, RefundReport


class Around:
    """A `gateway.channels.base.Channel` that passes everything on to `adapter`."""

    def __init__(self, adapter: Channel) -> None:
        self.adapter = adapter

    @property
    def traits(self) -> Traits:
        return self.adapter.traits

    async def create(self, request: CreateRequest) -> Created:
        return await self.adapter.create(request)

    async def query(self, number: str, channel_ref: str = "") -> ChannelReport:
        return await self.adapter.query(number, channel_ref)

    async def close(self, number: str, channel_ref: str = "") -> CloseResult:
        return await self.adapter.close(number, channel_ref)

    async def refund(self, request: RefundRequest) -> RefundReport:
        return await self.adapter.refund(request)

    async def query_refund(
        self,
        number: str,
        attempt_number: str,
        payment_ref: str = "",
        sent_at: datetime | None = None,
    ) -> RefundReport | None:
        return await self.adapter.query_refund(number, attempt_number, payment_ref, sent_at)

    def read(self, callback: Callback) -> CallbackRead:
        return self.adapter.read(callback)

    async def refresh_keys(self) -> None:
        await self.adapter.refresh_keys()

    def acknowledgement(self) -> tuple[int, bytes]:
        return self.adapter.acknowledgement()

    def rejection(self, detail: str) -> tuple[int, bytes]:
        return self.adapter.rejection(detail)
