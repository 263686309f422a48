"""The contract's assertions are explained like any test's."""

import pytest

pytest.register_assert_rewrite("tests.channels.bench", "tests.channels.contract")
