"""How long tests wait."""

from typing import Final

PATIENCE: Final = 300.0
"""Seconds after which a test gives up what it waits for. It comes at once, or the test fails: no test measures time by this."""
