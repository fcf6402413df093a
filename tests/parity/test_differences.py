"""Every deliberate difference between Keras and hookcore, listed in docs/differences-from-keras.md."""

from __future__ import annotations

import errno
import functools
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import keras
import numpy as np
import pytest

import hookcore_plugins as plugins
from hookcore import CheckpointError, MetricError, PluginError, Run, hookimpl, store
from hookcore.testing import ScriptedTrainee
from hookcore_adapters.keras import KerasAdapter, KerasTrainee
from hookcore_adapters.keras import fit as keras_fit
from hookcore_adapters.loop import Loop
from tests.adapters.keras.backends import BACKEND, only_on
from tests.parity.boards import points, steps
from tests.parity.models import Breaks, X, Y, tiny, trained
from tests.parity.protocol import Epoch, StandIn, drop_in, epochs_of, fit, said, stock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from hookcore.trainee import Mode

NAN: Final = math.nan
NEEDS_TENSORFLOW: Final = only_on("tensorflow", what="Keras's own TensorBoard")


def stopped_at(callback: Any, values: Iterable[float | None], monitor: str = "loss") -> int | None:
    """Return the epoch in which the fit over `values` was stopped, or None."""
    model = StandIn()
    fit(callback, model, epochs_of(monitor, values))
    return model.batches - 1 if model.stop_training else None


def looped(plugin: object, values: Iterable[float | None], monitor: str = "loss", **directions: Mode) -> tuple[Run, list[float]]:
    """Run the plugin in a hand-written loop over the values, and return the run and the learning rate after each epoch."""
    series = list(values)
    trainee = ScriptedTrainee(learning_rate=1.0, directions=directions)
    rates = []
    with Loop([plugin], epochs=len(series), trainee=trainee) as loop:
        for epoch in loop.epochs():
            rates.append(trainee.learning_rate)
            value = series[epoch]
            loop.log({"other": 1.0} if value is None else {monitor: value})
    return loop.run, [*rates[1:], trainee.learning_rate]


def rates_of(callback: Any, values: Iterable[float | None], rate: float = 1.0) -> list[float]:
    """Return the learning rate after each epoch."""
    model = StandIn(keras.optimizers.SGD(rate))
    rates: list[float] = []
    fit(callback, model, epochs_of("loss", values), lambda _: rates.append(float(model.optimizer.learning_rate)))
    return rates[:-1]


def saved_by(callback: Any, values: Iterable[float | None]) -> list[str]:
    """Return the names of the files that a ModelCheckpoint saved, in order."""
    names: list[str] = []
    fit(callback, StandIn(save=lambda path: write(path, names)), epochs_of("loss", values))
    return names


def write(path: Any, names: list[str]) -> None:
    Path(path).write_text("whole")
    names.append(Path(path).name)


# Metrics, directions and parameters


def test_nan_never_becomes_best(tmp_path: Path) -> None:
    """After an initial NaN, no value is better for Keras; here the first number is."""
    values = [NAN, 3.0, 2.0, 1.0]
    theirs, ours = (make("EarlyStopping", "loss", patience=2) for make in (stock, drop_in))
    assert stopped_at(theirs, values) == 2
    assert math.isnan(theirs.best)
    assert stopped_at(ours, values) is None
    assert ours.best == 1.0
    checkpoints = [make("ModelCheckpoint", tmp_path / "{epoch}.keras", "loss", save_best_only=True) for make in (stock, drop_in)]
    assert [saved_by(checkpoint, values) for checkpoint in checkpoints] == [["1.keras"], ["2.keras", "3.keras", "4.keras"]]
    theirs, ours = (make("ReduceLROnPlateau", "loss", patience=2, factor=0.5) for make in (stock, drop_in))
    assert rates_of(theirs, values) == [1.0, 1.0, 0.5, 0.5]
    assert rates_of(ours, values) == [1.0, 1.0, 1.0, 1.0]


def test_comparisons_are_in_float64() -> None:
    """A gain of 1e-9 is lost in Keras's float32, but counts here."""
    values = [0.1, 0.1 - 1e-9, 0.1 - 2e-9]
    theirs, ours = (make("EarlyStopping", "loss", patience=1) for make in (stock, drop_in))
    assert stopped_at(theirs, values) == 1
    assert stopped_at(ours, values) is None
    assert ours.best == values[-1]


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("EarlyStopping", {}),
        ("ReduceLROnPlateau", {}),
        ("ModelCheckpoint", {"filepath": "a.keras", "save_best_only": True}),
    ],
)
def test_an_unknown_direction_is_an_error_before_training(name: str, parameters: dict[str, Any]) -> None:
    """Keras trains an epoch before it refuses a metric of unknown direction; here it is an error before training."""
    trained_before = []
    for make in (stock, drop_in):
        model = StandIn(keras.optimizers.SGD())
        with pytest.raises(ValueError, match="mode='min'"):
            fit(make(name, monitor="score", **parameters), model, epochs_of("score", [1.0]))
        trained_before.append(model.batches)
    assert trained_before == [1, 0]
    with pytest.raises(MetricError, match="mode='min'"):
        looped(plugins.EarlyStopping("score"), [1.0], "score")


