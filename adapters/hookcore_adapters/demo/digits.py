"""The digits demo: a small convolutional network that finds its own learning rate and its own end."""

from __future__ import annotations

import click

from hookcore_adapters.demo.task import Task, loading
from hookcore_plugins import EarlyStopping, ReduceLROnPlateau


def prepare() -> Task:
    """Return the task: 1,797 handwritten digits from scikit-learn, four fifths of them to train on."""
    click.echo("Loading Keras and the digits (1,797 images of 8 x 8 pixels, from scikit-learn) ...")
    with loading():
        import keras
        from sklearn.datasets import load_digits
    keras.utils.set_random_seed(1)
    digits = load_digits()
    images, labels = (digits.images / 16.0)[..., None].astype("float32"), digits.target
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
    model.compile(keras.optimizers.Adam(0.01), loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    split = len(images) * 4 // 5
    return Task(
        model,
        train=(images[:split], labels[:split]),
        validation=(images[split:], labels[split:]),
        batch_size=64,
        epochs=60,
        plugins=[EarlyStopping(patience=4), ReduceLROnPlateau(factor=0.3, patience=2, min_delta=0.0)],
    )
