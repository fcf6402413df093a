"""Paths of the drop-in callbacks."""

from __future__ import annotations

from pathlib import Path

import pytest

from hookcore_adapters.keras import callbacks


def test_the_drop_ins_take_the_home_directory_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The drop-ins expand `~`, for which Keras makes a directory of that name, and refuse URLs."""
    monkeypatch.setenv("HOME", str(tmp_path))
    home = Path.home()
    assert callbacks.ModelCheckpoint("~/{epoch}.keras").filepath == f"{home}/{{epoch}}.keras"
    assert callbacks.BackupAndRestore("~/backup").backup_dir == f"{home}/backup"
    with pytest.raises(ValueError, match=r"'s3://b/a\.keras' is not a local path: it must be a local path, not a URL\. Give"):
        callbacks.ModelCheckpoint("s3://b/a.keras")
