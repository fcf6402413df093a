"""The behaviour of `LightningAdapter` beyond the contract of all adapters."""

from __future__ import annotations

import copy
import logging
import math
import pickle
import signal
from typing import TYPE_CHECKING, Any, ClassVar

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import Checkpoint as LightningCheckpoint
from lightning.pytorch.callbacks import EarlyStopping as LightningEarlyStopping
from lightning.pytorch.callbacks import EMAWeightAveraging, ModelCheckpoint
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch.utils.data import DataLoader, TensorDataset

from hookcore import CapabilityError, CheckpointError, Outcome, Run, hookimpl, store
from hookcore.testing import RecordingPlugin, check_events
from hookcore_adapters.lightning import LightningAdapter
from hookcore_adapters.lightning.adapter import _check
from hookcore_plugins import Checkpoint, EarlyStopping, Preemption, ReduceLROnPlateau
from tests.adapters.lightning.models import Module, fit, loader, trainer_of, weights

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path


class Looks(LightningCheckpoint):  # type: ignore[misc]
    """Reads the metrics in every method, after the adapter, like `ModelCheckpoint`."""

    def look(self, trainer: Any, *_: Any) -> None:
        dict(trainer.callback_metrics)

    on_train_batch_start = on_train_batch_end = on_validation_start = on_validation_end = on_train_epoch_end = look


def run_of(adapter: LightningAdapter) -> Run:
    run = adapter.run
    assert run is not None
    return run


def acts(event: str, action: Callable[[Run], object], name: str = "acts") -> Any:
    class Acts:
        @hookimpl
        def on_batch_end(self, run: Run) -> None:
            if event == "on_batch_end":
                action(run)

        @hookimpl
        def on_epoch_begin(self, run: Run) -> None:
            if event == "on_epoch_begin":
                action(run)

    return name, Acts()


# Metrics


def test_an_epoch_has_what_its_module_logged_in_each_way() -> None:
    """An epoch has the last value and the mean of a metric of each step, and metrics that the module logs at its end."""
    recording = RecordingPlugin()
    adapter, _ = fit([recording], max_epochs=2)
    epochs = [event[2] for event in recording.events if event[0] == "on_epoch_end"]
    steps = [event[2] for event in recording.events if event[0] == "on_batch_end"]
    assert set(epochs[0]) == {"train_loss", "train_loss_step", "train_loss_epoch", "val_loss", "of_module"}
    assert [epoch["of_module"] for epoch in epochs] == [0, 1]
    for epoch, own in zip(epochs, (steps[:4], steps[4:]), strict=True):
        assert epoch["train_loss_step"] == own[-1]["train_loss_step"]
        assert epoch["train_loss"] == epoch["train_loss_epoch"] == pytest.approx(sum(s["loss"] for s in own) / 4)
    assert run_of(adapter).history["val_loss"] == [epoch["val_loss"] for epoch in epochs]


def test_a_batch_has_what_its_step_returned_and_logged_and_nothing_older() -> None:
    """The metrics of a batch are numbers that the step returned or logged, without those of validation and large tensors."""

    class Returns(Module):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return {"loss": super().training_step(batch, batch_idx), "predictions": torch.zeros(20_000), "text": "x"}

    recording = RecordingPlugin()
    fit([recording], module=Returns(), max_epochs=2)
    assert all(
        set(event[2]) == {"loss", "train_loss", "train_loss_step"} for event in recording.events if "on_batch_end" in event
    )


@pytest.mark.parametrize("others", [(), (Looks(),)])
def test_a_validation_by_steps_is_observed_once_whoever_looks_at_the_metrics(others: tuple[Any, ...]) -> None:
    """Each validation within an epoch is one observation, and the end of the epoch does not repeat its metrics."""
    recording = RecordingPlugin()
    adapter, _ = fit([recording], *others, data=loader(5), max_epochs=2, val_check_interval=2, enable_checkpointing=bool(others))
    check_events(recording.events)
    history = run_of(adapter).history
    assert history.steps == [2, 4, 5, 7, 9, 10]
    assert history.by_steps == [True, True, False] * 2
    assert [math.isnan(value) for value in history["val_loss"]] == [False, False, True] * 2
    assert [math.isnan(value) for value in history["train_loss_epoch"]] == [True, True, False] * 2


