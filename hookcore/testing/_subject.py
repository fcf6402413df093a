"""One instance of a plugin under test: its engine, its session, and a trainee that sees what is used of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from hookcore import Engine, Session
from hookcore.testing.doubles import ScriptedTrainee

if TYPE_CHECKING:
    from pathlib import Path

    from hookcore import Run
    from hookcore.trainee import Capability, Mode, Snapshot


@attrs.define(eq=False)
class WatchedTrainee:
    """A trainee that takes note of what a plugin uses without a word in its `needs`.

    A plugin that first asks whether the trainee can do it needs no word, and neither does one that only reads the learning rate
    and copes with the `AttributeError` where there is none.
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
class Subject:
    """One instance of the plugin, in an engine and with a trainee of its own."""

    plugin: Any
    engine: Engine
    session: Session
    trainee: WatchedTrainee
    own_decisions: int = 0
    """How many decisions it had taken before it was compared."""
    others_decisions: int = 0
    """How many those had taken by then with which it is compared."""

    @property
    def run(self) -> Run:
        return self.session.run

    def decided(self, since: int) -> dict[str, Any]:
        """What it has done to the run, in values that can be compared. Where a checkpoint is saved differs."""
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
            "learning rate": _number(self.trainee.inner.learning_rate),
            "weights": repr(self.trainee.inner.weights),
            "errors": [(failure.hook, type(failure.error).__name__) for failure in self.run.failures],
        }


def _number(value: Any) -> str:
    """Equal where NaN is."""
    return "None" if value is None else repr(float(value))
