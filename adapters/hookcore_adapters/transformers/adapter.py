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
"""The number of epochs that `Trainer` tells if it does not know their length."""


class TransformersAdapter(TrainerCallback):  # type: ignore[misc]  # its types are not known everywhere
    """Runs plugins in a `Trainer`: `Trainer(model, args, callbacks=[TransformersAdapter(plugins)])`.

    * `plugins`: what `Engine` takes, an `Engine`, or a configuration, such as `"hookcore.toml"`.
    * `validation_data`: what plugins find in `run.validation_data`; `Trainer` does not tell a callback what it evaluates on.

    `Trainer.train(resume_from_checkpoint=...)` continues the plugins too, from a checkpoint of `Trainer`'s own or from one of
    ours. Metrics are what `Trainer` logs, under its names: `loss`, `grad_norm`, and all that begins with `eval_`. List callbacks
    that ask for a log or an evaluation before this one.

    `Trainer` tells no callback of an exception: the run that one has ended ends for plugins when the next begins, unless a plugin
    raised it. Raises `CapabilityError` before the first batch if several processes train.
    """

    def __init__(self, plugins: Plugins = (), *, validation_data: Any = None) -> None:
        self.engine = Engine.of(plugins)
        self._validation_data = validation_data
        self._driver = Driver(self.engine, host=self)
        self._trainee: Any = None
        self._batch_begin: Callable[[int], None] = self._refuse
        self._batch_end: Callable[[int, Mapping[str, Any] | None], None] = self._refuse
        """Called when a batch begins, and when it ends and is an update that leads to nothing else."""
        self._batches: int | None = None
        """How many there are in an epoch, if `Trainer` knows."""
        self._batch = 0
        """The batch that is trained now, or next, if each is an update."""
        self._pending = Pending()
        self._untold = False
        """Whether a batch has ended, and the driver was not told: its metrics are still to be logged."""
        self._begun: Literal["nothing", "run", "epoch"] = "nothing"
        """What has begun in the run that is going on."""
        self._evaluates: Literal["evaluate", "predict"] | None = None
        """What is going on, within the run or by itself."""
        self._resumes = False
        """Whether the run was resumed, and has not been taken up."""
        self._stops = False
        """Whether a plugin has voted to stop."""
        self._saved: Path | None = None
        """Trainer's own checkpoint that gets the record once this moment is settled."""
        self._undo: Undo | None = None
        """What is put back after the update that `Trainer` makes although the run that it resumes was stopped."""
        self._undone: Undo | None = None
        """The same once it is put back, while the counts of that update are still to be."""

    @property
    def run(self) -> Run | None:
        """The latest run."""
        return self.engine.run

    @property
    def _live_run(self) -> Run:
        assert self.engine.run is not None  # noqa: S101 - only asked for within one
        return self.engine.run

    def newest_checkpoint(self) -> str | None:
        """Return the newest whole checkpoint of a plugin such as `Checkpoint`, or None before the first.

        For `Trainer.train(resume_from_checkpoint=...)`, which for None starts from the beginning. Raises `ParameterError` if no
        plugin saves checkpoints, and `CheckpointError` if all that there are are damaged.
        """
        self._end_abandoned()  # what it still writes may be the checkpoint
        found = newest(self.engine.plugins, self.engine.on_error)
        return None if found is None else str(found.path)

    # What the driver asks of its host

    name = "transformers"
    ends_of_data = ()

    def stop(self) -> None:
        """Have the next event after which `Trainer` looks tell it to stop."""
        self._stops = True

    def state_dict(self) -> Mapping[str, Any]:
        """Return the learning rate: `Trainer` may save its own before the decisions of that moment."""
        return {"learning_rate": learning_rate_in(self._trainee)}

    def load_state_dict(self, state: Mapping[str, Any], position: Position) -> None:
        """Set the learning rate, unless that is a schedule's."""
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
        codes = being_executed(sys._getframe())  # noqa: SLF001 - the only way to who called
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
            return  # no epoch is left to finish
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
        except BaseException as error:  # the driver does not see it
            self._driver.end(error)
            raise

    def on_substep_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        del args, state, control, kwargs  # no vote is passed on: it would cut the update
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
            return  # what was measured in an evaluation, `on_evaluate` tells; and the last log sums up all of training
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
        if not state.is_hyper_param_search:  # whose directories a callback is not told
            self._saved = checkpoints.announced(args, state)
        if "epoch_end" not in self._pending.awaits:  # else it waits for that: Trainer does not make up for it when it resumes
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

    # Batches that are no update each, and the first of a resumed run

    def _accumulating_begin(self, batch: int) -> None:
        del batch
        self._driver.batch_begin()

    def _accumulating_end(self, batch: int, metrics: Mapping[str, Any] | None) -> None:
        del batch
        self._driver.batch_end(metrics)

    def _first_begin(self, begin: Callable[[int], None], batch: int) -> None:
        """Begin the first batch of a resumed run. It was read, which has drawn random numbers."""
        self._batch_begin = begin
        if self._trainee.data_draw():
            logger.warning(
                "the data draw random numbers, as for masks or augmentation, and Trainer reads batches ahead: the first ones of "
                "this epoch, which was cut, are not what they would have been. From an epoch's end a run continues exactly"
            )
        begin(batch)

    def _refuse(self, *_: object) -> None:
        raise HookcoreError("Trainer told of a batch outside of an epoch.")

    def _take_up(self, args: TrainingArguments, state: TrainerState) -> None:
        """Bring a resumed run to where `Trainer` continues."""
        if not self._resumes:
            return
        self._resumes = False
        position = self._driver.position
        if position.batch and position.batch == self._batches:
            self._driver.epoch_end()  # it was cut after the last batch
            position = self._driver.position
        if self._undo is not None:
            return  # nothing is trained
        epoch, batch = checkpoints.continues_at(args, state, self._batches)
        if (position.epoch, position.batch) != (epoch, batch):
            logger.warning(
                "the run was cut before batch %d of epoch %d, and Trainer, which counts by updates, continues before batch %d of "
                "epoch %d: from here on it is another run than one that was never cut",
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
                    "an evaluation, with %s, came after plugins had heard the end of its epoch, and is in no observation: list "
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
        """Tell that an evaluation or a prediction begins, with the first that is heard of it, and return which it is.

        Return None for what `eval_on_start` asks for: an evaluation before training, to see whether it works.
        """
        codes = set(being_executed(sys._getframe()))  # noqa: SLF001 - the only way to who called
        if Trainer.train.__code__ not in codes:
            self._end_abandoned()
        if self._evaluates is not None:
            return self._evaluates
        if self._begun == "run":
            return None
        if self._begun == "nothing":
            self._driver.outside(NoTrainee("transformers"), model)
        self._tell()
        if self._pending.awaits == {"epoch_end"}:  # another callback evaluates when it hears of that
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

    # What the end of a batch or an epoch leads to

    def _tell(self, metrics: Mapping[str, Any] | None = None) -> None:
        """Tell the end of the batch, unless it was told."""
        if self._untold:
            self._untold = False
            self._driver.batch_held(metrics, begun=self._batch_begin != self._accumulating_begin)

    def _has_come(self, control: TrainerControl) -> None:
        """Tell that all is done if nothing more is to come, and pass a vote on."""
        if not self._pending.awaits:
            self._settle()
        self._pass_vote_on(control)

    def _settle(self) -> None:
        """Tell that all is done, and put the record into the checkpoint that `Trainer` has made of this moment."""
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
        """End the run that an exception has ended."""
        self._driver.end_abandoned(
            HookcoreError("An earlier run of Trainer ended by an exception, which Trainer does not tell its callbacks.")
        )
        if self._begun != "nothing" and not self._driver.is_running:
            self._begun, self._evaluates = "nothing", None


def _loss_of(output: Any, targets: Any) -> Any:
    """Return the loss that a model of Transformers computes itself, from the labels among its inputs."""
    del targets
    return output["loss"]


def _validation_freq(args: TrainingArguments, state: TrainerState) -> int | Collection[int] | None:
    """Return after which epochs `Trainer` evaluates, as `Run.validation_freq` has it."""
    if args.eval_strategy == "steps":
        return None
    if args.eval_delay and state.num_train_epochs != _UNKNOWN_EPOCHS:
        return [epoch for epoch in range(1, state.num_train_epochs + 1) if epoch >= args.eval_delay]
    return 1
