"""Metrics are converted once and late, the history keeps them in rows, and a missing metric is explained."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookcore import Engine, History, HookcoreWarning, MetricError, Metrics, Run, hookimpl, state
from hookcore.metrics import MAX_ELEMENTS
from hookcore.observing import DIRECTIONS, direction_of, observe
from hookcore.testing import ScriptedTrainee

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping


@attrs.define
class Tensor:
    """A framework's value that counts how often it is converted."""

    value: Any
    shape: tuple[int, ...] = ()
    conversions: int = 0

    def __float__(self) -> float:
        self.conversions += 1
        return float(self.value)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.value)


class Item(Tensor):
    """A value with one element that prefers `item`, as NumPy's values do."""

    def item(self) -> float:
        self.conversions += 1
        return float(self.value[0])

    def __float__(self) -> float:
        raise AssertionError("float() of an array is deprecated")


ALL = {"loss", "acc", "one"}
READS: list[tuple[Callable[[Metrics], object], set[str]]] = [
    (lambda metrics: metrics["loss"], {"loss"}),
    (lambda metrics: metrics.get("acc"), {"acc"}),
    (lambda metrics: "loss" in metrics, {"loss"}),
    (lambda metrics: metrics["one"], ALL),
    (lambda metrics: "lost" in metrics, ALL),
    (list, ALL),
    (len, ALL),
    (dict, ALL),
    (Metrics.items, ALL),
    (repr, ALL),
    (lambda metrics: metrics == {}, ALL),
]
"""Ways to read metrics, and what they read: one number, or all if the answer depends on all."""


@given(st.lists(st.sampled_from(READS), max_size=6))
def test_a_value_is_converted_once_and_only_when_it_is_read(reads: list[tuple[Callable[[Metrics], object], set[str]]]) -> None:
    """However metrics are read, and however often, a value is converted once, and only if it is read."""
    values = {"loss": Tensor(0.5), "acc": Tensor(0.25), "one": Item([0.75], (1,))}
    metrics = Metrics(values)
    for read, _ in reads:
        read(metrics)
    read_names = set().union(*(names for _, names in reads))
    assert {name: value.conversions for name, value in values.items()} == {name: int(name in read_names) for name in values}


@given(st.permutations(["loss", "inner"]), st.booleans())
def test_a_name_outside_of_a_nested_mapping_counts(order: list[str], alone: bool) -> None:  # noqa: FBT001 - Hypothesis's
    """If a name is also in a nested mapping, the value outside counts, in whatever order they come and are read."""
    values = {"loss": Tensor(1.0), "inner": {"loss": Tensor(2.0), "acc": Tensor(0.5)}}
    metrics = Metrics({name: values[name] for name in order})
    if alone:
        assert metrics["loss"] == 1.0
    assert dict(metrics) == {"loss": 1.0, "acc": 0.5}


@pytest.mark.parametrize("number", [0.5, 1, Tensor(2.0)])
def test_a_number_is_read_whatever_the_others_are(number: Any) -> None:
    """Reading one number neither converts the other values nor fails if one of them is not a number."""
    other = Tensor(0.25)
    metrics = Metrics({"loss": number, "acc": other, "grade": "high"})
    assert metrics["loss"] == float(getattr(number, "value", number))
    assert other.conversions == 0
    with pytest.raises(MetricError, match="'grade' must be a number"):
        metrics["grade"]


def test_plugins_that_read_nothing_convert_nothing() -> None:
    """The compiled hooks convert a value once for all plugins that read it, and not at all if no plugin reads it."""

    class Reading:
        @hookimpl
        def on_batch_end(self, metrics: Mapping[str, float]) -> None:
            assert metrics["loss"] == 0.5

    class Ignoring:
        @hookimpl
        def on_batch_end(self, metrics: Mapping[str, float]) -> None:
            del metrics

    for plugins, conversions in ([Ignoring()], 0), ([Reading(), Ignoring(), ("again", Reading())], 1):
        value = Tensor(0.5)
        Engine(plugins, autoload=False).start(Run()).batch_end(0, Metrics({"loss": value}))
        assert value.conversions == conversions


