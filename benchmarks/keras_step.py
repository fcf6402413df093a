"""Measure what callbacks cost per step inside Keras's real train step, on TensorFlow.

The inner loop of `fit` is run by hand with two compiled models: `on_train_batch_begin`, the model's train function,
`on_train_batch_end`. Only the two calls are timed, including the timer. `tiny` has one layer and batches of one sample, `small`
has three layers and batches of 64; both have two metrics. The candidate changes every 50 steps, and the first 5 steps after a
change do not count: if it changed at every step, all candidates would stay cold. A figure is the median step of such a block.

`callbacks=[]` is Keras's own list as `fit` creates it, with its History; it is in the table twice: how far the second is from 1
is noise. The plugins and the counting callbacks count the ends of batches, and read a metric only if their name says which. The
counts and the loss that was read are checked. The length of the data is known. Measurements begin after the first batches, all
of which hookcore times itself.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
import types
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import attrs
import click
import keras
import numpy as np
import tensorflow as tf

from hookcore import hookimpl
from hookcore.timing import FIRST_WINDOW
from hookcore_adapters.keras import KerasAdapter
from hookcore_adapters.keras.callback_list import HookedCallbackList, LastCallback
from hookcore_adapters.keras.events import KerasEvents
from side_by_side import Counter, Gate, Table, benchmark, engine_of, measure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

STEPS, COLD = 50, 5
WARM: Final = FIRST_WINDOW + STEPS
FLOOR, NONE, FOUR, LOSS = "callbacks=[]", "fit, no batch plugin", "fit, 4 plugins", "fit, loss every step"
ONLY_FLOAT, COUNTING = "float() of the loss, and nothing else", "4 counting callbacks"
ADAPTER, ADAPTER_FOUR = "KerasAdapter, no batch plugin", "KerasAdapter, 4 plugins"
GATES: Final = {
    NONE: (0.1, ""),
    FOUR: (0.2, ""),
    LOSS: (
        0.4,
        f"See {ONLY_FLOAT!r}: the processor's caches are cold after a step.",
    ),
    ADAPTER: (1.15, ""),
    ADAPTER_FOUR: (1.15, f"See {COUNTING!r} in Keras's own list."),
}


@attrs.define(eq=False)
class Given:
    """Counts, and receives the metrics without reading them."""

    n: int = 0

    @hookimpl
    def on_batch_end(self, metrics: Mapping[str, float]) -> None:
        """Count."""
        del metrics
        self.n += 1


@attrs.define(eq=False)
class Reader:
    """Reads one metric at every step."""

    n: int = 0
    loss: float = 0.0

    @hookimpl
    def on_batch_end(self, metrics: Mapping[str, float]) -> None:
        """Read."""
        self.loss = metrics["loss"]
        self.n += 1


@attrs.define(eq=False)
class OfEpochs:
    """Implements no hook of batches."""

    @hookimpl
    def on_epoch_end(self) -> None:
        """Do nothing."""


class CountingCallback(keras.callbacks.Callback):  # type: ignore[misc]  # Keras ships no types
    """Counts the ends of batches, as `Counter` does, as a Keras callback."""

    n = 0

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Count."""
        del batch, logs
        self.n += 1


class OnlyFloat(keras.callbacks.CallbackList):  # type: ignore[misc]  # Keras ships no types
    """Reads the loss as a number at the end of each step, and does nothing else: the least that reading it can cost."""

    loss = 0.0

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Do nothing."""

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Read."""
        del batch
        self.loss = float(logs["loss"])


@attrs.frozen
class Way:
    """A list that `fit` would call, and the listeners that it calls."""

    told: Any
    listeners: Sequence[Any] = ()


def stock(directory: Path) -> list[Any]:
    """Return four of Keras's own callbacks."""
    of = keras.callbacks
    return [
        of.EarlyStopping("loss", patience=3),
        of.ReduceLROnPlateau("loss"),
        of.ModelCheckpoint(directory / "model.keras", monitor="loss", save_best_only=True),
        of.CSVLogger(directory / "log.csv"),
    ]


def by_keras(model: Any, callbacks: Sequence[Any] = (), listeners: Sequence[Any] = ()) -> Way:
    """Return the list that `fit` creates."""
    return Way(
        keras.callbacks.CallbackList(list(callbacks), add_history=True, model=model, verbose=0, epochs=1, steps=STEPS), listeners
    )


def by_hookcore(model: Any, plugins: Sequence[Any]) -> Way:
    """Return the list that hookcore's `fit` creates."""
    events = KerasEvents(engine_of(plugins))
    return Way(
        keras.callbacks.CallbackList([LastCallback(events)], add_history=True, model=model, verbose=0, epochs=1, steps=STEPS),
        plugins,
    )