def test_the_direction_of_an_outputs_metric_is_known() -> None:
    """Keras does not know the directions of the metrics of several outputs by their names in the logs; here they are known."""
    entry = keras.Input((3,))
    model = keras.Model(entry, {name: keras.layers.Dense(1, name=name)(entry) for name in ("a", "b")})
    model.compile(loss="mse", metrics={"a": ["mae"], "b": ["r2_score"]})
    with pytest.raises(ValueError, match="val_b_r2_score"):
        fit(stock("EarlyStopping", "val_b_r2_score"), model_of(model), epochs_of("val_b_r2_score", [1.0]))
    ours = drop_in("EarlyStopping", "val_b_r2_score")
    fit(ours, model_of(model), epochs_of("val_b_r2_score", [1.0]))
    assert ours.monitor_op is keras.ops.greater


def model_of(model: Any) -> Any:
    """Return `model` with the attributes that the protocol needs."""
    model.batches = 0
    return model


def test_a_missing_metric(tmp_path: Path) -> None:
    """Keras and the drop-ins warn, continue, and still save; the plugins raise an error."""
    for make in (stock, drop_in):
        for name in ("EarlyStopping", "ReduceLROnPlateau"):
            messages = fit(make(name, "accurcy", mode="max"), StandIn(keras.optimizers.SGD()), epochs_of("accuracy", [1.0, 1.0]))
            assert sum("metric `accurcy` which is not available" in message for message in messages) == 2
        checkpoint = make("ModelCheckpoint", tmp_path / "{epoch}.keras", "accurcy", save_best_only=True, mode="max")
        assert saved_by(checkpoint, [2.0, 1.0]) == ["1.keras", "2.keras"]
    for plugin in (
        plugins.EarlyStopping("accurcy", mode="max"),
        plugins.ReduceLROnPlateau("accurcy", mode="max"),
        plugins.Checkpoint(tmp_path / "kept", "accurcy", mode="max", save_best_only=True),
    ):
        with pytest.raises(MetricError, match=r"no metric 'accurcy'.*Did you mean 'accuracy'"):
            looped(plugin, [1.0], "accuracy")


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("EarlyStopping", {"baseline": NAN}),
        ("EarlyStopping", {"min_delta": math.inf}),
        ("ReduceLROnPlateau", {"min_delta": NAN}),
        ("ReduceLROnPlateau", {"min_lr": NAN}),
        ("ReduceLROnPlateau", {"factor": NAN}),
        ("ReduceLROnPlateau", {"factor": 0.0}),
        ("ReduceLROnPlateau", {"factor": -0.5}),
        ("ModelCheckpoint", {"filepath": "a.keras", "save_freq": 0}),
        ("ModelCheckpoint", {"filepath": "a.keras", "save_freq": -1}),
        ("ModelCheckpoint", {"filepath": "a.keras", "save_freq": True}),
        ("BackupAndRestore", {"backup_dir": "a", "save_freq": 0}),
        ("BackupAndRestore", {"backup_dir": "a", "save_freq": True}),
        ("TensorBoard", {"histogram_freq": -1}),
        ("TensorBoard", {"embeddings_freq": NAN}),
        ("TensorBoard", {"update_freq": 0}),
        ("TensorBoard", {"update_freq": "epochs"}),
    ],
)
def test_parameters_out_of_range_are_refused(name: str, parameters: dict[str, Any]) -> None:
    """Keras accepts parameters that make learning rates NaN or negative, or save every batch; here they are refused."""
    stock(name, **parameters)
    with pytest.raises(ValueError, match=rf"{list(parameters)[-1]}"):
        drop_in(name, **parameters)


def test_unknown_keywords_are_refused() -> None:
    """Keras's ReduceLROnPlateau ignores unknown keywords, such as misspelt ones; here they are refused."""
    stock("ReduceLROnPlateau", patince=3)
    with pytest.raises(TypeError, match="patince"):
        drop_in("ReduceLROnPlateau", patince=3)


def test_min_delta_keeps_its_sign() -> None:
    """In training, Keras makes the attribute `min_delta` negative if smaller is better; here it keeps its sign."""
    theirs, ours = (make("EarlyStopping", "loss", min_delta=0.5) for make in (stock, drop_in))
    for callback in (theirs, ours):
        fit(callback, StandIn(), epochs_of("loss", [1.0]))
    assert (theirs.min_delta, ours.min_delta) == (-0.5, 0.5)


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("ModelCheckpoint", "gs://bucket/a.keras"),
        pytest.param("BackupAndRestore", "gs://bucket/a", marks=only_on("tensorflow", what="Keras's own at an address")),
        ("CSVLogger", "gs://bucket/a"),
        ("TensorBoard", "gs://bucket/a"),
    ],
)
def test_addresses_are_refused(name: str, path: str) -> None:
    """Keras writes to any address that TensorFlow supports; here files must be local, because each is replaced atomically."""
    stock(name, path)
    with pytest.raises(ValueError, match="is not a local path"):
        drop_in(name, path)


# Learning rates


