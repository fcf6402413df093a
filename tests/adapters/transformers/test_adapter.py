"""The events of plugins in a `Trainer`, beyond the contract of all adapters."""

from __future__ import annotations

import copy
import logging
import types
from typing import TYPE_CHECKING, Any

import pytest
import torch
from transformers import EarlyStoppingCallback, Trainer, TrainerCallback

from hookcore import CapabilityError, HookcoreError, MetricError, Outcome, Run, hookimpl
from hookcore.testing import RecordingPlugin
from hookcore_adapters.transformers import TransformersAdapter
from hookcore_plugins import Checkpoint, EarlyStopping, ReduceLROnPlateau
from tests.adapters.transformers.harness import Samples, arguments, tiny_model

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Voter:
    """Votes in the `number`-th call of one hook."""

    name = "voter"

    def __init__(self, hook: str, number: int) -> None:
        self.left = number

        def vote(run: Run) -> None:
            self.left -= 1
            if self.left == -1:
                run.stop("asked to")

        setattr(self, hook, hookimpl(vote))


def trainer(
    directory: Path,
    *plugins: object,
    kind: Any = Trainer,
    before: Any = (),
    after: Any = (),
    sets: Any = 1,
    batches: Any = 4,
    **given: Any,
) -> Trainer:
    """Return a trainer of a tiny model with two samples per batch, with its adapter and a recording plugin as attributes."""
    heard = RecordingPlugin()
    adapter = TransformersAdapter([heard, *plugins])
    evaluated = {f"set{number}": Samples(4, number) for number in range(sets)}
    made = kind(
        tiny_model(),
        arguments(directory, **{"num_train_epochs": 2, "logging_strategy": "epoch", "eval_strategy": "epoch", **given}),
        train_dataset=Samples(2 * batches, 1),
        eval_dataset=evaluated if sets > 1 else evaluated["set0"],
        callbacks=[*before, adapter, *after],
    )
    made.adapter, made.heard = adapter, heard
    return made


def hooks(made: Trainer) -> list[str]:
    return [event[0] for event in made.heard.events]


def observations(made: Trainer) -> list[dict[str, float]]:
    return [event[1] for event in made.heard.events if event[0] == "on_metrics"]


def trained(made: Trainer) -> int:
    return hooks(made).count("on_batch_end")


def test_what_trainer_logs_in_between_are_metrics_of_the_batch(tmp_path: Path) -> None:
    """With a log every two steps, every second batch has a loss, and each epoch the latest."""
    made = trainer(tmp_path, logging_strategy="steps", logging_steps=2)
    made.train()
    batches = [event[2] for event in made.heard.events if event[0] == "on_batch_end"]
    assert [sorted(metrics) for metrics in batches] == [[], ["grad_norm", "loss"]] * 4
    ends = [event[2] for event in made.heard.events if event[0] == "on_epoch_end"]
    assert [end["loss"] for end in ends] == [batches[3]["loss"], batches[7]["loss"]]
    logged = [row["loss"] for row in made.state.log_history if "loss" in row]
    assert [metrics["loss"] for metrics in batches if metrics] == logged


def test_five_evaluations_by_steps_are_five_observations(tmp_path: Path) -> None:
    """Each evaluation is an observation with the logs since the previous one; the end of an epoch without new metrics is not."""
    made = trainer(
        tmp_path, num_train_epochs=1, batches=10, eval_strategy="steps", eval_steps=2, logging_strategy="steps", logging_steps=4
    )
    made.train()
    assert ["loss" in metrics for metrics in observations(made)] == [False, True, False, True, False]
    assert all("eval_loss" in metrics for metrics in observations(made))
    assert made.adapter.run.history.steps == [2, 4, 6, 8, 10]
    assert made.adapter.run.validation_freq is None


def test_metrics_of_training_and_evaluation_are_trainers_own_without_those_of_the_machine(tmp_path: Path) -> None:
    """Metrics have Trainer's names, without speeds, the position in training and the learning rate."""
    made = trainer(tmp_path)
    made.train()
    assert [sorted(metrics) for metrics in observations(made)] == [["eval_loss", "grad_norm", "loss"]] * 2
    (first, _) = [event[1] for event in made.heard.events if event[0] == "on_evaluate_end"]
    assert first == {"loss": observations(made)[0]["eval_loss"]}


