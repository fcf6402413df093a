"""If a resumed run is given other arguments than the run before, the log names the old value and the new one."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

import keras
import numpy as np
import pytest
from keras.src.trainers.data_adapters import PyDatasetAdapter

from hookcore import Position
from hookcore_adapters.keras import fit
from hookcore_adapters.keras.data_order import order_warnings
from hookcore_plugins import Checkpoint, ReduceLROnPlateau
from tests.adapters.keras.backends import TF_DATA, tf

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from hookcore import Run

    Train = Callable[..., Run]


@pytest.fixture
def warned(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """Return `warned()`, which returns the warnings in the log since the last call."""
    caplog.set_level(logging.WARNING, "hookcore")

    def take() -> list[str]:
        messages = [record.getMessage() for record in caplog.records if record.name == "hookcore"]
        caplog.clear()
        return messages

    return take


def sgd(rate: Any) -> dict[str, Any]:
    return {"optimizer": keras.optimizers.SGD(rate)}


def test_a_changed_learning_rate_is_named(train: Train, make: Any, data: Any, tmp_path: Path, warned: Any) -> None:
    """The checkpoint's rate overrides another compiled rate, with a warning; an equal rate, or a plugin's change, gives none."""
    arguments: dict[str, Any] = {"batch_size": 24, "resume": "auto", "shuffle": False}

    def plugins() -> list[object]:
        return [ReduceLROnPlateau("loss", min_delta=100, patience=1, factor=0.5), Checkpoint(tmp_path)]

    train(make(**sgd(0.5)), *data, epochs=3, plugins=plugins(), **arguments)
    assert train(make(**sgd(0.5)), *data, epochs=4, plugins=plugins(), **arguments).learning_rate < 0.5
    assert warned() == []
    run = train(make(**sgd(0.03)), *data, epochs=5, plugins=plugins(), **arguments)
    rate = run.history.learning_rates[-1]
    (warning,) = warned()
    assert "compiled with learning_rate=0.03, and before with 0.5" in warning
    assert f"continues with {rate:g} from the checkpoint" in warning


def test_a_schedule_is_the_models_own(make: Any, data: Any, tmp_path: Path, warned: Any) -> None:
    """A schedule is not in checkpoints, so a changed one is used without a warning."""
    for rate, epochs in ((0.5, 1), (0.25, 2)):
        schedule = keras.optimizers.schedules.ExponentialDecay(rate, 100, 0.5)
        run = fit(
            make(**sgd(schedule)), *data, epochs=epochs, batch_size=24, verbose=0, plugins=[Checkpoint(tmp_path)], resume="auto"
        )
    assert run.learning_rate == pytest.approx(0.25, rel=0.05)
    assert warned() == []


CHANGES: Final[dict[str, tuple[dict[str, Any], list[str]]]] = {
    "batch size": (
        {"batch_size": 12},
        ["batch_size is 12, and was 6; the run continues with 12", "steps_per_epoch is 2, and was 4"],
    ),
    "samples": ({"validation_split": 0.5}, ["samples is 12, and was 24", "steps_per_epoch is 2, and was 4"]),
    "steps": ({"steps_per_epoch": 3}, ["steps_per_epoch is 3, and was 4"]),
    "nothing": ({}, []),
}


@pytest.mark.parametrize("name", CHANGES)
def test_changed_sizes_of_the_data_are_named(make: Any, data: Any, tmp_path: Path, warned: Any, name: str) -> None:
    """Another batch size, number of samples or number of steps is used, and the log names both values."""
    changed, expected = CHANGES[name]
    arguments: dict[str, Any] = {"batch_size": 6, "verbose": 0, "shuffle": False, "plugins": [Checkpoint(tmp_path)]}
    fit(make(), *data, epochs=1, **arguments)
    fit(make(), *data, epochs=2, resume="auto", **arguments | changed)
    found = [message for message in warned() if "continues with" in message]
    assert len(found) == len(expected)
    assert all(f"resumed: {text}" in message for text, message in zip(expected, found, strict=True))


def test_the_adapter_names_changed_steps(make: Any, data: Any, tmp_path: Path, train: Train, warned: Any) -> None:
    """`KerasAdapter` compares the number of steps, which another batch size changes."""
    train(make(), *data, batch_size=6, epochs=1, plugins=[Checkpoint(tmp_path)])
    train(make(), *data, batch_size=12, epochs=2, plugins=[Checkpoint(tmp_path)], resume="auto")
    assert "resumed: steps_per_epoch is 2, and was 4; the run continues with 2" in warned()


def shuffled(data: Any, **arguments: Any) -> Any:
    return tf.data.Dataset.from_tensor_slices(data).shuffle(24, **arguments).batch(6).prefetch(1)


@TF_DATA
@pytest.mark.parametrize(
    ("make_data", "at", "warns"),
    [
        (shuffled, 6, True),
        (lambda data: shuffled(data, seed=1), 6, True),
        (lambda data: shuffled(data, seed=1), 2, False),
        (lambda data: shuffled(data, seed=1), 4, False),
        (lambda data: shuffled(data, seed=1, reshuffle_each_iteration=False), 6, False),
        (lambda data: tf.data.Dataset.zip(shuffled(data), shuffled(data)).map(lambda one, _: one), 6, True),
        (lambda data: tf.data.Dataset.from_tensor_slices(data).batch(6), 6, False),
    ],
    ids=["shuffled", "seeded", "seeded, first epoch", "seeded, an epoch's end", "one order", "within others", "in order"],
)
def test_a_dataset_whose_order_cannot_be_repeated_gives_a_warning(
    make: Any, data: Any, tmp_path: Path, warned: Any, *, make_data: Any, at: int, warns: bool
) -> None:
    """The log warns if a run is resumed within an epoch of a `tf.data` pipeline whose order is not repeated."""
    arguments: dict[str, Any] = {"verbose": 0, "epochs": 2, "shuffle": False}
    plugin = Checkpoint(tmp_path, every_n_steps=1, keep_last=10)
    fit(make(), make_data(data), plugins=[plugin], **arguments)
    saved = next(path for path in tmp_path.iterdir() if path.name == f"step-{at:08d}")
    fit(make(), make_data(data), plugins=[Checkpoint(tmp_path / "other")], resume=saved, **arguments)
    assert any("the dataset shuffles, and its order cannot be repeated" in message for message in warned()) is warns


class InOrder(keras.utils.PyDataset):  # type: ignore[misc]  # Keras ships no types
    """Four batches, by their index."""

    def __init__(self, data: Any) -> None:
        super().__init__()
        self.x, self.y = data

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> Any:
        return self.x[6 * index : 6 * index + 6], self.y[6 * index : 6 * index + 6]


class Reordering(InOrder):
    """Another order in each epoch, as is common."""

    def on_epoch_end(self) -> None:
        order = np.random.default_rng(0).permutation(len(self.x))
        self.x, self.y = self.x[order], self.y[order]


def endless(data: Any) -> Any:
    batches = InOrder(data)
    while True:
        yield from (batches[index] for index in range(4))


def from_generator(data: Any) -> Any:
    signature = tuple(tf.TensorSpec((6, *part.shape[1:]), part.dtype) for part in data)
    return tf.data.Dataset.from_generator(lambda: (InOrder(data)[index] for index in range(4)), output_signature=signature)


def with_option(data: Any, deterministic: bool) -> Any:  # noqa: FBT001 - a helper
    options = tf.data.Options()
    options.deterministic = deterministic
    return from_arrays(data).with_options(options)


def from_arrays(data: Any) -> Any:
    return tf.data.Dataset.from_tensor_slices(data).batch(6)


def within_a_function(data: Any) -> Any:
    parts = tf.data.Dataset.range(1)
    return parts.flat_map(lambda _: tf.data.Dataset.from_tensor_slices(data).shuffle(24, seed=1)).batch(6)


def own_adapter(data: Any) -> Any:
    class Own(PyDatasetAdapter):  # type: ignore[misc]  # Keras ships no types
        pass

    return Own(InOrder(data))


GENERATOR = "come from a generator, whose order cannot be known"
DOUBTS: dict[str, tuple[Any, str]] = {
    "a generator": (endless, GENERATOR),
    "a dataset from a generator": (from_generator, "is made from a generator, whose order cannot be known"),
    "within a function": (within_a_function, "the dataset shuffles, and its order cannot be repeated"),
    "a map in any order": (
        lambda data: from_arrays(data).map(lambda x, y: (x, y), num_parallel_calls=2, deterministic=False),
        "the dataset is not deterministic",
    ),
    "any order": (lambda data: with_option(data, deterministic=False), "the dataset is not deterministic"),
    "samples of several": (
        lambda data: tf.data.Dataset.sample_from_datasets([from_arrays(data)] * 2, rerandomize_each_iteration=True).take(4),
        "the dataset shuffles, and its order cannot be repeated",
    ),
    "a PyDataset that reorders": (Reordering, "the on_epoch_end of Reordering was called for each earlier epoch"),
    "an adapter of one's own": (own_adapter, "the data come from a Own, whose order cannot be known"),
    "a PyDataset": (InOrder, ""),
    "a dataset": (lambda data: with_option(data, deterministic=True), ""),
    "functions": (lambda data: from_arrays(data).map(lambda x, y: (x + 0, y), num_parallel_calls=2).filter(lambda *_: True), ""),
}

ANYWHERE: Final = {"a generator", "a PyDataset that reorders", "an adapter of one's own", "a PyDataset"}


@pytest.mark.filterwarnings("ignore:Your input ran out of data:UserWarning")  # Keras's warning at the end of data
@pytest.mark.parametrize("kind", [pytest.param(kind, marks=[] if kind in ANYWHERE else [TF_DATA]) for kind in DOUBTS])
def test_data_of_unknown_order_give_a_warning_within_an_epoch(
    make: Any, data: Any, tmp_path: Path, warned: Any, kind: str
) -> None:
    """Within an epoch, the log names the kind of data and what to give instead.

    At the end of an epoch, and for data with a fixed order, it does not.
    """
    make_data, expected = DOUBTS[kind]
    steps = {"steps_per_epoch": 4} if kind == "a generator" else {}
    arguments: dict[str, Any] = {"verbose": 0, "epochs": 3, "shuffle": False, **steps}
    fit(make(), make_data(data), plugins=[Checkpoint(tmp_path, every_n_steps=1, keep_last=20)], **arguments)
    places = {4: "", 6: expected}
    for step, words in places.items():
        fit(make(), make_data(data), plugins=[], resume=tmp_path / f"step-{step:08d}", **arguments)
        told = [message for message in warned() if "may be trained twice" in message]
        assert len(told) == bool(words)
        assert all(words in message and message.endswith(", or save at the ends of epochs only") for message in told)


@pytest.mark.parametrize(("sampler", "warns"), [("ByLength", True), ("RandomSampler", False), ("SequentialSampler", False)])
def test_a_data_loader_with_a_custom_sampler_gives_a_warning(*, sampler: str, warns: bool) -> None:
    """The log warns of a sampler that is not PyTorch's own, whose random state is not in checkpoints."""
    names = (sampler, "BatchSampler")
    loader = type("DataLoader", (), {"__module__": "torch.utils.data.dataloader"})()
    loader.sampler, loader.batch_sampler = (type(name, (), {})() for name in names)
    arguments = {"x": loader, "steps_per_epoch": None, "initial_epoch": 0, "shuffle": False}
    found = list(order_warnings(arguments, Position(0, 2, begun=True)))
    assert [text.startswith("the order of the DataLoader cannot be known") for text in found] == [True] * warns
