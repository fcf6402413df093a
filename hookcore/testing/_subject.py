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

    def decided(self, since: int) -> dict[str, str]:
        """Return what it has done to the run, as comparable texts, without its first `since` decisions.

        The path of a checkpoint always differs, so it is left out.
        """
        decisions = [
            f"{one.plugin}: {one.kind} (epoch={one.epoch}, step={one.step}, value={_number(one.value)})"
            + ("" if one.kind == "checkpoint" else f": {one.message!r}")
            for one in self.run.decisions[since:]
        ]
        votes = [
            f"{vote.plugin} (epoch={vote.epoch}, step={vote.step}, metric={vote.metric!r}, value={_number(vote.value)}, "
            f"best={_number(vote.best)}): {vote.message!r}"
            for vote in self.run.stop_reasons
        ]
        return {
            "decisions": "; ".join(decisions) or "none",
            "votes to stop": "; ".join(votes) or "none",
            "history": repr(self.run.history.state_dict()),  # with what it has logged
            "learning rate": _number(self.trainee.inner.learning_rate),
            "weights": repr(self.trainee.inner.weights),
            "errors": "; ".join(f"{type(one.error).__name__} in {one.hook}" for one in self.run.failures) or "none",
        }


def unsaved(plugin: Any, new: Any) -> list[str]:
    """Return the names of the attributes of `plugin` that differ from those of `new` and that its state does not have."""
    state = plugin.state_dict() if hasattr(plugin, "state_dict") else {}
    saved = {name: repr(value) for name, value in state.items()} if isinstance(state, dict) else {}
    names = [field.name for field in attrs.fields(type(plugin))] if attrs.has(type(plugin)) else []
    found = []
    for name in dict.fromkeys([*names, *getattr(plugin, "__dict__", {})]):
        value, key = getattr(plugin, name), name.lstrip("_")
        is_changed = type(value).__module__ == "builtins" and repr(value) != repr(getattr(new, name, None))
        is_saved = key in saved and (isinstance(value, list | set | dict | tuple) or saved[key] == repr(value))  # in some form
        if is_changed and not is_saved:
            found.append(name)
    return found


def _number(value: Any) -> str:
    """Return a text that is the same for equal numbers, NaN included."""
    return "None" if value is None else repr(float(value))
