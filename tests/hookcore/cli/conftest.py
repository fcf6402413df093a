"""Distributions for the tests of the command: real dist-info directories on the import path."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from hookcore.registry import discovery

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.hookcore.cli.calling import Install


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Yield a function that installs a distribution: `entries` maps names to targets, and `modules` maps names to source."""
    installed: list[str] = []
    monkeypatch.delenv(discovery.DISABLE, raising=False)
    monkeypatch.delenv(discovery.NO_AUTOLOAD, raising=False)

    def install(name: str, group: str, entries: dict[str, str], **modules: str) -> None:
        site = tmp_path / name
        info = site / f"{name}-1.2.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n")
        (info / "entry_points.txt").write_text(f"[{group}]\n" + "".join(f"{key} = {entries[key]}\n" for key in entries))
        for module, source in modules.items():
            (site / f"{module}.py").write_text(source)
            installed.append(module)
        monkeypatch.syspath_prepend(str(site))

    yield install
    for module in installed:
        sys.modules.pop(module, None)
