"""The digits demo with Keras: a small convolutional network."""

from __future__ import annotations

import click

from hookcore_adapters.demo import digits
from hookcore_adapters.demo.keras_task import KerasTask
from hookcore_adapters.demo.task import loading


def prepare() -> KerasTask:
    """Return the task."""
    click.echo(f"Loading Keras and {digits.DESCRIBED} ...")
    with loading():
        import keras

        train, held_out = digits.load()
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [
            keras.layers.Input((8, 8, 1)),
            keras.layers.Conv2D(32, 3, activation="relu", padding="same"),
            keras.layers.MaxPooling2D(),
            keras.layers.Conv2D(64, 3, activation="relu", padding="same"),
            keras.layers.GlobalMaxPooling2D(),
            keras.layers.Dropout(0.3),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    optimizer = keras.optimizers.Adam(digits.LEARNING_RATE)
    model.compile(optimizer, loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    return KerasTask(
        model,
        (train.images[..., None], train.labels),
        (held_out.images[..., None], held_out.labels),
        digits.BATCH_SIZE,
        digits.EPOCHS,
        digits.plugins(),
    )