def test_metrics_are_a_read_only_mapping_of_floats() -> None:
    """Integers, booleans and one-element arrays become floats; nothing can be set."""
    metrics: Any = Metrics({"a": 1, "b": True, "c": Tensor(2, shape=(1, 1)), "d": 0.5})
    assert dict(metrics) == dict(metrics.items()) == {"a": 1.0, "b": 1.0, "c": 2.0, "d": 0.5}
    assert {type(value) for value in metrics.values()} == {float}
    assert repr(metrics) == "Metrics({'a': 1.0, 'b': 1.0, 'c': 2.0, 'd': 0.5})"
    assert len(Metrics()) == 0
    with pytest.raises(TypeError):
        metrics["a"] = 2.0
    with pytest.raises(KeyError):
        metrics["e"]


def test_nested_metrics_are_flattened_without_a_prefix() -> None:
    """The names in a nested mapping become names of metrics, without a prefix."""
    assert dict(Metrics({"loss": 1.0, "metrics": {"acc": 0.5, "deep": {"auc": 0.25}}})) == {"loss": 1.0, "acc": 0.5, "auc": 0.25}


def test_a_value_with_several_elements_gets_a_name_for_each() -> None:
    """The elements of a value appear under numbered names, also in several dimensions; an empty value does not appear."""
    matrix = Tensor([Tensor([1, 2], shape=(2,)), Tensor([3, 4], shape=(2,))], shape=(2, 2))
    assert dict(Metrics({"recall": Tensor([0.5, 1.0], shape=(2,)), "none": Tensor([], shape=(0,)), "m": matrix})) == {
        "recall_0": 0.5,
        "recall_1": 1.0,
        "m_0_0": 1.0,
        "m_0_1": 2.0,
        "m_1_0": 3.0,
        "m_1_1": 4.0,
    }


@pytest.mark.parametrize("value", ["high", "0.5", None, [1.0], object(), 1j, 10**400, np.complex64(1j), np.array([1j])])
def test_what_is_no_number_is_an_error_that_names_the_metric(value: Any) -> None:
    """A value that is not a number raises an error with the metric's name, each time that it is read."""
    metrics = Metrics({"loss": 1.0, "grade": value})
    for _ in range(2):
        with pytest.raises(MetricError, match="'grade' must be a number, got"):
            metrics["grade"]
        with pytest.raises(MetricError, match="'grade' must be a number, got"):
            dict(metrics)


@attrs.frozen
class Complex:
    """A complex tensor whose `float` drops the imaginary part with only a warning, like TensorFlow's."""

    value: complex
    shape: tuple[int, ...] = ()
    dtype: str = "complex64"

    def __float__(self) -> float:
        return self.value.real


def test_no_imaginary_part_is_lost() -> None:
    """A complex tensor that a plugin logs is refused by name, even if its framework would convert it to a float."""

    class Logs:
        @hookimpl
        def on_epoch_end(self, run: Run) -> None:
            run.log(score=Complex(1 + 2j))

    session = Engine([Logs()], autoload=False).start(Run())
    session.train_begin()
    session.epoch_begin(0)
    with pytest.raises(MetricError, match="'score' must be a number, got Complex"):
        session.epoch_end(0, Metrics({"loss": 1.0}))


def test_a_message_about_a_value_is_short() -> None:
    """However large the value is, the error is one readable line."""
    for value in (10**400, 10**5000, np.full((1, 1), 1j)):
        with pytest.raises(MetricError) as caught:
            dict(Metrics({"loss": value}))
        assert len(str(caught.value)) < 200
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["\r", "a\nb", "a\x00", "\x1b[31mloss", "a\u2028b", 3, None, ("a",)])
def test_a_name_that_no_log_can_write_is_refused(name: Any) -> None:
    """A name that is not a string, or has a control character or a line end, is an error when metrics are read."""
    with pytest.raises(MetricError, match="name of a metric must be a string in one line, without control characters, got "):
        dict(Metrics({name: 1.0}))
    assert dict(Metrics({"a b, \N{GREEK SMALL LETTER MU}\xa0é": 1.0})) == {"a b, \N{GREEK SMALL LETTER MU}\xa0é": 1.0}


