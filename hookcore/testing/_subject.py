"""One instance of a plugin under test: its engine, its run, and a trainee that records which capabilities it uses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from hookcore import Engine
from hookcore.host import NoHost
from hookcore.testing.doubles import ScriptedTrainee
from hookcore.testing.playing import Player

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from hookcore import Position, Run
    from hookcore.trainee import Capability, Mode, Snapshot


@attrs.define(eq=False)
class WatchedTrainee:
    """A trainee that records the capabilities that a plugin uses and does not list in its `needs`.

    A plugin that calls `reason_lacking` first need not list the capability. A plugin that only reads the learning rate, and
    handles the `AttributeError` of a trainee without one, need not list that.
    """

    inner: ScriptedTrainee
    plugin: Any
    undeclared: list[str] = attrs.field(factory=list)
    refusals: list[AttributeError] = attrs.field(factory=list)
    _asked: set[str] = attrs.field(factory=set)

    @property
    def framework(self) -> str:
        return self.inner.framework

    @property
    def learning_rate(self) -> float:
        reason = self.inner.lacks("learning_rate")
        if reason is not None:
            self.refusals.append(AttributeError(reason))
            raise self.refusals[-1]
        return self.inner.learning_rate

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        self._used("learning_rate")
        self.inner.learning_rate = value

    def lacks(self, capability: Capability) -> str | None:
        reason = self.inner.lacks(capability)
        if reason is None:
            self._asked.add(capability)
        return reason

    def snapshot(self, *, optimizer: bool = True) -> Snapshot:
        self._used("snapshot", "checkpoint")
        return self.inner.snapshot(optimizer=optimizer)

    def restore(self, snapshot: Snapshot) -> None:
        self._used("snapshot", "checkpoint")
        self.inner.restore(snapshot)

    def write(self, snapshot: Snapshot, directory: Path) -> None:
        self._used("checkpoint")
        self.inner.write(snapshot, directory)

    def read(self, directory: Path) -> Snapshot:
        self._used("checkpoint")
        return self.inner.read(directory)

    def direction(self, metric: str) -> Mode | None:
        return self.inner.direction(metric)

    def _used(self, *sufficient: str) -> None:
        if not {*getattr(self.plugin, "needs", ()), *self._asked}.intersection(sufficient):
            self.undeclared.append(sufficient[0])


@attrs.define(eq=False)
class WatchingHost(NoHost):
    """A host that clears the trainee's record when a run is restored: then the driver used the trainee, not the plugin."""

    trainee: WatchedTrainee = attrs.field(kw_only=True)

    def load_state_dict(self, state: Mapping[str, Any], position: Position) -> None:
        """Clear the trainee's record."""
        del state, position
        self.trainee.undeclared.clear()


@attrs.define(eq=False)
class Subject:
    """One instance of the plugin, with its own engine and trainee."""

    plugin: Any
    engine: Engine
    player: Player
    trainee: WatchedTrainee
    own_decisions: int = 0
    """The number of its decisions before the comparison began."""
    others_decisions: int = 0
    """The number of decisions that the subject it is compared with had made at that time."""

    @property
    def run(self) -> Run:
        return self.player.run

    def decided(self, since: int) -> dict[str, Any]:
        """Return what it has done to the run, as comparable values, without its first `since` decisions.

        The path of a checkpoint always differs, so it is left out.
        """
        return {
            "decisions": [
                (
                    decision.plugin,
                    decision.kind,
                    decision.epoch,
                    decision.step,
                    _number(decision.value),
                    "" if decision.kind == "checkpoint" else decision.message,
                )
                for decision in self.run.decisions[since:]
            ],
            "votes to stop": [
                (vote.plugin, vote.message, vote.epoch, vote.step, vote.metric, _number(vote.value), _number(vote.best))
                for vote in self.run.stop_reasons
            ],
            "history": repr(self.run.history.state_dict()),  # with what it has logged
            "learning rate": _number(self.trainee.inner.learning_rate),
            "weights": repr(self.trainee.inner.weights),
            "errors": [(failure.hook, type(failure.error).__name__) for failure in self.run.failures],
        }


def _number(value: Any) -> str:
    """Return a text that is the same for equal numbers, NaN included."""
    return "None" if value is None else repr(float(value))
