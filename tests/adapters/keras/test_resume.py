"""Real models that are interrupted and resumed end bit for bit as in an uninterrupted run."""

from __future__ import annotations

import itertools
import json
import logging
import shutil
import subprocess
import sys
import textwrap
import types
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import pytest

from hookcore import CheckpointError, Run, hookimpl, state, store
from hookcore_adapters.keras import KerasAdapter, fit
from hookcore_adapters.keras.callbacks import ModelCheckpoint
from hookcore_plugins import Checkpoint, EarlyStopping
from tests.adapters.keras.backends import BACKEND, EAGERLY, SEVERAL_STEPS, TF_DATA, kinds_of_data, only_on
from tests.adapters.keras.lives import (
    EPOCHS,
    KINDS,
    OPTIMIZERS,
    Life,
    again_and_again,
    arguments_for,
    as_at_first,
    cut_and_resumed,
    cutting,
    known,
    layers,
    live,
    new_model,
    optimizers,
    scrambled,
    small,
    start_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture(scope="module", params=OPTIMIZERS)
def traced(request: pytest.FixtureRequest) -> Any:
    """Return a model for each optimizer, compiled once."""
    model = new_model(OPTIMIZERS[request.param]())
    model.name = f"optimizer_{list(OPTIMIZERS).index(request.param)}"
    # To make the metrics, Keras's trainers read a batch, which draws random numbers.
    model.evaluate(np.zeros((1, 3)), np.zeros((1, 1)), verbose=0)
    return model


@pytest.fixture(autouse=True)
def own_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Change to a directory of the test, in which its runs save."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def shared_out(moments: int, traced: Any) -> range:
    """Return a third of the moments for each optimizer, different ones for each; all for the one with the most state."""
    number = int(traced.name.removeprefix("optimizer_"))
    return range(moments) if number == 3 else range(number, moments, 3)


def test_a_run_that_is_interrupted_anywhere_resumes_exactly(traced: Any, data: Any, tmp_path: Path) -> None:
    """After Ctrl-C in batches, validations, and at beginnings and ends of epochs, the resumed run has the same events and end."""
    start = start_of(traced)
    whole = live(as_at_first(traced, start), data)
    assert whole.moments == EPOCHS * (1 + 4 + 2 + 1)
    for at in shared_out(whole.moments, traced):
        shutil.rmtree(tmp_path / "runs", ignore_errors=True)
        cut = live(as_at_first(traced, start), data, at=at)
        assert isinstance(cut.error, KeyboardInterrupt)
        assert cut.run is not None
        assert cut.run.outcome == "interrupted"
        resumed = live(scrambled(traced), data, resume="auto")
        assert resumed.ended == whole.ended, at
        assert cut.seen + resumed.seen == whole.seen, at
        assert traced._initial_epoch is None
    as_at_first(traced, start)


def test_a_run_resumes_exactly_from_each_saved_step(traced: Any, data: Any, tmp_path: Path) -> None:
    """Resumed from any checkpoint of a step or an epoch, a run ends the same, and saves the same checkpoints."""
    start = start_of(traced)
    whole = live(as_at_first(traced, start), data, every_n_steps=1)
    assert whole.run is not None
    shutil.move(tmp_path / "runs", tmp_path / "whole")
    saved = store.available(tmp_path / "whole")
    assert [checkpoint.step for checkpoint in saved] == list(range(1, 1 + whole.run.progress.step))
    for number in shared_out(len(saved), traced):
        for earlier in saved[: number + 1]:
            shutil.copytree(earlier.path, tmp_path / "runs" / earlier.path.name)
        resumed = live(scrambled(traced), data, every_n_steps=1, resume="auto")
        assert resumed.run is not None
        assert resumed.ended == whole.ended, number
        assert resumed.run.decisions == whole.run.decisions, number
        assert [there.path.name for there in store.available(tmp_path / "runs")] == [there.path.name for there in saved], number
        shutil.rmtree(tmp_path / "runs")
    as_at_first(traced, start)


@pytest.mark.parametrize("form", ["fit", "adapter"])
@pytest.mark.parametrize("at", [0, 2, 6, 9, 23])
def test_a_new_model_object_resumes(data: Any, form: str, at: int) -> None:
    """In both forms, a run is also resumed with a new model object, whose metrics do not exist yet."""

    def new() -> Any:
        return new_model(optimizers.Adam(0.05, use_ema=True), run_eagerly=EAGERLY)

    shutil.rmtree("runs", ignore_errors=True)
    whole = live(new(), data, form=form)
    shutil.rmtree("runs")
    cut = live(new(), data, at=at, form=form)
    assert cut.error is not None
    resumed = live(scrambled(new()), data, resume="auto", form=form)
    assert resumed.ended == whole.ended
    assert cut.seen + resumed.seen == whole.seen


SCRIPT = """
    import json, sys
    import keras, numpy as np
    from hookcore import Engine, hookimpl
    from hookcore_adapters.keras import fit
    from hookcore_plugins import Checkpoint, EarlyStopping

    keras.utils.set_random_seed(3)
    x = np.random.default_rng(7).normal(size=(24, 3)).astype("float32")
    y = (x.sum(axis=1, keepdims=True) > 0).astype("float32")
    model = keras.Sequential([keras.layers.Dense(4), keras.layers.Dropout(0.5), keras.layers.Dense(1, activation="sigmoid")])
    model.compile(keras.optimizers.Adam(0.1, use_ema=True), "mse", metrics=["mae"])

    class Cut:
        @hookimpl
        def on_batch_end(self, run):
            if run.progress.step == int(sys.argv[2]):
                run.interrupt(KeyboardInterrupt())

    engine = Engine([EarlyStopping(patience=9, restore_best_weights=True), Cut(), Checkpoint(sys.argv[1], keep_last=None)])
    try:
        fit(model, x, y, batch_size=5, epochs=3, validation_split=0.25, plugins=engine, resume="auto", verbose=0)
    except KeyboardInterrupt:
        pass
    values = [variable.numpy().tobytes().hex() for variable in [*model.variables, *model.optimizer.variables]]
    print(json.dumps([engine.run.outcome, values, engine.run.history.state_dict()]))
"""


def test_a_new_process_resumes(tmp_path: Path) -> None:
    """A script that is started again after Ctrl-C in an epoch ends as if uninterrupted, also with a model without Input."""

    def process(directory: str, cut: int) -> Any:
        command = [sys.executable, "-c", textwrap.dedent(SCRIPT), directory, str(cut)]
        return json.loads(subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True).stdout)

    whole, cut = process("whole", 0), process("cut", 6)
    resumed = process("cut", 0)
    assert [ended[0] for ended in (whole, cut, resumed)] == ["completed", "interrupted", "completed"]
    assert resumed == whole
    assert cut[1] != whole[1]


