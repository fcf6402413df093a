"""The trainee's graph, histograms and images in TensorBoard."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.plugins.histogram.summary_v2 import histogram_pb
from tensorboard.util.tensor_util import make_ndarray

from hookcore.testing import ScriptedTrainee
from hookcore_adapters.loop import Loop
from hookcore_plugins import TensorBoard
from hookcore_plugins.tensorboard import summaries
from tests.plugins.tensorboard.event_files import Visible, read, scalars, train

if TYPE_CHECKING:
    from pathlib import Path

    from hookcore.trainee import Node


def test_the_graph_has_the_layers(tmp_path: Path) -> None:
    """The graph is written once, with the kinds, inputs, shapes and parameters of the layers."""
    train([TensorBoard(tmp_path, update_freq="batch")], [1.0, 2.0])
    ((step, graph),) = read(tmp_path / "train")["__run_graph__"]
    assert step == 0
    words, dense = graph.node
    assert [(node.name, node.op, list(node.input)) for node in graph.node] == [
        ("model/words", "Embedding", []),
        ("model/dense", "Dense", ["model/words"]),
    ]
    assert [dim.size for dim in words.attr["_output_shapes"].list.shape[0].dim] == [-1, 7, 3]
    assert dense.attr["parameters"].i == 4


@pytest.mark.parametrize("how", ["none", "lacking", "raising", "off"])
def test_a_run_without_a_graph(tmp_path: Path, how: str) -> None:
    """If the trainee has no graph, lacks it or fails, the rest is written."""

    class Failing(Visible):
        def graph(self) -> list[Node]:
            raise NotImplementedError

    trainee: Any = {
        "none": ScriptedTrainee(),
        "lacking": Visible(without={"graph": "not built"}),
        "raising": Failing(),
        "off": Visible(),
    }[how]
    with Loop([TensorBoard(tmp_path, graph=how != "off")], epochs=1, trainee=trainee) as loop:
        for _ in loop.epochs():
            loop.log(loss=1.0)
    assert not loop.run.failures
    assert "__run_graph__" not in read(tmp_path / "train")
    assert scalars(tmp_path / "train")["epoch_loss"] == [(0, 1.0)]


def test_histograms_of_weights_activations_and_gradients(tmp_path: Path) -> None:
    """Histograms are written every N epochs, beginning with the first; values that are not finite are counted."""
    train([TensorBoard(tmp_path, histogram_freq=2, activations=True, gradients=True)], [1.0] * 4)
    found = read(tmp_path / "train")
    for tag, values in {
        "words/embeddings/histogram": [np.arange(12, dtype="float32") / 7 + step for step in (2, 6)],
        "dense/bias/histogram": [np.array([0.5])] * 2,
        "activations/dense": [np.array([[1.0, 2.0]] * 32) + step for step in (2, 6)],
        "gradients/dense/bias": [np.array([16.0])] * 2,
    }.items():
        assert found[tag] == [(epoch, buckets(value)) for epoch, value in zip((0, 2), values, strict=True)]
    assert found["nonfinite/dense/bias/histogram"] == [(0, 1.0), (2, 1.0)]
    assert "nonfinite/words/embeddings/histogram" not in found


def buckets(values: Any) -> Any:
    return make_ndarray(histogram_pb("", values).value[0].tensor).tolist()


NUMBERS = arrays.arrays(
    st.sampled_from([np.float64, np.float32, np.float16, np.int32, np.uint8, np.bool_]),
    arrays.array_shapes(min_dims=0, min_side=0),
)


@given(values=NUMBERS)
@example(values=np.array([1.0, np.inf, -np.inf, np.nan, 1.7e308, -1.7e308]))
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of histogram_pb
def test_a_histogram_is_tensorboards_own(values: Any) -> None:
    """A histogram of the finite values equals TensorBoard's, for any type and shape, also of an empty array."""
    row, missing = summaries.finite(values)
    event = Event()
    with np.errstate(all="raise", under="ignore"):
        summaries.histogram("here", row)(event)
    (value,) = event.summary.value
    assert value.tag == "here"
    assert row.size + missing == values.size
    found = make_ndarray(value.tensor)
    assert found[:, 2].sum() == row.size
    if row.size == 0 or (row.max() - row.min()) / 30 > 1e-300 or row.max() == row.min():
        assert np.array_equal(found, make_ndarray(histogram_pb("here", row).value[0].tensor))


@given(matrix=arrays.arrays(np.float32, arrays.array_shapes(min_dims=2, max_dims=2, min_side=2)))
def test_an_image_of_any_matrix(matrix: Any) -> None:
    """The least value is black and the greatest white; values that are not finite are black."""
    event = Event()
    with np.errstate(all="raise", under="ignore"):
        summaries.image("here", matrix)(event)
    shown = np.asarray(Image.open(io.BytesIO(event.summary.value[0].image.encoded_image_string)))
    assert shown.shape == matrix.shape
    usable = np.isfinite(matrix)
    assert not shown[~usable].any()
    if usable.any() and matrix[usable].min() < matrix[usable].max():
        assert shown[usable][matrix[usable].argmax()] == 255
        assert shown[usable][matrix[usable].argmin()] == 0


def test_images_are_of_matrices_and_bounded(tmp_path: Path) -> None:
    """A bias has no image; a large matrix loses rows or columns."""
    train([TensorBoard(tmp_path, histogram_freq=1, images=True)], [1.0], trainee=Visible(rows=1200))
    found = read(tmp_path / "train")
    assert [tag for tag in found if tag.endswith("/image")] == ["words/embeddings/image"]
    ((_, (width, height, _)),) = found["words/embeddings/image"]
    assert (int(width), int(height)) == (3, 400)