def test_an_array_of_very_many_elements_is_refused() -> None:
    """An array with very many elements, such as predictions, is refused before it becomes as many columns."""
    assert len(Metrics({"recall": np.zeros(MAX_ELEMENTS)})) == MAX_ELEMENTS
    with pytest.raises(MetricError, match=r"'scores' has 1000000 elements.*at most 10000"):
        dict(Metrics({"loss": 1.0, "scores": np.zeros((1000, 1000))}))


# The history.

epochs = st.lists(st.dictionaries(st.sampled_from(["loss", "acc", "val_loss"]), st.floats()), max_size=8)


@given(epochs, st.integers(0, 5))
def test_history_has_one_value_an_epoch_for_every_metric(logged: list[dict[str, float]], first: int) -> None:
    """A metric's list has one value per epoch, NaN if it was not produced; names stay in their order of appearance."""
    history = History()
    for epoch, metrics in enumerate(logged, start=first):
        history.append(epoch, Metrics(metrics))
    assert history.epochs == list(range(first, first + len(logged)))
    assert len(history) == len(logged)
    assert list(history) == list(dict.fromkeys(name for metrics in logged for name in metrics))
    for name in history:
        assert name in history
        assert repr(history[name]) == repr([metrics.get(name, math.nan) for metrics in logged])
    assert repr(history.last()) == repr({name: logged[-1].get(name, math.nan) for name in history})


@given(epochs)
def test_history_round_trips_through_json(logged: list[dict[str, float]]) -> None:
    """A history that is loaded from its state equals the original, and continues in the same way."""
    history, loaded = History(), History()
    for epoch, metrics in enumerate(logged):
        history.append(epoch, metrics)
    loaded.load_state_dict(state.loads(state.dumps(history.state_dict())))
    for one in history, loaded:
        one.append(len(logged), {"loss": 1.0, "new": 2.0})
    assert repr(loaded.state_dict()) == repr(history.state_dict())


@given(epochs, st.dictionaries(st.sampled_from(["loss", "extra"]), st.floats()))
def test_a_row_has_the_metrics_that_were_produced(logged: list[dict[str, float]], put: dict[str, float]) -> None:
    """A row has a metric that was NaN, and lacks one that was not produced, also after the history was saved and loaded."""
    history, loaded = History(), History()
    for epoch, metrics in enumerate(logged):
        history.append(epoch, metrics)
    if logged:
        history.put(put)
        logged[-1].update(put)
    loaded.load_state_dict(state.loads(state.dumps(history.state_dict())))
    for one in history, loaded:
        assert [sorted(map(repr, row.items())) for row in one.rows()] == [sorted(map(repr, row.items())) for row in logged]


def test_in_a_history_of_an_earlier_version_nan_is_not_produced() -> None:
    """In a history of an earlier version NaN means not produced; in a later one a row's number counts, whatever is declared."""
    loaded = History()
    loaded.load_state_dict({"epochs": [0, 1], "metrics": {"loss": [1.0, math.nan]}})
    assert list(loaded.rows()) == [{"loss": 1.0}, {}]
    loaded.load_state_dict({"epochs": [0, 1], "metrics": {"loss": [1.0, math.nan]}, "absent": {"loss": [0, 7]}})
    assert repr(list(loaded.rows())) == "[{'loss': 1.0}, {'loss': nan}]"


def test_history_gives_copies() -> None:
    """Changing a list that the history returned does not change the history."""
    history = History()
    history.append(0, {"loss": 1.0})
    history["loss"].append(2.0)
    history.state_dict()["epochs"].append(7)
    assert (history["loss"], history.epochs) == ([1.0], [0])


def test_an_unknown_metric_in_the_history_is_an_error_with_the_nearest() -> None:
    """Asking for a metric that was never logged is an error that lists those that were."""
    history = History()
    history.append(0, {"val_loss": 1.0, "acc": 0.5})
    with pytest.raises(MetricError, match=r"No metric 'vall_loss' .*\['acc', 'val_loss'\]. Did you mean 'val_loss'"):
        history["vall_loss"]


# Directions.