@pytest.mark.filterwarnings("ignore:Your input ran out of data:UserWarning")  # Keras's warning at the end of data
# test_law.py has a PyDataset that threads read: batches that they have read when Keras makes the metrics are trained first.
@pytest.mark.parametrize("kind", kinds_of_data(kind for kind in KINDS if "threads" not in kind))
@pytest.mark.parametrize("at", [3, 4, 8])
def test_every_kind_of_data_resumes(data: Any, kind: str, at: int) -> None:
    """Data with the same order in each process continue with the next batch, also for an unbuilt model."""
    built = kind not in {"arrays", "a dataset", "a PyDataset", "pandas"}  # the shapes of others are unknown
    whole, resumed = cut_and_resumed(lambda: small(built=built), lambda: KINDS[kind](data), at, **arguments_for(kind))
    assert resumed.ended == whole.ended
    assert resumed.seen == whole.seen
    assert resumed.run is not None
    assert resumed.run.steps_per_epoch == 4


def overflowing() -> Any:
    """Return an optimizer that skips the updates of the first batches, because their scaled losses are infinite."""
    return optimizers.LossScaleOptimizer(optimizers.SGD(1e-4), initial_scale=2.0**124)


@SEVERAL_STEPS
@pytest.mark.parametrize("optimizer", [optimizers.Adam, overflowing])
@pytest.mark.parametrize("at", [1, 2, 3, 5])
def test_executions_of_several_batches_resume(data: Any, at: int, optimizer: Callable[[], Any]) -> None:
    """With `steps_per_execution`, a run that was interrupted after any execution, also the shorter last one, resumes exactly."""

    def new() -> Any:
        return small(optimizer=optimizer(), steps_per_execution=3, loss_weights=[1000.0])

    whole, resumed = cut_and_resumed(new, lambda: data, at, batch_size=6)
    assert whole.run is not None
    assert whole.run.progress.step == 4 * EPOCHS
    assert resumed.ended == whole.ended
    assert resumed.seen == whole.seen


