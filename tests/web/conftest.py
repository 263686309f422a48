"""A whole product for each test, and a merchant's program that calls it over HTTP."""

import pytest

from tests.rig import Rig, keys, rig, start_rig
from tests.web.api import Api

__all__ = ["api", "keys", "rig", "start_rig"]


@pytest.fixture
def api(rig: Rig) -> Api:
    return Api(rig)
