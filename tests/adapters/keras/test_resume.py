"""Stop and resume with real models: a run that was cut and is resumed ends as one that was never cut, bit for bit."""

from __future__ import annotations

import json
import logging
import random
import shutil
import subprocess
import sys
import textwrap
import types
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from hookcore import CheckpointError, Engine, Run, hookimpl, state, store
from hookcore_adapters.keras import KerasAdapter, fit
from hookcore_adapters.keras.callbacks import ModelCheckpoint
from hookcore_plugins import Checkpoint, EarlyStopping, LearningRateSchedule, ReduceLROnPlateau

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from hookcore.resume import Resume

layers, optimizers = keras.layers, keras.optimizers
EPOCHS = 3

OPTIMIZERS: dict[str, Callable[[], Any]] = {
    "SGD with momentum": lambda: optimizers.SGD(0.05, momentum=0.9),
    "Adam": lambda: optimizers.Adam(0.05),
    "Adam, averaged at the end": lambda: optimizers.Adam(0.05, use_ema=True),
    "Adam, averaged every 3 steps": lambda: optimizers.Adam(0.05, use_ema=True, ema_overwrite_frequency=3),
}


def new_model(optimizer: Any, **compile_arguments: Any) -> Any:
    """A model with all that a resume must put back: moving averages, dropout, and an optimizer's state."""
    keras.utils.set_random_seed(3)
    model = keras.Sequential(
        [
            layers.Input((3,)),
            layers.Dense(4, activation="relu"),
            layers.BatchNormalization(),
            layers.Dropout(0.5),
            layers.Dense(1, activation="sigmoid"),
        ]
    )
    model.compile(optimizer, "binary_crossentropy", metrics=["acc", "AUC"], **{"jit_compile": False} | compile_arguments)
    model.optimizer.build(model.trainable_variables)
    return model


def scrambled(model: Any) -> Any:
    """`model` with nothing in it that a run has left: as a new one that was made in another way, but traced already."""
    keras.utils.set_random_seed(3)
    numbers = np.random.default_rng(11)
    for variable in [*model.variables, *model.optimizer.variables, *model.metrics_variables]:
        variable.assign(numbers.integers(1, 9, tuple(variable.shape)).astype(variable.dtype))
    random.seed(4)
    np.random.seed(4)  # noqa: NPY002 - what others draw from
    model.stop_training = False
    return model


def rates(epoch: int, rate: float) -> float:
    """A schedule that starts from the current rate, since the plateau changes it too."""
    return rate * (0.9 if epoch else 1.0)


@attrs.define
class Life:
    """One run: what its plugins saw, and how it ended."""

    seen: list[Any] = attrs.field(factory=list)
    moments: int = 0
    run: Run | None = None
    values: list[bytes] = attrs.field(factory=list)
    error: BaseException | None = None

    @property
    def ended(self) -> dict[str, Any]:
        """What must be the same in the end."""
        assert self.run is not None
        return {
            "values": self.values,
            "history": state.dumps(self.run.history.state_dict()),  # as text: NaN is no NaN
            "decisions": [decision for decision in self.run.decisions if decision.kind != "checkpoint"],
            "stop_reasons": self.run.stop_reasons,
            "outcome": self.run.outcome,
            "step": self.run.progress.step,
        }


def diary(life: Life) -> types.SimpleNamespace:
    """A plugin that writes down every event but those of a validation, which a cut may have twice, and draws random numbers."""

    @hookimpl
    def on_train_begin() -> None:
        random.random(), np.random.random()  # noqa: NPY002, S311 - which a resumed run draws once more

    @hookimpl
    def on_epoch_begin(run: Run, epoch: int) -> None:
        life.seen.append(("epoch begins", epoch, run.learning_rate, random.random()))  # noqa: S311

    @hookimpl
    def on_batch_begin(run: Run, batch: int) -> None:
        life.seen.append(("batch begins", batch, run.steps_per_epoch))

    @hookimpl
    def on_batch_end(run: Run, batch: int, metrics: Mapping[str, float]) -> None:
        life.seen.append(("batch ends", batch, run.progress.step, dict(metrics), np.random.random()))  # noqa: NPY002

    @hookimpl
    def on_epoch_end(epoch: int, metrics: Mapping[str, float]) -> None:
        life.seen.append(("epoch ends", epoch, dict(metrics)))

    hooks = (on_train_begin, on_epoch_begin, on_batch_begin, on_batch_end, on_epoch_end)
    return types.SimpleNamespace(name="diary", **{hook.__name__: hook for hook in hooks})


