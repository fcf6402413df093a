"""Runs that are resumed from Trainer's own checkpoints and from plugins' checkpoints."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from transformers import (
    AutoModelForSequenceClassification,
    BertConfig,
    BertForSequenceClassification,
    EarlyStoppingCallback,
    Trainer,
)

from hookcore import CheckpointError, Outcome, ParameterError, store
from hookcore_adapters.transformers import TransformersAdapter
from hookcore_adapters.transformers.checkpoints import RECORD
from hookcore_plugins import Checkpoint, EarlyStopping, ReduceLROnPlateau
from tests.adapters.transformers.harness import Samples, arguments
from tests.adapters.transformers.test_adapter import Voter, hooks, observations, trained, trainer

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


def left(made: Trainer) -> dict[str, Any]:
    """Return the weights, the optimizer's state, and the state of plugins."""
    weights = {name: value.tolist() for name, value in made.model.state_dict().items()}
    optimizer = made.optimizer.state_dict()["state"]
    moments = {number: {name: value.tolist() for name, value in state.items()} for number, state in optimizer.items()}
    history = {name: list(made.adapter.run.history[name]) for name in made.adapter.run.history}
    return {"weights": weights, "optimizer": moments, "history": history, "votes": made.adapter.run.stop_reasons}


def saving(directory: Path, **given: Any) -> Checkpoint:
    return Checkpoint(directory, asynchronous=False, keep_last=None, **given)


class PlantedError(Exception):
    pass


class Cut(Trainer):  # type: ignore[misc]  # Any if Transformers is not installed
    """Fails in the training step after `after` updates."""

    after = 5

    def training_step(self, *args: Any, **kwargs: Any) -> Any:
        if self.state.global_step == self.after:
            raise PlantedError
        return super().training_step(*args, **kwargs)


def cut(directory: Path, *plugins: object, **given: Any) -> None:
    made = trainer(directory, *plugins, kind=Cut, **given)
    with pytest.raises(PlantedError):
        made.train()


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("save", ["epoch", 3])
def test_a_run_resumes_exactly_from_trainers_own_checkpoint(tmp_path: Path, save: Any, accumulate: int) -> None:
    """From Trainer's checkpoints of epochs and steps, a run resumes with the same weights, metrics and decisions."""

    def plugins() -> list[object]:
        stops = EarlyStopping(monitor="eval_loss", mode="max", patience=2)  # the loss falls, so that no value is better
        return [stops, ReduceLROnPlateau(monitor="eval_loss", mode="max", patience=1)]

    saves = {"save_strategy": "epoch"} if save == "epoch" else {"save_strategy": "steps", "save_steps": save}
    given = {
        "num_train_epochs": 6,
        "lr_scheduler_type": "constant",
        "learning_rate": 0.125,
        "save_total_limit": 1,
        "batches": 4 * accumulate,
        "gradient_accumulation_steps": accumulate,
        **saves,
    }
    whole = trainer(tmp_path / "whole", *plugins(), **given)
    whole.train()
    cut(tmp_path / "cut", *plugins(), **given)
    resumed = trainer(tmp_path / "cut", *plugins(), **given)
    resumed.train(resume_from_checkpoint=True)
    assert whole.adapter.run.outcome is Outcome.STOPPED
    expected, found = left(whole), left(resumed)
    if save != "epoch":  # Trainer's mean since its last log starts again
        expected["history"]["loss"][0], found["history"]["loss"][0] = 0, 0
    assert found == expected


def test_a_mean_that_trainer_had_not_logged_starts_again(tmp_path: Path) -> None:
    """In a resumed run, the first `loss` covers only the steps since, because Trainer does not save its running mean."""
    given = {"logging_strategy": "epoch", "save_strategy": "steps", "save_steps": 3}
    whole = trainer(tmp_path / "whole", **given)
    whole.train()
    resumed = trainer(tmp_path / "resumed", **given)
    resumed.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-3"))
    first, second = observations(whole)
    assert observations(resumed)[0]["loss"] != first["loss"]
    assert observations(resumed)[1] == second