def test_validation_every_other_epoch_resumes(data: Any) -> None:
    """A resumed run validates in the same epochs, because `validation_freq` counts over the whole run."""
    whole, resumed = cut_and_resumed(small, lambda: data, 5, batch_size=12, validation_data=data, validation_freq=2, epochs=4)
    assert resumed.ended == whole.ended


class Doubled(keras.Model):  # type: ignore[misc]  # Keras ships no types
    """A model with its own training step and logs."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = layers.Dense(1)

    def call(self, inputs: Any) -> Any:
        return self.dense(inputs)

    def train_step(self, *args: Any) -> Any:
        done = super().train_step(*args)
        logs, *state = done if BACKEND == "jax" else (done,)
        own = {"own_loss": logs["loss"] * 2}
        return (own, *state) if state else own


def test_the_logs_of_a_training_step_of_ones_own_are_the_epochs(data: Any) -> None:
    """An epoch that was interrupted in its validation ends with the last logs of the model's own `train_step`."""

    def own() -> Any:
        keras.utils.set_random_seed(3)
        model = Doubled()
        model.compile("adam", "mse", run_eagerly=EAGERLY)
        return model

    whole, resumed = cut_and_resumed(own, lambda: data, 3, batch_size=12, validation_data=data, monitor="val_loss")
    assert resumed.ended == whole.ended
    assert resumed.run is not None
    assert sorted(resumed.run.history) == ["own_loss", "val_loss"]


def after(model: Any, data: Any, epochs: int = 2, plugins: Any = (), **kwargs: Any) -> Run:
    """Train with a checkpoint of every step and every epoch, and return the run."""
    checkpoint = Checkpoint("runs", every_n_steps=1, every_n_epochs=kwargs.pop("every_n_epochs", 1), keep_last=None)
    return fit(model, *data, batch_size=6, epochs=epochs, verbose=0, plugins=[*plugins, checkpoint], **kwargs)


def step(number: int) -> Path:
    return Path("runs") / f"step-{number:08d}"


def values_of(model: Any) -> list[bytes]:
    return [variable.numpy().tobytes() for variable in [*model.variables, *model.optimizer.variables]]


def test_a_run_with_nothing_left_trains_nothing(data: Any, train_by_fit: Any) -> None:
    """A completed run that is resumed from its last checkpoint completes again, with the same averages and best weights."""
    best = EarlyStopping("loss", patience=99, restore_best_weights=True)
    model = small(optimizer=optimizers.SGD(5.0, use_ema=True))
    whole = after(model, data, plugins=[best])
    again = small(optimizer=optimizers.SGD(5.0, use_ema=True))
    begun: list[int] = []
    seen = keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: begun.append(epoch))  # noqa: ARG005
    run = after(again, data, plugins=[best], resume="auto", callbacks=[seen])
    assert begun == []
    assert (run.outcome, run.progress, run.decisions) == (whole.outcome, whole.progress, whole.decisions)
    assert values_of(again) == values_of(model)
    del train_by_fit


