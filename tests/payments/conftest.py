"""A whole product for each test, or its database alone."""

from tests.payments.rows import books
from tests.rig import keys, rig, start_rig

__all__ = ["books", "keys", "rig", "start_rig"]
