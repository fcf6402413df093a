"""Every hook, in the order in which a run calls them. The docstrings are the reference, and tell what an implementation may do.

An implementation names only the arguments that it wants. `epoch` and `batch` count from zero. `metrics` is a read-only
mapping of floats, converted from the framework's values when it is read. Return values are ignored.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Final

from hookcore.markers import hookspec

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hookcore.run import Run
    from hookcore.store import SavedCheckpoint


@hookspec
def on_train_begin(run: Run) -> None:
    """Act before training begins. Every plugin has fresh state, or its state in the checkpoint that is resumed.

    Check here what can be wrong with the run, and raise an error: nothing has been trained yet.
    """


@hookspec
def on_epoch_begin(run: Run, epoch: int) -> None:
    """Act before epoch `epoch` begins. A learning rate that is set here holds from its first batch on.

    Called once for each epoch: an epoch that was cut in the middle does not begin again when it is resumed.
    """


@hookspec
def on_batch_begin(run: Run, batch: int) -> None:
    """Act before batch `batch` of the epoch is trained.

    If the framework runs several batches at a time (`steps_per_execution` in Keras), called once for all of them, with the number
    of the first.
    """


@hookspec
def on_batch_end(run: Run, batch: int, metrics: Mapping[str, float]) -> None:
    """Act after batch `batch` was trained; `run.progress.step` counts it.

    `metrics` is what the framework reports at this point: in Keras the mean since the epoch began, in `Loop` what was
    logged for this batch. If the framework runs several batches at a time, called once for all of them, with the number of the
    last.
    """


@hookspec
def on_evaluate_begin(run: Run) -> None:
    """Act before an evaluation begins, within training or outside of it."""


@hookspec
def on_evaluate_batch_begin(run: Run, batch: int) -> None:
    """Act before batch `batch` is evaluated."""


@hookspec
def on_evaluate_batch_end(run: Run, batch: int, metrics: Mapping[str, float]) -> None:
    """Act after batch `batch` was evaluated."""


@hookspec
def on_evaluate_end(run: Run, metrics: Mapping[str, float]) -> None:
    """Act after an evaluation. `metrics` have their plain names: `loss`, not `val_loss`."""


@hookspec
def on_epoch_end(run: Run, epoch: int, metrics: Mapping[str, float]) -> None:
    """Act after epoch `epoch` and its validation: `metrics` are those of the epoch, such as `loss` and `val_loss`.

    In a loop that evaluates by steps, these are means over the whole epoch, and the values of its latest evaluations. To decide
    on a metric or to log it, use `on_metrics`, which also has the metrics that plugins log here.
    Also called for an epoch that a vote to stop cut short, but not for one that an exception ended.
    """


@hookspec
def on_metrics(run: Run, metrics: Mapping[str, float]) -> None:
    """Act on an observation: `metrics` are those since the previous observation, and `run.history` has a row for it.

    A loop that evaluates once per epoch has one observation per epoch, after `on_epoch_end`, with the metrics of training and
    validation together. A loop that evaluates by steps has one for each evaluation, with the metrics of training since the
    previous observation, and one more at the end of an epoch if there are new metrics. Every epoch has at least one observation.
    `patience` counts observations.
    """


@hookspec
def on_predict_begin(run: Run) -> None:
    """Act before a prediction begins."""


@hookspec
def on_predict_batch_begin(run: Run, batch: int) -> None:
    """Act before batch `batch` is predicted."""


@hookspec
def on_predict_batch_end(run: Run, batch: int) -> None:
    """Act after batch `batch` was predicted."""


@hookspec
def on_predict_end(run: Run) -> None:
    """Act after a prediction."""


@hookspec
def on_checkpoint(run: Run, checkpoint: SavedCheckpoint) -> None:
    """Act once a checkpoint is durable: from now on it survives a crash.

    When this is called depends on how fast the disk is, so a plugin must not decide anything here. Called on the training thread,
    during a later event of the run.
    """


@hookspec
def on_exception(run: Run, exception: BaseException) -> None:
    """Act before training ends with an exception, Ctrl-C included. `on_train_end` follows; then the exception is raised."""


@hookspec
def on_train_end(run: Run) -> None:
    """Act after training: `run.outcome` tells how it ended, and `run.stop_reasons` holds the votes to stop.

    This is the last event of every run that began. Not called for a plugin that was disabled before.
    """


HOOKS: Final[Mapping[str, tuple[str, ...]]] = {
    name: tuple(inspect.signature(function).parameters) for name, function in list(globals().items()) if name.startswith("on_")
}
"""Every hook's name with its arguments, in the order in which a run calls them."""