@pytest.mark.parametrize(
    ("metric", "mode", "declared", "direction"),
    [
        ("loss", "auto", {}, "min"),
        ("val_loss", "auto", {}, "min"),
        ("val_accuracy", "auto", {}, "max"),
        ("auc", "auto", {}, "max"),
        ("loss", "max", {}, "max"),
        ("loss", "max", {"loss": "min"}, "max"),
        ("loss", "auto", {"loss": "max"}, "max"),
        ("own", "auto", {"own": "max"}, "max"),
        ("own", "min", {}, "min"),
    ],
)
def test_direction_is_the_mode_else_declared_else_well_known(
    metric: str, mode: Any, declared: dict[str, Any], direction: str
) -> None:
    """An explicit mode wins, then what the framework declares, then the table, with or without `val_`."""
    assert direction_of(Run.of(ScriptedTrainee(directions=declared)), metric, mode) == direction


@pytest.mark.parametrize("metric", ["my_loss", "accuracy_loss", "val_val_loss", "Loss", "class_acc_0", ""])
def test_a_direction_is_never_guessed_from_a_part_of_the_name(metric: str) -> None:
    """A name that is not in the table as a whole is an error that asks for the mode."""
    with pytest.raises(MetricError, match="mode='min' or mode='max'"):
        direction_of(Run.of(ScriptedTrainee()), metric, "auto")


def test_the_table_knows_both_directions_and_no_name_twice() -> None:
    """The table has the best-known names of both directions, each in lower case and without `val_`."""
    assert set(DIRECTIONS.values()) == {"min", "max"}
    assert all(name == name.lower().removeprefix("val_") for name in DIRECTIONS)


# Looking up one metric.


def run_at(epoch: int, **fields: Any) -> Run:
    run = Run(plugin="watcher", **fields)
    run.progress.epoch = epoch
    return run


def test_a_metric_that_is_there_is_observed() -> None:
    """The value of a metric that the epoch produced is returned, NaN included."""
    assert observe(run_at(0), {"loss": 0.5}, "loss") == 0.5
    assert math.isnan(observe(run_at(0), {"loss": math.nan}, "loss") or 0)


def test_a_missing_metric_is_an_error_that_lists_what_is_there() -> None:
    """By default a missing metric is an error with the plugin, the epoch, the metrics that exist and the nearest name."""
    with pytest.raises(
        MetricError, match=r"(?m)watcher: no metric 'los' at the end of epoch 4; there are: acc, loss. Did you mean 'loss'\?$"
    ):
        observe(run_at(3), {"loss": 1.0, "acc": 1.0}, "los")


def test_a_missing_validation_metric_asks_for_validation() -> None:
    """If there is no `val_` metric at all, the error asks for validation data; if there is one, it does not."""
    with pytest.raises(MetricError, match=r"there are: none\. Nothing was validated"):
        observe(run_at(0), {}, "val_loss")
    with pytest.raises(MetricError) as caught:
        observe(run_at(0), {"val_loss": 1.0}, "val_acc")
    assert "Nothing was validated" not in str(caught.value)


def test_missing_may_warn_or_be_skipped() -> None:
    """With "warn" a missing metric is a warning and not observed, and with "skip" it is not observed, without a message."""
    with pytest.warns(HookcoreWarning, match="no metric 'loss'"):
        assert observe(run_at(0), {}, "loss", "warn") is None
    assert observe(run_at(0), {}, "loss", "skip") is None


@pytest.mark.parametrize(
    ("freq", "epoch", "expected"), [(2, 0, False), (2, 1, True), ([3], 1, False), ([3], 2, True), (1, 0, True)]
)
def test_a_validation_metric_is_not_missing_where_no_validation_was_due(freq: Any, epoch: int, expected: bool) -> None:  # noqa: FBT001 - a parameter
    """A `val_` metric is missing only in an epoch with validation; in one without, it is not observed."""
    run = run_at(epoch, validation_freq=freq)
    assert run.validates(epoch) == expected
    if expected:
        with pytest.raises(MetricError):
            observe(run, {}, "val_loss")
    else:
        assert observe(run, {}, "val_loss") is None
    with pytest.raises(MetricError):
        observe(run, {}, "loss")


def test_a_metric_of_an_earlier_epoch_is_not_missing() -> None:
    """A metric that an earlier epoch had is not missing, but not observed in this one."""
    run = run_at(1)
    run.history.append(0, {"val_loss": 1.0})
    assert observe(run, {}, "val_loss") is None
