"""How `KerasAdapter` differs from `fit`: evaluations and predictions, and what Keras does not pass to callbacks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras
import pytest

from hookcore import (
    HookcoreError,
    Outcome,
    Run,
    hookimpl,
)
from hookcore.testing import RecordingPlugin
from hookcore_adapters.keras import KerasAdapter
from hookcore_plugins import EarlyStopping

if TYPE_CHECKING:
    from collections.abc import Callable


def test_evaluate_has_its_own_events(model: Any, data: Any) -> None:
    """`model.evaluate` with the adapter calls only the evaluation hooks, with plain metric names."""
    adapter = KerasAdapter([recording := RecordingPlugin()])
    scores = model.evaluate(*data, batch_size=12, callbacks=[adapter], verbose=0, return_dict=True)
    batches = [f"on_evaluate_batch_{moment}" for _ in range(2) for moment in ("begin", "end")]
    assert recording.hooks == ["on_evaluate_begin", *batches, "on_evaluate_end"]
    assert recording.events[-1] == ("on_evaluate_end", scores)
    assert [event[1] for event in recording.events if event[0] == "on_evaluate_batch_end"] == [0, 1]


def test_predict_has_its_own_events(model: Any, data: Any) -> None:
    """`model.predict` with the adapter calls only the prediction hooks, and plugins see the model."""
    adapter = KerasAdapter([recording := RecordingPlugin()])
    model.predict(data[0], batch_size=12, callbacks=[adapter], verbose=0)
    batches = [(f"on_predict_batch_{moment}", batch) for batch in (0, 1) for moment in ("begin", "end")]
    assert recording.events == [("on_predict_begin",), *batches, ("on_predict_end",)]


def test_fit_then_evaluate_then_fit(model: Any, data: Any) -> None:
    """One adapter can be used in a fit, an evaluation and another fit, and each fit is a complete run."""
    adapter = KerasAdapter([recording := RecordingPlugin()])
    model.fit(*data, batch_size=24, callbacks=[adapter], verbose=0)
    fitted = recording.hooks
    recording.events.clear()
    model.evaluate(*data, batch_size=24, callbacks=[adapter], verbose=0)
    recording.events.clear()
    model.fit(*data, batch_size=24, callbacks=[adapter], verbose=0)
    assert recording.hooks == fitted
    assert adapter.run is not None
    assert adapter.run.outcome is Outcome.COMPLETED


@pytest.mark.parametrize("hook", ["on_evaluate_batch_end", "on_predict_batch_end"])
def test_an_error_in_an_evaluation_of_its_own_ends_no_run(model: Any, data: Any, calls: Any, raising: Any, hook: str) -> None:
    """An error in an evaluation outside of fit reaches the caller, no training hook is called, and the next evaluation works."""
    recording = RecordingPlugin()
    adapter = KerasAdapter([calls(**{hook: raising(ValueError("bad"))}), recording])
    use: Callable[..., Any] = model.evaluate if "evaluate" in hook else model.predict
    given = data if "evaluate" in hook else data[:1]
    for _ in range(2):
        recording.events.clear()
        with pytest.raises(ValueError, match="bad"):
            use(*given, batch_size=24, callbacks=[adapter], verbose=0)
        assert len(recording.hooks) == 3
        assert not {"on_exception", "on_train_end"} & set(recording.hooks)


def test_an_evaluation_that_failed_is_forgotten(make: Any, model: Any, data: Any, raising: Any) -> None:
    """After an evaluation that a callback's error ended, plugins see the model of the next evaluation."""
    seen = []

    class Looks:
        @hookimpl
        def on_evaluate_begin(self, run: Run) -> None:
            seen.append(run.model)

    adapter = KerasAdapter([Looks()])
    breaking = keras.callbacks.LambdaCallback(on_test_batch_end=raising(ValueError("bad")))
    with pytest.raises(ValueError, match="bad"):
        model.evaluate(*data, batch_size=24, callbacks=[adapter, breaking], verbose=0)
    other = make()
    other.evaluate(*data, batch_size=24, callbacks=[adapter], verbose=0)
    assert [model is other for model in seen] == [False, True]


