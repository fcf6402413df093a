"""Console on streams of other kinds: notebooks, pipes, simple terminals, and beneath another live display."""

from __future__ import annotations

import io
import sys
from typing import TYPE_CHECKING

from hookcore_adapters.loop import Loop
from hookcore_plugins import Console
from tests.plugins.console.showing import HIDE, Clock, Terminal, plain, train

if TYPE_CHECKING:
    import pytest


def test_beneath_another_live_display_there_are_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beneath another live display, as when a run trains other runs, there are lines: two bars would overwrite each other."""
    out, clock = Terminal(), Clock()
    monkeypatch.setattr(sys, "stdout", out)
    with Loop([Console(clock=clock)], epochs=1) as loop:
        for _ in loop.epochs():
            train([Console(clock=clock)], clock, [{"inner": 1.0}])
    assert out.getvalue().count(HIDE) == 1
    lines = [line.rstrip() for line in plain(out.getvalue()).split("\n")]
    assert {"epoch    loss   inner      lr    time", "  1/1  0.5208  1.0000    0.01    4.0s  *"} <= set(lines)


def test_a_notebook_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """A notebook gets lines, although its stream claims to be a terminal."""

    class ZMQInteractiveShell:
        pass

    monkeypatch.setattr("builtins.get_ipython", ZMQInteractiveShell, raising=False)
    out = Terminal()
    train([Console(stream=out)], Clock(), [{"loss": 1.0}])
    assert "\x1b" not in out.getvalue()
    assert "\n  1/1  1.0000 " in out.getvalue()


def test_a_dumb_terminal_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """A dumb terminal, which cannot move its cursor, gets lines."""
    monkeypatch.setenv("TERM", "dumb")
    out = Terminal()
    train([Console(stream=out, clock=Clock())], Clock(), [{"loss": 1.0}])
    assert out.getvalue().splitlines()[1:] == [
        "  1/1  1.0000    0.01    0.0s  *",
        "completed:  1 epoch  4 steps  0.0s  * best loss 1.0000 in epoch 1",
    ]


def test_a_bar_that_was_asked_for_comes_with_wrapped_lines() -> None:
    """With verbose='bar' lines are wrapped too, on a stream that does not claim to be a terminal."""
    out = io.StringIO()
    train([Console("bar", stream=out)], Clock(), [{f"metric_{i}": 0.5 for i in range(20)}])
    assert max(map(len, plain(out.getvalue()).split("\n"))) <= 80


def test_verbose_overrides_what_the_stream_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bar in a pipe, lines on a terminal; and no colours for FORCE_COLOR in a file."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    for verbose, stream, has_bar in [("bar", io.StringIO(), True), ("lines", Terminal(), False), ("auto", io.StringIO(), False)]:
        train([Console(verbose, stream=stream)], Clock(), [{"loss": 1.0}])  # type: ignore[arg-type]  # a loop over literals
        assert ("\x1b" in stream.getvalue()) is has_bar