def test_cooldown_counts_what_it_says() -> None:
    """After a reduction, Keras and the drop-in skip one observation less than `cooldown`; the plugin skips as many."""
    values, parameters = [1.0] * 7, cast("dict[str, Any]", {"patience": 1, "factor": 0.5, "cooldown": 2})
    theirs, ours = (make("ReduceLROnPlateau", "loss", **parameters) for make in (stock, drop_in))
    assert rates_of(theirs, values) == rates_of(ours, values) == [1.0, 0.5, 0.5, 0.25, 0.25, 0.125, 0.125]
    _, rates = looped(plugins.ReduceLROnPlateau("loss", **parameters), values)
    assert rates == [1.0, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25]


def test_a_reduction_by_nothing_is_none() -> None:
    """Keras reports a reduction, and begins the cooldown, if the rate changes by less than a millionth; here not."""
    said_so = []
    for make in (stock, drop_in):
        callback = make("ReduceLROnPlateau", "loss", patience=1, factor=1 - 1e-9, verbose=1)
        messages = fit(callback, StandIn(keras.optimizers.SGD(1.0)), epochs_of("loss", [1.0, 1.0]))
        said_so.append(any("reducing learning rate to 0.999999999" in message for message in messages))
    assert said_so == [True, False]


@pytest.mark.parametrize(("name", "argument"), [("ReduceLROnPlateau", "loss"), ("LearningRateScheduler", lambda _: 1.0)])
def test_a_schedule_is_refused_before_training(name: str, argument: Any) -> None:
    """If the optimizer has a schedule, Keras fails at the first change of the rate; here it is refused before training."""
    trained_before = []
    for make in (stock, drop_in):
        callback = make(name, argument, **({"patience": 2} if name == "ReduceLROnPlateau" else {}))
        model = StandIn(keras.optimizers.SGD(keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.9)))
        with pytest.raises(TypeError, match="created with a `LearningRateSchedule`"):
            fit(callback, model, epochs_of("loss", [1.0] * 5))
        trained_before.append(model.batches)
    assert trained_before == [3 if name == "ReduceLROnPlateau" else 0, 0]


def test_several_optimizers_are_refused() -> None:
    """Keras sets the rate of each optimizer of a MultiOptimizer; here a run has one learning rate."""
    optimizers = keras.src.optimizers.multi_optimizer
    several = optimizers.MultiOptimizer(optimizers.OptimizerMap(keras.optimizers.SGD(1.0)))
    for name, argument in (("ReduceLROnPlateau", "loss"), ("LearningRateScheduler", lambda _: 0.5)):
        fit(stock(name, argument), StandIn(several), epochs_of("loss", [1.0]))
        with pytest.raises(TypeError, match="MultiOptimizer has no learning rate to set"):
            fit(drop_in(name, argument), StandIn(several), epochs_of("loss", [1.0]))


def test_a_type_error_in_a_schedule_is_not_masked() -> None:
    """Keras treats any TypeError as a schedule without a rate, and reports a missing argument; here the error is raised."""

    def schedule(epoch: int, rate: Any) -> Any:
        return rate + "0" * epoch

    for make, message in ((stock, "missing 1 required positional argument"), (drop_in, "unsupported operand")):
        with pytest.raises(TypeError, match=message):
            rates_of(make("LearningRateScheduler", schedule), [1.0])


@pytest.mark.parametrize("returned", [2, np.float16(2), keras.ops.convert_to_tensor(2.0)])
def test_a_schedule_may_return_any_number(returned: Any) -> None:
    """Keras accepts only floats, not integers or the tensor in its own documentation; here any number is accepted."""
    with pytest.raises(ValueError, match="should be a float"):
        rates_of(stock("LearningRateScheduler", lambda _: returned), [1.0])
    assert rates_of(drop_in("LearningRateScheduler", lambda _: returned), [1.0]) == [2.0]


@pytest.mark.parametrize("returned", [NAN, math.inf, -1.0])
def test_a_schedule_must_return_a_possible_rate(returned: float) -> None:
    """Keras sets a learning rate that is negative or NaN; here it is an error."""
    assert repr(rates_of(stock("LearningRateScheduler", lambda _: returned), [1.0])) == repr([returned])
    with pytest.raises(ValueError, match="finite number of at least 0"):
        rates_of(drop_in("LearningRateScheduler", lambda _: returned), [1.0])


def test_a_schedules_second_argument_with_a_default() -> None:
    """Keras and the drop-in pass the rate to a schedule that accepts it; the plugin only to one that requires it."""

    def schedule(epoch: int, rate: float = 8.0) -> float:
        return rate / (2 + 2 * epoch)

    theirs, ours = (make("LearningRateScheduler", schedule) for make in (stock, drop_in))
    assert rates_of(theirs, [1.0, 1.0]) == rates_of(ours, [1.0, 1.0]) == [0.5, 0.125]
    trainee = ScriptedTrainee()
    with Loop([plugins.LearningRateSchedule(schedule)], epochs=2, trainee=trainee) as loop:
        assert [trainee.learning_rate for _ in loop.epochs()] == [4.0, 2.0]


# Saving