@pytest.mark.parametrize("accumulate", [1, 3])
def test_a_vote_in_the_evaluations_of_several_sets_stops_in_time(tmp_path: Path, accumulate: int) -> None:
    """After the first epoch the number of validation sets is known, so a vote in the second stops before the next batch."""
    made = trainer(tmp_path, Voter("on_epoch_end", 1), sets=3, num_train_epochs=4, gradient_accumulation_steps=accumulate)
    made.train()
    assert trained(made) == 8
    assert [sorted(metrics) for metrics in observations(made)] == [
        ["eval_set0_loss", "eval_set1_loss", "eval_set2_loss", "grad_norm", "loss"]
    ] * 2
    assert all(made.adapter.run.metric_names.plain(f"eval_set{number}_loss") == "loss" for number in range(3))


class OnTrainingData(TrainerCallback):  # type: ignore[misc]  # Any if Transformers is not installed
    """A common callback that also evaluates on the training data."""

    trainer: Trainer

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        del args, state, kwargs
        if not control.should_evaluate:
            return None
        control = copy.deepcopy(control)
        self.trainer.evaluate(self.trainer.train_dataset, metric_key_prefix="train")
        return control


@pytest.mark.parametrize("first", [False, True])
def test_an_evaluation_that_a_callback_adds_is_in_the_epochs_observation(tmp_path: Path, *, first: bool) -> None:
    """An evaluation of a callback, listed before or after the adapter, is in the epoch's observation, and votes still work."""
    adds = OnTrainingData()
    made = trainer(tmp_path, Voter("on_epoch_end", 1), num_train_epochs=3, **{"before" if first else "after": (adds,)})
    adds.trainer = made
    made.train()
    assert [sorted(metrics) for metrics in observations(made)] == [["eval_loss", "grad_norm", "loss", "train_loss"]] * 2
    assert trained(made) == 8


