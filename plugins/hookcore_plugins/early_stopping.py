"""Stop when a metric has not improved for a while."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import attrs

from hookcore import Monitor, Outcome, Run, hookimpl
from hookcore.authoring import Capability, Missing, Snapshot, direction_of, observe, observed, validators

if TYPE_CHECKING:
    from collections.abc import Mapping


@attrs.define(eq=False, on_setattr=validators.convert_and_validate)
class EarlyStopping:
    """Vote to stop once `monitor` has not improved for `patience` observations in a row.

    An observation is the end of an epoch or, in a loop that evaluates by steps, an evaluation. Parameters are those of
    `keras.callbacks.EarlyStopping`, without `verbose`: `Console` and the log show every vote.

    * `monitor`: the metric's name. `missing`: what to do if it is missing, `"error"`, `"warn"` or `"skip"`.
    * `min_delta`: an improvement must be greater than this, in the metric's own unit.
    * `patience`: observations without improvement before the vote; 0 and 1 both stop at the first.
    * `mode`: `"min"`, `"max"`, or `"auto"` for the direction that the framework or a table of well-known names gives.
    * `baseline`: only an improvement that also beats this value restarts the count of observations. The vote still waits for an
      observation without improvement.
    * `restore_best_weights`: put the weights of the best observation back at the end of training, unless an exception ended it.
      The optimizer state stays as it is.
    * `start_from_epoch`: observations in epochs before this one, counted from 0, do not count.
    * `start_from_step`: observations before this many steps do not count. Keras has no such parameter.

    Raises `ParameterError` for a value outside its range, and `MetricError` when training begins if the direction is unknown.
    """

    monitor: str = attrs.field(default="val_loss", validator=validators.text())
    min_delta: float = attrs.field(default=0.0, validator=validators.number(at_least=0))
    patience: int = attrs.field(default=0, validator=validators.integer(at_least=0))
    mode: Literal["auto", "min", "max"] = attrs.field(default="auto", validator=validators.one_of("auto", "min", "max"))
    baseline: float | None = attrs.field(default=None, validator=validators.number(optional=True))
    restore_best_weights: bool = attrs.field(default=False, validator=validators.boolean())
    start_from_epoch: int = attrs.field(default=0, validator=validators.integer(at_least=0))
    missing: Missing = attrs.field(default="error", validator=validators.one_of("error", "warn", "skip"))
    start_from_step: int = attrs.field(default=0, validator=validators.integer(at_least=0), kw_only=True)
    observed: Monitor = attrs.field(init=False, factory=lambda: Monitor("min"))
    """The best value so far, and how many observations ago it was."""
    best_weights: Snapshot = attrs.field(init=False, default=None, repr=False)
    """The snapshot that will be restored, or None."""

    @property
    def needs(self) -> tuple[Capability, ...]:
        """Snapshots, if the plugin restores the best weights."""
        return ("snapshot",) if self.restore_best_weights else ()

    @property
    def best(self) -> float | None:
        """The best value seen in the latest run, or None."""
        return self.observed.best

    @property
    def best_epoch(self) -> int | None:
        """The epoch of the best value, counted from 0, or None."""
        return self.observed.best_epoch

    @hookimpl
    def on_train_begin(self, run: Run) -> None:
        """Settle the direction, so that an unknown one is refused before anything is trained."""
        self.observed = attrs.evolve(self.observed, mode=direction_of(run, self.monitor, self.mode), min_delta=self.min_delta)

    @hookimpl
    def on_metrics(self, run: Run, metrics: Mapping[str, float]) -> None:
        """Observe, and vote once the patience is used up."""
        if run.progress.epoch < self.start_from_epoch or run.progress.step < self.start_from_step:
            return
        value = observe(run, metrics, self.monitor, self.missing)
        if value is None:
            return
        waited = self.observed.waited
        self.observed = observed(run, self.observed, value)
        if self.observed.waited == 0:
            if self.restore_best_weights:
                self.best_weights = run.trainee.snapshot(optimizer=False)
            if not self._beats_baseline(value):
                self.observed = attrs.evolve(self.observed, waited=waited + 1)
        elif self.observed.waited >= self.patience:
            run.stop(
                f"{self.monitor} {self.observed}: {value:.6g}, best {self._best_in_words()}",
                metric=self.monitor,
                value=value,
                best=self.best,
                best_epoch=self.best_epoch,
                best_step=self.observed.best_step,
            )

    @hookimpl
    def on_train_end(self, run: Run) -> None:
        """Put the best weights back."""
        if self.best_weights is not None and run.outcome in {Outcome.COMPLETED, Outcome.STOPPED}:
            run.trainee.restore(self.best_weights)
        self.best_weights = None

    def _beats_baseline(self, value: float) -> bool:
        return self.baseline is None or Monitor(self.observed.mode, best=self.baseline, min_delta=self.min_delta).improves(value)

    def _best_in_words(self) -> str:
        if self.best is None:
            return "none"
        baseline = "" if self.baseline is None else f", baseline {self.baseline:.6g}"
        return f"{self.best:.6g} at {self.observed.best_place}{baseline}"

    def state_dict(self) -> dict[str, Any]:
        """Return the observations so far."""
        return self.observed.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from the observations of `state`."""
        self.observed = self.observed.load_state_dict(state)
        self.best_weights = None

    def snapshots(self) -> dict[str, Snapshot]:
        """Return the weights that will be restored, which a checkpoint holds too."""
        return {} if self.best_weights is None else {"best": self.best_weights}

    def load_snapshots(self, snapshots: Mapping[str, Snapshot]) -> None:
        """Take over the best weights of `snapshots`."""
        self.best_weights = snapshots["best"]