@pytest.mark.parametrize("kind", [{"filepath": "a.keras"}, {"filepath": "a.weights.h5", "save_weights_only": True}])
def test_a_checkpoint_is_atomic(tmp_path: Path, kind: dict[str, Any]) -> None:
    """A save that fails destroys Keras's earlier file; here the earlier file is kept."""

    def save(path: Any) -> None:
        with Path(path).open("w") as file:
            file.write("whole" if model.batches == 1 else "tor")
            if model.batches == 2:
                raise OSError(errno.ENOSPC, "no space left")

    left = []
    for make in (stock, drop_in):
        directory = tmp_path / make.__name__
        directory.mkdir()
        callback = make("ModelCheckpoint", **{**kind, "filepath": directory / kind["filepath"]})
        model = StandIn(save=save)
        with pytest.raises(OSError, match="no space left"):
            fit(callback, model, epochs_of("loss", [2.0, 1.0]))
        left.append([(path.name, path.read_text()) for path in directory.iterdir()])
    assert left == [[(kind["filepath"], "tor")], [(kind["filepath"], "whole")]]


def test_integer_save_freq_works_with_save_best_only(tmp_path: Path) -> None:
    """Keras ends the first epoch with a TypeError, because it has not chosen its comparison; here it works."""
    values = [3.0, 4.0, 2.0, 2.0, 1.0, 5.0]
    epoch = [Epoch({"loss": 1.0}, [{"loss": value} for value in values])]
    parameters = {"monitor": "loss", "save_best_only": True, "save_freq": 2}
    with pytest.raises(TypeError, match="not callable"):
        fit(stock("ModelCheckpoint", tmp_path / "{batch}.keras", **parameters), StandIn(), epoch)
    names: list[str] = []
    ours = drop_in("ModelCheckpoint", tmp_path / "{batch}.keras", **parameters)
    fit(ours, StandIn(save=lambda path: write(path, names)), epoch)
    assert names == ["2.keras", "4.keras"]
    assert ours.best == 2.0


@pytest.mark.parametrize(
    ("at_once", "steps", "save_freq", "expected"),
    [
        pytest.param(5, 12, 12, [["1-15", "2-15"], ["1-12", "2-12"]], id="past the end"),
        pytest.param(5, 12, 13, [["1-15", "2-15"], ["2-5"]], id="too early"),
        pytest.param(5, None, 13, [["1-15", "2-15"]] * 2, id="unknown length"),
        pytest.param(3, 12, 4, [["1-6", "1-12", "2-6", "2-12"], ["1-6", "1-9", "1-12", "2-6", "2-9", "2-12"]], id="remainder"),
    ],
)
def test_executions_of_several_batches_are_counted(
    tmp_path: Path, at_once: int, steps: int | None, save_freq: int, expected: list[list[str]]
) -> None:
    """With several batches per execution, Keras counts past the end of the data, and loses the remainder after each save."""
    saved = []
    for make in (stock, drop_in):
        names: list[str] = []
        callback = make("ModelCheckpoint", tmp_path / "{epoch}-{batch}.keras", save_freq=save_freq)
        callback.set_model(StandIn(save=functools.partial(write, names=names)))
        callback.set_params({"epochs": 2, "steps": steps})
        callback.on_train_begin({})
        for epoch in range(2):
            callback.on_epoch_begin(epoch, {})
            for first in range(0, 12, at_once):
                callback.on_train_batch_end(first + at_once - 1, logs={"loss": 1.0})
            callback.on_epoch_end(epoch, {"loss": 1.0})
        saved.append([name.removesuffix(".keras") for name in names])
    assert saved == expected


def test_a_monitor_that_is_not_used_is_not_checked(tmp_path: Path) -> None:
    """Keras checks the direction of `monitor` even if every epoch is saved; here only if it is used."""
    with pytest.raises(ValueError, match="mode='min'"):
        saved_by(stock("ModelCheckpoint", tmp_path / "{epoch}.keras", "score"), [1.0, 2.0])
    assert saved_by(drop_in("ModelCheckpoint", tmp_path / "{epoch}.keras", "score"), [1.0, 2.0]) == ["1.keras", "2.keras"]


def test_which_checkpoints_are_kept(tmp_path: Path) -> None:
    """ModelCheckpoint writes files with your names; the plugin writes directories, and keeps the last and the best."""
    values = [5.0, 1.0, 4.0, 3.0, 2.0]
    for make in (stock, drop_in):
        directory = tmp_path / make.__name__
        directory.mkdir()
        saved_by(make("ModelCheckpoint", directory / "{epoch}.keras"), values)
        assert sorted(path.name for path in directory.iterdir()) == [f"{epoch}.keras" for epoch in range(1, 6)]
    looped(plugins.Checkpoint(tmp_path / "kept", "loss"), values)
    assert [saved.epoch for saved in store.available(tmp_path / "kept")] == [1, 2, 3, 4]


# Restarts after a crash


