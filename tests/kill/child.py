"""A training for the tests to kill: small, the same every time, and saved often.

    python child.py descent|keras [--traced]

trains in the current directory, and prints lines on standard output: `begun STEP`, `checkpoint STEP` for every checkpoint that is
announced, and `result JSON` at the end.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import random
import signal
import sys
from typing import TYPE_CHECKING, Any

import attrs

from hookcore import hookimpl
from hookcore_plugins import Checkpoint, CSVLog, EarlyStopping, ReduceLROnPlateau

if TYPE_CHECKING:
    from pathlib import Path

    from hookcore import Run, SavedCheckpoint

TARGET = [1.0, -2.0, 3.0]


@attrs.frozen
class Snapshot:
    """The state of a `Descent`, without velocity and learning rate if the optimizer was left out."""

    weights: list[float]
    velocity: list[float] | None
    learning_rate: float | None
    nbytes: int = 1000


@attrs.define(eq=False)
class Descent:
    """A noisy descent with momentum. It writes two files, one of them piece by piece in a subdirectory."""

    weights: list[float] = attrs.field(factory=lambda: [0.0] * len(TARGET))
    velocity: list[float] = attrs.field(factory=lambda: [0.0] * len(TARGET))
    learning_rate: float = 0.2
    framework: str = "descent"

    def step(self, batch: int) -> float:
        noise = random.Random(batch)  # noqa: S311 - noise, no secret
        for i, wanted in enumerate(TARGET):
            self.velocity[i] = 0.8 * self.velocity[i] + self.weights[i] - wanted + noise.gauss(0, 2)
            self.weights[i] -= self.learning_rate * self.velocity[i]
        return self.loss()

    def loss(self) -> float:
        return sum(abs(weight - wanted) for weight, wanted in zip(self.weights, TARGET, strict=True))

    def lacks(self, capability: str) -> str | None:
        del capability
        return None

    def snapshot(self, *, optimizer: bool = True) -> Snapshot:
        return Snapshot(list(self.weights), *((list(self.velocity), self.learning_rate) if optimizer else (None, None)))

    def restore(self, snapshot: Snapshot) -> None:
        self.weights = list(snapshot.weights)
        if snapshot.velocity is not None and snapshot.learning_rate is not None:
            self.velocity, self.learning_rate = list(snapshot.velocity), snapshot.learning_rate

    def write(self, snapshot: Snapshot, directory: Path) -> None:
        (directory / "weights.json").write_text(json.dumps([snapshot.weights, snapshot.learning_rate]))
        (directory / "optimizer").mkdir()
        with (directory / "optimizer" / "velocity.txt").open("wb", buffering=0) as file:
            for one in snapshot.velocity or []:
                file.write(f"{one!r}\n".encode())

    def read(self, directory: Path) -> Snapshot:
        weights, rate = json.loads((directory / "weights.json").read_text())
        lines = (directory / "optimizer" / "velocity.txt").read_text().splitlines()
        return Snapshot(weights, [float(line) for line in lines] or None, rate)

    def direction(self, metric: str) -> None:
        del metric


class Announce:
    """Prints the beginning of the run and the checkpoints that are announced."""

    @hookimpl
    def on_train_begin(self, run: Run) -> None:
        say(f"begun {run.resumed_from.step if run.resumed_from else 0}")

    @hookimpl
    def on_checkpoint(self, checkpoint: SavedCheckpoint) -> None:
        say(f"checkpoint {checkpoint.step}")


def say(line: str) -> None:
    """Print a line in one write, so that it is whole or absent however the process ends."""
    os.write(1, f"{line}\n".encode())


def plugins(monitor: str, every_n_steps: int) -> list[Any]:
    return [
        EarlyStopping(monitor, patience=3, restore_best_weights=True),
        ReduceLROnPlateau(monitor, patience=1, factor=0.5),
        Checkpoint("checkpoints", monitor, every_n_steps=every_n_steps, keep_last=1, keep_best=1),
        CSVLog("log.csv"),
        Announce(),
    ]


def descent() -> tuple[Run, str]:
    from hookcore_adapters.loop import Loop

    trainee = Descent()
    with Loop(plugins("val_loss", every_n_steps=2), epochs=6, trainee=trainee, resume="auto") as loop:
        for epoch in loop.epochs():
            for batch in loop.batches(random.Random(30 + epoch).sample(range(100), 4)):  # noqa: S311 - data, no secret
                loop.log(loss=trainee.step(batch))
            loop.log(val_loss=trainee.loss())
    return loop.run, repr(trainee)


def keras() -> tuple[Run, str]:
    """Train with dropout and on shuffled data, so that random numbers must be restored too."""
    import keras
    import numpy as np

    from hookcore_adapters.keras import fit

    keras.utils.set_random_seed(7)
    layers = keras.layers
    model = keras.Sequential([keras.Input((8,)), layers.Dense(16, "relu"), layers.Dropout(0.2), layers.Dense(1)])
    model.compile(keras.optimizers.Adam(0.1), "mse")
    x = np.random.default_rng(1).normal(size=(120, 8))
    run = fit(
        model, x, x.sum(axis=1), batch_size=12, epochs=4, verbose=0, plugins=plugins("loss", every_n_steps=4), resume="auto"
    )
    values = [np.asarray(variable) for variable in [*model.variables, *model.optimizer.variables]]
    return run, hashlib.sha256(b"".join(value.tobytes() for value in values)).hexdigest()


def ask_to_be_traced() -> None:
    """Stop until the parent traces this process, and the threads that it starts afterwards."""
    if ctypes.CDLL(None, use_errno=True).ptrace(0, 0, None, None) == -1:
        sys.exit(f"ptrace is not permitted here, and these tests need it: {os.strerror(ctypes.get_errno())}.")
    os.kill(os.getpid(), signal.SIGSTOP)


if __name__ == "__main__":
    if "--traced" in sys.argv:
        ask_to_be_traced()
    run, trained = {"descent": descent, "keras": keras}[sys.argv[1]]()
    result = {
        "trained": trained,
        "history": run.history.state_dict(),
        "decisions": [attrs.asdict(one) for one in run.decisions],
        "stop_reasons": [attrs.asdict(one) for one in run.stop_reasons],
        "outcome": run.outcome,
        "progress": attrs.asdict(run.progress),
    }
    say(f"result {json.dumps(result)}")
