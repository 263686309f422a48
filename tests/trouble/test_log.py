"""What the log says of an outage: which server, in a line each, and nothing that is secret."""

from collections.abc import Sequence
from urllib.parse import urlsplit

from prometheus_client import REGISTRY
from structlog.testing import capture_logs
from structlog.typing import EventDict

from tests.rig import StartRig, until
from tests.trouble.doors import Visitors
from tests.trouble.wire import wired


async def test_an_outage_is_told_by_its_name_without_tracebacks_and_secrets(
    start_rig: StartRig, database_url: str
) -> None:
    password = urlsplit(database_url).password
    assert password
    async with wired(database_url) as wire:
        rig = await start_rig(database_url=wire.url, worker=True)
        visitors = Visitors(rig)
        await visitors.come()
        counted = _counted()
        with capture_logs() as lines:
            await wire.cut()
            await visitors.are_told_to_come_again()
            await visitors.pay_in_vain()
            await until(lambda: len(_swept_in_vain(lines)) > 3 or None)
            told = [line for line in lines if line["log_level"] not in ("debug", "info")]
            await wire.mend()
            await visitors.are_served_after_all()
    assert _counted() >= counted + len(_swept_in_vain(lines))
    for line in told:
        assert line["outage"] == "postgresql", line
        assert "exc_info" not in line
    assert password not in str(lines)
    assert str(visitors.order.token) not in str(lines)
    assert rig.api_key not in str(lines)


def _swept_in_vain(lines: Sequence[EventDict]) -> set[str]:
    return {line["sweep"] for line in lines if line["event"] == "sweep_failed"}


def _counted() -> float:
    return REGISTRY.get_sample_value("payonce_outages_total", {"missing": "postgresql"}) or 0