def test_a_run_continues_for_more_epochs(data: Any) -> None:
    """A completed run continues if `epochs` is larger."""
    after(small(), data)
    run = after(small(), data, epochs=3, resume="auto")
    assert (run.outcome, run.progress.step, run.history.epochs) == ("completed", 12, [0, 1, 2])


def test_a_stopped_run_stays_stopped(data: Any) -> None:
    """A stopped run that is resumed trains no epoch, and has the same outcome and reasons."""
    worse = [EarlyStopping("loss", mode="max", patience=1, restore_best_weights=True)]
    model, again = small(), small()
    whole = after(model, data, epochs=9, plugins=worse)
    run = after(again, data, epochs=9, plugins=worse, resume="auto")
    assert whole.outcome == "stopped"
    assert (run.outcome, run.stop_reasons, run.decisions) == (whole.outcome, whole.stop_reasons, whole.decisions)
    assert values_of(again) == values_of(model)


def test_an_epoch_in_which_the_run_was_stopped_is_ended(data: Any) -> None:
    """An epoch that was stopped after a batch is validated and ended in the resumed run, as in Keras."""

    def stopping() -> Any:
        @hookimpl
        def on_batch_end(run: Run) -> None:
            if run.progress.step == 6:
                run.stop("enough")

        return types.SimpleNamespace(name="stopping", on_batch_end=on_batch_end)

    model, again = small(), small()
    # No save at the end of the epoch, which would replace the checkpoint of the same step.
    whole = after(model, data, plugins=[stopping()], validation_data=data, every_n_epochs=None)
    assert (whole.progress.step, whole.history.epochs) == (6, [0, 1])
    run = after(again, data, plugins=[stopping()], validation_data=data, every_n_epochs=None, resume="auto")
    assert (run.outcome, run.progress.step) == ("stopped", 6)
    assert run.history.state_dict() == whole.history.state_dict()
    assert run.stop_reasons == whole.stop_reasons
    assert values_of(again) == values_of(model)


def test_the_models_next_fit_trains_all_its_epochs(data: Any) -> None:
    """After a resumed run, the next `fit` of the same model trains all its epochs and batches."""
    after(small(), data)
    model = small()
    own = model.make_train_function() or model.train_function
    after(model, data, resume=step(6))
    assert model.train_function is own
    history = model.fit(*data, batch_size=6, epochs=2, verbose=0)
    assert history.epoch == [0, 1]
    assert int(model.optimizer.iterations) == 16


def test_an_earlier_epoch_wins_over_initial_epoch(data: Any) -> None:
    """A run that was interrupted in its first epoch is resumed there, also with a later `initial_epoch`."""
    after(small(), data)
    run = after(small(), data, resume=step(2), initial_epoch=1)
    assert (run.history.epochs, run.progress.step) == ([0, 1], 8)


def test_nothing_stays_in_the_model_if_resuming_fails(data: Any, raising: Any) -> None:
    """If a plugin raises an error at the beginning, or a callback while batches are skipped, the model is not changed."""
    after(small(), data)
    model = small()
    own = model.make_train_function() or model.train_function
    failing = types.SimpleNamespace(name="failing", on_train_begin=hookimpl(raising(ValueError("no"))))
    with pytest.raises(ValueError, match="no"):
        after(model, data, plugins=[failing], resume=step(6))
    assert model._initial_epoch is None
    for hook in ("on_train_batch_begin", "on_train_batch_end"):
        callback = keras.callbacks.LambdaCallback(**{hook: raising(ValueError("no"))})
        with pytest.raises(ValueError, match="no"):
            after(model, data, callbacks=[callback], resume=step(6))
        assert model.train_function is own
        assert model._initial_epoch is None


