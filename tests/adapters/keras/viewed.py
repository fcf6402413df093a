"""Models and data for the tests of views."""

from __future__ import annotations

import random
from typing import Any

import keras
import numpy as np
import pytest

from tests.adapters.keras.backends import tf

layers: Any = keras.layers
RNG = np.random.default_rng(5)
X = RNG.normal(size=(12, 3)).astype("float32")
Y = (X.sum(axis=1, keepdims=True) > 0).astype("float32")
TOKENS = RNG.integers(0, 10, size=(12, 6))


def small(**compile_arguments: Any) -> Any:
    """Return a Sequential with dropout, normalization and regularizers, the same each time."""
    keras.utils.set_random_seed(3)
    model = keras.Sequential(
        [
            layers.Input((3,)),
            layers.Dense(4, activation="tanh", kernel_regularizer="l2", activity_regularizer="l2", name="hidden"),
            layers.Dropout(0.5, name="drop"),
            layers.BatchNormalization(name="norm"),
            layers.Dense(1, activation="sigmoid", name="out"),
        ],
        name="small",
    )
    model.compile(**{"optimizer": "sgd", "loss": "binary_crossentropy", "metrics": ["acc"]} | compile_arguments)
    return model


def large() -> Any:
    """Return a model with two inputs and outputs, a masked embedding, a shared layer, and nested models."""
    keras.backend.clear_session()
    keras.utils.set_random_seed(4)
    tokens, numbers = keras.Input((6,), dtype="int32", name="tokens"), keras.Input((3,), name="numbers")
    encoder = keras.Sequential([layers.Dense(3, name="dense"), layers.Dropout(0.5, name="drop")], name="encoder")
    sequence = keras.Input((None, 4), name="sequence")
    states = layers.LSTM(3, return_sequences=True, return_state=True, name="lstm")(sequence)
    reader = keras.Model(sequence, states, name="reader")
    shared = layers.Dense(3, name="shared")
    with pytest.warns(UserWarning, match="destroy the mask"):
        _, state, _ = reader(layers.Embedding(10, 4, mask_zero=True, name="words")(tokens))
    merged = layers.Concatenate(name="merged")([encoder(shared(shared(numbers))), state])
    outputs = {"first": layers.Dense(1, name="first")(merged), "second": layers.Dense(2, name="second")(merged)}
    model = keras.Model({"tokens": tokens, "numbers": numbers}, outputs, name="large")
    model.compile("sgd", {"first": "mse", "second": "mae"})
    return model


LARGE_DATA = ({"tokens": TOKENS, "numbers": X}, {"first": Y, "second": np.concatenate([Y, -Y], axis=1)})


class Subclassed(keras.Model):  # type: ignore[misc]  # Keras ships no types
    """A subclassed model, whose graph is unknown, with two layers of one name and a direct weight."""

    def __init__(self) -> None:
        super().__init__(name="subclassed")
        self.encoder = keras.Sequential([layers.Input((3,)), layers.Dense(2, name="dense")], name="encoder")
        self.heads = [layers.Dense(1, name="head"), layers.Dense(1, name="head")]
        self.scale = self.add_weight(shape=(), initializer="ones", name="scale")

    def call(self, inputs: Any) -> Any:
        """Return the sum of both heads."""
        encoded = self.encoder(inputs)
        return self.scale * (self.heads[0](encoded) + self.heads[1](encoded))


class Batches(keras.utils.PyDataset):  # type: ignore[misc]  # Keras ships no types
    """Batches of five, each of which draws random numbers."""

    def __init__(self, *, endless: bool = False) -> None:
        super().__init__()
        self.endless = endless

    @property
    def num_batches(self) -> int | None:
        """Three, or None for endless data."""
        return None if self.endless else 3

    def __getitem__(self, index: int) -> Any:
        random.random()  # noqa: S311 - the global generator
        np.random.random()  # noqa: NPY002
        return X[index * 5 : index * 5 + 5], Y[index * 5 : index * 5 + 5]


def dataset(*parts: Any) -> Any:
    """Return a tf.data.Dataset in batches of five."""
    return tf.data.Dataset.from_tensor_slices(parts).batch(5)
