"""Tests of the LightGBM adapter need LightGBM."""

from __future__ import annotations

import importlib.util

if importlib.util.find_spec("lightgbm") is None:
    collect_ignore_glob = ["test_*.py"]
