"""The drop-in TensorBoard writes the same points as Keras's."""

from __future__ import annotations

import copy
import pickle
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.parity.boards import points, steps
from tests.parity.models import Breaks, X, Y, tiny, trained
from tests.parity.protocol import drop_in, stock

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

tf = pytest.importorskip("tensorflow", reason="Keras's own TensorBoard needs TensorFlow")


def convolutional() -> Any:
    """Return a model with named weights of one to four dimensions."""
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [
            keras.Input((6, 6, 1), name="pixels"),
            keras.layers.Conv2D(3, 3, name="convolution"),
            keras.layers.BatchNormalization(name="normalization"),
            keras.layers.Flatten(name="flat"),
            keras.layers.Dense(4, name="hidden"),
            keras.layers.Dense(1, name="out"),
        ],
        name="model",
    )
    model.compile(keras.optimizers.Adam(name="adam"), "mse", metrics=["mae"])
    return model


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"update_freq": "batch", "write_steps_per_second": True},
        {"update_freq": 2, "histogram_freq": 1, "write_images": True},
        {"write_graph": False, "histogram_freq": 2, "update_freq": 3},
    ],
)
def test_the_same_points(tmp_path: Path, parameters: dict[str, Any]) -> None:
    """Scalars, histograms, images and the model have the same directories, tags, steps, kinds, and values bit for bit."""
    x = np.random.default_rng(0).random((20, 6, 6, 1)).astype("float32")
    for make in (stock, drop_in):
        board = make("TensorBoard", tmp_path / make.__name__, **parameters)
        convolutional().fit(x, x.mean((1, 2)), batch_size=4, epochs=3, validation_split=0.3, verbose=0, callbacks=[board])
    theirs, ours = points(tmp_path / "stock"), points(tmp_path / "drop_in")
    assert ours == theirs
    assert ("train", "epoch_loss") in theirs or parameters["update_freq"] == 3


def test_the_same_files_for_embeddings(tmp_path: Path) -> None:
    """The projector's configuration and the weights of each epoch are in the same files as Keras's."""
    left = []
    for make in (stock, drop_in):
        keras.utils.set_random_seed(1)
        model = keras.Sequential([keras.Input((4,)), keras.layers.Embedding(5, 2, name="words"), keras.layers.Flatten()])
        model.compile("sgd", "mse")
        directory = tmp_path / make.__name__
        board = make("TensorBoard", directory, embeddings_freq=2, embeddings_metadata={"words": "words.tsv"})
        model.fit(np.ones((4, 4)), np.ones((4, 8)), epochs=3, verbose=0, callbacks=[board])
        files = sorted(str(path.relative_to(directory)) for path in directory.rglob("*") if "tfevents" not in path.name)
        left.append((files, (directory / "projector_config.pbtxt").read_text()))
    assert left[0] == left[1]
    assert "train/keras_embedding.ckpt-2.weights.h5" in left[0][0]


def test_a_models_own_summaries(tmp_path: Path) -> None:
    """A model's own summaries by `tf.summary` are in the same directories at the same steps."""

    class Sums(keras.layers.Layer):  # type: ignore[misc]  # Keras ships no types
        def call(self, x: Any) -> Any:
            tf.summary.scalar("own", tf.reduce_sum(x))
            return x

    found = []
    for make in (stock, drop_in):
        model = keras.Sequential([keras.Input((3,)), Sums(name="sums"), keras.layers.Dense(1)], name="model")
        model.compile("sgd", "mse", run_eagerly=True)
        directory = tmp_path / make.__name__
        board = make("TensorBoard", directory, update_freq=2)
        model.fit(X, Y, batch_size=2, epochs=2, shuffle=False, validation_data=(X, Y), verbose=0, callbacks=[board])
        found.append({place: values for place, values in points(directory).items() if "own" in place[1]})
    assert found[0] == found[1]
    assert [[step for step, *_ in values] for values in found[1].values()] == [[2, 4, 6, 8], [2, 4, 6, 8]]


def test_an_evaluation_alone(tmp_path: Path) -> None:
    """An evaluation outside of training is written when it ends."""
    for make in (stock, drop_in):
        tiny().evaluate(X, Y, verbose=0, callbacks=[make("TensorBoard", tmp_path / make.__name__, write_graph=False)])
    ours = points(tmp_path / "drop_in")
    assert list(ours) == [("validation", "evaluation_loss_vs_iterations")]
    assert ours == points(tmp_path / "stock")


@pytest.mark.parametrize("make", [stock, drop_in])
def test_profiles(make: Callable[..., Any], tmp_path: Path) -> None:
    """The given batches are profiled into TensorBoard's place, and invalid ranges raise Keras's error."""
    trained(tiny(), [make("TensorBoard", tmp_path, profile_batch=(2, 3))], epochs=2)
    assert list(tmp_path.glob("train/plugins/profile/*/*.xplane.pb"))
    assert steps(tmp_path, "batch_3") == [3]
    for bad in (-1, (3, 2), (1, 2, 3), 1.5, None):
        with pytest.raises(ValueError, match="profile_batch must be a non-negative integer or 2-tuple"):
            make("TensorBoard", tmp_path, profile_batch=bad)


def test_what_a_reader_of_tensorboards_finds(tmp_path: Path) -> None:
    """TensorBoard's accumulator finds the scalars of epochs and batches, as tensors like Keras's."""
    trained(tiny(), [drop_in("TensorBoard", tmp_path, update_freq="batch")], epochs=2)
    found = EventAccumulator(str(tmp_path / "train")).Reload()
    assert sorted(found.Tags()["tensors"]) == ["batch_loss", "epoch_learning_rate", "epoch_loss", "keras"]
    assert [event.step for event in found.Tensors("batch_loss")] == [1, 2, 3, 4]


def test_numbers_of_numpy(tmp_path: Path) -> None:
    """Every number may be NumPy's, and is stored as Python's."""
    board = drop_in(
        "TensorBoard",
        tmp_path,
        histogram_freq=np.int64(1),
        update_freq=np.int32(2),
        embeddings_freq=np.float32(2),
        profile_batch=(np.int64(0), np.int64(0)),
    )
    assert repr((board.histogram_freq, board.update_freq, board.embeddings_freq)) == "(1, 2, 2)"
    trained(tiny(), [board], epochs=1)
    assert steps(tmp_path, "batch_loss") == [2]
    with pytest.raises(TypeError, match="TensorBoard: update_freq must be a number, got None"):
        drop_in("TensorBoard", update_freq=None)


def test_a_used_callback_is_data(tmp_path: Path) -> None:
    """After a fit, also a failed one, the callback can be copied and pickled, and copies write their own files."""
    for number, broken in enumerate(([], [Breaks(epoch=1)])):
        board = drop_in("TensorBoard", tmp_path / str(number), update_freq=1)
        trained(tiny(), [board, *broken], epochs=2)
        for other in (copy.deepcopy(board), pickle.loads(pickle.dumps(board))):  # noqa: S301 - pickled here
            before = len(steps(tmp_path / str(number), "batch_loss"))
            trained(tiny(), [other], epochs=1)
            assert len(steps(tmp_path / str(number), "batch_loss")) == before + 2
