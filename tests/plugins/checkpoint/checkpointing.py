"""Runs with checkpoints, on disks as slow or as bad as a test wants them."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import attrs

from hookcore import Run, hookimpl, store
from hookcore.testing import ScriptedTrainee
from hookcore_adapters.loop import Loop
from hookcore_plugins.checkpoint.background import Background
from tests.patience import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from hookcore.resume import Resume
    from hookcore_plugins import Checkpoint

    # What is raised before which batch of which epoch.
    Failure = tuple[int, int, BaseException]


def train(
    plugins: Iterable[object],
    values: Sequence[float | None],
    *,
    batches: int = 1,
    trainee: ScriptedTrainee | None = None,
    metric: str = "val_loss",
    fail: Failure | None = None,
    resume: Resume = False,
) -> Run:
    """Train a run with `values` as the metric, None for an epoch without it; the weights are the steps.

    `fail` is raised between two batches, as a delayed Ctrl-C is: within a batch nothing would be saved.
    """
    trainee = trainee or ScriptedTrainee()

    def data(epoch: int) -> Iterator[int]:
        for batch in range(batches):
            if fail is not None and fail[:2] == (epoch, batch):
                raise fail[2]
            yield batch

    with Loop(plugins, epochs=len(values), trainee=trainee, resume=resume) as loop:
        for epoch in loop.epochs():
            for _ in loop.batches(data(epoch)):
                trainee.weights = [loop.run.progress.step + 1.0]
            if values[epoch] is not None:
                loop.log({metric: values[epoch]})
    return loop.run


def steps(directory: Path) -> list[int]:
    """Return the steps of the checkpoints in `directory`, every one of which verifies."""
    return [store.verify(saved.path).step for saved in store.available(directory)]


@attrs.define(eq=False)
class BadTrainee(ScriptedTrainee):
    """Raise the errors in `errors`, by the weights that are written, each once."""

    errors: dict[float, list[BaseException]] = attrs.field(factory=dict)

    def write(self, snapshot: Mapping[str, Any], directory: Path) -> None:
        """Write, or raise."""
        super().write(snapshot, directory)
        if self.errors.get(snapshot["weights"][0]):
            raise self.errors[snapshot["weights"][0]].pop(0)


@attrs.define(eq=False)
class SlowTrainee(BadTrainee):
    """Write one checkpoint for each release of `gate`, and release `begun` before each."""

    gate: threading.Semaphore = attrs.field(factory=lambda: threading.Semaphore(0))
    begun: threading.Semaphore = attrs.field(factory=lambda: threading.Semaphore(0))
    written: list[float] = attrs.field(factory=list)
    """The weights of each checkpoint that it wrote."""

    def write(self, snapshot: Mapping[str, Any], directory: Path) -> None:
        """Write when the gate is open."""
        self.begun.release()
        assert self.gate.acquire(timeout=PATIENCE)
        super().write(snapshot, directory)
        self.written += snapshot["weights"]


@attrs.define(eq=False)
class Watched(Background[None]):
    """Call `waiting` with `unfinished` before each wait."""

    waiting: Callable[[int], object]

    def wait(self, unfinished: int = 0) -> None:
        """Wait, after a call of `waiting`."""
        self.waiting(unfinished)
        super().wait(unfinished)


def on_a_slow_disk(plugin: Checkpoint, trainee: SlowTrainee, seen: Callable[[int], object] = lambda _: None) -> Checkpoint:
    """Return `plugin`, each of whose writes waits until training waits for it; `seen` is called before that waiting."""

    def waiting(unfinished: int) -> None:
        seen(unfinished)
        for _ in range(plugin._writes.unfinished() - unfinished):
            trainee.gate.release()

    plugin._writes = Watched(waiting)
    plugin._saver = plugin._new_saver()
    return plugin


def settles(plugin: Checkpoint, *hooks: str) -> object:
    """Return a plugin that waits for all writes of `plugin` at the events `hooks`."""

    def settle() -> None:
        plugin._writes.wait()

    return SimpleNamespace(name="settles", **{hook: hookimpl(tryfirst=True)(settle) for hook in hooks})


def in_a_process(script: str, *arguments: object) -> Any:
    """Run `script` in another Python, which can give up limits and rights, and return what it printed as JSON."""
    command = [sys.executable, "-c", textwrap.dedent(script), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