def test_another_callbacks_error_is_reported_when_the_next_run_begins(model: Any, data: Any, raising: Any) -> None:
    """A run that an exception ended fails for plugins when the next run begins, because Keras does not report exceptions."""
    adapter = KerasAdapter([recording := RecordingPlugin()])
    breaking = keras.callbacks.LambdaCallback(on_train_batch_end=raising(ValueError("bad")))
    with pytest.raises(ValueError, match="bad"):
        model.fit(*data, batch_size=24, callbacks=[adapter, breaking], verbose=0)
    assert recording.hooks[-1] == "on_batch_end"
    first = adapter.run
    recording.events.clear()
    model.fit(*data, batch_size=24, callbacks=[adapter], verbose=0)
    assert recording.hooks[:3] == ["on_exception", "on_train_end", "on_train_begin"]
    assert isinstance(recording.events[0][1], HookcoreError)
    assert "hookcore_adapters.keras.fit" in str(recording.events[0][1])
    assert first is not None
    assert first.outcome is Outcome.FAILED


def test_callbacks_before_and_after_the_adapter_work(model: Any, data: Any, watch: Callable[[], Any], calls: Any) -> None:
    """The adapter may be anywhere in the list: other callbacks get converted metrics, and see its stop."""
    before, after = watch(), watch()
    adapter = KerasAdapter([calls(on_epoch_end=lambda run: run.stop("enough"))])
    model.fit(*data, batch_size=12, epochs=5, callbacks=[before, adapter, after], verbose=0)
    assert before.batches == after.batches
    assert len(before.batches) == 2
    assert all(isinstance(value, float) for logs in before.batches for value in logs.values())


def test_a_learning_rate_callback_beside_the_adapter_is_seen_in_the_metrics(model: Any, data: Any) -> None:
    """A value that a callback before the adapter adds to the epoch's logs is a metric for plugins."""
    adapter = KerasAdapter()
    scheduler = keras.callbacks.LearningRateScheduler(lambda epoch, rate: 0.25)  # noqa: ARG005 - Keras's signature
    model.fit(*data, batch_size=24, callbacks=[scheduler, adapter], verbose=0)
    assert adapter.run is not None
    assert adapter.run.history["learning_rate"] == [0.25]


def test_validation_data_are_those_the_adapter_was_given(model: Any, data: Any) -> None:
    """Plugins see the validation data that the adapter was given, or None."""
    seen: list[Any] = []

    class Look:
        @hookimpl
        def on_train_begin(self, run: Run) -> None:
            seen.append(run.validation_data)

    for adapter in (KerasAdapter([Look()]), KerasAdapter([Look()], validation_data=data)):
        model.fit(*data, validation_data=data, batch_size=24, callbacks=[adapter], verbose=0)
    assert seen == [None, data]


def test_there_is_no_run_before_the_first(data: Any) -> None:
    """`adapter.run` is None before the first training, and a method that is called outside of training raises an error."""
    del data
    adapter = KerasAdapter()
    assert adapter.run is None
    with pytest.raises(HookcoreError, match="outside of fit"):
        adapter.on_epoch_end(0, {})


def test_spec_strings_and_one_string_are_taken(model: Any, data: Any) -> None:
    """Plugins can be given as spec strings, and a single one without a list."""
    adapter = KerasAdapter("early_stopping:monitor=loss,patience=1,min_delta=10")
    model.fit(*data, batch_size=24, epochs=5, callbacks=[adapter], verbose=0)
    assert adapter.run is not None
    assert adapter.run.history.epochs == [0, 1]


def test_an_evaluation_by_itself_leaves_the_latest_run_and_its_plugins_alone(model: Any, data: Any) -> None:
    """After an evaluation with the same adapter, the latest training run and its plugins are unchanged."""
    stopping = EarlyStopping("loss", patience=3)
    adapter = KerasAdapter([stopping])
    model.fit(*data, verbose=0, callbacks=[adapter])
    run, best = adapter.run, stopping.best
    model.evaluate(*data, verbose=0, callbacks=[adapter])
    model.predict(data[0], verbose=0, callbacks=[adapter])
    assert adapter.run is run
    assert stopping.best == best is not None


def test_one_adapter_in_a_fit_within_a_fit_is_refused(model: Any, data: Any, make: Any) -> None:
    """With one adapter in a fit within a fit, the inner run completes, and the outer raises an error that asks for a second."""
    recording = RecordingPlugin()
    adapter = KerasAdapter([recording])
    inner = make()

    def train_within(batch: int, logs: Any) -> None:
        del logs
        if batch == 1:
            inner.fit(*data, batch_size=12, callbacks=[adapter], verbose=0)
            recording.events.clear()

    within = keras.callbacks.LambdaCallback(on_train_batch_end=train_within)
    with pytest.raises(HookcoreError, match="give each its own adapter"):
        model.fit(*data, batch_size=6, callbacks=[adapter, within], verbose=0)
    assert recording.events == []
