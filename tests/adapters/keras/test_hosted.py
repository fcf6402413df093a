"""`from_keras`: existing Keras callbacks as plugins, in Keras and in a hand-written loop."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import pytest

from hookcore import HOOKS, Engine, Outcome, ParameterError, Run, hookimpl
from hookcore_adapters.keras import KerasAdapter, from_keras
from hookcore_adapters.loop import Loop

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    Train = Callable[..., Run]
    Watch = Callable[[], Any]


def loop_over(losses: Sequence[float], *plugins: object, model: Any = None) -> Run:
    """Run a hand-written loop with one batch per epoch."""
    with Loop(plugins, epochs=len(losses), steps_per_epoch=1, model=model) as loop:
        for epoch in loop.epochs():
            for _ in loop.batches([0]):
                loop.log(loss=losses[epoch])
    return loop.run


def test_a_hosted_callback_gets_what_it_gets_from_keras(train: Train, model: Any, data: Any, watch: Watch) -> None:
    """A callback that is hosted in a fit gets the same steps, batches, evaluations and epochs as one beside plugins."""
    hosted, beside = watch(), watch()
    train(model, *data, validation_data=data, batch_size=12, epochs=2, plugins=[from_keras(hosted)], callbacks=[beside])
    for seen in ("steps", "batches", "evaluations", "epochs"):
        assert getattr(hosted, seen) == getattr(beside, seen), seen
    assert hosted.trained is beside.trained is model
    assert hosted.params["epochs"] == 2
    assert type(hosted.epochs[0]) is dict
    assert all(type(value) is float for value in hosted.epochs[0].values())


def test_hosted_early_stopping_stops_a_fit(train: Train, model: Any, data: Any) -> None:
    """Keras's EarlyStopping, hosted, stops the run, and the vote has its name."""
    stopping = from_keras(keras.callbacks.EarlyStopping("loss", min_delta=10.0, patience=2))
    run = train(model, *data, batch_size=24, epochs=9, plugins=[stopping])
    assert run.outcome is Outcome.STOPPED
    assert run.history.epochs == [0, 1, 2]
    assert [(reason.plugin, reason.message) for reason in run.stop_reasons] == [
        ("early_stopping", "EarlyStopping set model.stop_training")
    ]


def test_hosted_early_stopping_stops_a_loop() -> None:
    """Keras's EarlyStopping, hosted in a loop without a model, stops it at the same epoch as in Keras."""
    run = loop_over([3.0, 2.0, 2.0, 2.0, 2.0], from_keras(keras.callbacks.EarlyStopping("loss", patience=2)))
    assert run.history.epochs == [0, 1, 2, 3]
    assert [reason.plugin for reason in run.stop_reasons] == ["early_stopping"]


def test_a_hosted_csv_logger_writes_what_it_writes_in_keras(train: Train, model: Any, data: Any, tmp_path: Path) -> None:
    """CSVLogger, hosted, writes the same file as in Keras."""
    hosted, beside = tmp_path / "hosted.csv", tmp_path / "beside.csv"
    logger = from_keras(keras.callbacks.CSVLogger(hosted))
    train(model, *data, validation_data=data, epochs=2, plugins=[logger], callbacks=[keras.callbacks.CSVLogger(beside)])
    assert len(hosted.read_text().splitlines()) == 3
    assert hosted.read_text() == beside.read_text()


def test_a_hosted_csv_logger_writes_in_a_loop(tmp_path: Path) -> None:
    """CSVLogger, hosted in a loop, writes the loop's metrics."""
    file = tmp_path / "log.csv"
    loop_over([0.5, 0.25], from_keras(keras.callbacks.CSVLogger(file)))
    with file.open() as lines:
        assert [(row["epoch"], row["loss"]) for row in csv.DictReader(lines)] == [("0", "0.5"), ("1", "0.25")]


def test_a_hosted_lambda_callback_is_called(train: Train, model: Any, data: Any) -> None:
    """LambdaCallback, whose methods are attributes, is called for those that it was given."""
    called: list[str] = []
    callback = keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda epoch, logs: called.append(f"begin {epoch} {logs}"),
        on_train_batch_end=lambda batch, logs: called.append(f"batch {batch} {sorted(logs)}"),
        on_train_end=lambda logs: called.append(f"end {sorted(logs)}"),
    )
    plugin = from_keras(callback)
    assert {hook for hook in vars(plugin) if hook.startswith("on_")} == {
        "on_train_begin",
        "on_epoch_begin",
        "on_batch_end",
        "on_train_end",
    }
    train(model, *data, batch_size=12, plugins=[plugin])
    assert called == ["begin 0 {}", "batch 0 ['acc', 'loss']", "batch 1 ['acc', 'loss']", "end ['acc', 'loss']"]


def test_only_the_hooks_that_a_callback_has_are_hosted() -> None:
    """A hosted callback has the hooks of the methods that it overrides, including old names, and the two ends of a run."""

    class Old(keras.callbacks.Callback):  # type: ignore[misc]  # Keras ships no types
        def on_batch_end(self, batch: int, logs: Any = None) -> None:
            del batch, logs

        def on_test_end(self, logs: Any = None) -> None:
            del logs

    engine = Engine([from_keras(Old())])
    assert engine.names == ["old"]
    assert {hook for hook in HOOKS if engine.order(hook)} == {
        "on_train_begin",
        "on_batch_end",
        "on_evaluate_end",
        "on_train_end",
    }