def test_state_survives_a_restart(tmp_path: Path) -> None:
    """After a restart, Keras's EarlyStopping starts to wait again; here it continues to count."""
    waited = []
    for make in (stock, drop_in):
        backup = tmp_path / make.__name__
        # The loss falls, so that for "max" only the first epoch is an improvement.
        crashed = [make("EarlyStopping", "loss", patience=4, mode="max"), make("BackupAndRestore", backup), Breaks(epoch=3)]
        trained(tiny(), crashed, epochs=9)
        again = [make("BackupAndRestore", backup), make("EarlyStopping", "loss", patience=4, mode="max")]
        waited.append(sorted({epoch for epoch, _ in trained(tiny(), again, epochs=9)}))
    assert waited == [[3, 4, 5, 6, 7], [3, 4]]


def test_the_best_value_survives_a_restart(tmp_path: Path) -> None:
    """After a restart, Keras's ModelCheckpoint treats the first value as the best; here the best value is restored."""
    saved = []
    for make in (stock, drop_in):
        backup, path = tmp_path / f"{make.__name__}-backup", str(tmp_path / make.__name__ / "{epoch}.weights.h5")
        parameters = {"save_best_only": True, "save_weights_only": True, "mode": "max"}
        for callbacks in ([Breaks(epoch=2)], []):
            checkpoint = make("ModelCheckpoint", path, "loss", **parameters)
            trained(tiny(), [make("BackupAndRestore", backup), checkpoint, *callbacks], epochs=3)
        saved.append(sorted(file.name for file in (tmp_path / make.__name__).iterdir()))
    assert saved == [["1.weights.h5", "3.weights.h5"], ["1.weights.h5"]]


def test_which_weights_are_in_the_model_survives_a_restart(tmp_path: Path) -> None:
    """After a restart, Keras trains the averaged weights that were swapped in; here they are swapped out first."""
    as_uncut = []
    for make in (stock, drop_in):
        ends = []
        for name, breaks in (("uncut", []), ("cut", [Breaks(epoch=2)]), ("cut", [])):
            model = tiny(optimizer=keras.optimizers.SGD(0.1, use_ema=True, ema_momentum=0.5))
            backup = make("BackupAndRestore", tmp_path / make.__name__ / name)
            trained(model, [make("SwapEMAWeights", swap_on_epoch=True), backup, *breaks], epochs=4)
            ends.append(model.get_weights())
        as_uncut.append(all(map(np.array_equal, ends[0], ends[-1])))
    assert as_uncut == [False, True]


@NEEDS_TENSORFLOW
def test_the_steps_of_tensorboard_survive_a_restart(tmp_path: Path) -> None:
    """After a restart, Keras counts batches from 1 again, beside points after the backup; here each step has one point."""
    found = []
    for make in (stock, drop_in):
        directory = tmp_path / make.__name__
        for breaks in ([Breaks(batches=5)], []):
            board, backup = (
                make("TensorBoard", directory, update_freq=1),
                make("BackupAndRestore", tmp_path / f"{make.__name__}-b"),
            )
            trained(tiny(), [board, backup, *breaks])
            for writer in board._writers.values():
                writer.flush()
        found.append(steps(directory, "batch_loss"))
    assert found == [[1, 2, 3, 4, 5, 1, 2, 3, 4], [1, 2, 3, 4, 5, 6, 7, 8]]


def test_a_restart_leaves_no_initial_epoch_behind(tmp_path: Path) -> None:
    """After a resumed fit, Keras begins the model's later fits in that epoch too; here they begin with their own."""
    epochs = []
    for make in (stock, drop_in):
        backup = tmp_path / make.__name__
        trained(tiny(), [make("BackupAndRestore", backup), Breaks(epoch=2)])
        model = tiny()
        trained(model, [make("BackupAndRestore", backup)])
        epochs.append(sorted({epoch for epoch, _ in trained(model, [])}))
    assert epochs == [[2, 3], [0, 1, 2, 3]]


def test_a_restart_goes_on_with_the_next_batch(tmp_path: Path) -> None:
    """Keras saves the batch but does not read it, and trains the epoch's first batches twice; here it continues with the next."""
    batches, updates = [], []
    for make in (stock, drop_in):
        backup = tmp_path / make.__name__
        trained(tiny(), [make("BackupAndRestore", backup, save_freq=1), Breaks(batches=6)], epochs=2, batch_size=2)
        model = tiny()
        batches.append(trained(model, [make("BackupAndRestore", backup)], epochs=2, batch_size=2))
        updates.append(int(model.optimizer.iterations))
    assert batches == [[(1, 0), (1, 1), (1, 2), (1, 3)], [(1, 2), (1, 3)]]
    assert updates == [10, 8]


def test_save_freq_false_saves_nothing_by_count(tmp_path: Path) -> None:
    """Keras documents False, but reads it as 0, and saves after every batch; here it saves nothing by count."""
    saved = []
    for make in (stock, drop_in):
        backup = tmp_path / make.__name__
        trained(tiny(), [make("BackupAndRestore", backup, save_freq=False), Breaks(batches=1)])
        saved.append(any(path.name != ".lock" for path in backup.iterdir()))
    assert saved == [True, False]