def test_validations_across_epochs_are_observed_at_their_steps() -> None:
    """With `check_val_every_n_epoch=None`, validations every N batches of the run are observed at their steps."""
    recording = RecordingPlugin()
    adapter, _ = fit([recording], check_val_every_n_epoch=None, val_check_interval=3)
    check_events(recording.events)
    history = run_of(adapter).history
    assert [step for step, value in zip(history.steps, history["val_loss"], strict=True) if not math.isnan(value)] == [
        3,
        6,
        9,
        12,
    ]


def test_a_name_with_the_number_of_a_data_loader_has_the_direction_of_the_name() -> None:
    """`val_loss/dataloader_idx_1` has the direction of `val_loss`, and the history has the metrics of both loaders."""

    class Two(Module):
        def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
            self.log("val_loss", float(dataloader_idx))

    stopping = EarlyStopping("val_loss/dataloader_idx_1", patience=2)
    sets = [DataLoader(TensorDataset(torch.ones(4, 2))) for _ in range(2)]
    adapter = LightningAdapter([stopping])
    trainer_of(adapter, max_epochs=9).fit(Two(), loader(), sets)
    assert len(run_of(adapter).history["val_loss/dataloader_idx_0"]) == 3
    assert run_of(adapter).stop_reasons[0].metric == "val_loss/dataloader_idx_1"


# Optimizers


class Gan(Module):
    """Two optimizers, stepped manually in each batch or every second one."""

    every = 1

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.other = torch.nn.Linear(2, 1)

    def training_step(self, batch: Any, batch_idx: int) -> None:
        optimizers = self.optimizers()
        loss = self.layer(batch[0]).pow(2).mean() + self.other(batch[0]).pow(2).mean()
        self.manual_backward(loss)
        if (batch_idx + 1) % self.every == 0:
            for optimizer in optimizers:
                optimizer.step()
                optimizer.zero_grad()
        self.log("g_loss", loss)

    def configure_optimizers(self) -> Any:
        return [torch.optim.Adam(part.parameters(), lr=0.1) for part in (self.layer, self.other)]


class Seldom(Gan):
    every = 2


@pytest.mark.parametrize(("module", "steps"), [(Gan, 12), (Seldom, 6)])
def test_a_batch_with_several_optimizers_is_one_step_and_one_without_an_update_is_no_step(module: type[Gan], steps: int) -> None:
    """In manual optimization, a batch with an update by at least one optimizer is a step."""
    adapter, trained = fit([], module=module())
    assert run_of(adapter).progress.step == steps
    assert trained.trainer.global_step == 2 * steps


@pytest.mark.parametrize("module", [Module, Gan, Seldom])
def test_a_second_fit_counts_steps_on(module: type[Module]) -> None:
    """A second fit continues the trainer's count of updates, divided by the number of optimizers."""
    adapter, trained = fit([], module=module(), max_epochs=2)
    first, trainer = run_of(adapter).progress.step, trained.trainer
    trainer.fit_loop.max_epochs = 4
    trainer.fit(trained, loader())
    assert run_of(adapter).progress.step == 2 * first


def test_a_plugin_that_sets_the_rate_of_several_optimizers_is_refused() -> None:
    """A plugin that sets the rate of several optimizers is refused by name before the first batch."""
    with pytest.raises(CapabilityError, match=r"'reduce_lr_on_plateau' needs .* there are 2 optimizers"):
        fit([ReduceLROnPlateau("g_loss")], module=Gan())


def test_a_module_without_an_optimizer_is_saved_and_resumed(tmp_path: Path) -> None:
    """A module without an optimizer is saved and resumed, and a plugin that sets the rate is refused by name."""

    class Fits(pl.LightningModule):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("total", torch.zeros(2))

        def training_step(self, batch: Any, batch_idx: int) -> None:
            self.total += batch[0].sum(0)

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            del batch, batch_idx

        def configure_optimizers(self) -> None:
            return None

    _, whole = fit([], module=Fits())
    fit([Checkpoint(tmp_path)], module=Fits(), max_epochs=2)
    again, resumed = fit([Checkpoint(tmp_path)], module=Fits(), resume="auto")
    assert run_of(again).resumed_from is not None
    assert weights(resumed) == weights(whole) != [0, 0]
    with pytest.raises(CapabilityError, match=r"'reduce_lr_on_plateau' needs .* there are 0 optimizers"):
        fit([ReduceLROnPlateau("val_loss")], module=Fits())


