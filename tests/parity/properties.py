"""For each callback, the examples and the comparison of Keras's with the drop-in."""

from __future__ import annotations

import csv
import math
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs
import keras
import numpy as np
from hypothesis import strategies as st

from tests.parity.protocol import Epoch, StandIn, counted, drop_in, epochs_of, fit, stock
from tests.parity.series import EIGHTHS, Monitored, begins_with_nan, monitored

if TYPE_CHECKING:
    from collections.abc import Callable

    from hypothesis.strategies import DrawFn

VERBOSE: Final = st.sampled_from([0, 0, 1])
_MOST_REDUCTIONS: Final = 3 * 8


@attrs.frozen
class Example:
    """A callback's parameters, and successive fits with one object."""

    parameters: dict[str, Any]
    fits: list[list[Epoch]]
    first: int = 0
    """The number of each fit's first epoch."""
    steps: int | None = None
    """The number of batches in each epoch, or None if it is unknown to Keras and varies."""
    rate: float = 0.1


class DifferentError(AssertionError):
    """Raised if the drop-in differs from Keras's callback."""


def compared(ours: Any, keras_own: Any) -> None:
    """Raise `DifferentError` if the two differ."""
    if ours != keras_own:
        raise DifferentError(f"\nours:  {ours}\nKeras: {keras_own}")


# EarlyStopping


@st.composite
def early_stopping_examples(draw: DrawFn) -> Example:
    """Draw any parameters that Keras accepts."""
    metric = draw(monitored())
    start = draw(st.sampled_from([0, 0, 0, -1, 1, 3]))
    first = draw(st.sampled_from([0, 0, 2]))
    parameters = {
        "monitor": metric.monitor,
        "mode": metric.mode,
        "min_delta": draw(st.sampled_from([1, -1])) * metric.min_delta,
        "patience": draw(st.integers(-1, 5)),
        "baseline": metric.baseline,
        "restore_best_weights": draw(st.booleans()),
        "start_from_epoch": start,
        "verbose": draw(VERBOSE),
    }
    return Example(parameters, [epochs_of(metric.monitor, _nan_later(values, start - first)) for values in metric.fits], first)


def _nan_later(values: list[float | None], ignored: int = 0) -> list[float | None]:
    """Return `values` without NaN up to the first observed number."""
    kept, observed = values[: max(ignored, 0)], values[max(ignored, 0) :]
    while begins_with_nan(observed):
        observed = observed[1:]
    return kept + observed


@counted("EarlyStopping")
def check_early_stopping(example: Example) -> None:
    """Compare the epoch of the stop, best, best_epoch, wait, stopped_epoch, the final weights, and the messages."""

    def look(callback: Any) -> Any:
        return callback.best, callback.best_epoch, callback.wait, callback.stopped_epoch, callback.best_weights

    _in_fits("EarlyStopping", example, look)


def _in_fits(name: str, example: Example, look: Callable[[Any], Any]) -> None:
    theirs, ours = stock(name, **example.parameters), drop_in(name, **example.parameters)
    models = StandIn(), StandIn()
    for epochs in example.fits:
        seen = [
            fit(callback, model, epochs, look, first=example.first)
            for callback, model in zip((theirs, ours), models, strict=True)
        ]
        compared(seen[1], seen[0])


# ReduceLROnPlateau and LearningRateScheduler

_optimizers: Final[list[Any]] = []


def _models(rate: float) -> tuple[StandIn, StandIn]:
    # Made once, because each has TensorFlow variables.
    if not _optimizers:
        _optimizers.extend(keras.optimizers.SGD() for _ in range(2))
    for optimizer in _optimizers:
        optimizer.learning_rate = rate
    return StandIn(_optimizers[0]), StandIn(_optimizers[1])