def cutting(life: Life, at: int | None) -> types.SimpleNamespace:
    """A plugin that interrupts the run at one of the moments at which a signal can, counted over the run."""

    def moment(run: Run) -> None:
        if life.moments == at:
            run.interrupt(KeyboardInterrupt())
        life.moments += 1

    hooks = ("on_epoch_begin", "on_batch_end", "on_evaluate_batch_end", "on_epoch_end")
    return types.SimpleNamespace(name="cutting", **dict.fromkeys(hooks, hookimpl(moment)))


def live(model: Any, data: Any, *, at: int | None = None, resume: Resume = False, form: str = "fit", **kwargs: Any) -> Life:
    """One run of `model` in the working directory, cut at a moment or not."""
    life = Life()
    every, monitor = kwargs.pop("every_n_steps", None), kwargs.pop("monitor", "val_loss")
    plugins = [
        diary(life),
        LearningRateSchedule(rates),
        ReduceLROnPlateau(monitor, patience=1, factor=0.5),
        EarlyStopping(monitor, patience=kwargs.pop("patience", 2), restore_best_weights=True),
        cutting(life, at),
        Checkpoint("runs", every_n_epochs=None if every is None else 1, every_n_steps=every, keep_last=None),
    ]
    engine = Engine(plugins)
    arguments = {"batch_size": 5, "epochs": EPOCHS, "validation_split": 0.25, "verbose": 0} | kwargs
    try:
        if form == "fit":
            fit(model, *data, plugins=engine, resume=resume, **arguments)
        else:
            model.fit(*data, callbacks=[KerasAdapter(engine, resume=resume)], **arguments)
    except KeyboardInterrupt as error:
        life.error = error
    life.run = engine.run
    life.values = [variable.numpy().tobytes() for variable in [*model.variables, *model.optimizer.variables]]
    return life


@pytest.fixture(scope="module", params=OPTIMIZERS)
def traced(request: pytest.FixtureRequest) -> Any:
    """One model for each optimizer, compiled once."""
    model = new_model(OPTIMIZERS[request.param]())
    model.name = f"optimizer_{list(OPTIMIZERS).index(request.param)}"
    return model


@pytest.fixture(autouse=True)
def own_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory of a test, in which its runs save."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def as_at_first(model: Any, start: list[Any]) -> Any:
    """`model` with the values that it had when it was made."""
    scrambled(model)
    for variable, value in zip([*model.variables, *model.optimizer.variables], start, strict=True):
        variable.assign(value)
    return model


def start_of(model: Any) -> list[Any]:
    return [np.array(variable.numpy()) for variable in [*model.variables, *model.optimizer.variables]]


def shared_out(moments: int, traced: Any) -> range:
    """A third of the moments for each optimizer, all of them over the optimizers; all for the one that has most to put back."""
    number = int(traced.name.removeprefix("optimizer_"))
    return range(moments) if number == 3 else range(number, moments, 3)


def test_a_run_that_is_interrupted_anywhere_goes_on_as_if_it_never_was(traced: Any, data: Any, tmp_path: Path) -> None:
    """Ctrl-C at batches, in validations, and at the beginnings and ends of epochs: the same events and the same end."""
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


def test_a_run_goes_on_from_each_saved_step_as_if_it_was_never_cut(traced: Any, data: Any, tmp_path: Path) -> None:
    """From the checkpoints of steps and of epochs' ends the same end is reached, and the same is saved on the way."""
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
def test_a_new_model_object_goes_on(data: Any, form: str, at: int) -> None:
    """So it does in a new model, whose metrics do not exist yet, in both forms."""

    def new() -> Any:
        return new_model(optimizers.Adam(0.05, use_ema=True), run_eagerly=True)

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


def test_a_new_process_goes_on(tmp_path: Path) -> None:
    """The same script, started again after Ctrl-C in an epoch, ends as one that was never cut; its model has no Input."""

    def process(directory: str, cut: int) -> Any:
        command = [sys.executable, "-c", textwrap.dedent(SCRIPT), directory, str(cut)]
        return json.loads(subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True).stdout)

    whole, cut = process("whole", 0), process("cut", 6)
    resumed = process("cut", 0)
    assert [ended[0] for ended in (whole, cut, resumed)] == ["completed", "interrupted", "completed"]
    assert resumed == whole
    assert cut[1] != whole[1]


