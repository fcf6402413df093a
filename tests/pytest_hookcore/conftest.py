"""The fixtures, for when hookcore is on the import path but not installed."""

from __future__ import annotations

from pytest_hookcore import hookcore_engine, hookcore_faults, hookcore_run, hookcore_trainee

__all__ = ["hookcore_engine", "hookcore_faults", "hookcore_run", "hookcore_trainee"]
