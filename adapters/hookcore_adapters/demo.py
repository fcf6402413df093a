"""`hookcore demo`: a real model, trained on real data, that steers itself."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hookcore import CheckpointError, Engine, HookcoreError, Outcome
from hookcore_plugins import Checkpoint, Console, CSVLog, EarlyStopping, ReduceLROnPlateau

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hookcore import Run

BATCH_SIZE = 64
INTERRUPTED = 130
"""The exit status that shells give to a program ended by Ctrl-C."""


@click.command()
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("runs/demo"),
    show_default=True,
    help="Where checkpoints and logs go. An earlier run's are moved aside, not overwritten.",
)
@click.option("--epochs", type=click.IntRange(min=1), default=60, show_default=True, help="The most epochs to train.")
def demo(out: Path, epochs: int) -> None:
    """Train a small convolutional network on handwritten digits, under plugins.

    The learning rate is cut where the validation loss stops improving, training stops where that no longer helps, and the
    best checkpoint is loaded again and scored. Takes about a quarter of a minute on two cores.
    """
    click.echo("Loading Keras and the digits (1,797 images of 8 x 8 pixels, from scikit-learn) ...")
    train, validation, model = _prepare()
    checkpoint = Checkpoint(out / "checkpoints")
    plugins = [
        EarlyStopping(patience=4),
        ReduceLROnPlateau(factor=0.3, patience=2, min_delta=0.0),
        checkpoint,
        Console(),
        CSVLog(out / "metrics.csv"),
    ]
    from hookcore_adapters.keras import fit

    engine = Engine(plugins)
    try:
        fit(model, *train, validation_data=validation, epochs=epochs, batch_size=BATCH_SIZE, plugins=engine)
    except KeyboardInterrupt:
        pass  # the run has ended, as interrupted, and is told about below
    except HookcoreError as error:
        raise click.ClickException(str(error)) from error
    run: Run = engine.run  # type: ignore[assignment]  # fit began one
    whole = _score(checkpoint, validation, run)
    click.echo(f"Metrics by epoch:  {out / 'metrics.csv'}")
    click.echo(f"Checkpoints:       {out / 'checkpoints'}")
    if run.outcome is Outcome.INTERRUPTED:
        sys.exit(INTERRUPTED)
    sys.exit(0 if whole else 1)


def _score(checkpoint: Checkpoint, validation: Any, run: Run) -> bool:
    """Load the best checkpoint again, say what it scores, and whether that is what was recorded."""
    import keras

    from hookcore_adapters.keras import MODEL_FILE

    try:
        best = checkpoint.best()
    except CheckpointError:
        # Interrupted before the first validation: there is one checkpoint, and nothing that ranks it.
        newest = checkpoint.newest()
        keras.models.load_model(newest.path / MODEL_FILE)
        click.echo(f"\nNo epoch was finished. The checkpoint of step {newest.step} verifies and loads: {newest.path}")
        return True
    loaded = keras.models.load_model(best.path / MODEL_FILE)
    # In the batches of the training, as another order of the sums gives another last digit.
    scores = loaded.evaluate(*validation, batch_size=BATCH_SIZE, verbose=0, return_dict=True)
    recorded = min(run.history["val_loss"])
    equal = bool(scores["loss"] == recorded)
    click.echo(f"\nBest checkpoint:   {best.path / MODEL_FILE} (epoch {best.epoch + 1}), loaded again:")
    click.echo(f"                   val_loss {scores['loss']:.6f}, val_accuracy {scores['accuracy']:.4f}")
    verdict = "equal to it" if equal else "NOT equal to it"
    click.echo(f"                   recorded best val_loss {recorded:.6f}: {verdict}")
    return equal


def _prepare() -> tuple[Any, Any, Any]:
    """The training data, the validation data and the compiled model, the same in every run."""
    try:
        with _quiet_libraries():
            import keras
            from sklearn.datasets import load_digits
    except ImportError as error:
        msg = f"The demo needs {error.name}: pip install 'hookcore[demo]'"
        raise click.ClickException(msg) from error
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
    split = 1437  # four fifths
    return (images[:split], labels[:split]), (images[split:], labels[split:]), model


@contextlib.contextmanager
def _quiet_libraries() -> Iterator[None]:
    """TensorFlow's native libraries write to standard error while they load, whatever its log level; an error still raises."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr.flush()
    kept = os.dup(2)
    with Path(os.devnull).open("wb") as nothing:
        os.dup2(nothing.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
