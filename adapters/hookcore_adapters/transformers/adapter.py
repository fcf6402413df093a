"""hookcore as one callback of Transformers' `Trainer`."""

from __future__ import annotations

import functools
import logging
import sys
from typing import TYPE_CHECKING, Any, Final, Literal

from transformers import Trainer, TrainerCallback
from transformers.trainer_utils import has_length

from hookcore import CapabilityError, Engine, HookcoreError, MetricNames, Plugins, Run, store
from hookcore.driver import Driver
from hookcore.interrupt import being_executed
from hookcore.resume import newest
from hookcore.trainee import NoTrainee, learning_rate_in, reason_lacking
from hookcore_adapters.transformers import checkpoints
from hookcore_adapters.transformers.callback_states import all_callbacks
from hookcore_adapters.transformers.metrics import OF_UPDATES, PREFIX, metrics_of, plain, prefix_of
from hookcore_adapters.transformers.pending import ANY_NUMBER, Pending
from hookcore_adapters.transformers.trainee import TransformersTrainee
from hookcore_adapters.transformers.undo import Undo, ask_for_nothing

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from pathlib import Path

    from transformers import TrainerControl, TrainerState, TrainingArguments

    from hookcore import Position

logger = logging.getLogger("hookcore")

_UNKNOWN_EPOCHS: Final = sys.maxsize
"""The number of epochs that `Trainer` reports if it does not know their length."""