def small(*, built: bool = True, **compile_arguments: Any) -> Any:
    """The smallest model that has metrics, run eagerly: tracing costs more than it saves."""
    keras.utils.set_random_seed(3)
    model = keras.Sequential([*([layers.Input((3,))] if built else []), layers.Dense(1, activation="sigmoid")])
    arguments = {"optimizer": optimizers.Adam(0.1), "loss": "mse", "metrics": ["mae"], "run_eagerly": True}
    model.compile(**arguments | compile_arguments)
    return model


def cut_and_resumed(model: Callable[[], Any], data: Callable[[], tuple[Any, ...]], at: int, **kwargs: Any) -> tuple[Life, Life]:
    """A run that was never cut, and one that was cut at a moment and resumed in a new model with new data."""
    arguments: dict[str, Any] = {"validation_split": 0.0, "monitor": "loss", "batch_size": None, "patience": 99} | kwargs
    whole = live(model(), data(), **arguments)
    shutil.rmtree("runs", ignore_errors=True)
    cut = live(model(), data(), at=at, **arguments)
    assert cut.error is not None
    resumed = live(model(), data(), resume="auto", **arguments)
    cut.seen += resumed.seen
    resumed.seen = cut.seen
    return whole, resumed


class Shuffled(keras.utils.PyDataset):  # type: ignore[misc]  # Keras ships no types
    """Four batches in an order that Keras draws from Python's generator, with noise that is drawn from NumPy's for each epoch."""

    def __init__(self, data: tuple[Any, Any]) -> None:
        super().__init__()
        self.x, self.y = data
        self.noise = 0.0

    def on_epoch_begin(self) -> None:
        self.noise = np.random.normal()  # noqa: NPY002 - as users do

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        part = slice(6 * index, 6 * index + 6)
        return self.x[part] + self.noise, self.y[part]


def known(data: tuple[Any, Any]) -> Any:
    return tf.data.Dataset.from_tensor_slices(data).batch(6)


def unknown(data: tuple[Any, Any]) -> Any:
    return known(data).filter(lambda x, y: True)  # noqa: ARG005 - a filter makes the length unknown


KINDS: dict[str, Callable[[Any], tuple[Any, ...]]] = {
    "arrays": lambda data: data,
    "a dataset": lambda data: (known(data),),
    "a dataset of unknown length": lambda data: (unknown(data),),
    "a PyDataset": lambda data: (Shuffled(data),),
    "pandas": lambda data: tuple(map(pd.DataFrame, data)),
}


@pytest.mark.filterwarnings("ignore:Your input ran out of data:UserWarning")  # Keras says it whenever data end
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("at", [3, 4, 8])
def test_every_kind_of_data_goes_on(data: Any, kind: str, at: int) -> None:
    """Data whose order is the same in each process continue with the next batch, in an unbuilt model too."""
    arguments = {"batch_size": 6} if kind in {"arrays", "pandas"} else {"shuffle": kind == "a PyDataset"}
    whole, resumed = cut_and_resumed(lambda: small(built=False), lambda: KINDS[kind](data), at, **arguments)
    assert resumed.ended == whole.ended
    assert resumed.seen == whole.seen
    assert resumed.run is not None
    assert resumed.run.steps_per_epoch == 4


def overflowing() -> Any:
    """An optimizer that makes no update of the first batches, as their scaled losses are infinite."""
    return optimizers.LossScaleOptimizer(optimizers.SGD(1e-4), initial_scale=2.0**124)


@pytest.mark.parametrize("optimizer", [optimizers.Adam, overflowing])
@pytest.mark.parametrize("at", [1, 2, 3, 5])
def test_executions_of_several_batches_go_on(data: Any, at: int, optimizer: Callable[[], Any]) -> None:
    """With `steps_per_execution` a run is cut after an execution, the last and shorter one of an epoch included."""

    def new() -> Any:
        return small(optimizer=optimizer(), steps_per_execution=3, loss_weights=[1000.0])

    whole, resumed = cut_and_resumed(new, lambda: data, at, batch_size=6)
    assert whole.run is not None
    assert whole.run.progress.step == 4 * EPOCHS
    assert resumed.ended == whole.ended
    assert resumed.seen == whole.seen


