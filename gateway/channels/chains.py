"""Whether a certificate may speak for a channel: in force, and leading to a root that we trust."""

from datetime import datetime
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.x509 import Certificate
from cryptography.x509.oid import NameOID

_LONGEST_CHAIN: Final = 4
_NO_EXTENSIONS: Final = (
    ValueError,
    x509.DuplicateExtension,
    x509.ExtensionNotFound,
    x509.UnsupportedGeneralNameType,
)


def common_name_of(certificate: Certificate) -> str:
    """Return whose it is; empty where it has no name, or none that can be read."""
    try:
        names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    except (ValueError, TypeError):  # names are not looked at before they are asked for
        return ""
    return str(names[0].value) if names else ""


def leads_to_a_root(
    leaf: Certificate,
    intermediates: tuple[Certificate, ...],
    roots: tuple[Certificate, ...],
    now: datetime,
) -> bool:
    """Say whether every link from `leaf` to one of the roots is in force now and vouched for."""
    link = leaf
    for _ in range(_LONGEST_CHAIN):
        if not link.not_valid_before_utc <= now <= link.not_valid_after_utc:
            return False
        if any(_issued(root, link) for root in roots):
            return True
        issuers = (one for one in intermediates if _may_issue(one) and _issued(one, link))
        above = next(issuers, None)
        if above is None:
            return False
        link = above
    return False


def _issued(issuer: Certificate, certificate: Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _may_issue(certificate: Certificate) -> bool:
    """Without this the owner of any certificate could make another one."""
    try:
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    except _NO_EXTENSIONS:
        return False
    return constraints.value.ca
