"""The timeout of tests."""

from typing import Final

PATIENCE: Final = 300.0
"""Seconds after which a test stops waiting and fails. What it waits for usually comes at once: no test measures time by this."""
