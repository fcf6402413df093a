"""A pytest plugin that runs Keras's own callback tests against the drop-ins.

The tests are in the keras wheel. Before they are collected, each drop-in replaces Keras's class wherever a test may find it. The
number of instances of each is printed, and a run without instances of one fails, because it tested Keras.
"""

from __future__ import annotations

import importlib.util
from collections import Counter
from typing import Any, Final

import keras
import pytest

from hookcore_adapters.keras import callbacks

SUBSTITUTES: Final = {
    "backup_and_restore": callbacks.BackupAndRestore,
    "csv_logger": callbacks.CSVLogger,
    "early_stopping": callbacks.EarlyStopping,
    "learning_rate_scheduler": callbacks.LearningRateScheduler,
    "model_checkpoint": callbacks.ModelCheckpoint,
    "reduce_lr_on_plateau": callbacks.ReduceLROnPlateau,
    "swap_ema_weights": callbacks.SwapEMAWeights,
    "tensorboard": callbacks.TensorBoard,
    "terminate_on_nan": callbacks.TerminateOnNaN,
}
"""The drop-in for each module in keras.src.callbacks, which has its test beside it."""
if importlib.util.find_spec("tensorflow") is None:
    del SUBSTITUTES["tensorboard"]  # its test needs TensorFlow

IMPORTS_TENSORFLOW: Final = frozenset({"swap_ema_weights"})
"""The modules whose tests in Keras import TensorFlow on every backend."""
TESTED: Final = [name for name in SUBSTITUTES if name not in IMPORTS_TENSORFLOW or keras.backend.backend() == "tensorflow"]

PACKAGES: Final = ("keras.src.callbacks", "keras.callbacks", "keras._tf_keras.keras.callbacks")

DIFFERENT: Final = {
    "test_best_case_step": "the two batches that were trained before the interruption are not trained again: 15 updates, not 17",
}
"""The tests that must fail, by name, with the deliberate difference that causes it."""

built: Counter[str] = Counter()


def _counted(substitute: type[Any]) -> type[Any]:
    init = substitute.__init__

    def counting(self: Any, *args: Any, **kwargs: Any) -> None:
        built[substitute.__name__] += 1
        init(self, *args, **kwargs)

    substitute.__init__ = counting
    return substitute


def pytest_configure() -> None:
    """Replace Keras's classes by the drop-ins before collection."""
    for module, substitute in SUBSTITUTES.items():
        name = _counted(substitute).__name__
        for package in (*PACKAGES, f"keras.src.callbacks.{module}"):
            setattr(importlib.import_module(package), name, substitute)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of deliberate differences as expected failures: one that passes must be removed from the list."""
    for item in items:
        reason = DIFFERENT.get(item.name)
        if reason is not None:
            item.add_marker(pytest.mark.xfail(reason=reason, strict=True))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail if a drop-in was never instantiated."""
    if any(not built[SUBSTITUTES[name].__name__] for name in TESTED):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print the number of instances of each drop-in."""
    terminalreporter.section(f"substitutes built, on Keras {keras.__version__}")
    for substitute in SUBSTITUTES.values():
        terminalreporter.line(f"{built[substitute.__name__]:4} {substitute.__name__}")
    for name in SUBSTITUTES.keys() - set(TESTED):
        terminalreporter.line(f"not tested on {keras.backend.backend()}, as Keras's test of it imports TensorFlow: {name}")
    for name, reason in DIFFERENT.items():
        terminalreporter.line(f"different on purpose: {name}: {reason}")