@pytest.mark.parametrize("module", [Gan, Seldom])
def test_a_gan_resumes_exactly(tmp_path: Path, module: type[Gan]) -> None:
    """A GAN resumes exactly, with the state of both optimizers."""
    _, whole = fit([Checkpoint(tmp_path, every_n_steps=1, keep_last=None)], module=module())
    for saved in store.available(tmp_path):
        _, resumed = fit([], module=module(), resume=saved.path)
        assert weights(resumed) == weights(whole), saved


# Endings


def test_votes_before_the_least_number_of_steps_are_overruled() -> None:
    """A vote before `min_steps` is dropped, and does not take effect later."""
    adapter, _ = fit([EarlyStopping("val_loss", patience=1)], module=Module([1.0, 2.0, 0.5, 0.4, 0.3]), max_epochs=5, min_steps=9)
    assert run_of(adapter).outcome is Outcome.COMPLETED


@pytest.mark.parametrize("least", [4, 5, 8, 9])
def test_the_least_number_of_steps_is_lightnings_with_several_optimizers(least: int) -> None:
    """With several optimizers, a vote counts from the batch after which Lightning itself would stop."""
    whole = -(-least // 2)
    votes = acts("on_batch_end", lambda run: run.stop("enough") if run.progress.step >= whole - 1 else None)
    adapter, module = fit([votes], module=Gan(), min_epochs=0, min_steps=least)
    assert run_of(adapter).outcome is Outcome.STOPPED
    assert (run_of(adapter).progress.step, module.trainer.global_step) == (whole, 2 * whole)


@pytest.mark.parametrize(("epochs", "outcome"), [(9, Outcome.STOPPED), (-1, Outcome.COMPLETED)])
def test_the_most_steps_are_the_length_of_a_run_or_a_stop_by_lightning(epochs: int, outcome: Outcome) -> None:
    """`max_steps` sets the length of a run, or with `max_epochs` is the reason of its stop."""
    recording = RecordingPlugin()
    adapter, _ = fit([recording], max_epochs=epochs, max_steps=6)
    check_events(recording.events)
    assert run_of(adapter).outcome is outcome
    if outcome is Outcome.STOPPED:
        assert run_of(adapter).stop_reasons[0].message == "max_steps=6 reached"


def test_a_stop_by_another_callback_is_reported() -> None:
    """Lightning's own early stopping beside plugins ends the run as stopped by Lightning."""
    stopping = LightningEarlyStopping("val_loss", patience=1)
    adapter, _ = fit([], stopping, module=Module([1.0, 2.0, 3.0]), max_epochs=3)
    run = run_of(adapter)
    assert (run.outcome, run.stop_reasons[0].plugin, run.progress.epoch) == (Outcome.STOPPED, "lightning", 1)


def terminate_at_six(run: Run) -> None:
    if run.progress.step == 6:
        signal.raise_signal(signal.SIGTERM)


def test_sigterm_ends_the_run_as_preempted_and_saves(tmp_path: Path) -> None:
    """Without the plugin `Preemption`, Lightning's handler ends the run between two batches, and `Checkpoint` saves it."""
    terminate = acts("on_batch_end", terminate_at_six)
    adapter = LightningAdapter([terminate, Checkpoint(tmp_path)])
    with pytest.raises(SIGTERMException):
        trainer_of(adapter).fit(Module(), loader())
    assert run_of(adapter).outcome is Outcome.PREEMPTED
    assert store.newest(tmp_path).step == 6


def test_sigterm_with_the_plugin_preemption(tmp_path: Path) -> None:
    """`Preemption` ends the run first, with its exit status."""
    terminate = acts("on_batch_end", terminate_at_six)
    with pytest.raises(SystemExit) as raised:
        fit([terminate, Checkpoint(tmp_path), Preemption()])
    assert raised.value.code == 128 + signal.SIGTERM
    assert store.newest(tmp_path).step == 6


# Lightning's own checkpoints

MODES: Mapping[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "at the end of an epoch": ({"save_on_train_epoch_end": True}, {}),
    "at the end of validation": ({"save_on_train_epoch_end": False}, {}),
    "after each step": ({"every_n_train_steps": 1}, {}),
    "after each step, with validation by steps": ({"every_n_train_steps": 1}, {"val_check_interval": 0.5}),
    "at the end of validation by steps": ({"save_on_train_epoch_end": False}, {"val_check_interval": 0.5}),
    "after each update": ({"every_n_train_steps": 1}, {"accumulate_grad_batches": 2}),
    "without validation": ({"save_on_train_epoch_end": True}, {"limit_val_batches": 0}),
}


AWAITS = {f"step={step}" for step in range(2, 20, 4)}
"""The steps within epochs of four batches after which a validation is due."""


class Declines(Module):
    """Has a `val_loss` that makes plugins act."""

    SCORES: ClassVar = [1.0, 0.5, 0.7, 0.8, 0.4, 0.45, 0.5, 0.55]

    def validations(self) -> int:
        return int(self.trainer.global_step // 2 % 8 if self.trainer.val_check_interval == 0.5 else self.trainer.current_epoch)


@pytest.mark.parametrize("mode", MODES)
def test_what_lightning_saved_resumes_with_the_same_decisions(tmp_path: Path, mode: str) -> None:
    """A run resumed from any checkpoint of `ModelCheckpoint` has the same weights, history and decisions."""
    saving, given = MODES[mode]

    by_steps = "val_check_interval" in given
    monitor = "of_module" if "limit_val_batches" in given else "val_loss"

    def life(ckpt: Any = None, *others: Any) -> tuple[Run, list[float]]:
        plugins = [
            ReduceLROnPlateau(monitor, mode="min", patience=1),
            EarlyStopping(monitor, mode="min", patience=9 if by_steps else 2, missing="skip"),
        ]
        module = Declines(Declines.SCORES)
        adapter, trained = fit(
            plugins, *others, module=module, ckpt=ckpt, max_epochs=5, enable_checkpointing=bool(others), **given
        )
        return run_of(adapter), weights(trained)

    own = ModelCheckpoint(tmp_path, filename="{step}", save_top_k=-1, **saving)
    run, whole = life(None, own)
    assert len(run.decisions) >= 2
    for path in sorted(tmp_path.glob("*.ckpt")):
        assert "hookcore" in torch.load(path, weights_only=True)["callbacks"]
        again, resumed = life(path)
        if by_steps and "every_n_train_steps" in saving and path.stem in AWAITS:
            continue  # Lightning saves before the validation of this batch, and leaves it out
        assert again.history.epochs == run.history.epochs, path
        assert again.history[monitor] == pytest.approx(run.history[monitor], nan_ok=True), path
        assert again.decisions == run.decisions, path
        assert resumed == whole, path


def test_a_validation_that_lightning_leaves_out_gives_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """If Lightning saves before a due validation, the resumed run lacks it, and the log names the batch."""
    own = ModelCheckpoint(tmp_path, filename="{step}", save_top_k=-1, every_n_train_steps=1)
    fit([], own, enable_checkpointing=True, max_epochs=1, val_check_interval=2)
    adapter, _ = fit([], ckpt=tmp_path / "step=2.ckpt", max_epochs=1, val_check_interval=2)
    assert "resumed after batch 2 of epoch 1: Lightning leaves out the validation" in caplog.text
    assert run_of(adapter).history.steps == [4]


def test_an_epochs_end_that_lightning_leaves_out_gives_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """If Lightning saves before an epoch's end, plugins still get that end in the resumed run, and the log warns."""
    own = ModelCheckpoint(tmp_path, filename="{step}", save_top_k=-1, every_n_train_steps=1)
    _, whole = fit([], own, enable_checkpointing=True, limit_val_batches=0)
    recording = RecordingPlugin()
    _, resumed = fit([recording], ckpt=tmp_path / "step=4.ckpt", limit_val_batches=0)
    assert "resumed after the last batch of epoch 1: Lightning leaves out the end of that epoch" in caplog.text
    assert [event[:2] for event in recording.events if "epoch" in event[0]] == [
        ("on_epoch_end", 0), ("on_epoch_begin", 1), ("on_epoch_end", 1), ("on_epoch_begin", 2), ("on_epoch_end", 2),
    ]  # fmt: skip
    assert [event[1] for event in recording.events if event[0] == "on_batch_begin"] == [0, 1, 2, 3] * 2
    assert weights(resumed) == weights(whole)


def test_a_checkpoint_saved_after_the_end_of_a_run_resumes(tmp_path: Path) -> None:
    """A checkpoint by `trainer.save_checkpoint` after `fit` has the record of the end, and can be resumed for more epochs."""
    adapter, module = fit([], max_epochs=2)
    module.trainer.save_checkpoint(tmp_path / "end.ckpt")
    again, resumed = fit([], max_epochs=3, ckpt=tmp_path / "end.ckpt")
    _, whole = fit([], max_epochs=3)
    assert run_of(again).history.epochs == [0, 1, 2]
    assert weights(resumed) == weights(whole)
    assert run_of(adapter).history.epochs == [0, 1]


def test_best_weights_that_are_put_back_are_not_told_to_be_lost(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A run with restored best weights logs no loss of them, but a run that is resumed from its checkpoint does."""
    best = [EarlyStopping("val_loss", patience=9, restore_best_weights=True)]
    _, module = fit(best, max_epochs=2)
    assert "it is lost" not in caplog.text
    module.trainer.save_checkpoint(tmp_path / "end.ckpt")
    fit(best, ckpt=tmp_path / "end.ckpt")
    assert "resumed: plugin 'early_stopping' holds a snapshot, 'best'" in caplog.text


class Regression(Module):
    """A module with a test step."""

    def test_step(self, batch: Any, batch_idx: int) -> None:
        """Do nothing."""
        del batch, batch_idx


@pytest.mark.parametrize("of", ["module", "checkpoint"])
def test_what_was_saved_after_a_test_has_the_record_of_the_run(tmp_path: Path, of: str) -> None:
    """A checkpoint saved after `trainer.test` still has the record of the training run."""
    own = ModelCheckpoint(tmp_path, filename="{epoch}", save_top_k=-1)
    _, module = fit([], own, module=Regression(), max_epochs=2, enable_checkpointing=True)
    module.trainer.test(module, loader(), ckpt_path=tmp_path / "epoch=0.ckpt" if of == "checkpoint" else None, verbose=False)
    module.trainer.save_checkpoint(tmp_path / "end.ckpt")
    again, _ = fit([], module=Regression(), ckpt=tmp_path / "end.ckpt")
    assert run_of(again).history.epochs == [0, 1, 2]
    assert run_of(again).resumed_from.step == 8  # type: ignore[union-attr]


def test_a_checkpoint_saved_at_an_exception_resumes(tmp_path: Path) -> None:
    """A checkpoint by `ModelCheckpoint(save_on_exception=True)` has the record of the interrupted run."""
    own = ModelCheckpoint(tmp_path, filename="{step}", save_on_exception=True, save_top_k=0)
    press = acts("on_batch_end", lambda run: run.progress.step == 6 and run.interrupt(KeyboardInterrupt()))
    with pytest.raises(SystemExit):
        fit([press], own, enable_checkpointing=True)
    (path,) = tmp_path.glob("*.ckpt")
    again, resumed = fit([], ckpt=path)
    assert (run_of(again).progress.step, run_of(again).resumed_from.step) == (12, 6)  # type: ignore[union-attr]
    assert weights(resumed) == weights(fit([])[1])


@pytest.mark.parametrize(("step", "epochs", "batches"), [(4, [1, 2], 8), (2, [0, 1, 2], 10)])
def test_plugins_start_again_from_a_checkpoint_without_a_record(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, step: int, epochs: list[int], batches: int
) -> None:
    """From a checkpoint without a record, also within an epoch, plugins start again at its step, and the log names it."""
    own = ModelCheckpoint(tmp_path, filename="{step}", save_top_k=-1, every_n_train_steps=2)
    trainer = pl.Trainer(
        max_epochs=1, accelerator="cpu", callbacks=[own], logger=False, enable_progress_bar=False, enable_model_summary=False
    )
    trainer.fit(Module(), loader())
    recording = RecordingPlugin()
    fit([Checkpoint(tmp_path / "ours")], max_epochs=1)
    adapter, _ = fit([recording], ckpt=tmp_path / f"step={step}.ckpt", resume=tmp_path / "ours")
    assert run_of(adapter).resumed_from is None
    check_events(recording.events)
    assert run_of(adapter).progress.step == 12
    assert [event[1] for event in recording.events if event[0] == "on_epoch_end"] == epochs
    assert recording.hooks.count("on_batch_end") == batches
    assert f"step={step}.ckpt was saved without plugins" in caplog.text


def test_a_record_of_a_moment_that_is_not_settled_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A checkpoint that is saved within a batch has no record, and the log warns at once."""

    class Saves(pl.Callback):  # type: ignore[misc]
        def on_before_zero_grad(self, trainer: Any, *_: Any) -> None:
            trainer.save_checkpoint(tmp_path / "within.ckpt")

    fit([], Saves(), max_epochs=1)
    assert "has no record of plugins: lightning asked for a record within a moment that is not settled" in caplog.text
    assert "hookcore" not in torch.load(tmp_path / "within.ckpt", weights_only=True)["callbacks"]


# Checkpoints of plugins


def test_an_epochs_end_resumes_exactly_with_an_ordinary_shuffling_loader(tmp_path: Path) -> None:
    """Resumed at the end of an epoch, a shuffling DataLoader has the order of an uninterrupted run."""

    def life(**given: Any) -> Any:
        torch.manual_seed(3)
        return fit([Checkpoint(tmp_path / str(len(given)))], data=loader(resumable=False), **given)[1]

    whole = life()
    torch.manual_seed(99)  # as in another process
    for saved in store.available(tmp_path / "0"):
        _, resumed = fit([], data=loader(resumable=False), resume=saved.path)
        assert weights(resumed) == weights(whole)


def test_an_epoch_that_was_interrupted_when_it_began_resumes_exactly(tmp_path: Path) -> None:
    """An epoch that was interrupted at its beginning begins again for Lightning, but not for plugins."""

    def life(*plugins: Any, **given: Any) -> Any:
        torch.manual_seed(3)
        return fit([*plugins, Checkpoint(tmp_path, every_n_epochs=None)], data=loader(resumable=False), **given)[1]

    whole = life()
    press = acts("on_epoch_begin", lambda run: run.progress.epoch == 1 and run.interrupt(KeyboardInterrupt()))
    with pytest.raises(SystemExit):
        life(press)
    recording = RecordingPlugin()
    resumed = life(recording, resume="auto")
    assert recording.hooks[:2] == ["on_train_begin", "on_batch_begin"]
    assert weights(resumed) == weights(whole)


def test_checkpoints_under_accumulation_are_named_for_their_updates(tmp_path: Path) -> None:
    """With accumulation, checkpoints are taken at updates, and named after them."""
    fit([Checkpoint(tmp_path, every_n_steps=1, keep_last=None)], accumulate_grad_batches=2)
    assert [saved.path.name for saved in store.available(tmp_path)] == [f"step-{step:08}" for step in range(1, 7)]


@pytest.mark.parametrize("data", [{"resumable": False}, {"num_workers": 1}])
def test_data_that_begin_again_within_an_epoch_give_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, data: dict[str, Any]
) -> None:
    """The log warns if a loader cannot start in mid-epoch, and its first batches are trained again."""
    fit([Checkpoint(tmp_path, every_n_steps=1, keep_last=None)], max_epochs=1)
    fit([], data=loader(**data), max_epochs=1, resume=tmp_path / "step-00000002")
    assert "resumed in epoch 1, after batch 2: its data start again with their first batch" in caplog.text


@pytest.mark.parametrize(
    ("data", "is_told"), [({"num_workers": 1}, True), ({}, False), ({"num_workers": 1, "resumable": False}, False)]
)
def test_workers_that_read_ahead_of_the_epoch_give_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, data: dict[str, Any], *, is_told: bool
) -> None:
    """The log warns if workers read before the sampler's epoch is set, so that the order is the first epoch's."""
    _, whole = fit([Checkpoint(tmp_path, keep_last=None)], data=loader(**data), max_epochs=2)
    fit([Checkpoint(tmp_path / "cut", keep_last=None)], data=loader(**data), max_epochs=1)
    _, resumed = fit([], data=loader(**data), max_epochs=2, resume=tmp_path / "cut")
    assert ("epoch 2 has the order of the first epoch" in caplog.text) is is_told
    assert (weights(resumed) != weights(whole)) is is_told


class Keeps(Module):
    """A module with state that Lightning saves by hooks."""

    kept = 0

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        del batch, batch_idx
        self.kept += 1

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["kept"] = self.kept

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.kept = checkpoint["kept"]


class Counts(pl.Callback):  # type: ignore[misc]
    """A callback with state."""

    def __init__(self) -> None:
        self.epochs = 0

    def on_train_epoch_end(self, *_: Any) -> None:
        self.epochs += 1

    def state_dict(self) -> dict[str, Any]:
        return {"epochs": self.epochs}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.epochs = state_dict["epochs"]


def test_state_that_lightning_keeps_by_hooks_is_restored(tmp_path: Path) -> None:
    """Plugins' checkpoints contain what the module adds to checkpoints, and the state of other callbacks."""
    fit([Checkpoint(tmp_path)], Counts(), module=Keeps(), max_epochs=2)
    counts = Counts()
    _, module = fit([Checkpoint(tmp_path)], counts, module=Keeps(), resume="auto")
    assert (module.kept, counts.epochs) == (12, 3)


@pytest.mark.parametrize("epochs", [1, 2])
def test_an_average_of_weights_that_lightning_keeps_is_restored(tmp_path: Path, epochs: int) -> None:
    """Weights that a hook replaces in checkpoints, such as Lightning's averages, are restored by the hook."""

    def average() -> EMAWeightAveraging:
        return EMAWeightAveraging(decay=0.9)

    _, whole = fit([], average())
    fit([Checkpoint(tmp_path)], average(), max_epochs=epochs)
    _, resumed = fit([Checkpoint(tmp_path)], average(), resume="auto")
    assert weights(resumed) == weights(whole)


class Reads(Module):
    """A module with hooks that read and change checkpoints."""

    def __init__(self) -> None:
        super().__init__()
        self.saved: dict[str, Any] = {}
        self.loaded: dict[str, Any] = {}

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.Adam(self.parameters(), lr=0.1)
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1)]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.saved = dict(checkpoint)
        del checkpoint["state_dict"]["layer.bias"]

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.loaded = {**checkpoint, "state_dict": dict(checkpoint["state_dict"])}
        checkpoint["state_dict"]["layer.bias"] = torch.zeros(1)


