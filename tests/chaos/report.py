"""What a run found, for a person."""

from collections.abc import Mapping, Sequence

from msgspec import Struct

from tests.chaos.oracle import Counts, Violation


class Wrong(Struct, frozen=True):
    """A violation, and what led to it."""

    violation: Violation
    timeline: Sequence[str]


class Report(Struct, frozen=True):
    seed: int
    load_s: float
    drain_s: float
    counts: Counts
    stories: Mapping[str, int]
    gave_up: int
    excused: int  # ways to pay that left within ten seconds of the end, when Redis had failed
    faults: Mapping[str, int]
    answers: Mapping[str, int]
    wrong: Sequence[Wrong]

    @property
    def violations(self) -> list[str]:
        return [each.violation.what for each in self.wrong]

    def text(self) -> str:
        counts = self.counts
        parts = [
            f"seed {self.seed}: {self.load_s:.0f} s of load, {self.drain_s:.0f} s to drain",
            f"orders              {counts.orders} ({counts.paid} paid, {counts.closed} closed)",
            f"attempts            {counts.attempts}",
            f"payments            {counts.payments}",
            f"surplus made        {counts.surplus}",
            f"surplus refunded    {counts.surplus_refunded}",
            f"merchants' refunds  {counts.merchant_refunds}",
            f"events              {counts.events}",
            f"buyers who gave up  {self.gave_up}",
            f"late, Redis failed  {self.excused}",
            "channels:",
            *(
                f"  {channel:12} {share.attempts} attempts, {share.payments} payments,"
                f" {share.surplus} of them surplus"
                for channel, share in counts.channels.items()
            ),
            _table("faults", self.faults),
            _table("buyers", self.stories),
            _table("answers", self.answers),
            f"violations: {len(self.wrong)}",
            *(_told(each) for each in self.wrong),
        ]
        return "\n".join(parts)


def _table(name: str, counts: Mapping[str, int]) -> str:
    rows = sorted(counts.items(), key=lambda row: -row[1])
    return "\n".join([f"{name}:", *(f"  {count:6} {what}" for what, count in rows)])


def _told(wrong: Wrong) -> str:
    order = wrong.violation.order or "the run"
    return "\n".join([f"- {order}: {wrong.violation.what}", *(f"    {x}" for x in wrong.timeline)])
