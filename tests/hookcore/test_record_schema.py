"""A record that does not fit is refused with the name of the field, before anything is restored."""

from __future__ import annotations

import copy
import functools
import json
import math
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hookcore import CheckpointError, Engine, NoHost, Run, record_schema
from hookcore.driver import Driver
from hookcore.testing import ScriptedTrainee
from hookcore_plugins import EarlyStopping, ReduceLROnPlateau, TimeLimit

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from hookcore import Capture, Position, Session


def session() -> Session:
    plugins = [EarlyStopping(patience=1, restore_best_weights=True), ReduceLROnPlateau(patience=1), TimeLimit(9.0)]
    return Engine(plugins, autoload=False).start(Run.of(ScriptedTrainee(weights=[9.0])), host=NoHost())


@functools.cache
def captured() -> Capture:
    """Return the capture of a run that was cut in its fourth epoch, with everything that a record can hold."""
    one = session()
    one.train_begin()
    for epoch, value in enumerate([1.0, 2.0, math.nan]):
        one.epoch_begin(epoch)
        one.batch_end(0, {"loss": value})
        one.epoch_end(epoch, {"loss": value, "val_loss": value}, exhausted=True)
    one.epoch_begin(3)
    one.batch_end(0, {"loss": 1.0})
    one.log("time_limit", {"seconds": 1.0})
    return one.capture()


ODD: list[Any] = [
    *(None, True, False, 0, -1, 1, 10**30, -(10**400), 0.5, 1e308, "", "x", "loss", "\ud800", "\0", "x" * 10_000),
    *({"float": "nan"}, {"float": "-inf"}, {"float": "x"}, {"float": 5}, {"float": [1]}, {"float": None}, {"float": {}}),
    *([], [[]], [1], ["a"], ["a", 1], {}, {"a": 1}, {"epoch": 0}, [None], [{}]),
]


def paths(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Yield the places in a record, all of which can be changed."""
    if path:
        yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from paths(item, (*path, key))


def at(value: Any, path: tuple[str | int, ...]) -> Any:
    for key in path:
        value = value[key]
    return value


@st.composite
def mutated(draw: st.DrawFn) -> str:
    """Draw a record that is changed in one or more places: a value replaced, removed, added, or copied from another place."""
    record = json.loads(captured().record)
    for _ in range(draw(st.integers(1, 3))):
        places = list(paths(record))
        place = draw(st.sampled_from(places))
        parent, how = at(record, place[:-1]), draw(st.sampled_from(["replace", "replace", "remove", "add", "copy"]))
        if how == "remove":
            del parent[place[-1]]
        elif how == "add" and isinstance(parent, list):
            parent.append(copy.deepcopy(draw(st.sampled_from(ODD))))
        elif how == "add":
            parent[draw(st.sampled_from(["x", "", "format", "step", "float"]))] = copy.deepcopy(draw(st.sampled_from(ODD)))
        elif how == "copy":
            parent[place[-1]] = copy.deepcopy(at(record, draw(st.sampled_from(places))))
        else:
            parent[place[-1]] = copy.deepcopy(draw(st.sampled_from(ODD)))
    return json.dumps(record)


def types_are_right(one: Session) -> bool:
    run, whole = one.run, (int,)
    history = run.history.state_dict()
    decided: list[Any] = [*run.decisions, *run.stop_reasons]
    return (
        all(type(number) in whole and number >= 0 for number in (*attrs.astuple(run.progress), *history["epochs"]))
        and all(type(number) in whole for number in attrs.astuple(one.position)[:2])
        and all(number is None or type(number) in whole for number in (run.steps_per_epoch, *history["steps"]))
        and all(type(value) is bool for value in (*history["by_steps"], one.position.begun))
        and all(rate is None or type(rate) is float for rate in history["learning_rates"])
        and all(type(value) is float for column in history["metrics"].values() for value in column)
        and all(len(column) == len(run.history) for column in (*history["metrics"].values(), history["steps"]))
        and all(type(text) is str for one in decided for text in (one.plugin, one.message))
        and all(type(number) is int for one in decided for number in (one.epoch, one.step))
        and all(one.value is None or type(one.value) is float for one in decided)
        and all(type(value) is float for value in {**one.resumed_metrics, **one.resumed_fresh}.values())
        and all(isinstance(prefix, str) for prefix in run.metric_names.validation)
    )


@settings(max_examples=10 * settings().max_examples)
@given(mutated())
def test_a_record_that_does_not_fit_leaves_everything_as_it_was(record: str) -> None:
    """A changed record is refused with a `CheckpointError` and changes nothing, or gives values of the right types."""
    one = session()
    trainee: Any = one.run.trainee
    trainee.weights = [5.0]
    try:
        one.restore(attrs.evolve(captured(), record=record))
    except CheckpointError:
        assert trainee.weights == [5.0]
        assert (len(one.run.history), one.run.decisions, one.run.stop_reasons, one.run.progress.step) == (0, [], [], 0)
    else:
        assert trainee.weights != [5.0]
        assert types_are_right(one)


def test_a_real_record_fits() -> None:
    """A record that was written is read, with all of its values."""
    one = session()
    one.restore(captured())
    assert types_are_right(one)
    assert one.run.history.state_dict()["epochs"] == [0, 1, 2]
    assert one.run.stop_reasons
    assert one.run.decisions


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (("progress", "step"), "12", "progress.step must be a whole number of at least 0, got '12'"),
        (("history", "metrics", "loss", 1), None, r"history.metrics.loss\[1\] must be a number, got None"),
        (("history", "epochs"), [0], "the history has 1 rows, and 3 values of loss"),
        (("decisions", 0, "plugin"), 3, r"decisions\[0\].plugin must be a string, got 3"),
        (("held",), [], "its record names 0 snapshots of plugins, and it has 1"),
        (("logged", "seconds"), ["time_limit"], "logged.seconds must be a list of two, got"),
        (("position", "batch"), 10**30, "position.batch must be a whole number of at least 0, got 1000"),
        (("plugins", "early_stopping", "state"), {"x": 1}, "Plugin 'early_stopping' could not load its saved state"),
    ],
)
def test_the_error_names_the_field(place: tuple[str | int, ...], value: Any, message: str) -> None:
    """The error names the field, its value, and what was expected."""
    record = json.loads(captured().record)
    at(record, place[:-1])[place[-1]] = value
    with pytest.raises(CheckpointError, match=message):
        session().restore(attrs.evolve(captured(), record=json.dumps(record)))


def test_a_field_that_is_missing_is_named() -> None:
    """A missing field is named, unless an earlier version did not write it and it has a default."""
    record = json.loads(captured().record)
    for name in ("fresh", "logged", "validation_prefixes", "metrics"):
        del record[name]
    assert record_schema.read(json.dumps(record))["fresh"] == {}
    del record["decisions"]
    with pytest.raises(ValueError, match="its record is damaged: decisions must be present"):
        record_schema.read(json.dumps(record))


def test_a_loop_s_own_state_that_does_not_fit_is_named() -> None:
    """If a loop refuses its state in the record, the error names the loop and the field."""

    class Odd(NoHost):
        def load_state_dict(self, state: Mapping[str, Any], position: Position) -> None:
            float(state["sums"]["loss"] + position.batch)

    record = json.loads(captured().record)
    record["loop"] = {"sums": 3}
    driver = Driver([EarlyStopping(), ReduceLROnPlateau(), TimeLimit(9.0)], host=Odd("odd"))
    with pytest.raises(CheckpointError, match="odd cannot continue from the field loop of the record: TypeError"):
        driver.begin(Run.of(ScriptedTrainee()), record=json.dumps(record))
