"""hookcore as one Lightning callback, for any script that calls `trainer.fit`."""

from __future__ import annotations

import contextlib
import logging
import signal
from typing import TYPE_CHECKING, Any

from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.utilities.exceptions import SIGTERMException

from hookcore import CapabilityError, HookcoreError, Plugins, Preempted, Progress, Resume, Run
from hookcore.driver import Driver
from hookcore.trainee import NoTrainee
from hookcore_adapters.lightning.host import LightningHost
from hookcore_adapters.lightning.metrics import NAMES, BatchMetrics, Fresh
from hookcore_adapters.lightning.resuming import Resuming
from hookcore_adapters.lightning.trainee import ADAPTER, LightningTrainee
from hookcore_adapters.lightning.validation import is_by_steps, is_due, mend
from hookcore_adapters.random_state import RandomState

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from hookcore import Position

logger = logging.getLogger("hookcore")


class LightningAdapter(EarlyStopping):  # type: ignore[misc]  # Any, also if Lightning is installed
    """Runs plugins in Lightning: `Trainer(callbacks=[LightningAdapter(plugins)])`.

    * `plugins`: what `Engine` takes, an `Engine`, or a configuration, such as `"hookcore.toml"`.
    * `resume`: what `trainer.fit` resumes if its `ckpt_path` is None: `"auto"` for the newest complete checkpoint of a plugin
      such as `Checkpoint`, if there is one; or the path of a checkpoint, or of a directory of checkpoints.

    Checkpoints that Lightning writes contain the record of the run, so `trainer.fit(ckpt_path=...)` also resumes the plugins.

    It inherits from `EarlyStopping` only for its place in the order of callbacks. Lightning calls that class after the module's
    own `on_train_epoch_end`, so the epoch contains what the module logs there, and before `ModelCheckpoint`, so a checkpoint
    contains the decisions of plugins.
    """

    state_key = ADAPTER

    def __init__(self, plugins: Plugins = (), *, resume: Resume = False) -> None:
        self._host = LightningHost()
        self._driver = Driver(plugins, resume=resume, host=self._host)
        self._saved: Mapping[str, Any] = {}
        """The adapter's state in Lightning's checkpoints outside of a run: that of the run to resume, or of the latest run."""
        self._trainee: LightningTrainee | None = None
        self._resuming = Resuming()
        self._fresh = Fresh()
        self._updates = 0
        """The number of updates that Lightning has counted."""
        self._by_steps = False
        """Whether Lightning validates within an epoch."""
        self._progress = Progress()
        self._batch = 0
        """The number of the open batch, or of the next."""
        self._batch_begin: Callable[[int], None] = _ignore
        self._batch_end: Callable[[int, Mapping[str, Any] | None], None] = _ignore

    @property
    def run(self) -> Run | None:
        """The latest run."""
        return self._driver.run

    @property
    def _live(self) -> Run:
        assert self.run is not None  # noqa: S101 - only used within a run
        return self.run

    # A run begins and ends

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        del pl_module
        self._driver.end_abandoned()
        self._host.trainer, self._trainee, self._fresh = trainer, None, Fresh()
        if stage == "fit":  # otherwise the trainer's loop remains where the latest run ended
            self._saved = {}

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        # At this point the optimizers exist, and the data's iterator does not.
        _check(trainer)
        self._trainee = LightningTrainee.of(trainer, pl_module)
        if trainer.ckpt_path is None:
            self._resuming = Resuming.of_ours(self._driver.find(self._trainee), self._trainee)
        else:
            self._resuming = Resuming.of_lightnings(trainer.ckpt_path, self._saved)
        self._resuming.before_data()

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        position = self._begin(trainer, pl_module)
        self._resuming.warn_of_workers(trainer)
        if position.begun:
            self._driver.epoch_begin()  # the interrupted epoch
            self._resuming.warn_of_left_out(trainer, self._live, position)
            if trainer.current_epoch > position.epoch:  # Lightning regards the epoch as finished
                self._driver.epoch_end()
            elif self._trainee is not None:
                self._resuming.continue_data(trainer, self._trainee, position)
        self._batch_begin, self._resuming = self._first_batch, Resuming()

    def _begin(self, trainer: Any, module: Any) -> Position:
        # Called after Lightning has installed its signal handlers, because at the end it restores those that it found.
        resuming, drawn, length = self._resuming, RandomState.now(), trainer.num_training_batches
        self._by_steps = is_by_steps(trainer)
        self._updates, self._host.has_drawn = trainer.global_step, True
        self._fresh.take(trainer)
        run = Run.of(
            self._trainee,
            epochs=None if trainer.max_epochs == -1 else trainer.max_epochs,
            steps_per_epoch=None if length == float("inf") else int(length),
            model=module,
            validation_data=trainer.val_dataloaders,
            validation_freq=None if self._by_steps else trainer.check_val_every_n_epoch,
            metric_names=NAMES,
            resumed_from=resuming.found,
        )
        if resuming.record is None and resuming.capture is None:
            run.progress.step = _steps(trainer, trainer.global_step)
        self._driver.begin(
            run,
            min_epochs=trainer.min_epochs or 0,
            min_steps=_steps(trainer, trainer.min_steps or 0),
            record=resuming.record,
            path=trainer.ckpt_path,
            capture=resuming.capture,
        )
        self._progress, self._saved, position = run.progress, {}, self._driver.position
        resuming.after_data(drawn, had_drawn=self._host.had_drawn and trainer.current_epoch == position.epoch)
        return position

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        del pl_module
        self._end(by=_who_stopped(trainer))

    def on_fit_end(self, trainer: Any, pl_module: Any) -> None:
        if self._trainee is not None:  # Lightning found nothing to train
            self._begin(trainer, pl_module)
            self._end()

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        del trainer, pl_module
        if isinstance(exception, SIGTERMException):  # Lightning raises it between two batches
            exception = Preempted("SIGTERM received", 128 + signal.SIGTERM)
        self._end(exception)

    def _end(self, error: BaseException | None = None, *, by: str | None = None) -> None:
        """End the run, and keep its record for checkpoints that Lightning saves from now on."""
        with contextlib.suppress(HookcoreError):  # interrupted at a moment that has no record
            self._saved = self._own_state(quiet=True)
        self._batch_begin = self._batch_end = _ignore
        try:
            self._driver.end(error, by=by)
        finally:  # release the model
            self._host.trainer, self._trainee, self._resuming, self._fresh = None, None, Resuming(), Fresh()

    # Epochs and batches

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        del pl_module
        if trainer.current_epoch > self._driver.epoch:  # otherwise it began before the interruption
            self._driver.epoch_begin(trainer.current_epoch)
        self._batch_begin = self._first_batch

    def _first_batch(self, _: int) -> None:
        trainer, driver = self._host.trainer, self._driver
        if trainer.current_epoch > driver.epoch:  # resumed in mid-epoch, for which Lightning does not call on_train_epoch_start
            driver.epoch_begin(trainer.current_epoch)
        self._batch_begin, self._batch_end = driver.batches()
        self._host.has_drawn = True
        self._batch = driver.position.batch  # differs from Lightning's if the epoch has no record, or a batch was None
        self._batch_begin(self._batch)

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        del trainer, pl_module, batch, batch_idx
        self._batch_begin(self._batch)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        del pl_module, batch
        before, self._updates = self._updates, trainer.global_step
        updates, metrics = self._updates - before, BatchMetrics(trainer, outputs, self._fresh)
        if updates > 1 and len(trainer.optimizers) > 1:
            updates = 1
        is_last = trainer.is_last_batch
        # A batch is held if a validation within the epoch follows. After the last batch, the validation belongs to the epoch. A
        # last batch without validation is held until the end of the epoch, which a trainer that resumes in between would leave
        # out.
        is_held = (is_last or self._by_steps) and is_due(trainer, batch_idx) != is_last
        if is_last and not is_held and self._trainee is not None:
            self._trainee.awaits_validation()
        if updates == 1 and not is_held and not self._progress.accumulated:
            self._batch_end(self._batch, metrics)
            self._batch += 1
            return
        self._batch += 1
        self._driver.batch_held(metrics, updates=updates, begun=True)
        if not is_held:
            self._driver.settled()

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        del pl_module
        self._driver.log(self._fresh.take(trainer))  # before the held batch is completed and captured
        self._host.has_drawn = False
        self._driver.epoch_end(exhausted=trainer.is_last_batch)

    # Evaluations and predictions

    def on_validation_start(self, trainer: Any, pl_module: Any) -> None:
        if trainer.sanity_checking:
            return
        if self._driver.is_running:
            self._driver.log(self._fresh.take(trainer))  # metrics of training: those that are new later are of validation
        else:
            self._driver.outside(NoTrainee("lightning"), pl_module)
        self._driver.evaluate_begin()

    def on_validation_batch_start(self, trainer: Any, *_: Any) -> None:
        if not trainer.sanity_checking:
            self._driver.evaluate_batch_begin()

    def on_validation_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, *_: Any) -> None:
        del pl_module
        if not trainer.sanity_checking:
            self._driver.evaluate_batch_end(BatchMetrics(trainer, outputs, self._fresh))

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        del pl_module
        if trainer.sanity_checking:
            return
        found = self._fresh.take(trainer)
        self._driver.evaluate_end({NAMES.plain(name): value for name, value in found.items()}, named=found)
        if self._driver.is_running:
            self._driver.settled()
        else:
            self._driver.end()

    on_test_start, on_test_batch_start = on_validation_start, on_validation_batch_start
    on_test_batch_end, on_test_end = on_validation_batch_end, on_validation_end

    def on_predict_start(self, trainer: Any, pl_module: Any) -> None:
        del trainer
        self._driver.outside(NoTrainee("lightning"), pl_module)
        self._driver.predict_begin()

    def on_predict_batch_start(self, *_: Any) -> None:
        self._driver.predict_batch_begin()

    def on_predict_batch_end(self, *_: Any) -> None:
        self._driver.predict_batch_end()

    def on_predict_end(self, trainer: Any, pl_module: Any) -> None:
        del trainer, pl_module
        self._driver.predict_end()
        self._driver.end()

    # The adapter's state in Lightning's checkpoints

    def state_dict(self) -> dict[str, Any]:
        """Return the record of the run and the state of the random generators, which Lightning does not save."""
        if not self._driver.is_running:
            return dict(self._saved)
        try:
            return self._own_state()
        except HookcoreError as error:
            logger.warning("a checkpoint of Lightning has no record of plugins: %s", error)
            return {}

    def _own_state(self, *, quiet: bool = False) -> dict[str, Any]:
        return {"record": self._driver.record(held=True, quiet=quiet), "random": RandomState.now().state_dict()}

    def on_save_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        del pl_module
        mend(checkpoint["loops"]["fit_loop"], trainer)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep the state until the run begins. Ignore a checkpoint that is loaded only for its weights, as for a test."""
        if self._host.trainer is None or self._host.trainer.state.fn == "fit":
            self._saved = state_dict


def _steps(trainer: Any, updates: int) -> int:
    """Return the number of steps in `updates`, which Lightning counts for each optimizer: a step updates all optimizers."""
    return -(-updates // max(len(trainer.optimizers), 1))


def _check(trainer: Any) -> None:
    """Raise `CapabilityError` if plugins do not support the trainer."""
    if trainer.world_size > 1:
        raise CapabilityError(
            f"LightningAdapter: the trainer has {trainer.world_size} processes, and each would run every plugin. Train in one: "
            "Trainer(devices=1)."
        )
    if not hasattr(trainer, "val_check_interval"):
        raise CapabilityError(
            "LightningAdapter: val_check_interval is a time, so it is not known after which batch Lightning validates. Give a "
            "number of batches, or a part of an epoch."
        )


def _who_stopped(trainer: Any) -> str | None:
    """Return why a run ended before its last epoch without a plugin's vote, or None if it did not."""
    if trainer.should_stop:
        return "trainer.should_stop was set by something else than a plugin"
    if trainer.max_epochs != -1 and trainer.current_epoch < trainer.max_epochs:
        return f"max_steps={trainer.max_steps} reached"
    return None


def _ignore(*_: Any) -> None:
    """Do nothing."""
