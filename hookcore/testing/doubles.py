"""Test doubles: a trainee that needs no framework, and a plugin that records the events it gets."""

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
    """A trainee whose weights are a list of floats, with every capability except the optional views and those in `cannot`.

    * `cannot`: maps a missing capability to the reason that `lacks` returns; empty by default.
    * `directions`: maps a metric to the direction that the trainee declares; empty by default.
    """

    learning_rate: float = 0.1
    weights: list[float] = attrs.field(factory=lambda: [0.0])
    optimizer_state: list[float] = attrs.field(factory=lambda: [0.0])
    directions: Mapping[str, Mode] = attrs.field(factory=dict)
    cannot: Mapping[str, str] = attrs.field(factory=dict)
    framework: str = "scripted"

    def lacks(self, capability: Capability) -> str | None:
        """Return the reason in `cannot`, or None."""
        return self.cannot.get(capability)

    def snapshot(self, *, optimizer: bool = True) -> dict[str, Any]:
        """Return copies of the weights and, with `optimizer`, of the optimizer's state and the learning rate."""
        taken: dict[str, Any] = {"weights": list(self.weights)}
        if optimizer:
            taken |= {"optimizer_state": list(self.optimizer_state), "learning_rate": self.learning_rate}
        return taken

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Put back the values in `snapshot`."""
        for name, value in snapshot.items():
            setattr(self, name, list(value) if isinstance(value, list) else value)

    def write(self, snapshot: Mapping[str, Any], directory: Path) -> None:
        """Write `snapshot` as one JSON file."""
        (directory / "trainee.json").write_text(state.dumps(snapshot))

    def read(self, directory: Path) -> dict[str, Any]:
        """Return the snapshot that `write` wrote."""
        snapshot: dict[str, Any] = state.loads((directory / "trainee.json").read_text())
        return snapshot

    def direction(self, metric: str) -> Mode | None:
        """Return the direction in `directions`, or None."""
        return self.directions.get(metric)


@attrs.define(eq=False)
class RecordingPlugin:
    """A plugin that implements every hook and appends `(hook, *arguments)` to `events`; metrics are recorded as a plain dict."""

    name: str = "recording"
    events: list[tuple[Any, ...]] = attrs.field(factory=list)

    @property
    def hooks(self) -> list[str]:
        """The names of the hooks that were called, in order."""
        return [event[0] for event in self.events]

    @hookimpl
    def on_train_begin(self) -> None:
        """Record the event."""
        self.events.append(("on_train_begin",))

    @hookimpl
    def on_epoch_begin(self, epoch: int) -> None:
        """Record the event with the epoch."""
        self.events.append(("on_epoch_begin", epoch))

    @hookimpl
    def on_batch_begin(self, batch: int) -> None:
        """Record the event with the batch."""
        self.events.append(("on_batch_begin", batch))

    @hookimpl
    def on_batch_end(self, batch: int, metrics: Mapping[str, float]) -> None:
        """Record the event with the batch and the metrics."""
        self.events.append(("on_batch_end", batch, dict(metrics)))

    @hookimpl
    def on_evaluate_begin(self) -> None:
        """Record the event."""
        self.events.append(("on_evaluate_begin",))

    @hookimpl
    def on_evaluate_batch_begin(self, batch: int) -> None:
        """Record the event with the batch."""
        self.events.append(("on_evaluate_batch_begin", batch))

    @hookimpl
    def on_evaluate_batch_end(self, batch: int, metrics: Mapping[str, float]) -> None:
        """Record the event with the batch and the metrics."""
        self.events.append(("on_evaluate_batch_end", batch, dict(metrics)))

    @hookimpl
    def on_evaluate_end(self, metrics: Mapping[str, float]) -> None:
        """Record the event with the metrics."""
        self.events.append(("on_evaluate_end", dict(metrics)))

    @hookimpl
    def on_epoch_end(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """Record the event with the epoch and the metrics."""
        self.events.append(("on_epoch_end", epoch, dict(metrics)))

    @hookimpl
    def on_metrics(self, metrics: Mapping[str, float]) -> None:
        """Record the event with the metrics."""
        self.events.append(("on_metrics", dict(metrics)))

    @hookimpl
    def on_predict_begin(self) -> None:
        """Record the event."""
        self.events.append(("on_predict_begin",))

    @hookimpl
    def on_predict_batch_begin(self, batch: int) -> None:
        """Record the event with the batch."""
        self.events.append(("on_predict_batch_begin", batch))

    @hookimpl
    def on_predict_batch_end(self, batch: int) -> None:
        """Record the event with the batch."""
        self.events.append(("on_predict_batch_end", batch))

    @hookimpl
    def on_predict_end(self) -> None:
        """Record the event."""
        self.events.append(("on_predict_end",))

    @hookimpl
    def on_checkpoint(self, checkpoint: Any) -> None:
        """Record the event with the checkpoint."""
        self.events.append(("on_checkpoint", checkpoint))

    @hookimpl
    def on_exception(self, exception: BaseException) -> None:
        """Record the event with the exception."""
        self.events.append(("on_exception", exception))

    @hookimpl
    def on_train_end(self, run: Run) -> None:
        """Record the event with the outcome."""
        self.events.append(("on_train_end", run.outcome))
