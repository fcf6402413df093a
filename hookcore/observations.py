"""The observations of a run: each is a row of the history, to which plugins may add metrics."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any

import attrs

from hookcore.errors import HookcoreError, MetricError
from hookcore.metrics import Metrics, check, extend
from hookcore.run import Run
from hookcore.trainee import learning_rate_in

if TYPE_CHECKING:
    from collections.abc import Mapping

logger = logging.getLogger("hookcore")


@attrs.define(eq=False)
class Observations:
    """Adds each observation of a run to its history, and adds what plugins log to the observation that it belongs to.

    An observation is *open* from when the loop reports it until its moment is settled.
    """

    _run: Run
    logged: dict[str, tuple[str, float]] = attrs.field(factory=dict)
    """What plugins have logged for the next observation: the plugin and the value, by name."""
    _open: list[Metrics] = attrs.field(factory=list)
    """The metrics of the open observation as plugins see them; at an epoch's end, the epoch's metrics too."""
    _has_row: bool = False
    """Whether the open observation is in the history."""
    _rate: float | None = None
    """The learning rate of the next observation, if it was noted before."""
    _is_rate_noted: bool = False
    _thread: int = attrs.field(factory=threading.get_ident)

    def open(self, metrics: Metrics | None, own: Metrics | None = None) -> list[tuple[str, MetricError]]:
        """Open an observation with `metrics`; None for the end of an epoch that counts only if a plugin logs something.

        `own` are the metrics of the epoch that ends, or None for an observation by steps. What plugins have logged for the
        observation is added. Return the plugin and an error for each name that is taken, and leave its value out.
        """
        if not self._is_rate_noted:
            self.note_learning_rate()
        self._is_rate_noted = False
        self._open = [seen for seen in (metrics, own) if seen is not None]
        self._has_row = False
        if metrics is not None:
            self._add_row(metrics, by_steps=own is None)
        refused = []
        if self.logged:
            logged, self.logged = self.logged, {}
            for name, (plugin, value) in logged.items():
                if self._is_there(name):
                    refused.append((plugin, _taken(plugin, name)))
                else:
                    self._put({name: value})
        return refused

    def note_learning_rate(self) -> None:
        """Note the learning rate for the next observation, before a plugin or the framework changes it."""
        self._rate, self._is_rate_noted = learning_rate_in(self._run.trainee), True

    def _add_row(self, metrics: Mapping[str, float], *, by_steps: bool) -> None:
        progress, self._has_row = self._run.progress, True
        self._run.history.append(progress.epoch, metrics, progress.step, by_steps=by_steps, learning_rate=self._rate)

    def opened(self) -> Metrics | None:
        """Return the metrics of the open observation for `on_metrics`, or None if there is no observation."""
        return self._open[0] if self._has_row else None

    def close(self) -> None:
        """Close the open observation: what is logged from now on belongs to the next one."""
        self._open = []

    def log(self, plugin: str, given: Mapping[str, Any]) -> None:
        """Add the metrics `given` by `plugin` to the open observation, or else to the next one; see `Run.log`."""
        if threading.get_ident() != self._thread:
            raise HookcoreError(
                f"{plugin}: run.log was called with {given!r} on a thread that does not train. Keep the values, and log them in "
                "a hook."
            )
        for name, value in given.items():
            check(name, value)
        metrics = dict(Metrics(given).items())
        for name in metrics:
            if self._is_there(name) or (name in self.logged and self.logged[name][0] != plugin):
                raise _taken(plugin, name)
        if self._open:
            self._put(metrics)
        else:
            self.logged |= {name: (plugin, value) for name, value in metrics.items()}

    def _is_there(self, name: str) -> bool:
        return any(name in metrics for metrics in self._open)

    def _put(self, metrics: Mapping[str, float]) -> None:
        for seen in self._open:
            extend(seen, metrics)
        if not self._has_row:  # nothing was fresh at this epoch's end
            self._open.insert(0, Metrics())
            extend(self._open[0], metrics)
            self._add_row({}, by_steps=False)
        self._run.history.put(metrics)

    def warn_of_rest(self) -> None:
        """Log a warning for each metric that was logged after the last observation: the run has ended."""
        for name, (plugin, value) in self.logged.items():
            logger.warning("%s: %s=%g was logged after the last observation, so it is not in the history", plugin, name, value)

    def state_dict(self) -> dict[str, list[Any]]:
        """Return what was logged for the next observation, as JSON-able values."""
        return {name: list(pair) for name, pair in self.logged.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` returned."""
        self.logged = {name: (str(plugin), float(value)) for name, (plugin, value) in state.items()}


def _taken(plugin: str, name: str) -> MetricError:
    return MetricError(
        f"{plugin}: run.log was given {name!r}, but the observation has a metric of that name. Choose another name."
    )
