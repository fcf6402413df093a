"""Reduce the learning rate when a metric has stopped improving."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal

import attrs

from hookcore import Monitor, Run, hookimpl
from hookcore.authoring import Capability, Missing, direction_of, observe, observed, schema, validators

if TYPE_CHECKING:
    from collections.abc import Mapping

_STATE: Final = schema.fields({"cooling": schema.integer})


@attrs.define(eq=False, on_setattr=validators.convert_and_validate)
class ReduceLROnPlateau:
    """Multiply the learning rate by `factor` once `monitor` has not improved for `patience` observations in a row.

    Parameters are those of `keras.callbacks.ReduceLROnPlateau`, without `verbose`: `Console` and the log show every reduction.

    * `monitor`, `mode`, `missing`: as in `EarlyStopping`.
    * `factor`: above 0 and below 1; new rate = old rate * `factor`.
    * `patience`: observations without improvement before a reduction; 0 and 1 both reduce at the first.
    * `min_delta`: an improvement must be greater than this, in the metric's own unit.
    * `cooldown`: how many observations after a reduction are not counted. Keras skips one fewer.
    * `min_lr`: the rate is never set below this.

    Raises `ParameterError` for a value outside its range. If the framework has its own learning-rate schedule, the
    plugin is refused before the first batch.
    """

    needs: ClassVar[tuple[Capability, ...]] = ("learning_rate",)

    monitor: str = attrs.field(default="val_loss", validator=validators.text())
    factor: float = attrs.field(default=0.1, validator=validators.number(above=0, below=1))
    patience: int = attrs.field(default=10, validator=validators.integer(at_least=0))
    mode: Literal["auto", "min", "max"] = attrs.field(default="auto", validator=validators.one_of("auto", "min", "max"))
    min_delta: float = attrs.field(default=1e-4, validator=validators.number(at_least=0))
    cooldown: int = attrs.field(default=0, validator=validators.integer(at_least=0))
    min_lr: float = attrs.field(default=0.0, validator=validators.number(at_least=0))
    missing: Missing = attrs.field(default="error", validator=validators.one_of("error", "warn", "skip"))
    observed: Monitor = attrs.field(init=False, factory=lambda: Monitor("min"))
    """The best value so far, and how many observations ago it was."""
    cooling: int = attrs.field(init=False, default=0)
    """How many observations to skip from now on, after a reduction."""

    @hookimpl
    def on_train_begin(self, run: Run) -> None:
        """Settle the direction, so that an unknown one is refused before anything is trained."""
        self.observed = attrs.evolve(self.observed, mode=direction_of(run, self.monitor, self.mode), min_delta=self.min_delta)

    @hookimpl
    def on_metrics(self, run: Run, metrics: Mapping[str, float]) -> None:
        """Observe, and reduce once the patience is used up."""
        value = observe(run, metrics, self.monitor, self.missing)
        if value is None:
            return
        self.observed = observed(run, self.observed, value)
        if self.cooling > 0:
            self.cooling -= 1
            self.observed = self.observed.rest()
        elif self.observed.waited >= max(self.patience, 1):
            self._reduce(run, value)

    def _reduce(self, run: Run, value: float) -> None:
        rate = run.learning_rate
        reduced = max(rate * self.factor, self.min_lr)
        # A rate kept as float32 differs from the parameter it was set from in the eighth digit.
        if reduced < rate and not math.isclose(reduced, rate, rel_tol=1e-6):
            best = "none" if self.observed.best is None else f"{self.observed.best:.6g}"
            run.set_learning_rate(reduced, f"{self.monitor} {self.observed}: {value:.6g}, best {best}")
            self.cooling = self.cooldown
            self.observed = self.observed.rest()

    def state_dict(self) -> dict[str, Any]:
        """Return the observations so far, and how much of the cooldown is left."""
        return {**self.observed.state_dict(), "cooling": self.cooling}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from the observations of `state`."""
        own, self.observed = _STATE(state), self.observed.load_state_dict(state)
        self.cooling = own["cooling"]