class Overriding(Trainer):  # type: ignore[misc]  # Any if Transformers is not installed
    """A `Trainer` that overrides `train` and `evaluate`, and logs in the loss."""

    def train(self, *args: Any, **kwargs: Any) -> Any:
        return super().train(*args, **kwargs)

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        found = super().evaluate(*args, **kwargs)
        return {**found, **super().evaluate(self.train_dataset, metric_key_prefix="again")}

    def compute_loss(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        if model.training:
            self.log({"temperature": 0.5})
        return super().compute_loss(model, inputs, *args, **kwargs)


def test_a_subclass_may_override_train_and_evaluate_and_log_in_its_loss(tmp_path: Path) -> None:
    """In a subclass with two evaluations per epoch, both are in the observation from the second epoch on."""
    made = trainer(tmp_path, kind=Overriding)
    made.train()
    assert made.adapter.run.outcome is Outcome.COMPLETED
    assert sorted(observations(made)[1]) == ["again_loss", "eval_loss", "grad_norm", "loss", "temperature"]
    assert trained(made) == 8


def test_a_vote_within_an_accumulation_is_obeyed_after_its_update(tmp_path: Path) -> None:
    """After a vote within an accumulation, the accumulated gradients are applied before training stops."""
    made = trainer(tmp_path, Voter("on_batch_end", 2), gradient_accumulation_steps=2)
    made.train()
    assert trained(made) == 4
    assert made.state.global_step == made.adapter.run.progress.step == 2


def test_evaluations_and_predictions_by_themselves_are_heard_as_what_they_are(tmp_path: Path) -> None:
    """Evaluations and predictions outside of a run, and before any, have their own events."""
    made = trainer(tmp_path)
    made.evaluate()
    made.predict(Samples(4, 5))
    made.train()
    before = len(made.heard.events)
    made.evaluate()
    assert hooks(made)[:8] == [
        *("on_evaluate_begin", "on_evaluate_batch_begin", "on_evaluate_batch_end", "on_evaluate_batch_begin"),
        *("on_evaluate_batch_end", "on_evaluate_end", "on_predict_begin", "on_predict_batch_begin"),
    ]
    assert hooks(made)[before:][-1] == "on_evaluate_end"


def test_an_evaluation_by_itself_is_of_a_trainee_of_transformers(tmp_path: Path) -> None:
    """An evaluation outside of a run has a trainee without capabilities that names its framework."""
    frameworks: list[str] = []

    class Asks:
        @hookimpl
        def on_evaluate_begin(self, run: Run) -> None:
            frameworks.append(run.trainee.framework)

    trainer(tmp_path, Asks()).evaluate()
    assert frameworks == ["transformers"]


def test_an_error_in_the_loops_own_code_is_reported_when_trainer_is_called_again(tmp_path: Path) -> None:
    """An error in the loop's own code fails the run for plugins when an evaluation follows."""
    made = trainer(tmp_path)
    made.compute_metrics = lambda _: 1 / 0
    with pytest.raises(ZeroDivisionError):
        made.train()
    first = made.adapter.run
    assert not first.shared.is_released
    made.compute_metrics = None
    made.evaluate()
    assert first.outcome is Outcome.FAILED
    assert hooks(made)[-7:-5] == ["on_train_end", "on_evaluate_begin"]


def test_trainers_own_early_stopping_works_beside_and_is_named(tmp_path: Path) -> None:
    """Trainer's own early stopping ends the run as stopped, with a reason that names no plugin."""
    own = EarlyStoppingCallback(early_stopping_patience=1, early_stopping_threshold=100.0)
    given = {"metric_for_best_model": "loss", "load_best_model_at_end": True, "save_strategy": "epoch", "save_total_limit": 1}
    made = trainer(tmp_path, after=(own,), num_train_epochs=5, **given)
    made.train()
    (vote,) = made.adapter.run.stop_reasons
    assert (vote.plugin, made.adapter.run.outcome) == ("transformers", Outcome.STOPPED)
    assert hooks(made).count("on_epoch_end") == round(made.state.epoch) < 5


def test_restored_callback_states_leave_the_plugins_alive(tmp_path: Path) -> None:
    """`restore_callback_states_from_checkpoint` replaces Trainer's stateful callbacks, but not the adapter."""
    given = {
        "metric_for_best_model": "loss",
        "load_best_model_at_end": True,
        "save_strategy": "epoch",
        "restore_callback_states_from_checkpoint": True,
    }
    first = trainer(tmp_path, after=(EarlyStoppingCallback(9),), num_train_epochs=1, **given)
    first.train()
    second = trainer(tmp_path, after=(EarlyStoppingCallback(9),), num_train_epochs=2, **given)
    second.train(resume_from_checkpoint=True)
    assert len(second.adapter.run.history) == 2
    assert hooks(second)[-1] == "on_train_end"


def test_whose_best_weights_are_restored_last(tmp_path: Path) -> None:
    """With `load_best_model_at_end` and EarlyStopping, the final weights are those that EarlyStopping restores."""
    best: list[torch.Tensor] = []

    class Spoiled(Trainer):  # type: ignore[misc]  # Any if Transformers is not installed
        def _load_best_model(self) -> None:
            best.append(self.model.linear.weight.clone())
            super()._load_best_model()
            with torch.no_grad():
                self.model.linear.weight.fill_(7.0)

    given = {"metric_for_best_model": "loss", "load_best_model_at_end": True, "save_strategy": "epoch"}
    made = trainer(tmp_path, EarlyStopping(monitor="eval_loss", restore_best_weights=True), kind=Spoiled, **given)
    made.train()
    assert len(best) == 1
    assert not (made.model.linear.weight == 7.0).any()


def test_a_run_that_trainer_begins_again_with_smaller_batches_is_another_run(tmp_path: Path) -> None:
    """If Trainer starts again with smaller batches, the first run has failed, and the second is complete."""
    raised: list[int] = []

    class Full(Trainer):  # type: ignore[misc]  # Any if Transformers is not installed
        def training_step(self, *args: Any, **kwargs: Any) -> Any:
            if not raised and self.state.global_step == 2:
                raised.append(1)
                raise RuntimeError("CUDA out of memory. ")
            return super().training_step(*args, **kwargs)

    made = trainer(tmp_path, kind=Full, auto_find_batch_size=True)
    made.train()
    ends = [event[1] for event in made.heard.events if event[0] == "on_train_end"]
    assert ends == [Outcome.FAILED, Outcome.COMPLETED]
    assert made.adapter.run.progress.step == made.state.global_step
    assert made.adapter.run.steps_per_epoch > 4


def test_several_processes_are_refused() -> None:
    """Several processes are refused before training."""
    args: Any = types.SimpleNamespace(world_size=4)
    with pytest.raises(CapabilityError, match="TransformersAdapter: 4 processes"):
        TransformersAdapter().on_train_begin(args, None, None)


def test_a_learning_rate_that_was_set_is_what_trainer_logs_and_saves(tmp_path: Path) -> None:
    """Trainer logs and saves a learning rate that a plugin has set, also in a run resumed from Trainer's checkpoint."""

    class Sets:
        name = "sets"
        needs = ("learning_rate",)

        @hookimpl
        def on_epoch_end(self, run: Run, epoch: int) -> None:
            if epoch == 0:
                run.set_learning_rate(0.25, "asked to")

    given: dict[str, Any] = {"lr_scheduler_type": "constant", "learning_rate": 0.5, "save_strategy": "epoch"}
    given |= {"logging_strategy": "steps", "logging_steps": 1}
    made = trainer(tmp_path, Sets(), **given)
    made.train()
    assert [row["learning_rate"] for row in made.state.log_history if "learning_rate" in row] == [0.5] * 4 + [0.25] * 4
    resumed = trainer(tmp_path, Sets(), **{**given, "num_train_epochs": 3})
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-4"))
    assert resumed.adapter.run.history.learning_rates[1:] == [0.25, 0.25]
    assert resumed.optimizer.param_groups[0]["lr"] == 0.25


def test_a_schedule_of_ones_own_is_refused_by_its_name(tmp_path: Path) -> None:
    """With a custom schedule, a plugin that sets the learning rate is refused with its name, whatever `lr_scheduler_type` is."""

    class Own(Trainer):  # type: ignore[misc]  # Any if Transformers is not installed
        def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
            del num_training_steps, optimizer
            self.lr_scheduler = torch.optim.lr_scheduler.StepLR(self.optimizer, 2)
            return self.lr_scheduler

    made = trainer(tmp_path, ReduceLROnPlateau(monitor="eval_loss"), kind=Own, lr_scheduler_type="constant")
    with pytest.raises(CapabilityError, match=r"StepLR, .* without a scheduler of your own"):
        made.train()


def test_trainers_directions_are_known(tmp_path: Path) -> None:
    """The loss of each set has the direction `min`, and `metric_for_best_model` that of `greater_is_better`."""
    asked: dict[str, Any] = {}

    class Asks:
        @hookimpl
        def on_train_begin(self, run: Run) -> None:
            names = ("eval_set0_loss", "eval_quality", "quality", "eval_other")
            asked.update({name: run.trainee.direction(name) for name in names})

    made = trainer(tmp_path, Asks(), eval_strategy="no", metric_for_best_model="quality", greater_is_better=True)
    made.train()
    assert asked == {"eval_set0_loss": "min", "eval_quality": "max", "quality": None, "eval_other": None}


def test_plugins_look_into_the_model_with_data_that_the_adapter_was_given(tmp_path: Path) -> None:
    """Views use the adapter's validation data, and the loss that the model computes."""
    seen: dict[str, Any] = {}

    class Looks:
        needs = ("activations", "gradients", "weights")

        @hookimpl
        def on_train_end(self, run: Run) -> None:
            trainee: Any = run.trainee
            seen["activations"] = trainee.activations(run.validation_data, 2)["linear"].shape
            seen["gradients"] = trainee.gradients(run.validation_data)["linear/weight"].shape

    made = trainer(tmp_path)
    made.remove_callback(made.adapter)
    made.add_callback(TransformersAdapter([Looks()], validation_data=Samples(4, 0)))
    made.train()
    assert seen == {"activations": (2, 2), "gradients": (2, 3)}


def test_a_metric_by_another_loops_name_is_missed_at_once_with_the_right_name(tmp_path: Path) -> None:
    """Monitoring `val_loss` is an error that suggests `eval_loss`, except for `Checkpoint`, which only ranks by it."""
    with pytest.raises(MetricError, match=r"no metric 'val_loss'.*Did you mean 'eval_loss'"):
        trainer(tmp_path, EarlyStopping()).train()
    made = trainer(tmp_path, Checkpoint(tmp_path / "ours"))
    made.train()
    assert made.adapter.run.outcome is Outcome.COMPLETED


def test_an_evaluation_that_a_later_callback_asks_for_gives_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The log warns, with advice, of an evaluation after the epoch has ended for plugins."""

    class Asks(TrainerCallback):  # type: ignore[misc]  # Any if Transformers is not installed
        def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            del args, state, kwargs
            control.should_evaluate = True

    with caplog.at_level(logging.WARNING, "hookcore"):
        made = trainer(tmp_path, after=(Asks(),), eval_strategy="no", logging_strategy="no")
        made.train()
    assert "list TransformersAdapter after the callback" in caplog.text
    assert hooks(made).count("on_evaluate_end") == 2


def test_a_batch_outside_of_an_epoch_is_refused() -> None:
    """A batch outside of an epoch, from a script that calls the callback itself, is an error."""
    with pytest.raises(HookcoreError, match="outside of an epoch"):
        TransformersAdapter().on_step_begin(None, None, None)
