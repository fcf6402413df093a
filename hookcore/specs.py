"""Every hook, in the order in which a run calls them. The docstrings are the reference.

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
    """Training is about to begin. Every plugin has fresh state, or its state in the checkpoint that is resumed.

    Raise here what can be found wrong with the run: nothing has been trained yet.
    """


@hookspec
def on_epoch_begin(run: Run, epoch: int) -> None:
    """Epoch `epoch` is about to begin. A learning rate set here holds for its first batch.

    Called once for each epoch: an epoch that was cut in the middle does not begin again when it is resumed.
    """


@hookspec
def on_batch_begin(run: Run, batch: int) -> None:
    """Batch `batch` of the epoch is about to be trained.

    If the framework runs several batches at a time (`steps_per_execution` in Keras), called once for all of them, with the number
    of the first.
    """


@hookspec
def on_batch_end(run: Run, batch: int, metrics: Mapping[str, float]) -> None:
    """Batch `batch` has been trained; `run.progress.step` counts it.

    `metrics` is what the framework reports at this point: in Keras the mean since the epoch began, in `Loop` what was
    logged for this batch. If the framework runs several batches at a time, called once for all of them, with the number of the
    last.
    """


@hookspec
def on_evaluate_begin(run: Run) -> None:
    """An evaluation is about to begin: validation within training, or one of its own."""


@hookspec
def on_evaluate_batch_begin(run: Run, batch: int) -> None:
    """Batch `batch` is about to be evaluated."""


@hookspec
def on_evaluate_batch_end(run: Run, batch: int, metrics: Mapping[str, float]) -> None:
    """Batch `batch` has been evaluated."""


@hookspec
def on_evaluate_end(run: Run, metrics: Mapping[str, float]) -> None:
    """An evaluation has ended. `metrics` carry their plain names: `loss`, not `val_loss`."""


@hookspec
def on_epoch_end(run: Run, epoch: int, metrics: Mapping[str, float]) -> None:
    """Epoch `epoch` has ended, validation included: `metrics` are its own, such as `loss` and `val_loss`.

    In a loop that evaluates by steps these are the means of the whole epoch, and the latest of what its evaluations gave. To
    decide on a metric or to log it, use `on_metrics`: a metric that another plugin logs here is there too.
    Called for an epoch that a vote to stop cut short, too; not for one that an exception ended.
    """


@hookspec
def on_metrics(run: Run, metrics: Mapping[str, float]) -> None:
    """An observation: `metrics` are all that are fresh since the one before, and `run.history` has a row for it.

    A loop that evaluates once per epoch has one observation per epoch, after `on_epoch_end`, with the metrics of training and
    validation together. A loop that evaluates by steps has one for each evaluation, with the training since the observation
    before, and one more when an epoch ends if anything is fresh then. The end of an epoch without any other is always one. So
    `patience` counts observations.
    """


@hookspec
def on_predict_begin(run: Run) -> None:
    """A prediction is about to begin."""


@hookspec
def on_predict_batch_begin(run: Run, batch: int) -> None:
    """Batch `batch` is about to be predicted."""


@hookspec
def on_predict_batch_end(run: Run, batch: int) -> None:
    """Batch `batch` has been predicted."""


@hookspec
def on_predict_end(run: Run) -> None:
    """A prediction has ended."""


@hookspec
def on_checkpoint(run: Run, checkpoint: SavedCheckpoint) -> None:
    """A checkpoint is durable now: it survives a crash from here on.

    The moment depends on how fast the disk is, so a plugin must not decide anything here. Called on the training thread, during a
    later event of the run.
    """


@hookspec
def on_exception(run: Run, exception: BaseException) -> None:
    """Training ends with an exception, Ctrl-C included. `on_train_end` follows; then the exception propagates to the caller."""


@hookspec
def on_train_end(run: Run) -> None:
    """Training has ended: `run.outcome` is how, and `run.stop_reasons` holds the votes to stop.

    The last event of every run that began. Not called for a plugin that was disabled before.
    """


HOOKS: Final[Mapping[str, tuple[str, ...]]] = {
    name: tuple(inspect.signature(function).parameters) for name, function in list(globals().items()) if name.startswith("on_")
}
"""Every hook's name with its arguments, in the order in which a run calls them."""
