"""`hookcore demo`: train a real model on real data, under plugins."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import click

from hookcore import CheckpointError, Engine, HookcoreError, Outcome
from hookcore_adapters.demo import every, frameworks, imdb, result
from hookcore_adapters.demo.result import INTERRUPTED, Result
from hookcore_adapters.demo.task import MissingError
from hookcore_plugins import Checkpoint, Console, CSVLog

if TYPE_CHECKING:
    from hookcore import Run
    from hookcore_adapters.demo.task import Task


@click.command()
@click.option(
    "--framework",
    type=click.Choice(list(frameworks.FRAMEWORKS)),
    help="What trains the digits: the same data and the same plugins in each; keras unless given.",
)
@click.option(
    "--all", "trains_all", is_flag=True, help="Train the digits with each framework that is installed, one after the other."
)
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
    help="Where checkpoints and logs go: runs/demo or the like. An earlier run's are moved aside, not overwritten.",
)
@click.option("--epochs", type=click.IntRange(min=1), help="The most epochs to train: 60 for digits, 20 for IMDB.")
@click.option("--result", "told", type=click.Path(dir_okay=False, path_type=Path), hidden=True)  # --all reads it
def demo(
    framework: str | None,
    name: str,
    data: Path | None,
    out: Path | None,
    epochs: int | None,
    *,
    told: Path | None,
    trains_all: bool,
) -> None:
    """Train a real model under plugins.

    digits: a small network on handwritten digits. The learning rate is cut when the validation loss stops improving, and
    training stops when that no longer helps. Takes about a quarter of a minute on two cores.

    imdb: a convolutional network over words that overfits, and TensorBoard shows when: metrics, histograms, the graph, and the
    words in the projector. If IMDB cannot be downloaded, it trains on texts that are on this machine, in about a minute.

    Both load the best checkpoint again in the end, with the framework's own loader, and score it. With --all, each framework
    trains in a process of its own, and a table at the end compares them.
    """
    if data is not None and name != "imdb":
        raise click.UsageError("--data is for --model imdb.")
    if name == "imdb" and (trains_all or framework not in {None, "keras"}):
        raise click.UsageError("--model imdb is for --framework keras.")
    if trains_all and framework is not None:
        raise click.UsageError("--all trains every framework: leave out --framework.")
    if trains_all:
        sys.exit(every.train(out, epochs))
    framework = framework or "keras"
    suffix = "" if framework == "keras" else f"-{framework}"
    out = out or Path("runs", f"demo{suffix}" if name == "digits" else name)
    try:
        task: Task = frameworks.prepare(framework) if name == "digits" else imdb.prepare(out, data)
        checkpoint = Checkpoint(out / "checkpoints", monitor=f"{task.validation}loss")
        engine = Engine([*task.plugins, checkpoint, Console(), CSVLog(out / "metrics.csv")])
        _train(task, engine, epochs or task.epochs)
    except MissingError as error:
        if told is not None:
            Result(framework, missing=error.message).write(told)
        raise
    except HookcoreError as error:
        raise click.ClickException(str(error)) from error
    run: Run = engine.run  # type: ignore[assignment]  # training has made one
    scored = _score(framework, checkpoint, task, run)
    click.echo(f"Metrics by epoch:  {out / 'metrics.csv'}")
    click.echo(f"Checkpoints:       {out / 'checkpoints'}")
    if told is not None:
        scored.write(told)
    if run.outcome is Outcome.INTERRUPTED:
        sys.exit(INTERRUPTED)
    sys.exit(0 if scored.is_verified else 1)


def _train(task: Task, engine: Engine, epochs: int) -> None:
    """Train. Ctrl-C ends the run, which is then reported like any other, unless no run has begun."""
    try:
        task.train(engine, epochs)
    except (KeyboardInterrupt, SystemExit):  # Lightning turns a KeyboardInterrupt into a SystemExit
        if engine.run is None or engine.run.outcome is not Outcome.INTERRUPTED:
            raise


def _score(framework: str, checkpoint: Checkpoint, task: Task, run: Run) -> Result:
    """Load the best checkpoint, print its score beside the recorded one, and return both."""
    metric = f"{task.validation}loss"
    found = Result.of(run, framework, metric)
    try:
        best = checkpoint.best()
    except CheckpointError:
        # Interrupted before the first validation: the only checkpoint has no metric to rank it by.
        newest = checkpoint.newest()
        task.score(newest.path)
        click.echo(f"\nNo epoch was finished. The checkpoint of step {newest.step} verifies and loads: {newest.path}")
        return found
    scores = task.score(best.path)
    found = attrs.evolve(found, best=min(run.history[metric]), best_epoch=best.epoch + 1, again=float(scores["loss"]))
    result.show([found])
    others = "".join(f", {task.validation}{name} {value:.4f}" for name, value in scores.items() if name != "loss")
    click.echo(f"Best checkpoint:   {best.path / task.file}")
    click.echo(f"Loaded again by:   {task.loader}{others}")
    return found
