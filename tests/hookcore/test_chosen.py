"""Which parameters of a plugin were chosen: `run.chosen_parameters`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import pytest

from hookcore import Run, hookimpl
from hookcore_adapters.loop import Loop

CALLS: list[str] = []


def connected() -> str:
    CALLS.append("connected")
    return "connection"


@attrs.define(eq=False)
class Plugin:
    """A plugin with parameters of every kind of default."""

    needed: int
    text: str = "auto"
    path: Path = attrs.field(default=Path("logs"), converter=Path)
    names: list[str] = attrs.field(factory=list)
    connection: str = attrs.field(factory=connected)
    inner: int = attrs.field(default=0, init=False)
    chosen: Any = attrs.field(init=False, default=None)

    @hookimpl
    def on_train_begin(self, run: Run) -> None:
        self.chosen = run.chosen_parameters[run.plugin]


@pytest.mark.parametrize(
    ("given", "chosen"),
    [
        ({}, ["needed", "connection"]),
        ({"path": "logs", "text": "auto", "names": []}, ["needed", "connection"]),
        ({"path": "other", "names": ["a"]}, ["needed", "path", "names", "connection"]),
    ],
)
def test_what_differs_from_its_default(given: dict[str, Any], chosen: list[str]) -> None:
    """A parameter was chosen if its value differs from the default. A default's own function is not called to find out."""
    plugin = Plugin(1, **given)
    before = len(CALLS)
    with Loop([plugin], epochs=1):
        pass
    assert plugin.chosen == chosen
    assert len(CALLS) == before
