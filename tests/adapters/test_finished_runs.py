"""A finished run can be pickled and copied, and holds no model and no session."""

from __future__ import annotations

import copy
import gc
import io
import pickle
import weakref
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import attrs
import pytest

import hookcore_plugins
from hookcore import Engine, HookcoreError, Outcome, PluginError, Run, Session, hookimpl
from hookcore.testing import ScriptedTrainee
from hookcore_adapters.loop import Loop
from hookcore_plugins import (
    Activations,
    Checkpoint,
    Console,
    CSVLog,
    EarlyStopping,
    JSONLog,
    LearningRateSchedule,
    NaNGuard,
    Preemption,
    ReduceLROnPlateau,
    Report,
    TensorBoard,
    TimeLimit,
)
from tests.adapters import module_plugin

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LOSSES = (3.0, 1.0, 2.0, 2.0, 2.0)


def halved(epoch: int, rate: float) -> float:
    return rate / 2 if epoch else rate


@attrs.define(eq=False)
class Model(ScriptedTrainee):
    """A trainee with the view that `Activations` needs."""

    def activations(self, data: Any, samples: int = 1) -> dict[str, Any]:
        return {"dense": data[:samples]}


PLUGINS: dict[str, Callable[[Path], Any]] = {
    "Activations": lambda place: Activations(place / "activations"),
    "CSVLog": lambda place: CSVLog(place / "log.csv"),
    "Checkpoint": lambda place: Checkpoint(place / "checkpoints"),
    "Console": lambda _: Console(),
    "EarlyStopping": lambda _: EarlyStopping("loss", patience=2, restore_best_weights=True),
    "JSONLog": lambda place: JSONLog(place / "log.jsonl"),
    "LearningRateSchedule": lambda _: LearningRateSchedule(halved),
    "NaNGuard": lambda _: NaNGuard("loss"),
    "Preemption": lambda _: Preemption(),
    "ReduceLROnPlateau": lambda _: ReduceLROnPlateau("loss", patience=1),
    "Report": lambda place: Report(place / "report"),
    "TensorBoard": lambda place: TensorBoard(place / "board"),
    "TimeLimit": lambda _: TimeLimit(hours=1),
}
COPIES: dict[str, Callable[[Any], Any]] = {
    "pickled": lambda used: pickle.loads(pickle.dumps(used)),  # noqa: S301 - pickled here
    "copied": copy.deepcopy,
}
copies = pytest.mark.parametrize("copied", COPIES.values(), ids=COPIES)


def train(plugins: Any, *, trainee: Any = None, error: Exception | None = None) -> Run:
    import numpy as np

    trainee = Model() if trainee is None else trainee
    engine = plugins if isinstance(plugins, Engine) else Engine(plugins, autoload=False)
    with Loop(engine, epochs=len(LOSSES), trainee=trainee, model=trainee, validation_data=np.eye(2)) as loop:
        for epoch in loop.epochs():
            for _ in loop.batches(range(2)):
                loop.log(loss=LOSSES[epoch])
                trainee.weights[0] += 1
            if error is not None:
                raise error
    return loop.run


def as_data(run: Run) -> dict[str, Any]:
    """Return all parts of a run that do not depend on the time, as values to compare."""
    kept = {"outcome", "stop_reasons", "decisions", "epochs", "learning_rate", "parameters"}
    return {name: getattr(run, name) for name in kept} | {"history": run.history.state_dict(), "progress": run.progress}


def decided(run: Run) -> list[Any]:
    """Return the decisions of plugins, without paths in messages."""
    return [(decision.plugin, decision.kind, decision.epoch, decision.step, decision.value) for decision in run.decisions]


def test_every_plugin_is_here() -> None:
    """The plugins above are all of the package."""
    assert set(PLUGINS) == set(hookcore_plugins.__all__) - {"ReportError", "RunReport"}