@st.composite
def reduce_lr_examples(draw: DrawFn) -> Example:
    """Draw any parameters that Keras accepts, except a factor of 0 or less: test_parameters_out_of_range_are_refused."""
    metric = draw(monitored())
    rate = draw(st.sampled_from([1.0, 0.1, 1e-3, 0.0]) | st.floats(2**-20, 8, width=32))
    factor = draw(st.sampled_from([0.1, 0.5]) | st.floats(1e-3, 0.99999))
    part = draw(st.sampled_from([0.0, -1.0, 0.1, 0.5, 1.0, 2.0]) | st.floats(0, 1))
    parameters = {
        "monitor": metric.monitor,
        "mode": metric.mode,
        "min_delta": draw(st.sampled_from([1, -1])) * metric.min_delta,
        "patience": draw(st.integers(-1, 3)),
        "factor": factor,
        "cooldown": draw(st.integers(-1, 4)),
        "min_lr": 0.0 if _reduces_by_nothing(rate, factor, part * rate) else part * rate,
        "verbose": draw(VERBOSE),
    }
    return Example(parameters, [epochs_of(metric.monitor, _nan_later(values)) for values in metric.fits], rate=rate)


def _reduces_by_nothing(rate: float, factor: float, min_lr: float) -> bool:
    """Return whether Keras reduces a rate by a rounding error, or 0 to 0: test_a_reduction_by_nothing_is_none."""
    if min_lr < 0:
        return rate == 0 or factor < 0.1  # with these a rate in float32 soon is 0
    for _ in range(_MOST_REDUCTIONS):
        if rate != min_lr and math.isclose(rate, min_lr, rel_tol=1e-5):
            return True
        rate = float(np.float32(rate * factor))
    return False


@counted("ReduceLROnPlateau")
def check_reduce_lr(example: Example) -> None:
    """Compare the learning rate after every epoch and in its logs, best, wait, the cooldown counter, and the messages."""
    _rates("ReduceLROnPlateau", example, lambda callback: (callback.best, callback.wait, callback.cooldown_counter))


def _rates(name: str, example: Example, look: Callable[[Any], Any]) -> None:
    def see(callback: Any) -> Any:
        return float(callback.model.optimizer.learning_rate), look(callback)

    theirs, ours = stock(name, **example.parameters), drop_in(name, **example.parameters)
    models = _models(example.rate)
    for epochs in example.fits:
        seen = [fit(callback, model, epochs, see) for callback, model in zip((theirs, ours), models, strict=True)]
        compared(seen[1], seen[0])


@st.composite
def scheduler_examples(draw: DrawFn) -> Example:
    """Draw schedules of the epoch, or of the epoch and the rate, with and without defaults."""
    rates = draw(st.lists(st.floats(0, 100) | st.floats(0, 1, width=32), min_size=1, max_size=6))
    change = draw(st.floats(0, 2))
    schedules: list[Callable[..., float]] = [
        lambda epoch: rates[epoch % len(rates)],
        lambda epoch, rate: rate * change if epoch % 2 else rates[epoch % len(rates)],
        lambda epoch, rate=1.0: rate * change + rates[epoch % len(rates)],
        lambda *both: sum(both),
        lambda epoch, *, scale=2.0: rates[epoch % len(rates)] * scale,
    ]
    fits = draw(st.lists(st.integers(0, 5), min_size=1, max_size=3))
    parameters = {"schedule": draw(st.sampled_from(schedules)), "verbose": draw(VERBOSE)}
    rate = draw(st.floats(2**-20, 8, width=32))
    return Example(parameters, [epochs_of("loss", [1.0] * count) for count in fits], rate=rate)


@counted("LearningRateScheduler")
def check_scheduler(example: Example) -> None:
    """Compare the learning rate after every epoch and in its logs, and the messages."""
    _rates("LearningRateScheduler", example, lambda _: None)


# ModelCheckpoint

TEMPLATES: Final = ("best", "{epoch}", "{epoch:02d}-{loss:.3f}", "new/{epoch}/here")