def test_only_backups_are_removed(tmp_path: Path) -> None:
    """At the end, Keras removes the whole directory with other files in it; here only backups are removed."""
    left = []
    for make in (stock, drop_in):
        backup = tmp_path / make.__name__
        backup.mkdir()
        (backup / "notes.txt").touch()
        trained(tiny(), [make("BackupAndRestore", backup)], epochs=1)
        left.append([path.name for path in backup.iterdir()] if backup.exists() else None)
    assert left == [None, ["notes.txt"]]


def test_backups_stay_when_the_loss_is_nan(tmp_path: Path) -> None:
    """After TerminateOnNaN, Keras removes the backup that is still needed; here it is kept."""

    class Spoils(keras.callbacks.Callback):  # type: ignore[misc]  # Keras ships no types
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            del logs
            if epoch == 2:
                self.model.set_weights([weight * NAN for weight in self.model.get_weights()])

    left = []
    for make in (stock, drop_in):
        backup = tmp_path / make.__name__
        with said():
            trained(tiny(), [make("TerminateOnNaN"), make("BackupAndRestore", backup), Spoils()])
        left.append(backup.exists())
    assert left == [False, True]


def test_a_backup_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a backup that failed, Keras cannot restart; here the last complete one is used."""

    def tear(self: Any, filepath: Any, **kwargs: Any) -> None:
        del self, kwargs
        Path(filepath).write_bytes(b"torn")
        raise RuntimeError

    class FillsTheDisk(keras.callbacks.Callback):  # type: ignore[misc]  # Keras ships no types
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            del logs
            if epoch == 2:
                monkeypatch.setattr(keras.Model, "save", tear)
                monkeypatch.setattr(keras.Model, "save_weights", tear)
                # Ours does not save by the model.
                monkeypatch.setattr(KerasTrainee, "write", lambda self, _, directory: tear(self, directory / "model.keras"))

    for make in (stock, drop_in):
        trained(tiny(), [make("BackupAndRestore", tmp_path / make.__name__), FillsTheDisk()])
        monkeypatch.undo()
    with pytest.raises(OSError, match="Unable to"):
        trained(tiny(), [stock("BackupAndRestore", tmp_path / "stock")])
    assert trained(tiny(), [drop_in("BackupAndRestore", tmp_path / "drop_in")])[0] == (2, 0)


def test_a_backup_of_the_other_kind_is_not_read(tmp_path: Path) -> None:
    """Backups are hookcore checkpoints, and the drop-in warns that it does not read one of Keras's."""
    trained(tiny(), [stock("BackupAndRestore", tmp_path), Breaks(epoch=2)])
    with pytest.warns(UserWarning, match="holds a backup of keras.callbacks.BackupAndRestore, which is not read"):
        assert trained(tiny(), [drop_in("BackupAndRestore", tmp_path)])[0] == (0, 0)
    assert trained(tiny(), [stock("BackupAndRestore", tmp_path)])[0] == (2, 0)


def test_two_live_fits_do_not_share_backups(tmp_path: Path) -> None:
    """In Keras, two live fits overwrite and remove each other's backups; here the second is refused."""

    def with_callback(make: Any, *others: Any) -> None:
        trained(tiny(), [make("BackupAndRestore", tmp_path / make.__name__), *others], epochs=1)

    def with_plugin(*others: Any) -> None:
        keras_fit(tiny(), X, Y, plugins=[plugins.Checkpoint(tmp_path / "plugin")], callbacks=[*others], epochs=1, verbose=0)

    def beside(train: Callable[..., None]) -> None:
        train(keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: train()))

    beside(functools.partial(with_callback, stock))
    for train in (functools.partial(with_callback, drop_in), with_plugin):
        with pytest.raises(CheckpointError, match="is in use: there is a lock"):
            beside(train)


# The end of training


def test_stop_iteration_is_not_the_end_of_the_data() -> None:
    """Except on PyTorch, Keras treats a StopIteration in a callback as the end of the data; here it is an error."""

    class Stops:
        @hookimpl
        def on_batch_end(self, batch: int) -> None:
            if batch == 1:
                raise StopIteration

    def stop(batch: int, logs: Any) -> None:
        del logs
        Stops().on_batch_end(batch)

    model = tiny()
    expected: Any = pytest.warns(UserWarning, match="ran out of data")
    with pytest.raises(StopIteration) if BACKEND == "torch" else expected:
        model.fit(X, Y, batch_size=2, verbose=0, callbacks=[keras.callbacks.LambdaCallback(on_train_batch_end=stop)])
    assert int(model.optimizer.iterations) == 2
    with pytest.raises(PluginError, match="raised StopIteration in on_batch_end"):
        tiny().fit(X, Y, batch_size=2, verbose=0, callbacks=[KerasAdapter([Stops()])])


def test_nan_in_validation() -> None:
    """TerminateOnNaN, Keras's and the drop-in, checks the loss of batches; the plugin also checks epochs and validation."""
    epochs = [Epoch({"loss": 1.0, "val_loss": NAN}, [{"loss": 1.0}])]
    for make in (stock, drop_in):
        model = StandIn()
        fit(make("TerminateOnNaN"), model, epochs)
        assert not model.stop_training
    with Loop([plugins.NaNGuard()], epochs=1) as loop:
        for _ in loop.epochs():
            loop.log(epochs[0].logs)
    assert loop.run.stop_reasons