def test_an_old_batch_hook_is_called(model: Any, data: Any) -> None:
    """`on_batch_end`, the name before Keras 2.2, is called once for each batch."""
    batches: list[int] = []

    class Old(keras.callbacks.Callback):  # type: ignore[misc]  # Keras ships no types
        def on_batch_end(self, batch: int, logs: Any = None) -> None:
            assert logs["loss"] > 0
            batches.append(batch)

    model.fit(*data, batch_size=12, callbacks=[KerasAdapter([from_keras(Old())])], verbose=0)
    assert batches == [0, 1]


def test_a_callback_is_hosted_under_the_name_it_is_given() -> None:
    """Two callbacks of one class can be hosted under different names."""
    engine = Engine([from_keras(keras.callbacks.TerminateOnNaN(), name="nan"), from_keras(keras.callbacks.TerminateOnNaN())])
    assert engine.names[0] == "nan"
    assert len(engine.names) == 2
    assert isinstance(engine["nan"].callback, keras.callbacks.TerminateOnNaN)


class StopsAtOne(keras.callbacks.Callback):  # type: ignore[misc]  # Keras ships no types
    """Sets `model.stop_training` at the end of epoch 1."""

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        del logs
        if epoch == 1:
            self.model.stop_training = True


@pytest.mark.parametrize("voter_first", [True, False])
def test_a_hosted_vote_is_kept_beside_another_of_the_same_event(model: Any, data: Any, *, voter_first: bool) -> None:
    """If a plugin and a hosted callback stop the run at the same event, both votes are kept."""

    class Voter:
        @hookimpl
        def on_epoch_end(self, run: Run, epoch: int) -> None:
            if epoch == 1:
                run.stop("enough")

    plugins: list[object] = [Voter(), from_keras(StopsAtOne())]
    adapter = KerasAdapter(plugins if voter_first else plugins[::-1])
    model.fit(*data, batch_size=24, epochs=9, callbacks=[adapter], verbose=0)
    assert adapter.run is not None
    assert sorted(reason.plugin for reason in adapter.run.stop_reasons) == ["stops_at_one", "voter"]


def test_somebody_elses_stop_is_not_a_hosted_callbacks_vote(train: Train, model: Any, data: Any, watch: Watch) -> None:
    """If a callback beside plugins stops training, hosted callbacks that are called later do not count as the cause."""
    stops = keras.callbacks.LambdaCallback(on_train_batch_end=lambda *_, **__: setattr(model, "stop_training", True))
    run = train(model, *data, batch_size=12, epochs=9, plugins=[from_keras(watch())], callbacks=[stops])
    assert [reason.plugin for reason in run.stop_reasons] == ["keras"]


def test_a_stop_of_an_earlier_fit_is_not_a_vote(model: Any) -> None:
    """If `stop_training` is still set from an earlier fit, only the hosted callback's own stop is a vote."""
    model.stop_training = True
    run = loop_over([1.0] * 4, from_keras(StopsAtOne()), model=model)
    assert run.history.epochs == [0, 1]
    assert [(reason.plugin, reason.epoch) for reason in run.stop_reasons] == [("stops_at_one", 1)]


def test_a_hosted_callback_works_in_an_evaluation_of_its_own(model: Any, data: Any) -> None:
    """In `model.evaluate`, which has no on_train_begin, a hosted callback still has its model."""
    models: list[Any] = []

    class Look(keras.callbacks.Callback):  # type: ignore[misc]  # Keras ships no types
        def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
            del batch, logs
            models.append(self.model)

    model.evaluate(*data, batch_size=12, callbacks=[KerasAdapter([from_keras(Look())])], verbose=0)
    assert models == [model, model]


def test_on_train_end_is_not_called_after_an_exception(train: Train, make: Any, data: Any, raising: Any, tmp_path: Path) -> None:
    """As in Keras, `on_train_end` of a hosted callback is not called after an exception, so BackupAndRestore keeps its backup."""
    backup = from_keras(keras.callbacks.BackupAndRestore(tmp_path))

    class Fails:
        on_epoch_end = hookimpl(raising(ValueError("bad")), specname="on_epoch_end", trylast=True)

    with pytest.raises(ValueError, match="bad"):
        train(make(), *data, batch_size=24, plugins=[backup, Fails()])
    assert list(tmp_path.glob("*.weights.h5"))


def test_hosted_callbacks_change_the_model(train: Train, make: Any, data: Any) -> None:
    """Keras's LearningRateScheduler, hosted, sets the rate of the batches."""
    ours, theirs = make(), make()
    train(
        ours,
        *data,
        batch_size=24,
        epochs=2,
        shuffle=False,
        plugins=[from_keras(keras.callbacks.LearningRateScheduler(lambda epoch: 0.5 / (epoch + 1)))],
    )
    scheduler = keras.callbacks.LearningRateScheduler(lambda epoch: 0.5 / (epoch + 1))
    theirs.fit(*data, batch_size=24, epochs=2, shuffle=False, callbacks=[scheduler], verbose=0)
    for our_weight, their_weight in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_array_equal(our_weight, their_weight)


@pytest.mark.parametrize("given", [keras.callbacks.TerminateOnNaN, print, None, object()])
def test_what_is_no_callback_is_refused(given: object) -> None:
    """`from_keras` refuses anything but an instance of a Keras callback, with an error that shows what it got."""
    with pytest.raises(ParameterError, match=r"expected an instance of keras\.callbacks\.Callback, got"):
        from_keras(given)
