"""Tests of the XGBoost adapter need XGBoost."""

from __future__ import annotations

import importlib.util

if importlib.util.find_spec("xgboost") is None:
    collect_ignore_glob = ["test_*.py"]
