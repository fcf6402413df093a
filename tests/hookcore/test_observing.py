"""How a plugin observes one metric: its name, its direction, and when something is due every N steps."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookcore import MetricError, MetricNames, Run
from hookcore.observing import direction_of, due, observe
from hookcore.testing import ScriptedTrainee


@given(st.integers(1, 10), st.lists(st.integers(1, 7), max_size=30))
def test_due_once_for_each_jump_over_a_multiple(every: int, jumps: list[int]) -> None:
    """However the steps come, it is due if and only if a multiple lies after the last step and up to this one."""
    step = 0
    for jump in jumps:
        last, step = step, step + jump
        assert due(every, step, last) is any(number % every == 0 for number in range(last + 1, step + 1))


@pytest.mark.parametrize(
    ("monitor", "nearest"), [("val_los", "val_loss"), ("val_acuracy", "val_accuracy"), ("los", "loss"), ("val_my_metric", None)]
)
def test_a_name_without_a_direction_is_answered_with_the_nearest(monitor: str, nearest: str | None) -> None:
    """The suggested name has the prefix that was typed, which does not count for similarity."""
    with pytest.raises(MetricError) as caught:
        direction_of(Run.of().as_plugin("watcher"), monitor, "auto")
    assert (f"Did you mean {nearest!r}?" in str(caught.value)) == (nearest is not None)
    assert ("Did you mean" in str(caught.value)) == (nearest is not None)


@pytest.mark.parametrize("monitor", ["loss2", "edit_distance", "val_mcc", "pr_auc", "precision_at_5", "val_pixel_accuracy"])
def test_a_name_of_its_own_is_not_taken_for_a_slip(monitor: str) -> None:
    """A name that is spelled right, and only contains or resembles a well-known one, is answered with what to set, alone."""
    with pytest.raises(MetricError, match=rf"monitor='{monitor}' has no known direction\. Set mode='min' or mode='max'\."):
        direction_of(Run.of().as_plugin("watcher"), monitor, "auto")


def test_a_metric_that_the_run_had_is_spelled_right() -> None:
    """In a resumed run the history shows that the loop has such a metric, however near its name is to another."""
    run = Run.of().as_plugin("watcher")
    run.history.load_state_dict({"epochs": [0], "metrics": {"rmsle": [0.5]}})
    with pytest.raises(MetricError, match=r"monitor='rmsle' has no known direction\. Set mode='min' or mode='max'\."):
        direction_of(run, "rmsle", "auto")
    with pytest.raises(MetricError, match="Did you mean 'rmse'"):
        direction_of(Run.of().as_plugin("watcher"), "rmsle", "auto")


def test_the_usual_prefix_is_known_in_every_loop() -> None:
    """The direction of `val_loss`, a plugin's default, is known even if a loop names its validation metrics otherwise."""
    run = Run.of(metric_names=MetricNames(("valid-",))).as_plugin("watcher")
    assert direction_of(run, "val_loss", "auto") == direction_of(run, "valid-loss", "auto") == "min"


@pytest.mark.parametrize(
    ("monitor", "there", "nearest"),
    [
        ("val_los", {"loss"}, "val_loss"),
        ("val_acuracy", {"loss", "accuracy"}, "val_accuracy"),
        ("val_los", {"loss", "val_loss"}, "val_loss"),
        ("valid_loss", {"loss", "val_loss"}, "val_loss"),
        ("los", {"loss", "acc"}, "loss"),
        ("val_loss", {"val_acc", "acc"}, None),
    ],
)
def test_a_missing_metric_is_answered_with_the_nearest(monitor: str, there: set[str], nearest: str | None) -> None:
    """If nothing was validated, the suggestion may be a name that validation would add."""
    run = Run.of().as_plugin("watcher")
    with pytest.raises(MetricError) as caught:
        observe(run, dict.fromkeys(there, 0.5), monitor)
    assert (f"Did you mean {nearest!r}?" in str(caught.value)) == (nearest is not None)


@pytest.mark.parametrize(
    ("monitor", "mode", "declared", "warns"),
    [
        ("val_loss", "max", {}, True),
        ("acc", "min", {}, True),
        ("score", "min", {"score": "max"}, True),
        ("loss", "max", {"loss": "max"}, False),
        ("loss", "min", {}, False),
        ("score", "min", {}, False),
        ("loss", "auto", {"loss": "max"}, False),
    ],
)
def test_a_mode_that_contradicts_a_known_direction_is_logged_once(
    monitor: str, mode: Any, declared: dict[str, Any], *, warns: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """The given mode counts, and the log names the plugin, the mode and the metric, once per plugin and run."""
    run = Run.of(ScriptedTrainee(directions=declared))
    with caplog.at_level(logging.WARNING, "hookcore"):
        for name in ("one", "other", "one"):
            direction_of(run.as_plugin(name), monitor, mode)
    messages = [record.getMessage() for record in caplog.records]
    assert [message.partition(":")[0] for message in messages] == (["one", "other"] if warns else [])
    assert all(f"mode={mode!r} contradicts what is known of monitor={monitor!r}" in message for message in messages)