def test_hooks_find_what_lightnings_checkpoints_have(tmp_path: Path) -> None:
    """Hooks find the state of optimizers, schedulers, loops and callbacks, when saving and when loading."""
    saving = Reads()
    fit([Checkpoint(tmp_path)], Counts(), module=saving, max_epochs=2)
    ours, loading = saving.saved, Reads()
    saving.trainer.save_checkpoint(tmp_path / "lightnings.ckpt")
    lightnings = saving.saved
    fit([], Counts(), module=loading, resume=tmp_path)
    loaded = loading.loaded
    assert ours.keys() == loaded.keys() == lightnings.keys()
    assert (loaded["epoch"], loaded["global_step"]) == (ours["epoch"], 8)
    assert loaded["callbacks"]["Counts"] == lightnings["callbacks"]["Counts"]
    assert loaded["lr_schedulers"][0]["last_epoch"] == 2
    assert loaded["optimizer_states"][0]["state"][0]["step"] == 8
    assert "epoch_progress" in loaded["loops"]["fit_loop"]
    assert list(loaded["state_dict"]) == ["layer.weight"]


def test_an_error_of_a_hook_names_it(tmp_path: Path) -> None:
    """If a hook raises an error, the message names it; in saving, `Checkpoint` is refused before the first batch."""

    class Saves(Module):
        def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
            checkpoint["nowhere"]

    class Loads(Module):
        def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
            checkpoint["nowhere"]

    with pytest.raises(CapabilityError, match=r"'checkpoint' needs .*Saves.on_save_checkpoint raised KeyError: 'nowhere'"):
        fit([Checkpoint(tmp_path)], module=Saves())
    fit([Checkpoint(tmp_path)], max_epochs=1)
    with pytest.raises(CheckpointError, match=r"Loads.on_load_checkpoint raised KeyError: 'nowhere'"):
        fit([], module=Loads(), resume=tmp_path)