# Logs


def logged(make: Callable[..., Any], path: Path, *fits: list[Epoch], **parameters: Any) -> str:
    callback = make("CSVLogger", path, **parameters)
    for epochs in fits:
        fit(callback, StandIn(), epochs)
    return path.read_text()


def test_no_phantom_validation_columns(tmp_path: Path) -> None:
    """Without validation, Keras writes an empty `val_` column for each metric; here it does not exist."""
    epochs = [Epoch({"loss": 1.5, "mae": 0.5})]
    assert logged(stock, tmp_path / "a.csv", epochs) == "epoch,loss,mae,val_loss,val_mae\n0,1.5,0.5,NA,NA\n"
    assert logged(drop_in, tmp_path / "b.csv", epochs) == "epoch,loss,mae\n0,1.5,0.5\n"


def test_late_columns_are_kept(tmp_path: Path) -> None:
    """Keras drops a metric that first appears after the first epoch; here it gets a column."""
    epochs = [Epoch({"loss": 1.5, "val_loss": 2.0}), Epoch({"late": 7.0, "loss": 0.5, "val_loss": 1.0})]
    assert logged(stock, tmp_path / "a.csv", epochs) == "epoch,loss,val_loss\n0,1.5,2.0\n1,0.5,1.0\n"
    assert logged(drop_in, tmp_path / "b.csv", epochs) == "epoch,late,loss,val_loss\n0,NA,1.5,2.0\n1,7.0,0.5,1.0\n"


def test_an_earlier_log_is_moved_aside(tmp_path: Path) -> None:
    """Keras overwrites the log of an earlier run; here it is moved aside."""
    for make, kept in ((stock, []), (drop_in, ["drop_in.1.csv"])):
        path = tmp_path / f"{make.__name__}.csv"
        logged(make, path, [Epoch({"loss": 1.0, "val_loss": 1.0})], [Epoch({"loss": 2.0, "val_loss": 2.0})])
        assert path.read_text() == "epoch,loss,val_loss\n0,2.0,2.0\n"
        assert [other.name for other in tmp_path.glob(f"{make.__name__}.*.csv")] == kept


def test_appending_other_columns(tmp_path: Path) -> None:
    """Keras appends other columns under the header of the file; here each value is in its column."""
    fits = [[Epoch({"loss": 1.0, "val_loss": 2.0})], [Epoch({"acc": 0.5, "loss": 3.0, "val_loss": 4.0})]]
    assert logged(stock, tmp_path / "a.csv", *fits, append=True) == "epoch,loss,val_loss\n0,1.0,2.0\n0,0.5,3.0,4.0\n"
    assert logged(drop_in, tmp_path / "b.csv", *fits, append=True) == "epoch,acc,loss,val_loss\n0,NA,1.0,2.0\n0,0.5,3.0,4.0\n"


def test_what_a_cell_holds(tmp_path: Path) -> None:
    """Keras writes arrays and text into cells; here an array has a column for each element, and text is left out."""
    epochs = [Epoch({"f1": np.array([0.5, 0.25]), "note": "warm", "val_loss": 1.0})]
    assert logged(stock, tmp_path / "a.csv", epochs) == 'epoch,f1,note,val_loss\n0,"""[0.5, 0.25]""",warm,1.0\n'
    assert logged(drop_in, tmp_path / "b.csv", epochs) == "epoch,f1_0,f1_1,val_loss\n0,0.5,0.25,1.0\n"


def test_line_ends(tmp_path: Path) -> None:
    """Keras ends lines with CR LF like Excel, and hookcore with LF."""
    ends = []
    for make in (stock, drop_in):
        logged(make, tmp_path / "log.csv", [Epoch({"loss": 1.0})])
        ends.append((tmp_path / "log.csv").read_bytes().endswith(b"\r\n"))
    assert ends == [True, False]


def test_a_log_makes_its_directory(tmp_path: Path) -> None:
    """Keras requires that the directory of a log exists; here it is made."""
    with pytest.raises(FileNotFoundError):
        logged(stock, tmp_path / "new" / "a.csv", [Epoch({"loss": 1.0})])
    assert logged(drop_in, tmp_path / "new" / "a.csv", [Epoch({"loss": 1.0})])


def test_a_log_that_fails_does_not_end_training(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """An error in writing a log ends training in Keras; here it is logged, and the logger is disabled."""
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="Not a directory"):
        fit(stock("CSVLogger", tmp_path / "file" / "a.csv"), StandIn(), epochs_of("loss", [1.0]))
    ours, model = drop_in("CSVLogger", tmp_path / "later" / "a.csv"), StandIn()
    (tmp_path / "later").touch()
    fit(ours, model, epochs_of("loss", [1.0, 1.0]))
    assert model.batches == 2
    assert "is disabled for the rest of the run" in caplog.text


