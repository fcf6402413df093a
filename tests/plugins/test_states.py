"""The state that a plugin loads comes from a file: it fits, or it is refused by the name of the field, and not loaded."""

from __future__ import annotations

import copy
import functools
import json
import math
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hookcore_plugins as shipped
from hookcore import CheckpointError, Engine, NoHost, Run, state
from hookcore.testing import ScriptedTrainee
from hookcore_plugins import (
    Activations,
    Checkpoint,
    CSVLog,
    EarlyStopping,
    JSONLog,
    NaNGuard,
    ReduceLROnPlateau,
    Report,
    TensorBoard,
    TimeLimit,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hookcore import Capture, Session

pytest.importorskip("tensorboard")


@attrs.define(eq=False)
class Viewed(ScriptedTrainee):
    """A trainee that has activations, of no layer."""

    def activations(self, data: object, samples: int = 1) -> dict[str, Any]:
        del data, samples
        return {}


COUNT, FLOAT, TEXT, TRUTH = "count", "float", "text", "truth"
OBSERVED: dict[str, Any] = {
    "best": {FLOAT, None},
    "best_epoch": {COUNT, None},
    "best_step": {COUNT, None},
    "by_steps": TRUTH,
    "waited": COUNT,
}
FAILURE = {"plugin": TEXT, "hook": TEXT, "error": TEXT, "traceback": TEXT, "disabled": TRUTH}
STATES: dict[str, Any] = {
    "activations": {"began": TRUTH},
    "checkpoint": {**OBSERVED, "last_step": COUNT, "ranking": {(COUNT, FLOAT), None}},
    "csv_log": {"rows": {COUNT, None}},
    "early_stopping": OBSERVED,
    "json_log": {"lines": {COUNT, None}, "decisions": COUNT},
    "nan_guard": {"last_step": COUNT},
    "reduce_lr_on_plateau": {**OBSERVED, "cooling": COUNT},
    "report": {
        "seconds": [{FLOAT, None}],
        "within": {FLOAT, None},
        "parts": [{"began": FLOAT, "seconds": FLOAT, "step": COUNT}],
        "plugin_seconds": {"*": FLOAT},
        "failures": [FAILURE],
        "directories": [TEXT],
    },
    "tensorboard": {
        "events": {"*": COUNT},
        "file": {TEXT, None},
        "decisions": COUNT,
        "last_step": COUNT,
        "graph": TRUTH,
        "embeddings": [(TEXT, TEXT)],
    },
    "time_limit": {"elapsed": FLOAT},
}
"""The types in each plugin's state: a set has alternatives, a list equal items, a tuple an item for each place, `*` any name."""


def fits(value: Any, shape: Any) -> bool:
    if isinstance(shape, set):
        return any(fits(value, one) for one in shape)
    if isinstance(shape, list):
        return isinstance(value, list) and all(fits(item, shape[0]) for item in value)
    if isinstance(shape, tuple):
        return isinstance(value, list | tuple) and len(value) == len(shape) and all(map(fits, value, shape))
    if isinstance(shape, dict):
        shapes = dict.fromkeys(value, shape["*"]) if "*" in shape and isinstance(value, dict) else shape
        return isinstance(value, dict) and value.keys() == shapes.keys() and all(fits(value[key], shapes[key]) for key in shapes)
    if shape == COUNT:
        return type(value) is int and 0 <= value < 2**63
    # In a state that is loaded numbers are floats; a fresh one may have a 0.
    return value is None if shape is None else type(value) in {FLOAT: (float, int), TEXT: (str,), TRUTH: (bool,)}[shape]


def session(root: Path) -> Session:
    plugins = [
        *(EarlyStopping(patience=9, restore_best_weights=True), ReduceLROnPlateau(patience=1, cooldown=2), TimeLimit(9.0)),
        *(NaNGuard(missing="skip"), CSVLog(root / "log.csv"), JSONLog(root / "log.jsonl"), Activations(root / "activations")),
        *(TensorBoard(root / "board"), Report(root / "report", summary=False), Checkpoint(root / "checkpoints")),
    ]
    engine = Engine(plugins, on_error=dict.fromkeys(STATES, "raise"), autoload=False)
    return engine.start(Run.of(Viewed(weights=[9.0]), validation_data=[1]), host=NoHost())


@functools.cache
def captured() -> Capture:
    """Train a run up to its third epoch, in which every plugin has a state, and return its capture."""
    with tempfile.TemporaryDirectory() as root:
        one = session(Path(root))
        one.train_begin()
        for epoch, value in enumerate([1.0, 2.0]):
            one.epoch_begin(epoch)
            one.batch_end(0, {"loss": value})
            one.epoch_end(epoch, {"loss": value, "val_loss": value}, exhausted=True)
        one.epoch_begin(2)
        one.batch_end(0, {"loss": 1.0})
        capture = one.capture()
        one.end()
    return capture


def recorded() -> dict[str, Any]:
    record: dict[str, Any] = json.loads(captured().record)
    return record


def loaded(record: dict[str, Any]) -> Session:
    one = session(Path("nowhere"))
    one.restore(attrs.evolve(captured(), record=json.dumps(record)))
    return one


ODD: list[Any] = [
    *(None, True, False, 0, -1, 1, 10**30, -(10**400), 0.5, -0.5, 1e308, "", "x", "\ud800", "x" * 10_000),
    *({"float": "nan"}, {"float": "inf"}, {"float": "-inf"}, [], [[]], [1], ["a", 1], {}, {"a": 1}, [None], [{}]),
]


def places(value: Any, place: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    yield place
    for key, item in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from places(item, (*place, key))


@st.composite
def mutated(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    """Draw a plugin, and the record with its state changed in one or two places: replaced, removed, added, or another's."""
    record = recorded()
    name = draw(st.sampled_from(sorted(STATES)))
    for _ in range(draw(st.integers(1, 2))):
        place = draw(st.sampled_from(list(places(record["plugins"][name]["state"]))))
        parent: Any = record["plugins"][name]
        for key in ("state", *place)[:-1]:
            parent = parent[key]
        last, how = ("state", *place)[-1], draw(st.sampled_from(["replace", "replace", "remove", "add", "other"]))
        if how == "remove" and place:
            del parent[last]
        elif how == "add" and isinstance(parent[last], dict):
            parent[last][draw(st.sampled_from(["x", "", "mode", "self"]))] = copy.deepcopy(draw(st.sampled_from(ODD)))
        elif how == "other":
            parent[last] = recorded()["plugins"][draw(st.sampled_from(sorted(STATES)))]["state"]
        else:
            parent[last] = copy.deepcopy(draw(st.sampled_from(ODD)))
    return name, record


@settings(max_examples=settings().max_examples * 3)
@given(mutated())
def test_a_state_that_does_not_fit_leaves_everything_as_it_was(mutation: tuple[str, dict[str, Any]]) -> None:
    """It is a `CheckpointError` that names the plugin, and trainee and plugins are untouched; or it has the right types."""
    name, record = mutation
    one = session(Path("nowhere"))
    trainee: Any = one.run.trainee
    trainee.weights, before = [5.0], states(one)
    message = ""
    try:
        one.restore(attrs.evolve(captured(), record=json.dumps(record)))
    except CheckpointError as error:
        message = str(error)
    if message:
        assert f"Plugin {name!r} could not load its saved state" in message or "The run cannot be resumed" in message
        assert trainee.weights == [5.0]
        assert states(one) == before
        assert plugin(one, "early_stopping").best_weights is None
    else:
        assert trainee.weights == [9.0]
        assert [own for own in states(one) if not fits(plugin(one, own).state_dict(), STATES[own])] == []


def plugin(one: Session, name: str) -> Any:
    return next(registered.plugin for registered in one._plugins if registered.name == name)


def states(one: Session) -> dict[str, str]:
    return {registered.name: json.dumps(registered.saved_state()) for registered in one._plugins}


def test_real_states_fit() -> None:
    """Every plugin with a state is covered, and loads its own state."""
    have_state = {kind.__name__ for name in shipped.__all__ if hasattr(kind := getattr(shipped, name), "load_state_dict")}
    one = loaded(recorded())
    assert {type(registered.plugin).__name__ for registered in one._plugins} == have_state
    for name, shape in STATES.items():
        before = state.loads(json.dumps(recorded()["plugins"][name]["state"]))
        assert fits(before, shape), name
        after = plugin(one, name).state_dict()
        assert json.dumps(after) == json.dumps(before) or after == before, name


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("time_limit", {"elapsed": "3"}, "elapsed must be a number of seconds of at least 0, got '3'"),
        ("time_limit", {"elapsed": math.nan}, "elapsed must be a number of seconds of at least 0, got nan"),
        ("time_limit", {"elapsed": -1.0}, "elapsed must be a number of seconds of at least 0, got -1.0"),
        ("nan_guard", {"last_step": 1.5}, "last_step must be a whole number of at least 0, got 1.5"),
        ("nan_guard", {"last_step": None}, "last_step must be a whole number of at least 0, got None"),
        ("checkpoint", {"last_step": True}, "last_step must be a whole number of at least 0, got True"),
        ("checkpoint", {"ranking": [1]}, r"ranking must be a list of two, got \[1\]"),
        ("checkpoint", {"waited": 10**30}, "waited must be a whole number of at least 0, got 1000"),
        ("reduce_lr_on_plateau", {"cooling": -1}, "cooling must be a whole number of at least 0, got -1"),
        ("early_stopping", {"by_steps": 0}, "by_steps must be true or false, got 0"),
        ("report", {"parts": [{"began": 1.0}]}, r"parts\[0\].seconds must be present, got None"),
        ("tensorboard", {"events": {"train": "x"}}, "events.train must be a whole number of at least 0, got 'x'"),
    ],
)
def test_the_error_names_plugin_and_field(name: str, change: dict[str, Any], message: str) -> None:
    """The error names the field, its value and what was expected."""
    record = recorded()
    record["plugins"][name]["state"] |= json.loads(state.dumps(change))
    with pytest.raises(CheckpointError, match=f"Plugin '{name}' could not load its saved state: ParameterError: {message}"):
        loaded(record)


@pytest.mark.parametrize(("name", "field"), [("time_limit", "elapsed"), ("nan_guard", "last_step"), ("early_stopping", "best")])
def test_a_field_that_is_missing_is_named(name: str, field: str) -> None:
    """A field that is missing is an error: it does not get the value of a fresh plugin."""
    record = recorded()
    del record["plugins"][name]["state"][field]
    with pytest.raises(CheckpointError, match=f"Plugin '{name}' .*: {field} must be present, got None"):
        loaded(record)