class Frozen(Module):
    """A module that leaves a frozen encoder out of its state, as in Lightning's documentation."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = torch.nn.Linear(2, 2).requires_grad_(requires_grad=False)
        self.strict_loading = False

    def state_dict(self, *given: Any, **named: Any) -> Any:
        return {name: value for name, value in super().state_dict(*given, **named).items() if "encoder" not in name}


def test_a_module_may_leave_something_out_of_its_state(tmp_path: Path) -> None:
    """A module that leaves something out of its state is resumed, and its best weights are restored."""

    def plugins() -> list[object]:
        return [Checkpoint(tmp_path), EarlyStopping("val_loss", restore_best_weights=True)]

    fit(plugins(), module=Frozen(), max_epochs=1)
    adapter, _ = fit(plugins(), module=Frozen(), max_epochs=2, resume="auto")
    run = run_of(adapter)
    assert run.resumed_from is not None
    assert (run.failures, run.outcome, run.progress.epoch) == ([], Outcome.COMPLETED, 1)


def test_what_cannot_be_saved_is_named_before_the_first_batch(tmp_path: Path) -> None:
    """`Checkpoint` is refused if a callback has state that cannot be saved, with its place."""

    class Odd(Counts):
        def state_dict(self) -> dict[str, Any]:
            return {"lock": logging.getLogger()}

    with pytest.raises(CapabilityError, match=r"'checkpoint' needs .*lightning.*callbacks.*lock"):
        fit([Checkpoint(tmp_path)], Odd())


def test_a_run_with_nothing_left_has_the_weights_of_its_checkpoint(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A run that is resumed after its last epoch begins, ends, and logs why it trains nothing."""
    _, whole = fit([Checkpoint(tmp_path)])
    recording = RecordingPlugin()
    _, resumed = fit([recording, Checkpoint(tmp_path)], resume="auto")
    assert [hook for hook in recording.hooks if hook != "on_checkpoint"] == ["on_train_begin", "on_train_end"]
    assert "lightning trained nothing" in caplog.text
    assert weights(resumed) == weights(whole)


