"""Accounts in a process that runs on: what changes in the database reaches it without a restart."""

import pytest

from gateway.errors import ConfigurationError
from gateway.payments import accounts
from gateway.payments.account_rules import read_ladder
from gateway.payments.accounts import Account
from tests.rig import ACCOUNT, Rig


async def set_ladder(rig: Rig, ladder: str) -> None:
    await rig.desk.pool.execute(
        "UPDATE channel_accounts "
        "SET settings = settings || jsonb_build_object('ask_ladder', $1::text)",
        ladder,
    )


async def asked_with(rig: Rig) -> Account:
    """As asking sees it; a worker's process looks accounts up in no other way."""
    account = await rig.desk.accounts.by_id(ACCOUNT)
    assert account is not None
    return account


async def test_changed_settings_reach_a_process_that_only_asks(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accounts, "_FRESH_S", 0.0)
    await asked_with(rig)
    for ladder, steps in (("7,70", (7, 70)), ("8", (8,))):
        await set_ladder(rig, ladder)
        assert (await asked_with(rig)).ask_ladder_s == steps


async def test_an_account_that_did_not_change_keeps_its_adapter(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The adapter holds parsed keys and certificates, which are not fetched at every look."""
    monkeypatch.setattr(accounts, "_FRESH_S", 0.0)
    assert await asked_with(rig) is await asked_with(rig)


async def test_for_a_few_seconds_an_account_is_not_looked_up_again(rig: Rig) -> None:
    before = await asked_with(rig)
    await set_ladder(rig, "7")
    assert await asked_with(rig) is before


async def test_settings_that_became_wrong_leave_the_account_out_until_they_are_right(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accounts, "_FRESH_S", 0.0)
    await set_ladder(rig, "soon")
    assert await rig.desk.accounts.by_id(ACCOUNT) is None
    await set_ladder(rig, "7")
    assert (await asked_with(rig)).ask_ladder_s == (7,)


@pytest.mark.parametrize(
    ("settings", "begins", "lasts_s"),
    [
        ({"ask_ladder": "3,10,30"}, (3, 10, 30), 43),
        ({"ask_timeout_s": "20"}, (20, 20, 20), 1800),
        ({"ask_timeout_s": "20", "ask_ladder": "3"}, (3,), 3),
        ({"ask_timeout_s": "3600"}, (3600,), 3600),
    ],
)
def test_a_ladder_is_a_list_of_waits_or_one_that_is_repeated(
    settings: dict[str, str], begins: tuple[int, ...], lasts_s: int
) -> None:
    ladder = read_ladder(settings)
    assert ladder is not None
    assert ladder[:3] == begins
    assert sum(ladder) == lasts_s


def test_without_a_setting_the_channels_own_ladder_is_used() -> None:
    assert read_ladder({"ask_ladder": ""}) is None


@pytest.mark.parametrize("name", ["ask_ladder", "ask_timeout_s"])
@pytest.mark.parametrize("text", ["soon", "0", "-3", "3,0", "3,", "1.5"])
def test_a_ladder_that_is_none_is_refused_by_name(name: str, text: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{name}: must be whole seconds"):
        read_ladder({name: text})