def test_an_epochs_end_is_not_lost_if_it_was_cut_after_its_last_batch(tmp_path: Path) -> None:
    """If a run was interrupted after an epoch's last batch, plugins get the epoch's end when it is resumed."""
    given = {"logging_strategy": "no", "eval_strategy": "no"}
    whole = trainer(tmp_path / "whole", saving(tmp_path / "ours", every_n_steps=4, every_n_epochs=None), **given)
    whole.train()
    for step, epochs in (4, [0, 1]), (8, [1]):
        resumed = trainer(tmp_path / "resumed", **given)
        resumed.train(resume_from_checkpoint=str(tmp_path / "ours" / f"step-{step:08}"))
        assert [event[1] for event in resumed.heard.events if event[0] == "on_epoch_end"] == epochs
        assert left(resumed) == left(whole)


def test_a_checkpoint_of_an_epochs_last_step_has_the_record_of_its_end(tmp_path: Path) -> None:
    """Trainer's checkpoint of an epoch's last step, saved before the evaluation, has the record of the epoch's end."""

    def made(directory: Path) -> Trainer:
        given = {"save_strategy": "steps", "save_steps": 4, "lr_scheduler_type": "constant", "num_train_epochs": 4}
        plugins = [ReduceLROnPlateau(monitor="eval_loss", mode="max", patience=1, factor=0.5)]
        found = trainer(directory, *plugins, learning_rate=0.125, **given)
        found.model.dropout.p = 0.0  # Trainer saves the random state before it evaluates
        return found

    whole = made(tmp_path / "whole")
    whole.train()
    for step in (4, 8, 12):
        resumed = made(tmp_path / str(step))
        resumed.train(resume_from_checkpoint=str(tmp_path / "whole" / f"checkpoint-{step}"))
        assert left(resumed) == left(whole)
    rates = list(whole.adapter.run.history.learning_rates)
    assert len(set(rates)) == 3


def test_trainers_best_is_in_our_checkpoint(tmp_path: Path) -> None:
    """Plugins' checkpoints contain Trainer's best metric, although Trainer compares it only after callbacks."""
    given = {"load_best_model_at_end": True, "metric_for_best_model": "loss", "save_strategy": "epoch", "num_train_epochs": 3}
    given = {**given, "greater_is_better": True}
    whole = trainer(tmp_path / "whole", saving(tmp_path / "ours"), **given)
    whole.train()
    resumed = trainer(tmp_path / "whole", **given)
    resumed.train(resume_from_checkpoint=str(tmp_path / "ours" / "step-00000004"))
    assert (resumed.state.best_global_step, resumed.state.best_metric) == (4, whole.state.best_metric)
    assert Path(resumed.state.best_model_checkpoint).name == "checkpoint-4"


def test_the_state_of_trainers_callbacks_is_in_our_checkpoint(tmp_path: Path) -> None:
    """Plugins' checkpoints contain the state of Trainer's callbacks, such as the patience of two `EarlyStoppingCallback`."""
    given = {"metric_for_best_model": "loss", "greater_is_better": True, "restore_callback_states_from_checkpoint": True}

    def made(epochs: int) -> Trainer:
        two = EarlyStoppingCallback(8), EarlyStoppingCallback(9)
        return trainer(tmp_path, saving(tmp_path / "ours"), before=two, num_train_epochs=epochs, **given)

    def counters(made: Trainer) -> list[tuple[int, int]]:
        own = [one for one in made.callback_handler.callbacks if isinstance(one, EarlyStoppingCallback)]
        return [(one.early_stopping_patience, one.early_stopping_patience_counter) for one in own]

    first = made(3)
    first.train()
    assert counters(first) == [(8, 2), (9, 2)]  # the loss falls
    resumed = made(4)
    resumed.train(resume_from_checkpoint=resumed.adapter.newest_checkpoint())
    assert counters(resumed) == [(8, 3), (9, 3)]


def test_trainers_checkpoint_has_the_record_of_its_moment_and_rotation_removes_both(tmp_path: Path) -> None:
    """Trainer's checkpoint contains the record after the decisions at its step, and rotation removes both."""
    made = trainer(tmp_path, EarlyStopping(monitor="eval_loss", patience=9), save_strategy="epoch", save_total_limit=1)
    made.train()
    (only,) = tmp_path.glob("checkpoint-*")
    record = json.loads((only / RECORD).read_text())
    assert record["progress"]["step"] == 8
    assert len(record["history"]["epochs"]) == 2
    assert not list(only.glob(f"{RECORD}.*"))


