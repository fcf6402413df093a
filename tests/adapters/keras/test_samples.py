"""The first samples of all kinds of validation data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import pandas as pd
import pytest

from hookcore import HookcoreError
from hookcore_adapters.keras.samples import first_samples
from hookcore_adapters.keras.views import KerasViews
from tests.adapters.keras.backends import BACKEND, TF_DATA, only_on, tensor, tf
from tests.adapters.keras.viewed import Batches, X, Y, dataset, layers, small

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.parametrize(
    "make_data",
    [
        lambda: (X, Y),
        lambda: [X, Y],
        lambda: (X, Y, np.ones(12)),
        lambda: X,
        lambda: (X.astype("float64"), Y),
        lambda: (tensor(X), tensor(Y)),
        lambda: (pd.DataFrame(X, index=np.arange(12) / 9), pd.Series(Y[:, 0])),
        pytest.param(lambda: dataset(X, Y), marks=TF_DATA),
        pytest.param(lambda: dataset(X, Y, np.ones(12)), marks=TF_DATA),
        Batches,
        lambda: Batches(endless=True),
    ],
    ids=[
        "tuple",
        "list",
        "weights",
        "inputs",
        "float64",
        "tensors",
        "pandas",
        "tf.data",
        "tf.data weights",
        "PyDataset",
        "endless",
    ],
)
@pytest.mark.parametrize("samples", [1, 7, 99])
def test_samples_come_from_whatever_fit_takes(make_data: Callable[[], Any], samples: int) -> None:
    """Samples are joined from several batches if a batch is too small, and are all samples if the data have fewer."""
    data = make_data()
    if isinstance(data, Batches) and data.endless and samples > len(X):
        samples = len(X)
    model = small()
    seen = KerasViews(model).activations(data, samples)["out"]
    np.testing.assert_allclose(seen, model.predict(X[:samples], verbose=0), rtol=1e-5)


def test_samples_are_as_keras_gives_them_to_a_model() -> None:
    """Floats have Keras's precision, other numbers are unchanged, a pandas column is a matrix, and None is None."""
    x, y, weights = first_samples((pd.Series([1.5, 2.5, 3.5]), np.arange(3)), 2)
    assert (x.tolist(), x.dtype, y.tolist(), y.dtype, weights) == ([[1.5], [2.5]], "float32", [0, 1], "int64", None)
    assert first_samples(X, 3)[1:] == (None, None)


@TF_DATA
def test_samples_of_a_dataset_without_labels() -> None:
    """A dataset without labels gives only inputs, as does an array."""
    assert first_samples(tf.data.Dataset.from_tensor_slices(X).batch(2), 3)[1:] == (None, None)


def test_inputs_by_name_and_in_a_list() -> None:
    """Inputs by name or in a list keep their structure."""
    inputs = [keras.Input((3,), name="a"), keras.Input((3,), name="b")]
    model = keras.Model(inputs, layers.Subtract(name="difference")(inputs))
    expected = X[:2] - 1
    for given in ([X, np.ones_like(X)], {"a": X, "b": np.ones_like(X)}):
        np.testing.assert_allclose(KerasViews(model).activations((given, Y), 2)["difference"], expected, rtol=1e-6)


@TF_DATA
def test_shuffled_data_are_read_once() -> None:
    """Shuffled data are read once, so the samples are the same each time."""
    keras.utils.set_random_seed(6)
    views = KerasViews(small())
    shuffled = tf.data.Dataset.from_tensor_slices((X, Y)).shuffle(12).batch(5)
    assert len({views.activations(shuffled)["out"].tobytes() for _ in range(4)}) == 1
    assert views.activations((X, Y))["out"].tobytes() != views.activations((X[::-1], Y[::-1]))["out"].tobytes()


def generator() -> Any:
    """Yield one batch after the other."""
    yield X, Y


REFUSED: list[Any] = [
    (lambda: None, "There is no validation data to take samples from. Give fit validation_data.*KerasAdapter must be told"),
    (generator, "are a generator, and reading samples would use them up. Give arrays"),
    (lambda: iter([(X, Y)]), "reading samples would use them up"),
    pytest.param(
        lambda: (tf.sparse.from_dense(X), Y),
        "validation data of type SparseTensor, which has no slices",
        marks=only_on("tensorflow", what="its sparse tensors"),
    ),
    pytest.param(lambda: tf.data.Dataset.from_tensor_slices((X, Y)).take(0).batch(5), "have no batch", marks=TF_DATA),
    pytest.param(
        lambda: tf.data.Dataset.from_generator(
            lambda: ((np.ones((2, width)), np.ones((2, 1))) for width in (3, 4)),
            output_signature=(tf.TensorSpec((None, None)), tf.TensorSpec((None, 1))),
        ),
        "differ in shape, so 4 samples from 2 of them cannot be joined.*Ask for fewer",
        marks=TF_DATA,
    ),
]


@pytest.mark.parametrize(("make_data", "message"), REFUSED)
def test_data_that_cannot_be_looked_at_are_refused(make_data: Callable[[], Any], message: str) -> None:
    """Data that cannot be read twice are refused with an alternative, and a generator is not read."""
    data = make_data()
    for look in ("activations", "gradients") if BACKEND == "tensorflow" else ("activations",):
        with pytest.raises(HookcoreError, match=message):
            getattr(KerasViews(small()), look)(data, 4)
    if message.startswith("are a generator"):
        assert len(list(data)) == 1