def test_callbacks_get_no_batch_that_is_skipped(data: Any, watch: Any) -> None:
    """A Keras callback beside plugins gets only the batches that are trained, not those that are skipped."""
    first, second = watch(), watch()
    after(small(), data, callbacks=[first])
    after(small(), data, callbacks=[second], resume=step(6))
    assert second.batches == first.batches[6:]
    assert second.epochs == first.epochs[1:]


def test_a_drop_in_saves_no_batch_twice(data: Any) -> None:
    """`ModelCheckpoint` beside plugins does not write a skipped batch's file in a resumed run."""
    after(small(), data)
    saving = ModelCheckpoint("b{batch}.weights.h5", save_freq=1, save_weights_only=True)
    after(small(), data, epochs=1, callbacks=[saving], resume=step(2))
    assert sorted(path.name for path in Path().glob("b*.h5")) == ["b3.weights.h5", "b4.weights.h5"]


@pytest.mark.filterwarnings("ignore:Your input ran out of data:UserWarning")  # Keras's warning at the end of data
@pytest.mark.parametrize("kind", kinds_of_data(["arrays", "a dataset of unknown length"]))
def test_data_that_end_too_early_give_a_warning(data: Any, caplog: pytest.LogCaptureFixture, kind: str) -> None:
    """If the data have fewer batches than were trained, the log warns, and the run continues with the next epoch."""
    before = after(small(), data)
    short = KINDS[kind]((data[0][:12], data[1][:12]))
    arguments = {"batch_size": 6} if kind == "arrays" else {"shuffle": False}
    run = fit(small(), *short, epochs=2, verbose=0, plugins=[Checkpoint("other")], resume=step(3), **arguments)
    assert "epoch 1 had 1 more batches when it was interrupted than its data have now" in caplog.text
    assert (run.outcome, run.history.epochs, run.progress.step) == ("completed", [0, 1], 5)
    assert run.history["loss"][0] == pytest.approx(before.history["loss"][0], rel=0.2)


def test_data_shuffled_without_a_seed_give_a_warning(data: Any, caplog: pytest.LogCaptureFixture, monkeypatch: Any) -> None:
    """The log warns if the data come in another order, because they are shuffled without a seed."""
    caplog.set_level(logging.WARNING, logger="hookcore")
    after(small(), data)
    after(small(), data, resume=step(6))
    assert caplog.text == ""
    monkeypatch.setattr("hookcore_adapters.keras.internals.random_seed", lambda: None)
    after(small(), data, resume=step(8))
    assert [message for message in caplog.messages if "trained nothing" not in message] == []
    shutil.rmtree("runs")
    after(small(), data)
    caplog.clear()
    after(small(), data, resume=step(6))
    # The other backends draw the order from generators whose states are in the checkpoint.
    assert ("resumed: the data are shuffled without a seed" in caplog.text) is (BACKEND == "tensorflow")


@pytest.mark.parametrize("given", [{}, {"shuffle": False}, {"resume": "auto"}, {"plugins": []}], ids=str)
def test_data_shuffled_without_a_seed_give_a_warning_in_time(
    data: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, given: dict[str, Any]
) -> None:
    """Before the first batch of a run that saves, the log warns once of arrays that are shuffled without a seed."""
    caplog.set_level(logging.WARNING, logger="hookcore")
    model, before = small(), list[str]()
    monkeypatch.setattr("hookcore_adapters.keras.internals.random_seed", lambda: None)
    first = keras.callbacks.LambdaCallback(on_train_batch_begin=lambda batch, logs: before.append(caplog.text))  # noqa: ARG005
    arguments: dict[str, Any] = {"epochs": 2, "verbose": 0, "callbacks": [first], "plugins": [Checkpoint("runs")]}
    fit(model, *data, **arguments | given)
    is_due = BACKEND == "tensorflow" and given in ({}, {"resume": "auto"})
    assert before[0].count("shuffled without a seed") == is_due
    assert caplog.text == before[0]


