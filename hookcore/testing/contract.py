"""The contract of every plugin: its clauses, and the checks that need no run."""

from __future__ import annotations

import enum
import json
from typing import TYPE_CHECKING, Any, NoReturn

import attrs

from hookcore import Engine, HookcoreError, state

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class Clause(enum.StrEnum):
    """The clauses of the contract."""

    REGISTRATION = "it can be registered, and the factory makes a new one at each call"
    NO_EXCEPTION = "no legal sequence of events makes it raise"
    JSON_STATE = "its state is JSON"
    ROUND_TRIP = "a new instance that loads its state has the same state"
    VOTES = "its votes to stop have a message and its name"
    DETERMINISM = "the same events lead to the same decisions"
    RESUME = "resumed from its state, it decides as if it had never been interrupted"
    FRESH_STATE = "it begins each run like a new instance"
    PARAMETERS = "a run does not change its parameters"
    NEEDS = "it uses only those parts of the trainee that it lists in `needs`"


class BreachError(AssertionError):
    """A breach of the contract, with the events that led to it as lines of text; empty if the breach needs no run."""

    sequence: tuple[str, ...] = ()


@attrs.frozen
class Contract:
    """The plugin to check, the options, and the checks that need no run."""

    factory: Callable[[], Any]
    metrics: tuple[str, ...]
    raises: tuple[type[Exception], ...]
    tick: Callable[[], object] | None
    series: Mapping[str, Any]

    def breach(self, clause: Clause, detail: str, cause: BaseException | None = None) -> NoReturn:
        """Raise the error that names the plugin and the clause."""
        raise BreachError(f"{self._name()} breaks its contract: {clause}. {detail}") from cause

    def _name(self) -> str:
        plugin = self.factory()
        try:
            name = Engine([plugin], autoload=False).names[0]
        except HookcoreError:
            return type(plugin).__name__
        return f"{type(plugin).__name__} ({name!r})"

    def check_registration(self) -> None:
        """Check that the engine accepts the plugin, and that `factory` returns a new one at each call."""
        plugin = self.factory()
        if plugin is self.factory():
            self.breach(Clause.REGISTRATION, "The factory returned the same object twice.")
        if hasattr(plugin, "state_dict"):
            self._state_text(plugin)  # before the engine checks it too, so that the breach is one of JSON_STATE
        try:
            Engine([plugin], autoload=False)
        except HookcoreError as error:
            self.breach(Clause.REGISTRATION, str(error), error)
        self.check_state(plugin)

    def check_state(self, plugin: Any) -> None:
        """Check that the state is JSON, and that a new plugin has the same state after loading it."""
        if not hasattr(plugin, "state_dict"):
            return
        saved = self._state_text(plugin)
        loaded = self.factory()
        try:
            loaded.load_state_dict(state.loads(saved))
        except Exception as error:  # noqa: BLE001 - whatever the plugin raises is the breach
            self.breach(Clause.ROUND_TRIP, f"load_state_dict raised {error!r} for {saved}.", error)
        again = self._state_text(loaded)
        if saved != again:
            self.breach(Clause.ROUND_TRIP, f"{saved} was saved; after loading it, the state is {again}.")

    def _state_text(self, plugin: Any) -> str:
        try:
            value = plugin.state_dict()
        except Exception as error:  # noqa: BLE001 - whatever the plugin raises is the breach
            self.breach(Clause.NO_EXCEPTION, f"state_dict raised {error!r}.", error)
        try:
            return json.dumps(json.loads(state.dumps(value)), sort_keys=True)
        except (TypeError, ValueError, RecursionError) as error:
            self.breach(Clause.JSON_STATE, f"{value!r}: {error}", error)
