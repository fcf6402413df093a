"""Batches, steps and the length of an epoch, for every kind of data and several batches in one execution."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import pandas as pd
import pytest

from hookcore import Run, hookimpl
from hookcore.testing import RecordingPlugin
from tests.adapters.keras.backends import BACKEND, SEVERAL_STEPS, Batches, OwnStep, kinds_of_data, only_on, tensor, tf

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Train = Callable[..., Run]
    Watch = Callable[[], Any]

ENDS_EARLY = pytest.mark.filterwarnings("ignore:Your input ran out of data:UserWarning")  # Keras's warning at the end of data


def generator(data: tuple[Any, Any], batches: int | None = None) -> Iterator[tuple[Any, Any]]:
    """Yield batches of the data, a number of them or endlessly."""
    number = 0
    while batches is None or number < batches:
        yield data[0][:6], data[1][:6]
        number += 1


def dataset(data: tuple[Any, Any], batch_size: int = 6, *, known: bool = True) -> Any:
    """Return the data as a `tf.data.Dataset` of known or unknown length."""
    batched = tf.data.Dataset.from_tensor_slices(data).batch(batch_size)
    return batched if known else batched.filter(lambda x, y: True)  # noqa: ARG005 - a filter hides the length


KINDS: dict[str, tuple[Callable[[Any], tuple[Any, ...]], dict[str, Any]]] = {
    "arrays": (lambda data: data, {}),
    "arrays in batches of 5": (lambda data: data, {"batch_size": 5}),
    "arrays, a part split off": (lambda data: data, {"batch_size": 5, "validation_split": 0.3}),
    "arrays, a split that validation data override": (
        lambda data: data,
        {"batch_size": 5, "validation_split": 0.3, "validation_data": 0},
    ),
    "arrays with steps_per_epoch": (lambda data: data, {"steps_per_epoch": 2}),
    "tensors": (lambda data: tuple(map(tensor, data)), {"batch_size": 7}),
    "dataset": (lambda data: (dataset(data),), {"shuffle": False}),
    "dataset of unknown length": (lambda data: (dataset(data, known=False),), {"shuffle": False}),
    "endless dataset": (lambda data: (dataset(data).repeat(),), {"steps_per_epoch": 3, "shuffle": False}),
    "PyDataset": (lambda data: (Batches(data),), {}),
    "PyDataset with steps_per_epoch": (lambda data: (Batches(data),), {"steps_per_epoch": 2}),
    "generator": (lambda data: (generator(data, 4),), {"shuffle": False}),
    "generator with steps_per_epoch": (lambda data: (generator(data),), {"steps_per_epoch": 3, "shuffle": False}),
}


@ENDS_EARLY
@pytest.mark.parametrize("kind", kinds_of_data(KINDS))
def test_steps_per_epoch_is_what_keras_tells_its_callbacks(train: Train, make: Any, data: Any, kind: str, watch: Watch) -> None:
    """For all kinds of data, `run.steps_per_epoch` and the `steps` of other callbacks equal those of a plain `model.fit`."""
    given, arguments = KINDS[kind]
    if "validation_data" in arguments:
        arguments = arguments | {"validation_data": data}
    plain, beside = watch(), watch()
    at_begin: list[int | None] = []

    class AtBegin:
        @hookimpl
        def on_train_begin(self, run: Run) -> None:
            at_begin.append(run.steps_per_epoch)

    make().fit(*given(data), **arguments, callbacks=[plain], verbose=0)
    run = train(make(), *given(data), **arguments, plugins=[AtBegin()], callbacks=[beside])
    assert at_begin == [plain.steps] == [beside.steps]
    assert run.steps_per_epoch == run.progress.step == len(plain.batches)


def test_pandas_are_taken_and_split_by_position(train_by_fit: Train, make: Any, data: Any, calls: Any) -> None:
    """Data frames train like arrays, and the validation part is their end by position, not by label."""
    x = pd.DataFrame(data[0], index=range(100, 124))
    y = pd.Series(data[1][:, 0], index=np.linspace(0, 1, 24))
    validated: list[Any] = []
    plugin = calls(on_train_begin=lambda run: validated.extend(run.validation_data))
    run = train_by_fit(make(), x, y, validation_split=0.25, batch_size=6, plugins=[plugin])
    assert run.steps_per_epoch == 3
    np.testing.assert_array_equal(np.asarray(validated[0]), data[0][18:])
    np.testing.assert_array_equal(np.asarray(validated[1]), data[1][18:, 0])


TEN_BATCHES: dict[str, tuple[Callable[[Any], tuple[Any, ...]], dict[str, Any], int]] = {
    "arrays": (lambda data: data, {"batch_size": 2}, 10),
    "dataset": (lambda data: (dataset(data, 2),), {}, 10),
    "dataset of unknown length": (lambda data: (dataset(data, 2, known=False),), {}, 10),
    "endless dataset": (lambda data: (dataset(data, 2).repeat(),), {"steps_per_epoch": 10}, 12),
    "dataset shorter than said": (lambda data: (dataset(data, 2).repeat(2),), {"steps_per_epoch": 9}, 9),
}


@SEVERAL_STEPS
@ENDS_EARLY
@pytest.mark.parametrize("kind", kinds_of_data(TEN_BATCHES))
def test_steps_are_the_optimizers_with_steps_per_execution(
    train: Train, model_by_threes: Any, data: Any, calls: Any, kind: str
) -> None:
    """With 3 steps per execution and 10 batches, `progress.step` equals `optimizer.iterations` at every end of an epoch."""
    given, arguments, first = TEN_BATCHES[kind]
    counts: list[tuple[int, int]] = []
    plugin = calls(on_epoch_end=lambda run: counts.append((run.progress.step, int(run.model.optimizer.iterations))))
    twenty = (data[0][:20], data[1][:20])
    train(model_by_threes, *given(twenty), **arguments, shuffle=False, epochs=3, plugins=[plugin])
    assert [step for step, _ in counts] == [iterations for _, iterations in counts]
    assert counts[0][0] == first
    assert len(counts) == 3


@SEVERAL_STEPS
def test_an_execution_is_one_pair_of_batch_events(train: Train, model_by_threes: Any, data: Any) -> None:
    """With 3 steps per execution, batch hooks are called once per three batches, with the numbers of the first and the last.

    Keras numbers the last execution's end 11, although the data end with batch 9.
    """
    recording = RecordingPlugin()
    train(model_by_threes, data[0][:20], data[1][:20], batch_size=2, plugins=[recording])
    begun = [event[1] for event in recording.events if event[0] == "on_batch_begin"]
    ended = [event[1] for event in recording.events if event[0] == "on_batch_end"]
    assert (begun, ended) == ([0, 3, 6, 9], [2, 5, 8, 9])


@SEVERAL_STEPS
def test_steps_are_right_after_a_plugin_put_back_an_older_optimizer(
    train: Train, model_by_threes: Any, data: Any, calls: Any
) -> None:
    """If a plugin restores a snapshot within an epoch, the optimizer's count decreases, but not the number of steps."""
    taken: list[Any] = []
    steps: list[int] = []

    def back(run: Run) -> None:
        steps.append(run.progress.step)
        if run.progress.batch == 5:
            run.trainee.restore(taken[0])

    plugin = calls(on_train_begin=lambda run: taken.append(run.trainee.snapshot()), on_batch_end=back)
    train(model_by_threes, data[0][:20], data[1][:20], batch_size=2, plugins=[plugin])
    assert steps == [3, 6, 9, 10]


