"""Servers that a test may stop, kill, freeze and fill, and a product that stands on them."""

from tests.rig import keys, rig, start_rig

__all__ = ["keys", "rig", "start_rig"]
