"""Every error that leaves us, in one tree; each leaf has its HTTP status and its problem code.

PayOnceError
|- Problem                      answered to a caller as RFC 9457
|  |- InvalidRequest            422  names the field
|  |- Unauthorized              401
|  |- Forbidden                 403
|  |- NotFound                  404
|  |- MethodNotAllowed          405
|  |- OrderConflict             409
|  |- DuplicateSubmission       409  names the first order
|  |  `- SentTwice              409  Retry-After
|  |- OrderAlreadyPaid          409
|  |- OrderClosed               409
|  |- OrderNotPaid              409
|  |- ApplyInProgress           409  Retry-After
|  |- RequestInProgress         409
|  |- RefundExceedsCaptured     409
|  |- RefundConflict            409
|  |- PayloadTooLarge           413
|  |- UnsupportedMediaType      415
|  |- IdempotencyMismatch       422
|  |- ChannelRefusal            422
|  |- ChannelNotConfigured      422
|  |- RefundNotSupported        422
|  |- RateLimited               429
|  |- InternalError             500
|  |- ChannelDown               503  Retry-After
|  `- ServiceUnavailable        503  Retry-After
|- ChannelRefused               a channel said no; nothing was taken
|- ChannelUnavailable           nothing is known of what a channel did
|  `- BillNotReady              the channel has not made the bill of that day yet
|- QueueUnavailable             the message queue did not say that it has the events
|- PushUnavailable              a push platform did not say that it has the note
|- BadCallback                  a callback that is not the channel's
|  `- UnknownKey                signed with a key that we have not downloaded yet
`- ConfigurationError           a setting that cannot work, with what to do
"""

from datetime import datetime
from typing import ClassVar


class PayOnceError(Exception):
    """The root; nothing raises it itself."""


class Problem(PayOnceError):
    """An error that a caller sees. `detail` says what happened and what to do about it.

    `members` are added to the RFC 9457 body, `retry_after_s` becomes the Retry-After header.
    """

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"
    title: ClassVar[str] = "Something went wrong on our side"
    default_detail: ClassVar[str] = ""
    default_retry_after_s: ClassVar[int | None] = None

    def __init__(
        self,
        detail: str = "",
        *,
        retry_after_s: int | None = None,
        members: dict[str, str] | None = None,
    ) -> None:
        self.detail = detail or self.default_detail or self.title
        self.retry_after_s = retry_after_s or self.default_retry_after_s
        self.members = members or {}
        super().__init__(self.detail)


class InvalidRequest(Problem):
    """A field of the request is missing, unknown or wrong; `field` names it."""

    status = 422
    code = "invalid_request"
    title = "A field of the request is wrong"

    def __init__(self, field: str, detail: str) -> None:
        super().__init__(detail, members={"field": field})


class Unauthorized(Problem):
    status = 401
    code = "unauthorized"
    title = "No valid API key"
    default_detail = "Send `Authorization: Bearer <key>` with a key that is not revoked."


class Forbidden(Problem):
    status = 403
    code = "forbidden"
    title = "Not allowed"


class NotFound(Problem):
    status = 404
    code = "not_found"
    title = "No such thing"


class MethodNotAllowed(Problem):
    status = 405
    code = "method_not_allowed"
    title = "This URL does not take that method"


class OrderConflict(Problem):
    status = 409
    code = "order_conflict"
    title = "That merchant_order_no was used with other fields"


class DuplicateSubmission(Problem):
    status = 409
    code = "duplicate_submission"
    title = "The same purchase was submitted a moment ago"


class SentTwice(DuplicateSubmission):
    title = "The same request was sent a moment ago"
    default_retry_after_s = 10


class OrderAlreadyPaid(Problem):
    status = 409
    code = "order_already_paid"
    title = "The order is already paid"
    default_detail = "The order is already paid; there is nothing left to pay."


class OrderClosed(Problem):
    status = 409
    code = "order_closed"
    title = "The order is closed"
    default_detail = "The order is closed or has expired; make a new order to pay again."


class OrderNotPaid(Problem):
    status = 409
    code = "order_not_paid"
    title = "The order is not paid"


