"""Test doubles: a trainee that needs no framework, and a plugin that writes down what it sees."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import attrs

from hookcore import Run, hookimpl, state
from hookcore.trainee import Capability, Mode

if TYPE_CHECKING:
    from pathlib import Path


@attrs.define(eq=False)
class ScriptedTrainee:
    """A trainee whose weights are a list of floats, and which can do everything except what `cannot` lists.

    `cannot` maps a capability to the reason that `lacks` gives. `directions` are the declared metric directions.
    """

    learning_rate: float = 0.1
    weights: list[float] = attrs.field(factory=lambda: [0.0])
    optimizer_state: list[float] = attrs.field(factory=lambda: [0.0])
    directions: Mapping[str, Mode] = attrs.field(factory=dict)
    cannot: Mapping[str, str] = attrs.field(factory=dict)
    framework: str = "scripted"

    def lacks(self, capability: Capability) -> str | None:
        """What `cannot` says."""
        return self.cannot.get(capability)

    def snapshot(self, *, optimizer: bool = True) -> dict[str, Any]:
        """Copies of the lists, and the learning rate with the optimizer state."""
        taken: dict[str, Any] = {"weights": list(self.weights)}
        if optimizer:
            taken |= {"optimizer_state": list(self.optimizer_state), "learning_rate": self.learning_rate}
        return taken

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Put back what the snapshot holds."""
        for name, value in snapshot.items():
            setattr(self, name, list(value) if isinstance(value, list) else value)

    def write(self, snapshot: Mapping[str, Any], directory: Path) -> None:
        """One JSON file."""
        (directory / "trainee.json").write_text(state.dumps(snapshot))

    def read(self, directory: Path) -> dict[str, Any]:
        """What `write` wrote."""
        snapshot: dict[str, Any] = state.loads((directory / "trainee.json").read_text())
        return snapshot

    def direction(self, metric: str) -> Mode | None:
        """What `directions` says."""
        return self.directions.get(metric)


@attrs.define(eq=False)
class RecordingPlugin:
    """Implements every hook and appends `(hook, argument)` to `events`: the epoch, the batch, or what else the hook is about.

    Metrics are recorded as a plain dict behind the epoch or batch.
    """

    name: str = "recording"
    events: list[tuple[Any, ...]] = attrs.field(factory=list)

    @property
    def hooks(self) -> list[str]:
        """The names of the hooks called, in order."""
        return [event[0] for event in self.events]

    @hookimpl
    def on_train_begin(self) -> None:
        """Recorded."""
        self.events.append(("on_train_begin",))

    @hookimpl
    def on_epoch_begin(self, epoch: int) -> None:
        """Recorded with the epoch."""
        self.events.append(("on_epoch_begin", epoch))

    @hookimpl
    def on_batch_begin(self, batch: int) -> None:
        """Recorded with the batch."""
        self.events.append(("on_batch_begin", batch))

    @hookimpl
    def on_batch_end(self, batch: int, metrics: Mapping[str, float]) -> None:
        """Recorded with the batch and the metrics."""
        self.events.append(("on_batch_end", batch, dict(metrics)))

    @hookimpl
    def on_evaluate_begin(self) -> None:
        """Recorded."""
        self.events.append(("on_evaluate_begin",))

    @hookimpl
    def on_evaluate_batch_begin(self, batch: int) -> None:
        """Recorded with the batch."""
        self.events.append(("on_evaluate_batch_begin", batch))

    @hookimpl
    def on_evaluate_batch_end(self, batch: int, metrics: Mapping[str, float]) -> None:
        """Recorded with the batch and the metrics."""
        self.events.append(("on_evaluate_batch_end", batch, dict(metrics)))

    @hookimpl
    def on_evaluate_end(self, metrics: Mapping[str, float]) -> None:
        """Recorded with the metrics."""
        self.events.append(("on_evaluate_end", dict(metrics)))

    @hookimpl
    def on_epoch_end(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """Recorded with the epoch and the metrics."""
        self.events.append(("on_epoch_end", epoch, dict(metrics)))

    @hookimpl
    def on_predict_begin(self) -> None:
        """Recorded."""
        self.events.append(("on_predict_begin",))

    @hookimpl
    def on_predict_batch_begin(self, batch: int) -> None:
        """Recorded with the batch."""
        self.events.append(("on_predict_batch_begin", batch))

    @hookimpl
    def on_predict_batch_end(self, batch: int) -> None:
        """Recorded with the batch."""
        self.events.append(("on_predict_batch_end", batch))

    @hookimpl
    def on_predict_end(self) -> None:
        """Recorded."""
        self.events.append(("on_predict_end",))

    @hookimpl
    def on_checkpoint(self, checkpoint: Any) -> None:
        """Recorded with the checkpoint."""
        self.events.append(("on_checkpoint", checkpoint))

    @hookimpl
    def on_exception(self, exception: BaseException) -> None:
        """Recorded with the exception."""
        self.events.append(("on_exception", exception))

    @hookimpl
    def on_train_end(self, run: Run) -> None:
        """Recorded with the outcome."""
        self.events.append(("on_train_end", run.outcome))
