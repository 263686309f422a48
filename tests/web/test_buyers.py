"""Who pays, as a body says it: checked, and put as channels want it."""

import pytest

from gateway.channels.base import PostalAddress
from gateway.payments.planning import Named
from gateway.web.bodies import BuyerAddress, NamedBuyer
from gateway.web.buyers import named


@pytest.mark.parametrize(
    ("said", "tax_id"),
    [
        ("529.982.247-25", "52998224725"),
        ("52998224725", "52998224725"),
        (" 390.533.447-05 ", "39053344705"),
        ("16.727.230/0001-97", "16727230000197"),
        ("12.abc.345/01DE-35", "12ABC34501DE35"),  # as CNPJ are given out since July 2026
    ],
)
def test_a_tax_id_loses_its_punctuation(said: str, tax_id: str) -> None:
    assert named(NamedBuyer(tax_id=said)).tax_id == tax_id


def test_an_address_in_brazil_is_put_as_slips_have_it() -> None:
    said = BuyerAddress(line1="Rua 1", city="Belém", state="pa", postal_code="66.010-000")
    assert named(NamedBuyer(address=said)).address == PostalAddress(
        "Rua 1", "Belém", "PA", "66010000", "BR"
    )


def test_an_address_elsewhere_stays_as_it_is() -> None:
    said = BuyerAddress(
        line1="1 High St", city="Ely", state="Cambs", postal_code="CB7 4DL", country="GB"
    )
    assert named(NamedBuyer(address=said)).address == PostalAddress(
        "1 High St", "Ely", "Cambs", "CB7 4DL", "GB"
    )


def test_of_nobody_nothing_is_known() -> None:
    assert named(NamedBuyer()) == Named()
