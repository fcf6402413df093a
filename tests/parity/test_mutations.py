"""The parity tests catch a decision that is changed by one epoch, one comparison or one sign."""

from __future__ import annotations

import functools
import itertools
import math
from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import HealthCheck, Phase, given, settings

import hookcore_plugins as plugins
from hookcore import Monitor, ParameterError
from hookcore_adapters.keras.callbacks import batch_counter
from tests.parity import properties, test_differences

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from hypothesis.strategies import SearchStrategy

EARLY_STOPPING: Final = (properties.early_stopping_examples(), properties.check_early_stopping)
REDUCE_LR: Final = (properties.reduce_lr_examples(), properties.check_reduce_lr)
CHECKPOINT: Final = (properties.checkpoint_examples(), properties.check_checkpoint)
SCHEDULER: Final = (properties.scheduler_examples(), properties.check_scheduler)
CSV: Final = (properties.csv_examples(), properties.check_csv)
TERMINATE: Final = (properties.nan_examples(), properties.check_nan)


def search(examples: SearchStrategy[Any], check: Any, *, most: int = 1000) -> None:
    """Compare both sides in fixed examples, up to the first difference."""

    @settings(
        max_examples=most,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    @given(examples)
    def compare(example: Any) -> None:
        check.__wrapped__(example)  # without counting

    compare()


def assert_caught(examples: SearchStrategy[Any], check: Any) -> None:
    """Check that some example shows a difference, or makes the monitor refuse a NaN as its best."""
    with pytest.raises((properties.DifferentError, ParameterError)):
        search(examples, check)


def one_epoch_later(schedule: Callable[..., float]) -> Callable[..., float]:
    """Return `schedule`, with its signature, for the next epoch."""

    @functools.wraps(schedule)
    def later(epoch: int, *rate: float) -> float:
        return schedule(epoch + 1, *rate)

    return later


@pytest.mark.parametrize("searched", [EARLY_STOPPING, REDUCE_LR, CHECKPOINT, SCHEDULER, CSV, TERMINATE])
def test_without_a_change_nothing_is_caught(searched: Any) -> None:
    """Without a change, the search finds no difference."""
    search(*searched, most=150)


@pytest.mark.parametrize(
    ("searched", "plugin", "parameter", "change"),
    [
        pytest.param(EARLY_STOPPING, "EarlyStopping", "patience", lambda patience: patience + 1, id="patience + 1"),
        pytest.param(EARLY_STOPPING, "EarlyStopping", "patience", lambda patience: max(patience - 1, 0), id="patience - 1"),
        pytest.param(EARLY_STOPPING, "EarlyStopping", "min_delta", lambda _: 0.0, id="min_delta ignored"),
        pytest.param(EARLY_STOPPING, "EarlyStopping", "start_from_epoch", lambda epoch: epoch + 1, id="start_from_epoch + 1"),
        pytest.param(EARLY_STOPPING, "EarlyStopping", "baseline", lambda _: None, id="baseline ignored"),
        pytest.param(EARLY_STOPPING, "EarlyStopping", "restore_best_weights", lambda _: False, id="weights not restored"),
        pytest.param(REDUCE_LR, "ReduceLROnPlateau", "patience", lambda patience: max(patience, 1) + 1, id="rate: patience + 1"),
        pytest.param(REDUCE_LR, "ReduceLROnPlateau", "patience", lambda patience: max(patience - 1, 0), id="rate: patience - 1"),
        pytest.param(REDUCE_LR, "ReduceLROnPlateau", "cooldown", lambda cooldown: cooldown + 1, id="cooldown + 1"),
        pytest.param(REDUCE_LR, "ReduceLROnPlateau", "cooldown", lambda cooldown: max(cooldown - 1, 0), id="cooldown - 1"),
        pytest.param(REDUCE_LR, "ReduceLROnPlateau", "min_delta", lambda _: 0.0, id="rate: min_delta ignored"),
        pytest.param(REDUCE_LR, "ReduceLROnPlateau", "min_lr", lambda _: 0.0, id="min_lr ignored"),
        pytest.param(SCHEDULER, "LearningRateSchedule", "schedule", one_epoch_later, id="epoch + 1"),
        pytest.param(CSV, "CSVLog", "absent", lambda _: "", id="empty for NA"),
        pytest.param(CSV, "CSVLog", "append", lambda append: not append, id="append the other way round"),
        pytest.param(TERMINATE, "NaNGuard", "monitor", lambda _: "mae", id="another metric than the loss"),
    ],
)
def test_a_changed_parameter_is_caught(
    monkeypatch: pytest.MonkeyPatch, searched: Any, plugin: str, parameter: str, change: Callable[[Any], Any]
) -> None:
    """A plugin with a changed parameter is caught."""
    original = getattr(plugins, plugin)
    initialize = original.__init__
    first = original.__attrs_attrs__[0].name  # the drop-ins pass it by position

    def changed(self: Any, *args: Any, **kwargs: Any) -> None:
        if parameter in kwargs:
            kwargs[parameter] = change(kwargs[parameter])
        elif parameter == first and args:
            args = (change(args[0]), *args[1:])
        initialize(self, *args, **kwargs)

    monkeypatch.setattr(original, "__init__", changed)  # so that a drop-in's subclass is changed too
    assert_caught(*searched)


def not_strict(self: Monitor, value: float) -> bool:
    """Use `<=` instead of `<`."""
    if math.isnan(value) or self.best is None:
        return not math.isnan(value)
    return value <= self.best - self.min_delta if self.mode == "min" else value >= self.best + self.min_delta


def accepts_nan(self: Monitor, value: float) -> bool:
    """Treat NaN as an improvement."""
    return math.isnan(value) or improves(self, value)


def sign_flipped(self: Monitor, value: float) -> bool:
    """Use larger instead of smaller."""
    return improves(Monitor("max" if self.mode == "min" else "min", self.min_delta, self.best), value)


def delta_flipped(self: Monitor, value: float) -> bool:
    """Use `best + min_delta` instead of `best - min_delta`."""
    if math.isnan(value) or self.best is None:
        return not math.isnan(value)
    return value < self.best + self.min_delta if self.mode == "min" else value > self.best - self.min_delta


improves: Final = Monitor.improves


@pytest.mark.parametrize(
    ("searched", "mutant"),
    [
        *itertools.product([EARLY_STOPPING, REDUCE_LR], [not_strict, accepts_nan, sign_flipped, delta_flipped]),
        *itertools.product([CHECKPOINT], [not_strict, accepts_nan, sign_flipped]),
    ],
)
def test_a_changed_comparison_is_caught(monkeypatch: pytest.MonkeyPatch, searched: Any, mutant: Any) -> None:
    """A monitor with a changed comparison is caught."""
    monkeypatch.setattr(Monitor, "improves", mutant)
    assert_caught(*searched)


def test_nan_as_the_first_best_is_caught(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A monitor that accepts NaN as its first best, like Keras, fails the test of that difference."""
    monkeypatch.setattr(Monitor, "improves", lambda self, value: self.best is None or improves(self, value))
    with pytest.raises(AssertionError):
        test_differences.test_nan_never_becomes_best(tmp_path)


@pytest.mark.parametrize("by", [-1, 1])
def test_a_changed_save_freq_is_caught(monkeypatch: pytest.MonkeyPatch, by: int) -> None:
    """Saving one batch too late or too early is caught."""
    monkeypatch.setattr(batch_counter, "due", lambda every, step, last: step // max(every + by, 1) > last // max(every + by, 1))
    assert_caught(*CHECKPOINT)


def test_ignored_infinity_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """A guard that ignores infinity is caught."""
    check = plugins.NaNGuard._check
    monkeypatch.setattr(
        plugins.NaNGuard, "_check", lambda self, run, name, value: check(self, run, name, 0.0 if math.isinf(value) else value)
    )
    assert_caught(*TERMINATE)
