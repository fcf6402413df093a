"""The lines of observations on a terminal of a limited width: a table with a header."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pytest

from hookcore_plugins import Console
from tests.plugins.console.showing import Clock, Talks, Terminal, train

if TYPE_CHECKING:
    from collections.abc import Mapping


@pytest.mark.parametrize("width", [40, 80, 200])
def test_no_line_is_longer_than_the_terminal(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    """A number ends beneath its name, on the same line of the row as of the header; a sentence is wrapped and indented."""
    monkeypatch.setenv("COLUMNS", str(width))
    out, clock = Terminal(), Clock()
    metrics = {f"head_{i}_precision": i / 10 for i in range(10)}
    console = Console("lines", stream=out, clock=clock)
    train([console, Talks("it was said at great length " * 12 + "why")], clock, [metrics])
    lines = out.getvalue().split("\n")
    assert max(map(len, lines)) <= width
    assert len(lines) > 5
    notes, end = (next(i for i, line in enumerate(lines) if line.startswith(head)) for head in ("  talks", "stopped"))
    table, said = lines[:notes], lines[notes:end]
    header, row = table[: notes // 2], table[notes // 2 :]
    for name, value in metrics.items():
        line, ends = next((i, line.index(name) + len(name)) for i, line in enumerate(header) if name in line)
        assert row[line][:ends].endswith(f"  {value:.4f}")
    assert [len(line) - len(line.lstrip()) for line in said] == [2] + [4] * (len(said) - 1)


def shown_in_table(metrics: Mapping[str, float], epochs: int = 2) -> list[str]:
    out, clock = Terminal(), Clock()
    train([Console("lines", stream=out, clock=clock)], clock, [metrics] * epochs, rate=0.001)
    return out.getvalue().splitlines()


def test_four_metrics_and_the_rate_fit_into_eighty_columns() -> None:
    """The names stand in a header, once; those of training come first."""
    lines = shown_in_table({"val_accuracy": 0.25, "accuracy": 0.5, "val_loss": 1.0})
    assert lines == [
        "epoch    loss  accuracy  val_accuracy  val_loss      lr    time",
        "  1/2  0.5208    0.5000        0.2500    1.0000   0.001    4.0s  *",
        "  2/2  0.1586    0.5000        0.2500    1.0000   0.001    4.0s",
        "completed:  2 epochs  8 steps  8.0s  * best val_loss 1.0000 in epoch 1",
    ]


def test_ten_metrics_fit_into_two_lines_of_eighty_columns() -> None:
    """Validation's numbers stand beneath those of training, and the time beneath the rate."""
    names = ["accuracy", "precision", "recall", "auc"]
    metrics = {**dict.fromkeys(names, 0.5), "val_loss": 0.3, **dict.fromkeys([f"val_{name}" for name in names], 0.25)}
    assert shown_in_table(metrics)[:4] == [
        "epoch      loss      accuracy      precision      recall      auc      lr",
        "       val_loss  val_accuracy  val_precision  val_recall  val_auc    time",
        "  1/2    0.5208        0.5000         0.5000      0.5000   0.5000   0.001  *",
        "         0.3000        0.2500         0.2500      0.2500   0.2500    4.0s",
    ]


def test_the_header_is_printed_again_when_it_has_left_the_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The header is printed again when it has left the screen, for a new metric, and for a number wider than its column."""
    monkeypatch.setenv("LINES", "10")
    lines = shown_in_table({"val_loss": 1.0}, 20)
    headers = [number for number, line in enumerate(lines) if line.startswith("epoch")]
    assert headers == [0, 9, 18]
    out, clock = Terminal(), Clock()
    console = Console("lines", stream=out, clock=clock)
    train([console], clock, [{}, {"val_loss": 1.0}, {}, {"val_loss": 123456789.0}, {"val_loss": 0.5}])
    assert out.getvalue().splitlines()[:-1] == [
        "epoch    loss      lr    time",
        "  1/5  0.5208    0.01    4.0s  *",
        "epoch    loss  val_loss      lr    time",
        "  2/5  0.1586    1.0000    0.01    4.0s  *",
        "  3/5  0.0963              0.01    4.0s",
        "epoch    loss     val_loss      lr    time",
        "  4/5  0.0694  1.23457e+08    0.01    4.0s",
        "  5/5  0.0543       0.5000    0.01    4.0s  *",
    ]


def test_a_metric_of_the_name_of_a_column_has_a_place_of_its_own() -> None:
    """A metric with the name of a column has another column."""
    for out in (io.StringIO(), Terminal()):
        train([Console("lines", stream=out, clock=Clock())], Clock(), [{"time": 7.0, "lr": 3.0}])
        for shown in ("time (metric)", "7.0000", "lr (metric)", "3.0000", "0.01", "0.0s"):
            assert shown in out.getvalue()