@ENDS_EARLY
@pytest.mark.parametrize("kind", kinds_of_data(["dataset", "generator"]))
def test_an_unknown_length_is_known_after_the_first_epoch(train: Train, make: Any, data: Any, calls: Any, kind: str) -> None:
    """If the length is unknown, `run.steps_per_epoch` is None in the first epoch and the number of batches afterwards."""
    lengths: list[int | None] = []
    recording = RecordingPlugin()
    plugin = calls(on_batch_end=lambda run: lengths.append(run.steps_per_epoch))
    given = dataset(data, known=False) if kind == "dataset" else generator(data, 4)
    run = train(make(), given, shuffle=False, epochs=2 if kind == "dataset" else 1, plugins=[plugin, recording])
    assert lengths == ([None] * 4 + [4] * 4 if kind == "dataset" else [None] * 4)
    assert run.steps_per_epoch == 4
    # Except on PyTorch, Keras begins an additional batch at the end of the data, which never ends and is not counted.
    begun = [event[1] for event in recording.events if event[0] == "on_batch_begin"]
    assert begun[:5] == [0, 1, 2, 3, 4][: len(begun)]
    assert len(begun) in ({4} if BACKEND == "torch" else {5, 10})
    assert run.progress.step == len(lengths)


def test_an_epoch_that_a_stop_cut_short_does_not_tell_the_length(train: Train, make: Any, data: Any, calls: Any) -> None:
    """After a stop within the first epoch of data of unknown length, `run.steps_per_epoch` is still None."""
    plugin = calls(on_batch_end=lambda run: run.stop("enough"))
    run = train(make(), generator(data, 4), shuffle=False, plugins=[plugin])
    assert (run.progress.step, run.steps_per_epoch) == (1, None)


class Untrained(OwnStep):
    """A model with its own training step and no optimizer."""

    def call(self, x: Any) -> Any:
        return x

    def own_step(self, data: Any) -> dict[str, Any]:
        return {"loss": keras.ops.mean(data[0])}


@only_on("tensorflow", what="several steps without an optimizer")
def test_steps_without_an_optimizer_are_counted_by_the_batch_numbers(train: Train, data: Any) -> None:
    """Without an optimizer, an execution counts one step per batch, up to the end of the epoch."""
    model = Untrained()
    model.compile(optimizer=None, loss="mse", steps_per_execution=3)
    run = train(model, data[0][:20], data[1][:20], batch_size=2, epochs=2)
    assert run.progress.step == 20