def test_a_checkpoint_from_before_the_adapter_was_added_is_resumed_and_plugins_begin(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """From a checkpoint without a record, plugins start again with a warning, and steps and epochs are Trainer's."""
    first = trainer(tmp_path, save_strategy="epoch")
    first.train()
    (tmp_path / "checkpoint-4" / RECORD).unlink()
    resumed = trainer(tmp_path)
    with caplog.at_level(logging.WARNING, "hookcore"):
        resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-4"))
    assert "was saved without plugins" in caplog.text
    assert [event[1] for event in resumed.heard.events if event[0] == "on_epoch_begin"] == [1]
    assert resumed.adapter.run.progress.step == 8


def test_a_damaged_record_is_refused(tmp_path: Path) -> None:
    """A damaged record is an error; plugins do not start again silently."""
    trainer(tmp_path, save_strategy="epoch").train()
    (tmp_path / "checkpoint-4" / RECORD).write_text("{")
    with pytest.raises(CheckpointError):
        trainer(tmp_path).train(resume_from_checkpoint=str(tmp_path / "checkpoint-4"))


@pytest.mark.parametrize("ours", [True, False])
def test_a_run_that_was_stopped_trains_nothing_when_it_is_resumed(tmp_path: Path, *, ours: bool) -> None:
    """A stopped run that is resumed trains nothing: the update that Trainer makes before it checks is undone."""

    def plugins() -> list[object]:
        stops = EarlyStopping(monitor="eval_loss", mode="max", patience=1)
        return [stops, *([saving(tmp_path / "ours")] if ours else [])]

    given = {"num_train_epochs": 9, "save_strategy": "no" if ours else "epoch", "logging_steps": 1}
    first = trainer(tmp_path, *plugins(), **given)
    first.train()
    assert first.adapter.run.outcome is Outcome.STOPPED
    saved = sorted(tmp_path.glob("checkpoint-*"))
    again = trainer(tmp_path, *plugins(), **given)
    again.train(resume_from_checkpoint=again.adapter.newest_checkpoint() if ours else True)
    assert left(again) == left(first)
    assert hooks(again) == ["on_train_begin", "on_train_end"]
    assert sorted(tmp_path.glob("checkpoint-*")) == saved


def test_an_epoch_that_a_plugin_has_cut_is_ended_and_evaluated_when_it_is_resumed(tmp_path: Path) -> None:
    """An epoch that a vote has interrupted is ended and evaluated in the resumed run, without the undone update's log."""
    given = {"logging_strategy": "epoch", "num_train_epochs": 5}

    def plugins() -> list[object]:
        return [Voter("on_batch_end", 5), saving(tmp_path / "ours", every_n_steps=1, every_n_epochs=None)]

    whole = trainer(tmp_path / "whole", *plugins(), **given)
    whole.train()
    resumed = trainer(tmp_path / "resumed", *plugins(), **given)
    resumed.train(resume_from_checkpoint=str(tmp_path / "ours" / "step-00000006"))
    assert left(resumed)["weights"] == left(whole)["weights"]
    assert hooks(resumed)[1:3] == ["on_evaluate_begin", "on_evaluate_batch_begin"]
    assert observations(resumed) == [{"eval_loss": observations(whole)[-1]["eval_loss"]}]
    assert trained(resumed) == 0


@pytest.mark.parametrize("skip", [False, True])
def test_the_update_that_is_undone_is_not_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture, *, skip: bool) -> None:
    """The undone update does not count: Trainer's step is that of the stopped run, and the log has no warning."""
    given = {"save_strategy": "epoch", "include_num_input_tokens_seen": "all"}

    def made(directory: Path, **more: Any) -> Trainer:
        found = trainer(directory, Voter("on_batch_end", 4), saving(tmp_path / "ours"), **given, **more)
        found.model.main_input_name = "x"  # Trainer counts its numbers as tokens
        return found

    first = made(tmp_path / "first")
    first.train()
    again = made(tmp_path / "again", ignore_data_skip=skip)
    with caplog.at_level(logging.WARNING, "hookcore"):
        output = again.train(resume_from_checkpoint=again.adapter.newest_checkpoint())
    assert "differs from an uninterrupted" not in caplog.text
    assert output.global_step == again.adapter.run.progress.step == 5
    assert (again.state.epoch, again.state.num_input_tokens_seen) == (first.state.epoch, first.state.num_input_tokens_seen)
    assert first.state.num_input_tokens_seen > 0
    assert left(again) == left(first)