# Outside of a run, and what is refused


def test_evaluations_and_predictions_outside_of_a_run_are_heard() -> None:
    """`validate`, `test` and `predict` outside of a run call their hooks, and do not change the latest run."""

    class All(Module):
        def test_step(self, batch: Any, batch_idx: int) -> None:
            """Log a metric."""
            self.log("test_loss", self.layer(batch[0]).mean())

        def predict_step(self, batch: Any) -> Any:
            return self.layer(batch[0])

    recording, module, data = RecordingPlugin(), All(), loader(2)
    adapter = LightningAdapter([recording])
    trainer = trainer_of(adapter, max_epochs=1)
    trainer.fit(module, loader())
    run, recording.events = adapter.run, []
    trainer.validate(module, data, verbose=False)
    trainer.test(module, data, verbose=False)
    trainer.predict(module, data)
    check_events(recording.events)
    assert adapter.run is run
    assert [hook.removeprefix("on_") for hook in recording.hooks if "batch" not in hook] == [
        "evaluate_begin", "evaluate_end", "evaluate_begin", "evaluate_end", "predict_begin", "predict_end",
    ]  # fmt: skip
    ends = [set(event[1]) for event in recording.events if event[0] == "on_evaluate_end"]
    assert ends == [{"loss"}, {"test_loss"}]


def test_several_processes_are_refused() -> None:
    """Several processes are refused, because each would run every plugin."""
    with pytest.raises(CapabilityError, match="the trainer has 2 processes"):
        _check(pl.Trainer(accelerator="cpu", devices=2, strategy="ddp", logger=False))


def test_validation_by_time_is_refused() -> None:
    """Validation by time is refused, because its batch is unknown."""
    with pytest.raises(CapabilityError, match="val_check_interval is a time"):
        fit([], val_check_interval="00:00:00:10")


def test_an_adapter_can_be_copied_before_its_run_and_used_twice() -> None:
    """An adapter can be copied before its run, as by Lightning's tools, and used twice, and holds no trainer afterwards."""
    adapter = copy.deepcopy(LightningAdapter([EarlyStopping(patience=9)]))
    for epochs in (1, 2):
        trainer_of(adapter, max_epochs=epochs).fit(Module(), loader(), loader())
        assert len(run_of(adapter).history) == epochs
    assert pickle.loads(pickle.dumps(run_of(adapter))).outcome is Outcome.COMPLETED  # noqa: S301 - pickled here
    assert adapter._host.trainer is None