def tiny() -> tuple[Any, tuple[Any, Any]]:
    """Return a model whose step is almost pure overhead, and its batch."""
    model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse", metrics=["mae"])
    return model, (np.ones((1, 8), "float32"), np.ones((1, 1), "float32"))


def small() -> tuple[Any, tuple[Any, Any]]:
    """Return a small model, and its batch."""
    layers = [keras.layers.Dense(256, "relu"), keras.layers.Dense(256, "relu"), keras.layers.Dense(10, "softmax")]
    model = keras.Sequential([keras.Input((128,)), *layers])
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    random = np.random.default_rng(0)
    return model, (random.normal(size=(64, 128)).astype("float32"), random.integers(10, size=64))


def ways(model: Any, directory: Path) -> dict[str, Way]:
    """Return all candidates."""
    four = [Counter() for _ in range(4)]
    counting = [CountingCallback() for _ in range(4)]
    adapted = [Counter() for _ in range(4)]
    return {
        FLOOR: by_keras(model),
        "callbacks=[] again": by_keras(model),
        "4 stock callbacks": by_keras(model, stock(directory)),
        COUNTING: by_keras(model, counting, counting),
        NONE: by_hookcore(model, [OfEpochs()]),
        FOUR: by_hookcore(model, four),
        "fit, 4 plugins given metrics": by_hookcore(model, [Given() for _ in range(4)]),
        LOSS: by_hookcore(model, [Reader()]),
        ONLY_FLOAT: Way(OnlyFloat([], add_history=False, model=model, verbose=0, epochs=1, steps=STEPS)),
        ADAPTER: by_keras(model, [KerasAdapter(engine_of([OfEpochs()]))]),
        ADAPTER_FOUR: by_keras(model, [KerasAdapter(engine_of(adapted))], adapted),
    }


def block(model: Any, iterator: Any, told: Any) -> tuple[float, Any]:
    """Return the seconds that the calls of a block's median step took, and the logs of its last step."""
    clock = time.perf_counter
    taken = []
    logs: Any = None
    for step in range(STEPS):
        began = clock()
        told.on_train_batch_begin(step)
        begun = clock()
        logs = model.train_function(iterator)
        ended = clock()
        told.on_train_batch_end(step, logs)
        taken.append(clock() - ended + begun - began)
    return statistics.median(taken[COLD:]), logs


def table(name: str, made: tuple[Any, tuple[Any, Any]], directory: Path, rounds: int) -> Table:
    """Measure all candidates with one model. Raises `AssertionError` if a listener missed a step, or read a wrong loss."""
    model, batch = made
    model.make_train_function()
    iterator = iter(tf.data.Dataset.from_tensors(batch).repeat())
    logs = model.train_function(iterator)
    candidates = ways(model, directory)
    for way in candidates.values():
        way.told.on_train_begin()
        way.told.on_epoch_begin(0)
        for step in range(WARM):
            way.told.on_train_batch_begin(step)
            way.told.on_train_batch_end(step, logs)

    def sample(way: Way) -> Callable[[], float]:
        # Its own copy of the loop: CPython adapts the code of a loop to the list that it calls, and `fit` has one only.
        own: Any = types.FunctionType(block.__code__.replace(), globals())

        def taken() -> float:
            seconds: float
            seconds, real = own(model, iterator, way.told)
            for one in way.listeners:
                if isinstance(one, Reader):
                    assert one.loss == float(real["loss"]), f"read {one.loss}, real {real}"  # noqa: S101 - the check
            return seconds

        return taken

    figures = measure({one: sample(way) for one, way in candidates.items()}, rounds)
    expected = WARM + (1 + rounds) * STEPS
    for one, way in candidates.items():
        counts = {listener.n for listener in way.listeners if not isinstance(listener, OfEpochs)}
        assert counts <= {expected}, f"{one}: {counts} events, {expected} expected"  # noqa: S101 - the check
        adapters = [one.engine for one in way.told.callbacks if isinstance(one, KerasAdapter)]
        for used in [way.told.last.events.engine] if isinstance(way.told, HookedCallbackList) else adapters:
            run = used.run
            assert run is not None and run.progress.step == expected, f"{one}: {run}"  # noqa: S101, PT018 - the check
    return Table(f"callbacks of one step, {name} model", "us", figures, floor=FLOOR, ours=FOUR)


@benchmark
@click.option("--rounds", default=31, show_default=True, type=click.IntRange(min=2))
def main(rounds: int) -> Iterator[Table | Gate | str]:
    """Print what callbacks cost per step."""
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    with tempfile.TemporaryDirectory() as directory:
        for make in (tiny, small):
            found = table(make.__name__, make(), Path(directory), rounds)
            yield found
            for way, (at_most, limit) in GATES.items():
                yield Gate(f"{make.__name__} model: {way}, x {FLOOR}", found.ratio(way, FLOOR)[1], at_most, limit)


if __name__ == "__main__":
    main()