@pytest.mark.parametrize("schedule", ["linear", "cosine", "constant_with_warmup"])
def test_a_schedule_continues_from_our_checkpoint(tmp_path: Path, schedule: str) -> None:
    """A schedule continues from a plugin's checkpoint."""
    given = {"lr_scheduler_type": schedule, "warmup_steps": 3, "num_train_epochs": 3}
    whole = trainer(tmp_path / "whole", **given)
    whole.train()
    cut(tmp_path / "cut", saving(tmp_path / "ours", every_n_steps=1), **given)
    resumed = trainer(tmp_path / "cut", saving(tmp_path / "ours", every_n_steps=1), **given)
    resumed.train(resume_from_checkpoint=resumed.adapter.newest_checkpoint())
    rates = resumed.adapter.run.history.learning_rates
    assert list(rates) == list(whole.adapter.run.history.learning_rates)
    assert left(resumed)["weights"] == left(whole)["weights"]


def test_the_newest_checkpoint_is_none_before_the_first_and_waits_for_what_is_written(tmp_path: Path) -> None:
    """`newest_checkpoint` is None before the first, waits for writes, and without a plugin that saves is an error."""
    made = trainer(tmp_path, Checkpoint(tmp_path / "ours", every_n_steps=1), kind=Cut)
    assert made.adapter.newest_checkpoint() is None
    with pytest.raises(PlantedError):
        made.train()
    assert Path(str(made.adapter.newest_checkpoint())).name == "step-00000005"
    with pytest.raises(ParameterError, match="needs a plugin that saves checkpoints"):
        TransformersAdapter().newest_checkpoint()


def test_other_batches_and_skipped_data_give_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The log warns if Trainer continues at another batch, because of another batch size or `ignore_data_skip`."""
    cut(tmp_path, saving(tmp_path / "ours", every_n_steps=1), num_train_epochs=3)
    path = str(store.newest(tmp_path / "ours").path)
    with caplog.at_level(logging.WARNING, "hookcore"):
        skips = trainer(tmp_path, num_train_epochs=3, ignore_data_skip=True)
        skips.train(resume_from_checkpoint=path)
    assert "continues before batch 1 of epoch 2" in caplog.text
    assert [event[1] for event in skips.heard.events if event[0] == "on_batch_begin"][:4] == [0, 1, 2, 3]
    caplog.clear()
    with caplog.at_level(logging.WARNING, "hookcore"):
        larger = trainer(tmp_path, num_train_epochs=3, per_device_train_batch_size=4)
        larger.train(resume_from_checkpoint=path)
    assert "the run differs from an uninterrupted one" in caplog.text


class Stream(torch.utils.data.IterableDataset):  # type: ignore[misc]  # Any if Transformers is not installed
    """Samples without a length."""

    def __iter__(self) -> Iterator[Any]:
        return iter(Samples(8, 1))


@pytest.mark.parametrize(("step", "elsewhere"), [(3, False), (6, True)])
def test_data_without_a_length_continue_exactly_in_their_first_pass_only(
    tmp_path: Path, step: int, *, elsewhere: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Data without a length resume exactly in their first pass; later the log warns, because Trainer assumes a single epoch."""

    def made(directory: Path, *plugins: object) -> Trainer:
        found = trainer(directory, *plugins, max_steps=10, eval_strategy="no", logging_strategy="no")
        found.train_dataset = Stream()
        return found

    whole = made(tmp_path / "whole", saving(tmp_path / "ours", every_n_steps=1))
    whole.train()
    assert [event[1] for event in whole.heard.events if event[0] == "on_epoch_end"] == [0, 1, 2]
    resumed = made(tmp_path / "resumed")
    with caplog.at_level(logging.WARNING, "hookcore"):
        resumed.train(resume_from_checkpoint=str(tmp_path / "ours" / f"step-{step:08}"))
    assert ("differs from an uninterrupted" in caplog.text) == elsewhere
    assert "hold no scheduler" not in caplog.text  # Accelerate wraps the optimizer that it has
    assert elsewhere or left(resumed) == left(whole)
    assert resumed.adapter.run.outcome is Outcome.COMPLETED


