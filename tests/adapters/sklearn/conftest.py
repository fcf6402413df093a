"""Tests of the scikit-learn adapter need scikit-learn and skops. No power fails in them, so nothing is synced."""

from __future__ import annotations

import importlib.util

import pytest

if importlib.util.find_spec("sklearn") is None or importlib.util.find_spec("skops") is None:
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture(autouse=True)
def _unsynced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.fsync", lambda _: None)