@TF_DATA
def test_data_that_may_continue_from_epoch_to_epoch_give_a_warning(data: Any, caplog: pytest.LogCaptureFixture) -> None:
    """The log warns that an endless dataset starts again with its first batch in a resumed run."""
    endless = (known(data).repeat(),)
    arguments: dict[str, Any] = {"plugins": [Checkpoint("runs")], "steps_per_epoch": 3, "shuffle": False, "verbose": 0}
    fit(small(), *endless, epochs=1, **arguments)
    fit(small(), *endless, epochs=2, resume="auto", **arguments)
    assert "the data may continue from epoch to epoch" in caplog.text


class OwnFit(keras.Sequential):  # type: ignore[misc]  # Keras ships no types
    """A model whose `fit` calls the callbacks itself, without Keras's epoch iterator."""

    def fit(self, x: Any, y: Any, callbacks: Any, epochs: int, **_: Any) -> Any:
        listed = keras.callbacks.CallbackList(callbacks, add_history=True, model=self, epochs=epochs, steps=4)
        self.stop_training = False
        listed.on_train_begin()
        for epoch in range(self._initial_epoch or 0, epochs):
            self.reset_metrics()
            listed.on_epoch_begin(epoch)
            for batch in range(4):
                listed.on_train_batch_begin(batch)
                part = slice(6 * batch, 6 * batch + 6)
                listed.on_train_batch_end(batch, self.train_on_batch(x[part], y[part], return_dict=True))
            listed.on_epoch_end(epoch, self.get_metrics_result())
        listed.on_train_end()
        return self.history


def test_an_overridden_fit_begins_the_epoch_again(data: Any, caplog: pytest.LogCaptureFixture) -> None:
    """If the batches cannot be skipped, the log warns that the epoch begins again, and all its batches are trained."""
    after(small(kind=OwnFit), data)
    run = after(small(kind=OwnFit), data, resume=step(6))
    assert "epoch 2 begins again with its first batch, although 2 were trained, because they cannot be skipped" in caplog.text
    assert (run.outcome, run.progress.step, run.history.epochs) == ("completed", 10, [0, 1])
    assert state.loads((step(7) / "run.json").read_text())["position"]["batch"] == 1


def test_metrics_that_have_changed_give_a_warning(data: Any, caplog: pytest.LogCaptureFixture) -> None:
    """If the metrics have changed, those of an interrupted epoch cover only the rest of it, and the log warns."""
    after(small(), data)
    run = after(small(metrics=["mae", "AUC"]), data, resume=step(2))
    assert "the metrics have changed" in caplog.text
    assert run.outcome == "completed"


@only_on("tensorflow", what="a model that is built at its first batch")
def test_an_unbuilt_model_with_data_of_unknown_shapes_is_refused(data: Any) -> None:
    """An unbuilt model with data of unknown shapes is refused before training, with the advice to build it."""
    after(small(), data)
    model = small(built=False)
    match = "cannot be resumed before it is built"
    with pytest.raises(CheckpointError, match=match):
        model.fit(*data, verbose=0, callbacks=[KerasAdapter(resume=step(6))])
    with pytest.raises(CheckpointError, match=match):
        fit(model, (batch for batch in [data]), shuffle=False, verbose=0, resume=step(6))
    assert not model.built


