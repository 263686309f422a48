"""What hypothesis chooses from: every step, with whom it is about and how."""

from typing import Final, get_args

from hypothesis import strategies as st

from tests.fuzz.steps import (
    WAYS,
    Apply,
    Arrive,
    AtOnce,
    Close,
    ComeBack,
    Decide,
    Deliver,
    DenyRefunds,
    Expire,
    Fault,
    Follow,
    Forge,
    HoldUp,
    Lie,
    LoseRedis,
    Lost,
    Open,
    OpenAgain,
    Pay,
    Poll,
    ReadOn,
    Refund,
    Scan,
    Shop,
    Sweep,
)
from tests.fuzz.world import CHANNELS

RECENT: Final = st.sampled_from((0, 0, 0, 1, 1, 2, 3))
# The channel that is in use, mostly: what another one does has nobody to notice.
_channels: Final = st.sampled_from(("", "", "", "", "", "", *CHANNELS))
_amounts: Final = st.sampled_from((None, 30, 60, 100, 101))

_verbs: Final = st.sampled_from(("create", "query", "close", "refund", "query_refund", "capture"))
_statuses: Final = st.sampled_from((429, 500, 503))
_LIES: Final = ("closed", "not_found", "unpaid", "processing", "approved")


def _said(
    name: str, value: st.SearchStrategy[object], **more: st.SearchStrategy[object]
) -> st.SearchStrategy[dict[str, object]]:
    return st.fixed_dictionaries({name: value, **more})


WAY: Final = st.sampled_from(WAYS)
WAYS_OF_ONE: Final = st.lists(WAY, min_size=2, max_size=3, unique=True)
AMOUNTS: Final = st.lists(st.sampled_from((30, 60, 100)), min_size=2, max_size=3)
OPEN: Final = st.builds(
    Open, st.sampled_from(("", "", "ann")), st.booleans(), st.sampled_from(("CNY", "BRL"))
)
OPEN_AGAIN: Final = st.builds(OpenAgain, RECENT, st.sampled_from((False, False, True)))
APPLY: Final = st.builds(
    Apply, RECENT, WAY, st.booleans(), st.sampled_from((None, None, None, "k"))
)
SCAN: Final = st.builds(Scan, RECENT) | st.builds(Follow, RECENT)
PAY: Final = st.builds(Pay, RECENT)
PAY_BADLY: Final = st.builds(Pay, RECENT, st.sampled_from((None, 99, 101)), st.booleans())
DELIVER: Final = st.builds(Deliver, RECENT, st.integers(1, 3))
FORGE: Final = st.builds(Forge, RECENT)
POLL: Final = st.builds(Poll, RECENT)
COME_BACK: Final = st.builds(ComeBack, RECENT)
CLOSE: Final = st.builds(Close, RECENT)
EXPIRE: Final = st.builds(Expire, RECENT)
SWEEP: Final = st.just(Sweep())
READ_ON: Final = st.just(ReadOn())
REFUND: Final = st.builds(Refund, RECENT, _amounts)
DECIDE: Final = st.builds(
    Decide, RECENT, st.sampled_from(("approve", "reject", "retry")), st.integers(0, 1)
)
LOSE_REDIS: Final = st.builds(LoseRedis, st.sampled_from(get_args(Lost)), RECENT)
ARRIVE: Final = st.builds(Arrive, _channels)
HOLD_UP: Final = st.builds(
    HoldUp, _channels, st.sampled_from(("create", "close", "refund", "capture"))
)
SHOP: Final = st.builds(Shop, st.sampled_from((204, 500)))
LIE: Final = st.builds(
    Lie, _channels, st.lists(st.sampled_from(_LIES), min_size=1, max_size=3).map(tuple)
) | st.builds(DenyRefunds, _channels, st.integers(1, 2))
FAULT: Final = st.builds(
    Fault,
    _channels,
    _said("lose_answer", _said("verb", _verbs, after_executing=st.booleans()))
    | _said("error", _said("verb", _verbs, status=_statuses, after_executing=st.booleans()))
    | _said("close", st.sampled_from(("default", "refuse", "paid_race")))
    | _said("unscanned_close", st.sampled_from(("ignored", "sticky")))
    | _said("boleto_cancel", st.sampled_from(("blocks", "still_pays")))
    | _said("refund_end", st.sampled_from(("done", "closed")))
    | _said("clock_shift_s", st.sampled_from((0, -90, 90)))
    | _said("forge_callbacks", st.booleans())
    | _said("probe_answers", st.integers(0, 2)),
)
_BUYERS: Final = APPLY | APPLY | PAY | COME_BACK
_CHANNELS_TELL: Final = DELIVER | DELIVER | POLL | ARRIVE
_ANY: Final = _BUYERS | _CHANNELS_TELL | CLOSE | EXPIRE | SWEEP | REFUND | DECIDE | LOSE_REDIS
AT_ONCE: Final = st.builds(AtOnce, st.lists(_ANY, min_size=2, max_size=4).map(tuple))
# Where it matters most: two payments are told at once, or one while something else is done.
TELL_AND_ACT: Final = st.builds(
    AtOnce, st.tuples(st.just(Deliver(0)), st.just(Deliver(1))) | st.tuples(DELIVER, _ANY)
)
