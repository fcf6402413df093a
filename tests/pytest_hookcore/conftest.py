"""The fixtures, also if hookcore is not installed but on the path."""

from __future__ import annotations

from pytest_hookcore import hookcore_engine, hookcore_faults, hookcore_run, hookcore_trainee

__all__ = ["hookcore_engine", "hookcore_faults", "hookcore_run", "hookcore_trainee"]