def test_validation_every_other_epoch_goes_on(data: Any) -> None:
    """`validation_freq` counts epochs over the whole run."""
    whole, resumed = cut_and_resumed(small, lambda: data, 5, batch_size=12, validation_data=data, validation_freq=2, epochs=4)
    assert resumed.ended == whole.ended


class OwnStep(keras.Model):  # type: ignore[misc]  # Keras ships no types
    """A model with its own training step and logs."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = layers.Dense(1)

    def call(self, inputs: Any) -> Any:
        return self.dense(inputs)

    def train_step(self, data: Any) -> dict[str, Any]:
        logs = super().train_step(data)
        return {"own_loss": logs["loss"] * 2}


def test_the_logs_of_a_training_step_of_ones_own_are_the_epochs(data: Any) -> None:
    """Cut in its validation, an epoch ends with the logs that the model's own `train_step` gave for its last batch."""

    def own() -> Any:
        keras.utils.set_random_seed(3)
        model = OwnStep()
        model.compile("adam", "mse", run_eagerly=True)
        return model

    whole, resumed = cut_and_resumed(own, lambda: data, 3, batch_size=12, validation_data=data, monitor="val_loss")
    assert resumed.ended == whole.ended
    assert resumed.run is not None
    assert sorted(resumed.run.history) == ["own_loss", "val_loss"]


def after(model: Any, data: Any, epochs: int = 2, plugins: Any = (), **kwargs: Any) -> Run:
    """A run with a checkpoint of every step and every epoch."""
    checkpoint = Checkpoint("runs", every_n_steps=1, every_n_epochs=kwargs.pop("every_n_epochs", 1), keep_last=None)
    return fit(model, *data, batch_size=6, epochs=epochs, verbose=0, plugins=[*plugins, checkpoint], **kwargs)


def step(number: int) -> Path:
    return Path("runs") / f"step-{number:08d}"


def values_of(model: Any) -> list[bytes]:
    return [variable.numpy().tobytes() for variable in [*model.variables, *model.optimizer.variables]]


def test_a_run_with_nothing_left_trains_nothing(data: Any, train_by_fit: Any) -> None:
    """Resumed from its last checkpoint, a completed run completes again: averages and best weights end where they did."""
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


def test_a_run_goes_on_for_more_epochs(data: Any) -> None:
    """With a larger `epochs` a completed run continues."""
    after(small(), data)
    run = after(small(), data, epochs=3, resume="auto")
    assert (run.outcome, run.progress.step, run.history.epochs) == ("completed", 12, [0, 1, 2])


def test_a_stopped_run_stays_stopped(data: Any) -> None:
    """No epoch runs after a vote to stop; the reasons are those of the run before, and so is the outcome."""
    worse = [EarlyStopping("loss", mode="max", patience=1, restore_best_weights=True)]
    model, again = small(), small()
    whole = after(model, data, epochs=9, plugins=worse)
    run = after(again, data, epochs=9, plugins=worse, resume="auto")
    assert whole.outcome == "stopped"
    assert (run.outcome, run.stop_reasons, run.decisions) == (whole.outcome, whole.stop_reasons, whole.decisions)
    assert values_of(again) == values_of(model)


def test_an_epoch_in_which_the_run_was_stopped_is_ended(data: Any) -> None:
    """Keras validates and ends an epoch that is stopped after a batch, and so does the run that is resumed there."""

    def stopping() -> Any:
        @hookimpl
        def on_batch_end(run: Run) -> None:
            if run.progress.step == 6:
                run.stop("enough")

        return types.SimpleNamespace(name="stopping", on_batch_end=on_batch_end)

    model, again = small(), small()
    # Nothing at the epoch's end, which would replace the checkpoint of the same step.
    whole = after(model, data, plugins=[stopping()], validation_data=data, every_n_epochs=None)
    assert (whole.progress.step, whole.history.epochs) == (6, [0, 1])
    run = after(again, data, plugins=[stopping()], validation_data=data, every_n_epochs=None, resume="auto")
    assert (run.outcome, run.progress.step) == ("stopped", 6)
    assert run.history.state_dict() == whole.history.state_dict()
    assert run.stop_reasons == whole.stop_reasons
    assert values_of(again) == values_of(model)


