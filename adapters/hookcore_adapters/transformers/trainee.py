"""The trainee of `Trainer`. Its checkpoints can also be opened by `Trainer` and `from_pretrained`."""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Final

import attrs
import torch
from torch.optim.lr_scheduler import LambdaLR
from transformers import PreTrainedModel, SchedulerType, TrainerCallback, TrainerState, TrainingArguments, get_constant_schedule
from transformers.trainer import TRAINER_STATE_NAME

from hookcore_adapters.random_state import RandomState
from hookcore_adapters.torch import TorchTrainee
from hookcore_adapters.torch.snapshot import TorchSnapshot
from hookcore_adapters.torch.weights import plain_module
from hookcore_adapters.transformers.callback_states import states_of
from hookcore_adapters.transformers.metrics import PREFIX

if TYPE_CHECKING:
    from pathlib import Path

    from hookcore.store import Hashed
    from hookcore.trainee import Mode

_CONSTANT: Final = get_constant_schedule.__module__, "_get_constant_lambda"
"""The function of a constant schedule."""


@attrs.frozen(eq=False)
class TransformersSnapshot(TorchSnapshot):
    """A snapshot of PyTorch models, with the state of `Trainer`."""

    trainer: str | None = attrs.field(default=None, kw_only=True, repr=False)
    """The JSON text of `TrainerState`; None if the snapshot holds only weights."""


@attrs.define(eq=False)
class TransformersTrainee(TorchTrainee):
    """`hookcore.Trainee` for `Trainer`, made by the adapter from the arguments of `on_train_begin`.

    * `model`, `optimizer`, `scheduler`: those that a callback gets. `scaler`: the gradient scaler of Accelerate's optimizer, or
      None.
    * `args`, `state`: `Trainer`'s `TrainingArguments` and `TrainerState`.
    * `processing_class`: the tokenizer or processor, which is saved with the model; None by default.
    * `callbacks`: those of `Trainer`, whose state is saved with `Trainer`'s; empty by default.

    `from_pretrained` opens a checkpoint of a `PreTrainedModel`, and `Trainer.train(resume_from_checkpoint=...)` resumes it.
    """

    _gradients_may_wait: ClassVar[bool] = False  # no snapshot is taken while gradients are accumulated

    args: TrainingArguments = attrs.field(kw_only=True, repr=False)
    state: TrainerState = attrs.field(kw_only=True, repr=False)
    processing_class: Any = attrs.field(default=None, kw_only=True, repr=False)
    callbacks: Sequence[TrainerCallback] = attrs.field(default=(), kw_only=True, repr=False)
    framework: str = attrs.field(default="transformers", kw_only=True)

    # The learning rate

    def _reason_no_rate(self) -> str | None:
        (scheduler,) = self._stateful["scheduler"].values()
        if _is_constant(scheduler):
            return None
        return (
            f"the learning rate schedule, {type(scheduler).__name__}, would overwrite what a plugin sets. Train with "
            f"lr_scheduler_type='constant' (it is {SchedulerType(self.args.lr_scheduler_type).value!r}) and without a scheduler "
            "of your own, or leave out the plugin"
        )

    def _set_rate(self, value: float) -> None:
        super()._set_rate(value)
        (scheduler,) = self._stateful["scheduler"].values()
        rates = [group["lr"] for group in scheduler.optimizer.param_groups]
        # In each step, the schedule sets the rate to the base rate times 1, and Trainer logs the schedule's last rate.
        scheduler.load_state_dict({**scheduler.state_dict(), "base_lrs": rates, "_last_lr": list(rates)})

    # Snapshots and checkpoints

    def snapshot(self, *, optimizer: bool = True) -> TransformersSnapshot:
        """Return the snapshot of `TorchTrainee` and, if `optimizer`, the state of `Trainer`."""
        taken = super().snapshot(optimizer=optimizer)
        trainer = json.dumps(self._trainers_state()) if optimizer else None
        return TransformersSnapshot(taken.weights, taken.rest, taken.random, trainer=trainer)

    def _trainers_state(self) -> dict[str, Any]:
        state = dataclasses.asdict(self.state)
        state["stateful_callbacks"] = {**state["stateful_callbacks"], **states_of(self.callbacks)}
        return {**state, **best_so_far(self.args, self.state)}

    def write(self, snapshot: TorchSnapshot, directory: Path) -> dict[str, Hashed]:
        """Write what `TorchTrainee` writes, and the other files that `from_pretrained` and `Trainer` need."""
        hashed = super().write(snapshot, directory)
        model = plain_module(self.model)
        if isinstance(model, PreTrainedModel):  # the weights of a PEFT model have other names than `from_pretrained` expects
            config = copy.deepcopy(model.config)
            config.architectures, config.dtype = [type(model).__name__], str(model.dtype).removeprefix("torch.")
            config.save_pretrained(directory)
            if getattr(model, "generation_config", None) is not None:
                model.generation_config.save_pretrained(directory)
        if self.processing_class is not None:
            self.processing_class.save_pretrained(directory)
        if isinstance(snapshot, TransformersSnapshot) and snapshot.trainer is not None:
            (directory / TRAINER_STATE_NAME).write_text(snapshot.trainer, encoding="utf-8")
        return hashed

    def read(self, directory: Path) -> TransformersSnapshot:
        """Return the snapshot that `write` wrote. Raises the errors of `TorchTrainee.read`."""
        read, trainer = super().read(directory), directory / TRAINER_STATE_NAME
        text = trainer.read_text(encoding="utf-8") if trainer.exists() else None
        return TransformersSnapshot(read.weights, read.rest, read.random, trainer=text)

    def data_draw(self) -> bool:
        """Return whether reading the first batches of a resumed epoch has drawn random numbers, and restore the random state.

        The one number from which a DataLoader seeds its workers does not count. What the workers draw is not visible.
        """
        if self._random is None:
            return False
        found = RandomState.now()
        self._random.restore()
        torch.empty((), dtype=torch.int64).random_()
        expected = RandomState.now()
        self._random.restore()
        return found.state_dict() != expected.state_dict()

    def direction(self, metric: str) -> Mode | None:
        """Return the direction of `metric` in `Trainer`: by `greater_is_better`, or `min` for names that end with `loss`."""
        best = self.args.metric_for_best_model
        if best is not None and metric == f"{PREFIX}_{best.removeprefix(f'{PREFIX}_')}":
            return "max" if self.args.greater_is_better else "min"
        return "min" if metric.endswith("loss") else None


def best_so_far(args: TrainingArguments, state: TrainerState) -> dict[str, Any]:
    """Return the best metric so far and its step, including the evaluation at the present step.

    `Trainer` includes that evaluation only after all callbacks, but a checkpoint may be captured before.
    """
    best, step = state.best_metric, state.best_global_step
    if args.metric_for_best_model is not None:
        name = f"{PREFIX}_{args.metric_for_best_model.removeprefix(f'{PREFIX}_')}"
        for value in (row[name] for row in state.log_history if row["step"] == state.global_step and name in row):
            if best is None or (value > best if args.greater_is_better else value < best):
                best, step = value, state.global_step
    return {"best_metric": best, "best_global_step": step}


def _is_constant(scheduler: Any) -> bool:
    return isinstance(scheduler, LambdaLR) and all(
        (getattr(factor, "__module__", ""), getattr(factor, "__qualname__", "")) == _CONSTANT for factor in scheduler.lr_lambdas
    )