@pytest.mark.parametrize("change", [{"epoch": None}, {"epoch": {"logs": {}, "metrics": [], "random": 3}}, {}], ids=str)
def test_a_checkpoint_without_state_of_keras_is_refused(data: Any, change: dict[str, Any]) -> None:
    """A checkpoint within an epoch without Keras's state, such as another adapter's, is refused before training."""
    after(small(), data)
    record = state.loads((step(2) / "run.json").read_text())
    record["loop"] = change

    def copy(place: Path) -> None:
        for name in ("model.keras", "arrays.h5", "random.json"):
            shutil.copy(step(2) / name, place)

    store.write(
        Path("other"),
        epoch=0,
        step=2,
        metric=None,
        value=None,
        record=state.dumps(record),
        files=copy,
    )
    begun: list[str] = []
    noting = types.SimpleNamespace(name="noting", on_train_begin=hookimpl(lambda: begun.append("begun")))
    with pytest.raises(CheckpointError, match="has no state of Keras to resume within an epoch"):
        after(small(), data, plugins=[noting], resume="other")
    assert begun == []


def test_a_damaged_checkpoint_is_skipped(data: Any, caplog: pytest.LogCaptureFixture) -> None:
    """`resume="auto"` resumes from the newest checkpoint that verifies, and names the damaged one."""
    after(small(), data)
    with (step(8) / "model.keras").open("ab") as file:
        file.write(b"x")
    run = after(small(), data, resume="auto")
    assert "step-00000008" in caplog.text
    assert run.resumed_from is not None
    assert run.resumed_from.step == 7


def test_a_new_run_starts_if_there_is_no_checkpoint(data: Any) -> None:
    """`resume="auto"` starts a new run if there is no checkpoint."""
    run = after(small(), data, resume="auto")
    assert run.resumed_from is None
    assert run.progress.step == 8


def test_the_checkpoint_of_another_model_changes_nothing(data: Any) -> None:
    """A checkpoint of another model is an error that names the differing variables, and changes nothing."""
    after(small(), data)
    keras.utils.set_random_seed(3)
    other = keras.Sequential([layers.Input((3,)), layers.Dense(2), layers.Dense(1)])
    other.compile("adam", "mse")
    before = [weight.tobytes() for weight in other.get_weights()]
    with pytest.raises(CheckpointError, match=r"kernel has shape \(3, 1\) in the file and \(3, 2\) in the model"):
        after(other, data, resume="auto")
    assert [weight.tobytes() for weight in other.get_weights()] == before
    assert len(store.available(Path("runs"))) == 8


@pytest.mark.filterwarnings("ignore:Your input ran out of data")
def test_cut_in_the_validation_after_data_that_fell_short(data: Any) -> None:
    """A run that was interrupted in a validation resumes exactly if Keras had begun a batch that the data lacked."""

    def short() -> tuple[Any, ...]:
        return (known(data) if BACKEND == "tensorflow" else (batch for batch in itertools.islice(again_and_again(data), 4)),)

    batches = 4
    arguments = {"epochs": 1, "steps_per_epoch": batches + 2, "validation_data": data, "shuffle": False}
    whole, resumed = cut_and_resumed(small, short, 1 + batches, **arguments)
    assert resumed.ended == whole.ended
    # A trainer that begins a batch before it reads its data begins the missing batch again.
    never = ("batch begins", batches)
    assert [one for one in resumed.seen if one[:2] != never] == [one for one in whole.seen if one[:2] != never]


def test_a_vote_before_the_skipped_batches_stops_after_them(data: Any, caplog: pytest.LogCaptureFixture) -> None:
    """If a plugin votes at the beginning of a resumed run, the interrupted epoch ends after its trained batches."""
    first = cutting(Life(), 3)
    checkpoint = Checkpoint("runs", every_n_epochs=None, every_n_steps=1)
    with pytest.raises(KeyboardInterrupt):
        fit(small(), *data, batch_size=5, epochs=2, verbose=0, plugins=[first, checkpoint])
    voting = types.SimpleNamespace(name="voting", on_train_begin=hookimpl(lambda run: run.stop("enough")))
    run = fit(small(), *data, batch_size=5, epochs=2, verbose=0, plugins=[voting, checkpoint], resume="auto")
    assert run.progress.step == 3
    assert run.history.epochs == [0]
    assert run.history["loss"]
    assert "batches more" not in caplog.text