@st.composite
def checkpoint_examples(draw: DrawFn) -> Example:
    """Draw any parameters that Keras accepts, for saves at the ends of epochs and every N batches."""
    metric = draw(monitored(fits=2, epochs=5, deltas=False))
    weights_only, by_batch = draw(st.booleans()), draw(st.booleans())
    templates = (*TEMPLATES, "{epoch}-{batch}") if by_batch else TEMPLATES
    parameters = {
        "filepath": draw(st.sampled_from(templates))
        + draw(st.sampled_from([".weights.h5"] if weights_only else [".keras", ".h5"])),
        "monitor": metric.monitor,
        "mode": metric.mode,
        "save_best_only": draw(st.booleans()),
        "save_weights_only": weights_only,
        "save_freq": draw(st.integers(1, 7)) if by_batch else "epoch",
        "initial_value_threshold": metric.baseline,
        "verbose": draw(VERBOSE),
    }
    steps = draw(st.none() | st.integers(1, 5))
    if by_batch:
        # The metric is logged with each batch, so the values belong to batches in epochs of random length.
        fits = [_cut(draw, metric, values, steps) for values in _first_is_a_number(metric, by_batch=True)]
    else:
        fits = [epochs_of(metric.monitor, values) for values in _first_is_a_number(metric, by_batch=False)]
        fits = [[attrs.evolve(epoch, logs={"loss": 1.0} | epoch.logs) for epoch in epochs] for epochs in fits]
    return Example(parameters, fits, steps=steps if by_batch else 1)


def _first_is_a_number(metric: Monitored, *, by_batch: bool) -> list[list[float | None]]:
    """Return the fits without a NaN that would become Keras's first best."""
    if metric.baseline is not None:
        return metric.fits
    if by_batch:  # any value may be the first
        return [[value for value in values if value is None or not math.isnan(value)] for values in metric.fits]
    kept = [list(values) for values in metric.fits]
    # `best` is kept between fits, in Keras too.
    for values in kept:
        values[:] = _nan_later(values)
        if any(value is not None for value in values):
            break
    return kept


def _cut(draw: DrawFn, metric: Monitored, values: list[float | None], steps: int | None) -> list[Epoch]:
    batches = [{"loss": 1.0} | ({} if value is None else {metric.monitor: value}) for value in values * 2]
    epochs = []
    while batches:
        length = steps or draw(st.integers(1, 5))
        epochs.append(Epoch({"loss": 1.0, metric.monitor: 0.0}, batches[:length]))
        batches = batches[length:]
    if epochs and len(epochs[-1].batches) < (steps or 0):
        epochs.pop()
    return epochs


@counted("ModelCheckpoint")
def check_checkpoint(example: Example) -> None:
    """Compare the saved paths in order, each with the number of trained batches, the final files, best, and the messages."""
    template = example.parameters["filepath"]
    with tempfile.TemporaryDirectory() as directory:
        roots = Path(directory, "stock"), Path(directory, "ours")
        seen = []
        for root, make in zip(roots, (stock, drop_in), strict=True):
            root.mkdir()
            callback = make("ModelCheckpoint", **{**example.parameters, "filepath": str(root / template)})
            seen.append(_checkpoints(callback, example, root))
        compared(seen[1], seen[0])


def _checkpoints(callback: Any, example: Example, root: Path) -> list[str]:
    def save(path: Any) -> None:
        Path(path).write_text(str(model.batches))

    model = StandIn(save=save)
    if callback.save_freq != "epoch" and hasattr(callback, "_set_monitor_op"):
        # Without it Keras fails in its first epoch: test_integer_save_freq_works_with_save_best_only.
        callback._set_monitor_op()
    seen = []
    for epochs in example.fits:
        seen += fit(callback, model, epochs, lambda callback: (callback.best, _tree(root)), steps=example.steps)
    return [line.replace(str(root), "") for line in seen]


def _tree(root: Path) -> list[tuple[str, str]]:
    return sorted((path.relative_to(root).as_posix(), path.read_text()) for path in root.rglob("*") if path.is_file())


