"""The drop-in callbacks do what Keras's do, on any metrics, with any parameters, in several fits with one object."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings

from tests.parity import properties
from tests.parity.protocol import EXAMPLES

thorough = settings(max_examples=EXAMPLES)


@thorough
@given(properties.early_stopping_examples())
def test_early_stopping(example: Any) -> None:
    """EarlyStopping stops in the same epoch, with the same best, and leaves the same weights."""
    properties.check_early_stopping(example)


@thorough
@given(properties.reduce_lr_examples())
def test_reduce_lr_on_plateau(example: Any) -> None:
    """ReduceLROnPlateau sets the same learning rate after every epoch."""
    properties.check_reduce_lr(example)


@thorough
@given(properties.scheduler_examples())
def test_learning_rate_scheduler(example: Any) -> None:
    """LearningRateScheduler sets the same learning rate in every epoch."""
    properties.check_scheduler(example)


@thorough
@given(properties.checkpoint_examples())
def test_model_checkpoint(example: Any) -> None:
    """ModelCheckpoint saves the same epochs and batches under the same names."""
    properties.check_checkpoint(example)


@thorough
@given(properties.nan_examples())
def test_terminate_on_nan(example: Any) -> None:
    """TerminateOnNaN stops at the same batch."""
    properties.check_nan(example)


@thorough
@given(properties.csv_examples())
def test_csv_logger(example: Any) -> None:
    """CSVLogger writes the same rows."""
    properties.check_csv(example)