def test_columns_of_the_plugin(tmp_path: Path) -> None:
    """The plugin also writes the step and the learning rate, and leaves cells without a value empty."""
    with Loop([plugins.CSVLog(tmp_path / "a.csv")], epochs=2, trainee=ScriptedTrainee()) as loop:
        for epoch in loop.epochs():
            loop.log({"loss": 1.5} if epoch else {"loss": 1.5, "val_loss": 2.5})
    text = (tmp_path / "a.csv").read_text()
    assert text == "epoch,step,learning_rate,loss,val_loss\n0,1,0.1,1.5,2.5\n1,2,0.1,1.5,\n"
    epochs = [Epoch({"loss": 1.5, "val_loss": 2.5}), Epoch({"loss": 1.5})]
    assert logged(stock, tmp_path / "b.csv", epochs) == logged(drop_in, tmp_path / "c.csv", epochs)


# TensorBoard


def test_tensorboard_without_tensorflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keras's TensorBoard needs TensorFlow on every backend; the drop-in writes without it."""
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with pytest.raises(ModuleNotFoundError):
        fit(stock("TensorBoard", tmp_path, write_graph=False), StandIn(), epochs_of("loss", [1.0]))
    fit(drop_in("TensorBoard", tmp_path, write_graph=False), StandIn(), epochs_of("loss", [2.0, 1.0]))
    assert steps(tmp_path, "epoch_loss") == [0, 1]


@NEEDS_TENSORFLOW
def test_two_boards_are_not_mixed_up(tmp_path: Path) -> None:
    """With metrics of batches, Keras writes those of the first of two callbacks to the second's files; here they are separate."""
    found = []
    for make in (stock, drop_in):
        boards = [tmp_path / f"{make.__name__}-{name}" for name in "ab"]
        trained(tiny(), [make("TensorBoard", board, update_freq=1) for board in boards], epochs=1)
        found.append([steps(board, "batch_loss") for board in boards])
    assert found == [[[], [1, 1, 2, 2]], [[1, 2], [1, 2]]]


@NEEDS_TENSORFLOW
def test_values_that_are_not_finite_are_left_out_of_histograms(tmp_path: Path) -> None:
    """A NaN in the weights makes every bucket of Keras's histogram NaN; here it is left out."""
    found = []
    for make in (stock, drop_in):
        model = tiny()
        model.layers[0].set_weights([np.array([[1.0], [NAN], [2.0]]), np.zeros(1)])
        board = make("TensorBoard", tmp_path / make.__name__, histogram_freq=1)
        board.set_model(model)
        board.on_train_begin()
        board.on_epoch_end(0)
        board.on_train_end()
        found.append(points(tmp_path / make.__name__)["train", f"{model.layers[0].kernel.path}/histogram"][0][2])
    assert np.isnan(np.array(found[0])).any()
    np.testing.assert_allclose([found[1][0], found[1][-1]], [[1.0, 1.0 + 1 / 30, 1.0], [2.0 - 1 / 30, 2.0, 1.0]])


@NEEDS_TENSORFLOW
def test_text_in_the_logs_of_tensorboard(tmp_path: Path) -> None:
    """Text and arrays in the logs end training in Keras; here an array has a chart for each element, and text is left out."""
    epochs = [Epoch({"loss": 1.0, "f1": np.array([0.5, 0.25]), "note": "warm"})]
    with pytest.raises(Exception, match=r"(?i)scalar|cast|shape"):
        fit(stock("TensorBoard", tmp_path / "stock", write_graph=False), StandIn(), epochs)
    fit(drop_in("TensorBoard", tmp_path / "ours", write_graph=False), StandIn(), epochs)
    assert sorted(tag for _, tag in points(tmp_path / "ours")) == ["epoch_f1_0", "epoch_f1_1", "epoch_loss"]


@NEEDS_TENSORFLOW
def test_tensorboard_that_fails_does_not_end_training(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """If the log directory cannot be written, Keras ends training; here the error is logged, and writing stops."""
    (tmp_path / "file").touch()
    with pytest.raises(Exception, match=r"(?i)not a directory"):
        fit(stock("TensorBoard", tmp_path / "file", write_graph=False), StandIn(), epochs_of("loss", [1.0]))
    model = StandIn()
    fit(drop_in("TensorBoard", tmp_path / "file", write_graph=False, update_freq=1), model, epochs_of("loss", [1.0, 1.0]))
    assert model.batches == 2
    assert caplog.text.count("writing has stopped for this run") == 1


@NEEDS_TENSORFLOW
def test_labels_are_left_as_they_were_given(tmp_path: Path) -> None:
    """Keras empties the given mapping, and requires that the log directory exists; here neither holds."""
    left = []
    for make in (stock, drop_in):
        model = keras.Sequential([keras.Input((1,)), keras.layers.Embedding(3, 2, name="words")])
        given = {"words": "words.tsv"}
        board = make("TensorBoard", tmp_path / "new", write_graph=False, embeddings_freq=1, embeddings_metadata=given)
        if make is stock:
            with pytest.raises(FileNotFoundError):
                board.set_model(model)
        else:
            board.set_model(model)
        left.append(given)
    assert left == [{}, {"words": "words.tsv"}]