# TerminateOnNaN


@st.composite
def nan_examples(draw: DrawFn) -> Example:
    """Draw losses of batches, mostly finite, and batches without a loss."""
    loss = st.sampled_from([1.0] * 12 + [None, 0.0, 3e38, -3e38, math.nan, math.inf, -math.inf])
    batch = loss.map(lambda value: {"mae": math.nan} if value is None else {"loss": value, "mae": 1.0})
    epoch = st.lists(batch, min_size=1, max_size=6)
    epochs = st.lists(epoch.map(lambda batches: Epoch(dict(batches[-1]), batches)), min_size=1, max_size=4)
    return Example({"raise_error": draw(st.booleans())}, draw(st.lists(epochs, min_size=1, max_size=3)))


@counted("TerminateOnNaN")
def check_nan(example: Example) -> None:
    """Compare the batch of the stop, or the error, and the message."""
    theirs, ours = stock("TerminateOnNaN", **example.parameters), drop_in("TerminateOnNaN", **example.parameters)
    models = StandIn(), StandIn()
    for epochs in example.fits:
        seen: list[list[str]] = []
        for callback, model in zip((theirs, ours), models, strict=True):
            try:
                seen.append(fit(callback, model, epochs))
            except RuntimeError as error:
                seen.append([str(error), str(model.batches)])
        compared(seen[1], seen[0])


# CSVLogger


@st.composite
def csv_examples(draw: DrawFn) -> Example:
    """Draw metrics of any value, in every epoch or in some, with validation in each, in some or never."""
    some = st.sampled_from(["loss", "acc", "learning_rate", "step", "a,b", 'quo"ted', "a_ü"])
    names = draw(st.lists(some, min_size=1, unique=True))
    validates_every = draw(st.sampled_from([0, 1, 2, 3]))
    value = st.floats() | EIGHTHS
    fits = []
    for count in draw(st.lists(st.integers(1, 4), min_size=1, max_size=2)):
        epochs = []
        for number in range(count):
            # A metric may be absent, but not from the first epoch: test_late_columns_are_kept.
            there = [name for name in names if number == 0 or draw(st.integers(0, 5))]
            validated = validates_every and (number + 1) % validates_every == 0
            epochs.append(Epoch({key: draw(value) for name in there for key in ([name, f"val_{name}"] if validated else [name])}))
        fits.append(epochs)
    parameters = {"separator": draw(st.sampled_from([",", ";", "\t", "|", " "])), "append": draw(st.booleans())}
    if parameters["append"]:
        fits = fits[:1] * len(fits)  # with other columns: test_appending_other_columns
    return Example(parameters, fits, first=draw(st.sampled_from([0, 3])))


@counted("CSVLogger")
def check_csv(example: Example) -> None:
    """Compare the rows of the files. Keras's has additional empty columns: test_no_phantom_validation_columns."""
    directory = Path(tempfile.mkdtemp())
    try:
        parameters = {name: example.parameters[name] for name in ("separator", "append")}
        files = directory / "stock.csv", directory / "ours.csv"
        theirs, ours = stock("CSVLogger", files[0], **parameters), drop_in("CSVLogger", files[1], **parameters)
        for epochs in example.fits:
            for callback in (theirs, ours):
                fit(callback, StandIn(), epochs, first=example.first)
            keras_own, own = (_rows(file, example.parameters["separator"]) for file in files)
            phantoms = {name for name in keras_own[0] if name not in own[0]}
            compared({row[name] for row in keras_own for name in phantoms} - {"NA"}, set())
            # As pairs, whose order is that of the columns.
            compared(
                [list(row.items()) for row in own],
                [[pair for pair in row.items() if pair[0] not in phantoms] for row in keras_own],
            )
    finally:
        shutil.rmtree(directory)


def _rows(file: Path, separator: str) -> list[dict[str, Any]]:
    with file.open(newline="") as opened:
        return list(csv.DictReader(opened, delimiter=separator))
