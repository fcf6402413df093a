"""The captures of a run: which plugins asked for one, and how it is taken and handed out."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from hookcore.dispatch import raise_first
from hookcore.errors import PluginError
from hookcore.raised import describe, interrupts

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from hookcore.capture import Capture
    from hookcore.error_policy import ErrorPolicy
    from hookcore.registry.inspection import Registered
    from hookcore.run import Run
    from hookcore.trainee import Snapshot

logger = logging.getLogger("hookcore")


class Captures:
    """Takes the captures of one run, and hands them to the plugins that asked.

    `record` returns the text of the record, given the plugin and the key of each snapshot that plugins hold.
    """

    def __init__(
        self,
        run: Run,
        plugins: Sequence[Registered],
        policy: ErrorPolicy,
        record: Callable[[Collection[tuple[str, str]]], str],
        clock: Callable[[], float],
    ) -> None:
        self.asked: list[tuple[str, Callable[[Capture], None]]] = []
        """The plugins that want a capture of this moment, with their functions. The session has the same list."""
        self._run = run
        self._plugins = plugins
        self._policy = policy
        self._record = record
        self._clock = clock
        self._told_not_held: set[tuple[str, str]] = set()
        """The snapshots, by plugin and key, that the log has named as missing from a record."""

    def hand_out(self) -> None:
        """Take one capture, and hand it to every plugin that asked."""
        asked = [(plugin, then) for plugin, then in self.asked if not self._policy.is_disabled(plugin)]
        self.asked.clear()
        if not asked:
            return
        raising = []
        try:
            capture = self.take()
        except Exception as error:
            if self._policy.has_raised(error):
                raise  # an actor's state could not be saved: the plugins that asked are not at fault
            for plugin, _ in asked:  # one error each, because an actor's stops the run and an observer's does not
                own = PluginError(f"There is no capture for plugin {plugin!r}: {describe(error)}")
                own.__cause__ = error
                raising.append(self._policy(plugin, "when_settled", own))
            if any(raised is not None for raised in raising):
                raise
            return
        for plugin, then in asked:
            try:
                then(capture)
            except BaseException as error:
                if interrupts(error):
                    raise
                raising.append(self._policy(plugin, "when_settled", error))
        raise_first(raising)

    def hand_out_last(self, cut: str) -> None:
        """Do the same at the end of the run. If `cut` is not empty, take no capture, and log it as the reason."""
        if not cut:
            self.hand_out()
        for plugin, _ in self.asked:
            logger.warning("%s: no capture: %s", plugin, cut)
        self.asked.clear()

    def take(self) -> Capture:
        """Return what a checkpoint holds; see `Run.capture`."""
        from hookcore.capture import Capture

        run, began, held = self._run, self._clock(), self._held_snapshots()
        text = self._record(held)
        progress, snapshots = run.progress, [run.trainee.snapshot(), *held.values()]
        seconds = self._clock() - began
        return Capture(run.trainee, progress.epoch, progress.step, text, snapshots, progress.accumulated, seconds)

    def record_alone(self, *, quiet: bool = False) -> str:
        """Return the record of a capture, without the snapshots. Unless `quiet`, the log names those that plugins hold, once."""
        from hookcore import record

        held = self._held_snapshots()
        if not quiet:
            for plugin, key in held.keys() - self._told_not_held:
                record.log_not_held("record", plugin, key)
            self._told_not_held |= held.keys()
        return self._record(held)

    def _held_snapshots(self) -> dict[tuple[str, str], Snapshot]:
        held: dict[tuple[str, str], Snapshot] = {}
        nothing: dict[str, Snapshot] = {}
        for registered in self._plugins:
            own = self._policy.ask(registered, "snapshots", registered.held_snapshots, nothing)
            held |= {(registered.name, key): snapshot for key, snapshot in own.items()}
        return held