def test_the_models_next_fit_begins_where_it_is_told_to(data: Any) -> None:
    """Resuming leaves nothing in the model: its next `fit` trains all its epochs, and every batch of them."""
    after(small(), data)
    model = small()
    own = model.make_train_function() or model.train_function
    after(model, data, resume=step(6))
    assert model.train_function is own
    history = model.fit(*data, batch_size=6, epochs=2, verbose=0)
    assert history.epoch == [0, 1]
    assert int(model.optimizer.iterations) == 16


def test_an_earlier_epoch_wins_over_initial_epoch(data: Any) -> None:
    """A run that was cut in its first epoch is resumed there, whatever `initial_epoch` says."""
    after(small(), data)
    run = after(small(), data, resume=step(2), initial_epoch=1)
    assert (run.history.epochs, run.progress.step) == ([0, 1], 8)


def test_nothing_stays_in_the_model_where_resuming_fails(data: Any, raising: Any) -> None:
    """A plugin that raises when the run begins, or a callback while batches are skipped, leaves the model as it was."""
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


def test_callbacks_see_batches_that_are_passed_over_without_logs(data: Any, watch: Any) -> None:
    """A Keras callback sees the skipped batches without logs, and the last of them with the logs that it had."""
    first, second = watch(), watch()
    after(small(), data, callbacks=[first])
    after(small(), data, callbacks=[second], resume=step(6))
    assert second.batches[0] == {}
    assert second.batches[1:] == first.batches[5:]
    assert second.epochs == first.epochs[1:]


def test_a_drop_in_saves_no_batch_twice(data: Any) -> None:
    """`ModelCheckpoint` beside a resumed run writes no file of a skipped batch with the weights of another."""
    after(small(), data)
    saving = ModelCheckpoint("b{batch}.weights.h5", save_freq=1, save_weights_only=True)
    after(small(), data, epochs=1, callbacks=[saving], resume=step(2))
    assert sorted(path.name for path in Path().glob("b*.h5")) == ["b2.weights.h5", "b3.weights.h5", "b4.weights.h5"]
    expected = keras.models.load_model(step(2) / "model.keras")
    model = small()
    model.optimizer.build(model.trainable_variables)
    model.load_weights("b2.weights.h5")
    assert [weight.tobytes() for weight in model.get_weights()] == [weight.tobytes() for weight in expected.get_weights()]


@pytest.mark.filterwarnings("ignore:Your input ran out of data:UserWarning")  # Keras says it whenever data end
@pytest.mark.parametrize("kind", ["arrays", "a dataset of unknown length"])
def test_data_that_end_too_early_are_told_of(data: Any, caplog: pytest.LogCaptureFixture, kind: str) -> None:
    """If the data have fewer batches than were trained before, the log warns, and the run continues with the next epoch."""
    before = after(small(), data)
    short = KINDS[kind]((data[0][:12], data[1][:12]))
    arguments = {"batch_size": 6} if kind == "arrays" else {"shuffle": False}
    run = fit(small(), *short, epochs=2, verbose=0, plugins=[Checkpoint("other")], resume=step(3), **arguments)
    assert "epoch 1 had 1 batches more when it was cut than its data have now" in caplog.text
    assert (run.outcome, run.history.epochs, run.progress.step) == ("completed", [0, 1], 5)
    assert run.history["loss"][0] == pytest.approx(before.history["loss"][0], rel=0.2)


def test_what_can_be_told_of_the_order_is_said(data: Any, caplog: pytest.LogCaptureFixture, monkeypatch: Any) -> None:
    """Data that are shuffled without a seed, or continue from epoch to epoch, come in another order: the log warns."""
    caplog.set_level(logging.WARNING, logger="hookcore")
    after(small(), data)
    after(small(), data, resume=step(6))
    assert caplog.text == ""
    monkeypatch.setattr("hookcore_adapters.keras.data.get_random_seed", lambda: None)
    after(small(), data, resume=step(8))
    assert [message for message in caplog.messages if "trained nothing" not in message] == []
    caplog.clear()
    shutil.rmtree("runs")
    after(small(), data)
    after(small(), data, resume=step(6))
    assert "shuffled without a seed" in caplog.text
    caplog.clear()
    shutil.rmtree("runs")
    endless = (known(data).repeat(),)
    arguments: dict[str, Any] = {"plugins": [Checkpoint("runs")], "steps_per_epoch": 3, "shuffle": False, "verbose": 0}
    fit(small(), *endless, epochs=1, **arguments)
    fit(small(), *endless, epochs=2, resume="auto", **arguments)
    assert "the data may continue from epoch to epoch" in caplog.text