def test_from_pretrained_opens_our_checkpoint(tmp_path: Path) -> None:
    """`AutoModelFor...from_pretrained` opens a plugin's checkpoint, with the same weights and predictions, also the best one."""
    config = BertConfig(
        vocab_size=32, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8, max_position_embeddings=8
    )
    words = torch.randint(0, 32, (8, 4), generator=torch.Generator().manual_seed(1))
    data = [{"input_ids": row, "labels": torch.tensor(int(row[0] > 16))} for row in words]
    plugins = [EarlyStopping(monitor="eval_loss", restore_best_weights=True), saving(tmp_path / "ours")]
    made = Trainer(
        BertForSequenceClassification(config),
        arguments(tmp_path, num_train_epochs=1, eval_strategy="epoch"),
        train_dataset=data,
        eval_dataset=data,
        callbacks=[TransformersAdapter(plugins)],
    )
    made.train()
    for directory in (store.newest(tmp_path / "ours").path, next((tmp_path / "ours").glob("step-*/held/1"))):
        opened = AutoModelForSequenceClassification.from_pretrained(directory)
        opened.eval()
        made.model.eval()
        with torch.no_grad():
            assert torch.equal(opened(words).logits, made.model(words).logits)
        assert opened.config.architectures == ["BertForSequenceClassification"]


class Wrapped(torch.nn.Module):  # type: ignore[misc]  # Any if Transformers is not installed
    """A model that wraps another and forwards its attributes, like PEFT's."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.base_model = model

    def __getattr__(self, name: str) -> Any:
        return super().__getattr__(name) if name == "base_model" else getattr(self.base_model, name)

    def forward(self, x: torch.Tensor, labels: torch.Tensor) -> Any:
        return self.base_model(x, labels)


def test_a_checkpoint_of_a_model_around_another_does_not_pass_for_one_of_from_pretrained(tmp_path: Path) -> None:
    """A wrapped model's checkpoint has no configuration, so from_pretrained refuses it, and is resumed exactly."""

    def made(epochs: int, *plugins: object) -> Trainer:
        found = trainer(tmp_path / "trainer", *plugins, num_train_epochs=epochs, lr_scheduler_type="constant")
        found.model = found.model_wrapped = Wrapped(found.model)
        return found

    whole = made(2, saving(tmp_path / "ours"))
    whole.train()
    first = str(tmp_path / "ours" / "step-00000004")
    assert not (Path(first) / "config.json").exists()
    resumed = made(2)
    resumed.train(resume_from_checkpoint=first)
    assert left(resumed) == left(whole)


def masked(samples: list[Mapping[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """Collate with random masks, as for masked language models."""
    x = torch.stack([sample["x"] for sample in samples])
    return {"x": x * (torch.rand_like(x) > 0.25), "labels": torch.stack([sample["labels"] for sample in samples])}


@pytest.mark.parametrize(("step", "exact"), [(4, True), (5, False)])
def test_data_that_draw_random_numbers_continue_exactly_from_an_epochs_end_only(
    tmp_path: Path, step: int, *, exact: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Data that draw random numbers resume exactly at an epoch's end; within an epoch the log warns."""
    whole = trainer(tmp_path / "whole", saving(tmp_path / "ours", every_n_steps=1))
    whole.data_collator = masked
    whole.train()
    resumed = trainer(tmp_path / "resumed")
    resumed.data_collator = masked
    with caplog.at_level(logging.WARNING, "hookcore"):
        resumed.train(resume_from_checkpoint=str(tmp_path / "ours" / f"step-{step:08}"))
    assert (left(resumed)["weights"] == left(whole)["weights"]) == exact
    assert ("draw random numbers" in caplog.text) == (not exact)
    assert trained(resumed) == 8 - step
