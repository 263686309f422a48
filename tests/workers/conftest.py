"""A whole product for each test."""

from tests.rig import keys, rig, start_rig

__all__ = ["keys", "rig", "start_rig"]