def test_another_backend_begins_the_epoch_again(data: Any, caplog: pytest.LogCaptureFixture, monkeypatch: Any) -> None:
    """If the batches cannot be skipped, the log says that the epoch begins again, and all its batches are trained."""
    # No other backend is installed here; what it cannot do is all that differs.
    for module in ("resuming", "skip_batches"):
        monkeypatch.setattr(f"hookcore_adapters.keras.{module}.can_skip_batches", lambda: False)
    after(small(), data)
    run = after(small(), data, resume=step(6))
    assert "epoch 2 begins again with its first batch, although 2 were trained" in caplog.text
    assert (run.outcome, run.progress.step, run.history.epochs) == ("completed", 10, [0, 1])
    assert state.loads((step(7) / "run.json").read_text())["position"]["batch"] == 1


def test_metrics_that_have_changed_are_told_of(data: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Other metrics than before are those of the rest of the epoch."""
    after(small(), data)
    run = after(small(metrics=["mae", "AUC"]), data, resume=step(2))
    assert "the metrics have changed" in caplog.text
    assert run.outcome == "completed"


def test_a_model_that_is_not_built_is_refused_where_its_data_do_not_tell(data: Any) -> None:
    """`KerasAdapter` knows no data, and a generator shows none: the error says to build the model, before anything is trained."""
    after(small(), data)
    model = small(built=False)
    match = "cannot be resumed before it is built"
    with pytest.raises(CheckpointError, match=match):
        model.fit(*data, verbose=0, callbacks=[KerasAdapter(resume=step(6))])
    with pytest.raises(CheckpointError, match=match):
        fit(model, (batch for batch in [data]), shuffle=False, verbose=0, resume=step(6))
    assert not model.built


@pytest.mark.parametrize("change", [{"epoch": None}, {"epoch": {"logs": {}, "metrics": [], "random": 3}}, {}], ids=str)
def test_what_keras_cannot_go_on_from_is_refused(data: Any, change: dict[str, Any]) -> None:
    """A checkpoint in an epoch without what Keras needs, as another adapter makes it, is refused before anything is trained."""
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
    with pytest.raises(CheckpointError, match="cannot be resumed by Keras within an epoch"):
        after(small(), data, plugins=[noting], resume="other")
    assert begun == []


def test_a_damaged_checkpoint_is_passed_over(data: Any, caplog: pytest.LogCaptureFixture) -> None:
    """`resume="auto"` resumes from the newest that verifies, and names the damaged one."""
    after(small(), data)
    with (step(8) / "model.keras").open("ab") as file:
        file.write(b"x")
    run = after(small(), data, resume="auto")
    assert "step-00000008" in caplog.text
    assert run.resumed_from is not None
    assert run.resumed_from.step == 7


def test_a_run_begins_anew_where_there_is_no_checkpoint_yet(data: Any) -> None:
    """`resume="auto"` may stand in the script from the start."""
    run = after(small(), data, resume="auto")
    assert run.resumed_from is None
    assert run.progress.step == 8


def test_the_checkpoint_of_another_model_changes_nothing(data: Any) -> None:
    """It is refused with the variables that differ, and the model, the plugins and what is saved stay as they were."""
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
    """A batch that Keras began and that never came does not take the epoch's metrics with it."""

    def short() -> tuple[Any, ...]:
        return (tf.data.Dataset.from_tensor_slices(data).batch(5),)

    batches = len(data[0]) // 5 + bool(len(data[0]) % 5)
    arguments = {"epochs": 1, "steps_per_epoch": batches + 2, "validation_data": data, "shuffle": False}
    whole, resumed = cut_and_resumed(small, short, 1 + batches, **arguments)
    assert resumed.ended == whole.ended
    assert resumed.seen == whole.seen


def test_a_vote_before_the_batches_that_go_by_stops_after_them(data: Any, caplog: pytest.LogCaptureFixture) -> None:
    """A resumed run whose plugin votes at its beginning finishes the epoch that was cut with the batches that were trained."""
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
