"""Choose the metric by which a run is judged, and find its best observation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import attrs

from hookcore import MetricError, Monitor
from hookcore.authoring import Mode, direction_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hookcore import Run


@attrs.define(eq=False)
class Best:
    """The best observation so far of the metric `asked`, or if that is None, of the one that `_candidates` prefers.

    * `asked`: the metric that counts, or None.
    * `mode`: its direction, or `"auto"`.
    """

    asked: str | None = None
    mode: Mode | Literal["auto"] = "auto"
    metric: str | None = None
    monitor: Monitor | None = None

    def observe(self, run: Run) -> bool:
        """Take in the latest row of the history; return whether it is the best so far."""
        history = run.history
        for metric, mode in self._candidates(run):
            if metric == self.metric and self.monitor is not None:
                self._add(run, len(history) - 1, history.last()[metric])
            elif (direction := _direction(run, metric, mode)) is not None:
                # A new metric may have earlier rows, as in a resumed run.
                self.metric, self.monitor = metric, Monitor(direction)
                for row, value in enumerate(history[metric]):
                    self._add(run, row, value)
            else:
                continue
            return self.monitor.waited == 0
        return False

    def _add(self, run: Run, row: int, value: float) -> None:
        history = run.history
        if self.monitor is not None:
            place = history.epochs[row], history.steps[row]
            self.monitor = self.monitor.observe(value, *place, by_steps=history.by_steps[row])

    def _candidates(self, run: Run) -> Iterator[tuple[str, Mode | Literal["auto"]]]:
        """Yield the metrics that were observed, the preferred first, each with its mode.

        What other plugins monitor comes first, in their order; then the loss of validation, the other metrics of validation, the
        loss, and the rest.
        """
        if self.asked is not None:
            yield from [(self.asked, self.mode)] * (self.asked in run.history)
            return
        for parameters in run.parameters.values():
            monitor, mode = parameters.get("monitor"), parameters.get("mode")
            if isinstance(monitor, str) and monitor in run.history:
                yield monitor, mode if mode in {"min", "max"} else "auto"
        names = run.metric_names
        for metric in sorted(run.history, key=lambda metric: (not names.is_validation(metric), names.plain(metric) != "loss")):
            yield metric, "auto"


def _direction(run: Run, metric: str, mode: Mode | Literal["auto"]) -> Mode | None:
    if mode != "auto":
        return mode
    try:
        return direction_of(run, metric, mode)
    except MetricError:
        return None
