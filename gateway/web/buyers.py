"""Who pays, where a slip names them: what a body says, checked, and put as channels want it.

It is personal data. It goes into the attempt's parameters and to the channel, and no problem that
is raised here repeats any of it.
"""

from collections.abc import Mapping
from contextlib import suppress
from typing import Final

from msgspec import Struct
from stdnum.br import cnpj, cpf
from stdnum.exceptions import ValidationError

from gateway.channels.base import PostalAddress
from gateway.errors import InvalidRequest
from gateway.objects import encode
from gateway.payments.planning import Named
from gateway.web.bodies import BuyerAddress, NamedBuyer
from gateway.web.wire import Shape

# Brazil's states and its federal district, as slips name them.
_STATES: Final = "AC AL AM AP BA CE DF ES GO MA MG MS MT PA PB PE PI PR RJ RN RO RR RS SC SE SP TO"
STATES: Final = tuple(_STATES.split())
_CEP_DIGITS: Final = 8
# What a form asks for, each with an example of something right.
FIELDS: Final = {
    "buyer.name": "Ana Souza",
    "buyer.email": "ana@example.com",
    "buyer.tax_id": "529.982.247-25",
    "buyer.address.line1": "Rua das Acácias, 45",
    "buyer.address.city": "São Paulo",
    "buyer.address.state": "SP",
    "buyer.address.postal_code": "01310-100",
}
_IN_ADDRESS: Final = "buyer.address."


class _Form(Struct, frozen=True):
    buyer: NamedBuyer


_FORM: Final = Shape(_Form)


def named(buyer: NamedBuyer) -> Named:
    """Return what is known of who pays. Raises InvalidRequest that names the field."""
    tax_id = ""
    if buyer.tax_id is not None:
        tax_id = _tax_id(buyer.tax_id)
    return Named(
        name=buyer.name or "",
        email=buyer.email or "",
        tax_id=tax_id,
        address=_address(buyer.address) if buyer.address else None,
    )


def nested(form: Mapping[str, str]) -> dict[str, object]:
    """Return the body that a form says, whose fields of the buyer are named by their paths
    (`buyer.address.city`); what was left empty was not said.
    """
    body: dict[str, object] = {path: text for path, text in form.items() if path not in FIELDS}
    buyer: dict[str, object] = {}
    address: dict[str, object] = {}
    for path in FIELDS:
        if text := form.get(path, "").strip():
            inside = address if path.startswith(_IN_ADDRESS) else buyer
            inside[path.rpartition(".")[2]] = text
    if address:
        buyer["address"] = address
    if buyer:
        body["buyer"] = buyer
    return body


def faults_in(form: Mapping[str, str]) -> frozenset[str]:
    """Return the path of every field of the buyer that is missing or wrong."""
    said = {path: form[path] for path in FIELDS if form.get(path, "").strip()}
    faults = set(FIELDS) - set(said)
    for _ in FIELDS:
        try:
            named(_FORM.from_json(encode(nested(FIELDS | said))).buyer)
        except InvalidRequest as error:
            fault = error.members["field"]
            faults.add(fault)
            said.pop(fault)  # an example takes its place, and the next one is looked for
    return frozenset(faults)


def _tax_id(said: str) -> str:
    """Return a CPF or CNPJ without its punctuation."""
    for validate in (cpf.validate, cnpj.validate):
        with suppress(ValidationError):
            compact = validate(said)
            if len(set(compact)) > 1:  # one digit all over passes the check, and is nobody's
                return compact
    raise InvalidRequest(
        "buyer.tax_id",
        "It is no CPF (11 digits) and no CNPJ (14 characters): its check digits do not fit.",
    )


def _address(said: BuyerAddress) -> PostalAddress:
    state, postal_code = said.state, said.postal_code
    if said.country == "BR":
        state = state.strip().upper()
        if state not in STATES:
            raise InvalidRequest("buyer.address.state", "Send the state's two letters, such as SP.")
        postal_code = postal_code.replace("-", "").replace(".", "").replace(" ", "")
        if not (postal_code.isascii() and postal_code.isdigit()) or len(postal_code) != _CEP_DIGITS:
            raise InvalidRequest(
                "buyer.address.postal_code", "Send the CEP's eight digits, such as 01310-100."
            )
    return PostalAddress(said.line1, said.city, state, postal_code, said.country)
