"""`hookcore demo`: a real model, trained on real data, that steers itself."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hookcore import CheckpointError, Engine, HookcoreError, Outcome
from hookcore_adapters.demo import digits, imdb
from hookcore_plugins import Checkpoint, Console, CSVLog

if TYPE_CHECKING:
    from hookcore import Run
    from hookcore_adapters.demo.task import Task

INTERRUPTED = 130
"""The exit status that shells give to a program ended by Ctrl-C."""


@click.command()
@click.option(
    "--model",
    "name",
    type=click.Choice(["digits", "imdb"]),
    default="digits",
    show_default=True,
    help="What to train: images of digits, or film reviews as in the book that the plugins' names come from.",
)
@click.option(
    "--data",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="For imdb: a file like Keras's imdb.npz, instead of downloading it.",
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where checkpoints and logs go: runs/demo or runs/imdb. An earlier run's are moved aside, not overwritten.",
)
@click.option("--epochs", type=click.IntRange(min=1), help="The most epochs to train: 60 for digits, 20 for IMDB.")
def demo(name: str, data: Path | None, out: Path | None, epochs: int | None) -> None:
    """Train a real model under plugins.

    digits: a convolutional network on handwritten digits. The learning rate is cut when the validation loss stops improving, and
    training stops when that no longer helps. Takes about a quarter of a minute on two cores.

    imdb: a convolutional network over words that overfits, and TensorBoard shows when: metrics, histograms, the graph, and the
    words in the projector. If IMDB cannot be downloaded, it trains on texts that are on this machine, in about a minute.

    Both load the best checkpoint again in the end, and score it.
    """
    if data is not None and name != "imdb":
        raise click.UsageError("--data is for --model imdb.")
    out = out or Path("runs", "demo" if name == "digits" else name)
    try:
        task = digits.prepare() if name == "digits" else imdb.prepare(out, data)
        checkpoint = Checkpoint(out / "checkpoints")
        engine = Engine([*task.plugins, checkpoint, Console(), CSVLog(out / "metrics.csv")])
        _train(task, engine, epochs)
    except HookcoreError as error:
        raise click.ClickException(str(error)) from error
    run: Run = engine.run  # type: ignore[assignment]  # fit began one
    is_verified = _score(checkpoint, task, run)
    click.echo(f"Metrics by epoch:  {out / 'metrics.csv'}")
    click.echo(f"Checkpoints:       {out / 'checkpoints'}")
    if run.outcome is Outcome.INTERRUPTED:
        sys.exit(INTERRUPTED)
    sys.exit(0 if is_verified else 1)


def _train(task: Task, engine: Engine, epochs: int | None) -> None:
    """Train. Ctrl-C ends the run, which is then reported like any other, unless no run has begun."""
    from hookcore_adapters.keras import fit

    try:
        fit(
            task.model,
            *task.train,
            validation_data=task.validation,
            epochs=epochs or task.epochs,
            batch_size=task.batch_size,
            plugins=engine,
        )
    except KeyboardInterrupt:
        if engine.run is None:
            raise


def _score(checkpoint: Checkpoint, task: Task, run: Run) -> bool:
    """Load the best checkpoint again, print its score, and return whether that is the recorded score."""
    import keras

    from hookcore_adapters.keras import MODEL_FILE

    try:
        best = checkpoint.best()
    except CheckpointError:
        # Interrupted before the first validation: there is one checkpoint, and no metric that ranks it.
        newest = checkpoint.newest()
        keras.models.load_model(newest.path / MODEL_FILE)
        click.echo(f"\nNo epoch was finished. The checkpoint of step {newest.step} verifies and loads: {newest.path}")
        return True
    loaded = keras.models.load_model(best.path / MODEL_FILE)
    # In the batches of the training: another order of the sums gives another last digit.
    scores = loaded.evaluate(*task.validation, batch_size=task.batch_size, verbose=0, return_dict=True)
    recorded = min(run.history["val_loss"])
    equal = bool(scores["loss"] == recorded)
    click.echo(f"\nBest checkpoint:   {best.path / MODEL_FILE} (epoch {best.epoch + 1}), loaded again:")
    others = "".join(f", val_{metric} {value:.4f}" for metric, value in scores.items() if metric != "loss")
    click.echo(f"                   val_loss {scores['loss']:.6f}{others}")
    verdict = "equal to it" if equal else "NOT equal to it"
    click.echo(f"                   recorded best val_loss {recorded:.6f}: {verdict}")
    return equal
