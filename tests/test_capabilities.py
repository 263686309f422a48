"""What docs/channels.md says the channels can do is what their adapters say."""

import re
from pathlib import Path

import aiohttp
import pytest

from gateway.capabilities import capabilities, markdown
from gateway.channels.base import Billing, Capturing
from gateway.channels.kinds import KINDS
from gateway.payments import account_rules
from gateway.payments.accounts import MAKERS
from gateway.sandbox.keys import SandboxKeys, sandbox_keys
from tests.test_channel_check import SANDBOX

DOCUMENT = (Path(__file__).parents[1] / "docs" / "channels.md").read_text()


@pytest.fixture(scope="module")
def keys() -> SandboxKeys:
    return sandbox_keys(None)


def test_the_table_in_the_documents_is_the_adapters_own() -> None:
    (table,) = re.findall(
        r"<!-- capabilities:[^\n]*\n(.*)<!-- end of capabilities -->", DOCUMENT, re.DOTALL
    )
    assert table == markdown(), "run `payonce channel kinds --markdown`"


def test_every_kind_that_can_be_made_is_listed() -> None:
    assert KINDS.keys() == MAKERS.keys() == SANDBOX.keys()
    assert [row["kind"] for row in capabilities()] == [
        kind for kind, each in KINDS.items() for _ in each.channels
    ]


@pytest.mark.parametrize("kind", list(KINDS))
async def test_what_an_adapter_can_do_is_what_is_listed_of_it(keys: SandboxKeys, kind: str) -> None:
    settings = SANDBOX[kind](keys, "https://sandbox.example")
    async with aiohttp.ClientSession() as http:
        adapters = [make("acct", settings, {}, http) for make in MAKERS[kind]]
    for adapter, listed in zip(adapters, KINDS[kind].channels, strict=True):
        traits = adapter.traits
        assert traits.channel == listed.channel
        assert traits.captures == listed.captures == isinstance(adapter, Capturing)
        assert traits.bills == listed.bills == isinstance(adapter, Billing)


def test_every_setting_has_its_line_in_the_documents() -> None:
    kinds = [each for kind in KINDS.values() for each in kind.settings]
    named = set(re.findall(r"`(\w+)`", DOCUMENT))
    assert {each.name for each in (*kinds, *account_rules.SETTINGS)} <= named