class TransformersAdapter(TrainerCallback):  # type: ignore[misc]  # Any if Transformers is not installed
    """Runs plugins in a `Trainer`: `Trainer(model, args, callbacks=[TransformersAdapter(plugins)])`.

    * `plugins`: what `Engine` takes, an `Engine`, or a configuration, such as `"hookcore.toml"`.
    * `validation_data`: what plugins find in `run.validation_data`, because `Trainer` does not pass its own to callbacks.

    `Trainer.train(resume_from_checkpoint=...)` also resumes the plugins, from a checkpoint that `Trainer` wrote or that a plugin
    wrote. Metrics are what `Trainer` logs, by its names: `loss`, `grad_norm`, and the names that begin with `eval_`. List
    callbacks that ask for a log or an evaluation before this one.

    `Trainer` does not report exceptions to callbacks. A run that ends by an exception ends for plugins when the next run begins,
    or at once if a plugin raised the exception. Raises `CapabilityError` before the first batch if several processes train.
    """

    def __init__(self, plugins: Plugins = (), *, validation_data: Any = None) -> None:
        self.engine = Engine.of(plugins)
        self._validation_data = validation_data
        self._driver = Driver(self.engine, host=self)
        self._trainee: Any = None
        self._batch_begin: Callable[[int], None] = self._refuse
        self._batch_end: Callable[[int, Mapping[str, Any] | None], None] = self._refuse
        """Called when a batch begins, and when a batch ends that is an update and is followed by no log or evaluation."""
        self._batches: int | None = None
        """The number of batches in an epoch, if `Trainer` knows it."""
        self._batch = 0
        """The number of the batch that is trained now or next, if each batch is an update."""
        self._pending = Pending()
        self._untold = False
        """Whether a batch has ended that the driver does not know of yet, because its metrics will be logged."""
        self._begun: Literal["nothing", "run", "epoch"] = "nothing"
        """What has begun in the current run."""
        self._evaluates: Literal["evaluate", "predict"] | None = None
        """The evaluation or prediction in progress, in a run or outside of one."""
        self._resumes = False
        """Whether the run is resumed and has not reached the position where `Trainer` continues."""
        self._stops = False
        """Whether a plugin has voted to stop."""
        self._saved: Path | None = None
        """The checkpoint of `Trainer` that gets the record at the next observation."""
        self._undo: Undo | None = None
        """Undoes the update that `Trainer` makes although the run that it resumes was stopped."""
        self._undone: Undo | None = None
        """The same after the update is undone, until its counts are undone too."""

    @property
    def run(self) -> Run | None:
        """The latest run."""
        return self.engine.run

    @property
    def _live_run(self) -> Run:
        assert self.engine.run is not None  # noqa: S101 - only used within a run
        return self.engine.run

    def newest_checkpoint(self) -> str | None:
        """Return the newest complete checkpoint of a plugin such as `Checkpoint`, or None before the first.

        Pass it to `Trainer.train(resume_from_checkpoint=...)`, which starts a new run for None. Raises `ParameterError` if no
        plugin saves checkpoints, and `CheckpointError` if all checkpoints are damaged.
        """
        self._end_abandoned()  # it may still be writing the newest checkpoint
        found = newest(self.engine.plugins, self.engine.on_error)
        return None if found is None else str(found.path)

    # The methods that the driver calls on its host

    name = "transformers"
    ends_of_data = ()

    def stop(self) -> None:
        """Ask `Trainer` to stop, at the next event after which it checks."""
        self._stops = True

    def state_dict(self) -> Mapping[str, Any]:
        """Return the learning rate, because `Trainer` may save its checkpoint before plugins change the rate at that step."""
        return {"learning_rate": learning_rate_in(self._trainee)}

    def load_state_dict(self, state: Mapping[str, Any], position: Position) -> None:
        """Set the learning rate, unless a schedule sets it."""
        del position
        rate = state.get("learning_rate")
        if rate not in {None, self._trainee.learning_rate} and reason_lacking(self._trainee, "learning_rate") is None:
            self._trainee.learning_rate = rate

    # Training

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: Any = None,
        optimizer: Any = None,
        lr_scheduler: Any = None,
        train_dataloader: Any = None,
        processing_class: Any = None,
        **kwargs: Any,
    ) -> None:
        del control, kwargs
        self._end_abandoned()
        if args.world_size > 1:
            raise CapabilityError(
                f"TransformersAdapter: {args.world_size} processes train, and each would run every plugin. "
                "It works with one process, on one or several devices."
            )
        self._pending, self._untold, self._evaluates, self._undo = Pending(logged_step=state.global_step), False, None, None
        self._stops, self._saved, self._undone = False, None, None
        self._trainee = TransformersTrainee(
            *(model, optimizer, lr_scheduler, getattr(optimizer, "scaler", None)),
            loss=_loss_of,
            args=args,
            state=state,
            processing_class=processing_class,
            callbacks=all_callbacks(),
        )
        self._batches = len(train_dataloader) if has_length(train_dataloader) else None
        run = Run.of(
            self._trainee,
            epochs=None if state.num_train_epochs == _UNKNOWN_EPOCHS else state.num_train_epochs,
            steps_per_epoch=self._batches,
            model=model,
            validation_data=self._validation_data,
            validation_freq=_validation_freq(args, state),
            metric_names=MetricNames(validation=(f"{PREFIX}_",)),
        )
        record, path = None, checkpoints.resumed(args, state)
        if path is not None and (path / store.MANIFEST).exists():
            run.resumed_from = store.verify(path)
        elif path is not None and (record := checkpoints.record_in(path)) is None:
            logger.warning("%s was saved without plugins: they start from the beginning, at step %d", path, state.global_step)
            run.progress.step = state.global_step
        self._resumes, self._begun = record is not None or run.resumed_from is not None, "run"
        codes = being_executed(sys._getframe())  # noqa: SLF001 - the only way to find the caller
        self._driver.begin(
            run,
            initial_epoch=int(state.epoch or 0),
            record=record,
            path=path,
            loop=next((code for code in codes if code.co_name == "_inner_training_loop"), None),
        )
        if self._resumes and self._driver.stopping:
            self._undo = Undo(self._trainee, state)

    def on_epoch_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        del control, kwargs
        self._settle()
        resumes = self._resumes
        self._take_up(args, state)
        if self._undo is not None and not self._driver.position.begun:
            return  # no epoch was interrupted
        self._driver.epoch_begin()
        self._begun = "epoch"
        if args.gradient_accumulation_steps == 1:
            self._batch_begin, self._batch_end = self._driver.batches()
            self._batch = self._driver.position.batch
        else:
            self._batch_begin, self._batch_end = self._accumulating_begin, self._accumulating_end
        if resumes:
            self._trainee.restore_random()
            if self._driver.position.batch:
                self._batch_begin = functools.partial(self._first_begin, self._batch_begin)

    def on_step_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        del args, state, control, kwargs
        if self._undo is not None:
            return
        if self._pending.awaits:
            self._settle()
        try:
            self._batch_begin(self._batch)
        except BaseException as error:  # on this path the driver does not catch it
            self._driver.end(error)
            raise

    def on_substep_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        del args, state, control, kwargs  # a vote to stop would interrupt the update
        if self._undo is None:
            self._driver.batch_end(updates=0)
            self._driver.batch_begin()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        del args, kwargs
        if self._undo is not None:
            self._undo.put_back(control)
            self._undo, self._undone = None, self._undo
            return
        is_last = not state.epoch % 1
        if is_last or control.should_log or control.should_evaluate:
            self._pending.begin(state, control, epoch_ends=is_last)
            self._untold = True
            if "log" not in self._pending.awaits:
                self._tell()
        else:
            try:
                self._batch_end(self._batch, None)
            except BaseException as error:
                self._driver.end(error)
                raise
        self._batch += 1
        if self._stops:
            control.should_training_stop = True

    def on_epoch_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        del args, kwargs
        if self._begun != "epoch":
            ask_for_nothing(control)
            return
        self._tell()
        self._pending.begin(state, control)
        ended = not (control.should_training_stop or control.should_epoch_stop)
        self._driver.epoch_end(hold=ANY_NUMBER if self._pending.awaits else 0, exhausted=ended)
        self._has_come(control)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        del args, kwargs
        if self._begun != "epoch" or self._undo is not None or prefix_of(logs or {}) is not None:
            return  # metrics of an evaluation come by `on_evaluate`, and the last log sums up the whole training
        metrics = metrics_of(logs or {})
        if self._undone is not None:
            metrics = {name: value for name, value in metrics.items() if name not in OF_UPDATES}
        self._tell(metrics)
        self._driver.log(metrics)
        self._pending.logged(state)
        if self._undone is not None:
            self._undone.uncount()
        self._has_come(control)

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        del kwargs
        if not state.is_hyper_param_search:  # callbacks do not know the directories of a search
            self._saved = checkpoints.announced(args, state)
        # In a pending epoch the record follows its end, because a Trainer that resumes this checkpoint leaves the end out.
        if "epoch_end" not in self._pending.awaits:
            self._settle()
        self._pass_vote_on(control)

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        del control, kwargs
        self._settle()
        self._take_up(args, state)
        if self._undone is not None:
            self._undone.uncount()
        early = state.global_step < state.max_steps
        self._driver.end(by="control.should_training_stop was set by something else than a plugin" if early else None)
        self._trainee, self._begun, self._batch_begin, self._batch_end = None, "nothing", self._refuse, self._refuse

    # Batches with accumulated gradients, and the first batch of a resumed run

    def _accumulating_begin(self, batch: int) -> None:
        del batch
        self._driver.batch_begin()

    def _accumulating_end(self, batch: int, metrics: Mapping[str, Any] | None) -> None:
        del batch
        self._driver.batch_end(metrics)

    def _first_begin(self, begin: Callable[[int], None], batch: int) -> None:
        """Begin the first batch of a resumed run. Reading it has drawn random numbers, which are restored."""
        self._batch_begin = begin
        if self._trainee.data_draw():
            logger.warning(
                "the data draw random numbers, as for masks or augmentation, and Trainer reads batches ahead: the first ones of "
                "the rest of this epoch differ from those of an uninterrupted run. A run that is resumed at the end of an epoch "
                "continues exactly"
            )
        begin(batch)

    def _refuse(self, *_: object) -> None:
        raise HookcoreError("Trainer reported a batch outside of an epoch.")

    def _take_up(self, args: TrainingArguments, state: TrainerState) -> None:
        """Bring a resumed run to the position where `Trainer` continues."""
        if not self._resumes:
            return
        self._resumes = False
        position = self._driver.position
        if position.batch and position.batch == self._batches:
            self._driver.epoch_end()  # interrupted after the last batch
            position = self._driver.position
        if self._undo is not None:
            return  # nothing is trained
        epoch, batch = checkpoints.continues_at(args, state, self._batches)
        if (position.epoch, position.batch) != (epoch, batch):
            logger.warning(
                "the run was interrupted before batch %d of epoch %d, but Trainer, which counts updates, continues before batch "
                "%d of epoch %d: from here on the run differs from an uninterrupted one",
                *(position.batch + 1, position.epoch + 1, batch + 1, epoch + 1),
            )
        if position.batch and not batch:
            self._driver.begin_again()

    # Evaluations and predictions

    def on_prediction_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, model: Any = None, **kwargs: Any
    ) -> None:
        del args, state, control, kwargs
        if self._evaluation_begins(model) == "evaluate":
            self._driver.evaluate_batch_end()
        elif self._evaluates == "predict":
            self._driver.predict_batch_end()

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: Mapping[str, Any] | None = None,
        model: Any = None,
        **kwargs: Any,
    ) -> None:
        del args, state, kwargs
        if self._evaluation_begins(model) is None:
            return
        prefix, named = prefix_of(metrics or {}) or PREFIX, metrics_of(metrics or {})
        if self._begun == "epoch":
            shared = self._live_run.shared
            shared.metric_names = shared.metric_names.adding(f"{prefix}_")
        self._driver.evaluate_end(plain(named, prefix), named=named)
        self._evaluation_ends()
        if self._begun == "epoch":
            if not self._driver.position.begun and not self._pending.awaits:
                logger.warning(
                    "an evaluation, with %s, came after the end of its epoch for plugins, so no observation contains it: list "
                    "TransformersAdapter after the callback that asked for it",
                    ", ".join(named) or "no metrics",
                )
            self._pending.evaluated(prefix)
            self._has_come(control)

    def on_predict(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: Any,
        model: Any = None,
        **kwargs: Any,
    ) -> None:
        del args, state, control, metrics, kwargs
        if self._evaluation_begins(model) is not None:
            self._driver.predict_end()
            self._evaluation_ends()

    def _evaluation_begins(self, model: Any) -> Literal["evaluate", "predict"] | None:
        """Begin an evaluation or a prediction at its first event, and return which of the two is in progress.

        Return None for the trial evaluation before training, which `eval_on_start` asks for.
        """
        codes = set(being_executed(sys._getframe()))  # noqa: SLF001 - the only way to find the caller
        if Trainer.train.__code__ not in codes:
            self._end_abandoned()
        if self._evaluates is not None:
            return self._evaluates
        if self._begun == "run":
            return None
        if self._begun == "nothing":
            self._driver.outside(NoTrainee("transformers"), model)
        self._tell()
        if self._pending.awaits == {"epoch_end"}:  # another callback evaluates at the end of the epoch
            self._driver.epoch_end(hold=ANY_NUMBER, exhausted=True)
        if Trainer.predict.__code__ in codes:
            self._evaluates = "predict"
            self._driver.predict_begin()
        else:
            self._evaluates = "evaluate"
            self._driver.evaluate_begin()
        return self._evaluates

    def _evaluation_ends(self) -> None:
        self._evaluates = None
        if self._begun == "nothing":
            self._driver.end()

    # What follows the end of a batch or an epoch

    def _tell(self, metrics: Mapping[str, Any] | None = None) -> None:
        """Report the end of the batch to the driver, unless that is done."""
        if self._untold:
            self._untold = False
            self._driver.batch_held(metrics, begun=self._batch_begin != self._accumulating_begin)

    def _has_come(self, control: TrainerControl) -> None:
        """Complete the observation if nothing more follows, and pass a vote to `Trainer`."""
        if not self._pending.awaits:
            self._settle()
        self._pass_vote_on(control)

    def _settle(self) -> None:
        """Complete the observation, and add the record to the checkpoint that `Trainer` wrote meanwhile."""
        self._tell()
        self._pending.awaits.clear()
        self._driver.settled()
        if self._saved is not None:
            saved, self._saved = self._saved, None
            try:
                checkpoints.add_record(saved, self._driver.record())
            except BaseException as error:
                self._driver.end(error)
                raise

    def _pass_vote_on(self, control: TrainerControl) -> None:
        if self._stops:
            control.should_training_stop = True

    def _end_abandoned(self) -> None:
        """End a run that an exception has ended."""
        self._driver.end_abandoned(
            HookcoreError("An earlier run of Trainer ended by an exception, which Trainer does not report to callbacks.")
        )
        if self._begun != "nothing" and not self._driver.is_running:
            self._begun, self._evaluates = "nothing", None


def _loss_of(output: Any, targets: Any) -> Any:
    """Return the loss that the model has computed from the labels in its inputs."""
    del targets
    return output["loss"]


def _validation_freq(args: TrainingArguments, state: TrainerState) -> int | Collection[int] | None:
    """Return after which epochs `Trainer` evaluates, as a value for `Run.validation_freq`."""
    if args.eval_strategy == "steps":
        return None
    if args.eval_delay and state.num_train_epochs != _UNKNOWN_EPOCHS:
        return [epoch for epoch in range(1, state.num_train_epochs + 1) if epoch >= args.eval_delay]
    return 1