@copies
@pytest.mark.parametrize("name", PLUGINS)
def test_a_plugin_that_served_a_run_can_be_copied_and_serves_another(
    name: str, copied: Callable[[Any], Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A copy of a used plugin starts the next run with fresh state, and decides like a new one."""
    del capsys
    plugin = PLUGINS[name](tmp_path / "a")
    first = train([plugin])
    again = train([copied(plugin)])
    assert (again.outcome, again.failures) == (first.outcome, [])
    assert decided(again) == decided(first)


@copies
def test_a_run_and_its_engine_can_be_copied_and_train_again(copied: Callable[[Any], Any], tmp_path: Path) -> None:
    """With all plugins, a copy of the run has its history and decisions, and a copy of the engine trains again."""
    engine = Engine([make(tmp_path) for make in PLUGINS.values() if make is not PLUGINS["Console"]], autoload=False)
    run = train(engine)
    assert as_data(copied(run)) == as_data(run)
    other = copied(engine)
    assert other.names == engine.names
    assert other.run is not None
    assert as_data(other.run) == as_data(run)
    assert other["early_stopping"].best == engine["early_stopping"].best == 1.0
    assert decided(train(other)) == decided(run)
    assert other.run is not engine.run


def test_an_engine_with_a_module_and_a_renamed_method_is_pickled() -> None:
    """A pickled engine imports a module plugin again, and finds a hook whose function has another name."""
    seen: list[int] = []
    engine = COPIES["pickled"](Engine([module_plugin, Renamed(seen)], autoload=False))
    train(engine)
    assert engine["module_plugin"] is module_plugin
    assert engine["renamed"].seen == [0, 1, 2, 3, 4]


@attrs.define(eq=False)
class Renamed:
    seen: list[int]

    def _note(self, epoch: int) -> None:
        self.seen.append(epoch)

    on_epoch_end = hookimpl(lambda self, epoch: self._note(epoch))


@pytest.mark.parametrize("role", [None, "observer", "actor"])
def test_a_finished_run_holds_neither_model_nor_session(role: str | None, tmp_path: Path) -> None:
    """The model is freed after any end of the run, while the run, the engine and plugins still exist."""

    def fail() -> None:
        raise ValueError("bad")

    failing = SimpleNamespace(name="failing", role=role, on_epoch_end=hookimpl(fail))
    plugins = [make(tmp_path) for make in PLUGINS.values() if make is not PLUGINS["Console"]]
    engine = Engine([*plugins, *([failing] if role else [])], autoload=False)
    model = Model()
    freed = weakref.ref(model)
    try:
        train(engine, trainee=model)
    except ValueError:
        assert role == "actor"
    del model
    gc.collect()
    assert freed() is None
    assert not any(isinstance(found, Session) and found.run is engine.run for found in gc.get_objects())
    assert engine.run is not None
    assert len(engine.run.failures) == (role is not None)


def test_a_finished_run_has_its_last_learning_rate_and_no_model() -> None:
    """A finished run has its last learning rate, which cannot be set, and an error for what only a live run has."""
    run = train([LearningRateSchedule(halved)])
    assert run.learning_rate == 0.1 / 16
    for name in ("trainee", "model", "validation_data"):
        with pytest.raises(HookcoreError, match=f"The run has ended, and an ended run holds no {name}. A plugin has it up to"):
            getattr(run, name)
    with pytest.raises(HookcoreError, match="holds no trainee"):
        run.learning_rate = 0.1
    with pytest.raises(HookcoreError, match="nothing to capture after the run has ended"):
        run.capture()
    with pytest.raises(HookcoreError, match="nothing to capture after the run has ended"):
        run.when_settled(print)
    with pytest.raises(AttributeError, match="had no learning rate"):
        _ = train([], trainee=SimpleNamespace(framework="custom", weights=[0.0])).learning_rate


def test_plugins_have_the_model_up_to_the_end_of_training() -> None:
    """In `on_exception` and `on_train_end`, plugins still have everything of a live run."""
    seen: list[Any] = []
    plugin = SimpleNamespace(
        name="looking",
        on_exception=hookimpl(lambda run: seen.append(run.model)),
        on_train_end=hookimpl(lambda run: seen.append(run.trainee)),
    )
    model = Model()
    with pytest.raises(ValueError, match="cut"):
        train([plugin], trainee=model, error=ValueError("cut"))
    assert seen == [model, model]


@copies
def test_a_run_is_not_copied_before_it_has_ended(copied: Callable[[Any], Any]) -> None:
    """Copying a run or its engine before the end is an error that names the reason, and the run continues."""
    errors: list[str] = []

    def copy_it(run: Run) -> None:
        for given in (run, engine):
            with pytest.raises(HookcoreError) as caught:
                copied(given)
            errors.append(str(caught.value))

    engine = Engine([("copying", SimpleNamespace(on_epoch_end=hookimpl(copy_it)))], autoload=False)
    assert train(engine).outcome is Outcome.COMPLETED
    assert set(errors) == {
        "A run can be pickled or copied once it has ended, and this one has not.",
        "An engine can be pickled or copied once its run has ended, and this one has not.",
    }


class PlainError(Exception):
    """An error that pickles."""


class TwoArgumentsError(Exception):
    """An error that pickles, and cannot be loaded."""

    def __init__(self, what: str, number: int) -> None:
        super().__init__(f"{what} {number}")


class StreamError(Exception):
    """An error that cannot be pickled."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.stream = io.TextIOWrapper(io.BytesIO())


@pytest.mark.parametrize(
    ("error", "kept"),
    [
        (PlainError("plain"), PlainError("plain")),
        (TwoArgumentsError("two", 2), PluginError("TwoArgumentsError: two 2")),
        (StreamError("stream"), PluginError("StreamError: stream")),
    ],
    ids=["plain", "two arguments", "stream"],
)
def test_an_error_in_failures_is_data_once_the_run_has_ended(error: Exception, kept: Exception) -> None:
    """After the run, an error in `failures` is a copy with its notes and no traceback, or its text if it cannot be pickled."""
    within: list[Exception] = []

    def fail() -> None:
        raise error

    failing = SimpleNamespace(name="failing", on_epoch_end=hookimpl(fail))
    looking = SimpleNamespace(name="looking", on_train_end=hookimpl(lambda run: within.append(run.failures[0].error)))
    engine = Engine([failing, looking], autoload=False)
    with pytest.raises(type(error)) as caught:
        train(engine)
    assert caught.value is error is within[0]
    assert engine.run is not None
    for run in (engine.run, COPIES["pickled"](engine.run)):
        (failure,) = run.failures
        assert (type(failure.error), failure.error.args, failure.error.__traceback__) == (type(kept), kept.args, None)
        assert "fail()" not in failure.traceback
        assert type(error).__name__ in failure.traceback
    if type(kept) is type(error):
        assert engine.run.failures[0].error.__notes__ == error.__notes__