class ApplyInProgress(Problem):
    status = 409
    code = "apply_in_progress"
    title = "Another attempt to pay this order is being prepared"
    default_detail = "Another attempt to pay this order is being prepared; ask again in a moment."
    default_retry_after_s = 1


class RequestInProgress(Problem):
    status = 409
    code = "request_in_progress"
    title = "A request with that Idempotency-Key is still running"
    default_retry_after_s = 1


class RefundExceedsCaptured(Problem):
    status = 409
    code = "refund_exceeds_captured"
    title = "More than was captured cannot be refunded"


class RefundConflict(Problem):
    status = 409
    code = "refund_conflict"
    title = "The refund does not allow that as it stands"


class PayloadTooLarge(Problem):
    status = 413
    code = "payload_too_large"
    title = "The body is too large"


class UnsupportedMediaType(Problem):
    status = 415
    code = "unsupported_media_type"
    title = "The body must be application/json"


class IdempotencyMismatch(Problem):
    status = 422
    code = "idempotency_mismatch"
    title = "That Idempotency-Key was used with another body"


class ChannelRefusal(Problem):
    status = 422
    code = "channel_refused"
    title = "The channel refused the payment"


class ChannelNotConfigured(Problem):
    status = 422
    code = "channel_not_configured"
    title = "No account of the merchant takes that payment"


class RefundNotSupported(Problem):
    status = 422
    code = "refund_not_supported"
    title = "The channel cannot refund"


class RateLimited(Problem):
    status = 429
    code = "rate_limited"
    title = "Too many"
    default_retry_after_s = 60


class InternalError(Problem):
    default_detail = "Nothing was lost; quote the request_id to your operator."


class ChannelDown(Problem):
    status = 503
    code = "channel_unavailable"
    title = "The channel did not answer"
    default_detail = (
        "The channel did not answer. Ask again: the same payment is continued, "
        "never a second one made."
    )
    default_retry_after_s = 2


class ServiceUnavailable(Problem):
    status = 503
    code = "service_unavailable"
    title = "The gateway cannot reach its database"
    default_detail = (
        "Send the same request again in a moment: what it has done, if anything, is not done "
        "twice. (A refund needs its merchant_refund_no or an Idempotency-Key for that.)"
    )
    default_retry_after_s = 2


class ChannelRefused(PayOnceError):
    """The channel said no to this call, in an answer that we could verify or that carries no money.

    `code` is the channel's own. `number_spent` says that the number is used, paid or closed there:
    the caller queries before it believes anything.
    """

    def __init__(self, code: str, detail: str, *, number_spent: bool = False) -> None:
        self.code = code
        self.detail = detail
        self.number_spent = number_spent
        super().__init__(f"{code}: {detail}")


class ChannelUnavailable(PayOnceError):
    """No answer, a 5xx, or an answer whose signature fails: nothing is known."""


class BillNotReady(ChannelUnavailable):
    """The channel has not made the bill of that day yet; from `try_at` (UTC) on it may have."""

    def __init__(self, try_at: datetime) -> None:
        self.try_at = try_at
        super().__init__(f"the bill is not made yet; try again from {try_at:%Y-%m-%d %H:%M} UTC on")


class QueueUnavailable(PayOnceError):
    """The message queue did not say in time that it has the events: they are told again."""


class PushUnavailable(PayOnceError):
    """A push platform did not say that it has the note: it is told again.

    `why` is for the log and never repeats what was sent; `wait_s` is how long the platform wants to
    be left alone, where it says so.
    """

    def __init__(self, why: str, wait_s: float | None = None) -> None:
        self.why = why
        self.wait_s = wait_s
        super().__init__(why)


class BadCallback(PayOnceError):
    """The callback is not from the channel, is stale, or is for another merchant or app.

    `reason` is one word for the metric: signature, stale, merchant, app, format.
    """

    def __init__(self, reason: str, detail: str) -> None:
        self.reason = reason
        super().__init__(detail)


class UnknownKey(BadCallback):
    """Signed with a key that we do not have yet: the caller refreshes the keys, once."""

    def __init__(self, serial: str) -> None:
        super().__init__("unknown_key", f"no key with serial {serial}")


class ConfigurationError(PayOnceError):
    """The settings cannot work; the message lists every fault and what to do."""
