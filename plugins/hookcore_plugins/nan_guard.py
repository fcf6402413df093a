"""End a run whose loss is no longer a number."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal

import attrs

from hookcore import MetricError, Run, hookimpl
from hookcore.authoring import Missing, due, observe, schema, validators

if TYPE_CHECKING:
    from collections.abc import Mapping

_STATE: Final = schema.fields({"last_step": schema.integer})


@attrs.define(eq=False, on_setattr=validators.convert_and_validate)
class NaNGuard:
    """Stop once `monitor`, or in an observation the same metric of validation, is NaN or infinite.

    * `monitor`: the metric's name. Batches may lack it.
    * `every_n_steps`: look at a batch only every N steps. Reading a metric waits for the device, so on an accelerator
      a larger number costs less and notices later.
    * `action`: `"stop"` votes to stop, as other plugins do; `"raise"` raises `MetricError`, and the run fails.
    * `missing`: what to do if `monitor` is missing in an observation, `"error"`, `"warn"` or `"skip"`.

    Raises `ParameterError` for a value outside its range.
    """

    name: ClassVar[str] = "nan_guard"

    monitor: str = attrs.field(default="loss", validator=validators.text())
    every_n_steps: int = attrs.field(default=1, validator=validators.integer(at_least=1))
    action: Literal["stop", "raise"] = attrs.field(default="stop", validator=validators.one_of("stop", "raise"))
    missing: Missing = attrs.field(default="error", validator=validators.one_of("error", "warn", "skip"))
    _last_step: int = attrs.field(init=False, default=0)

    @hookimpl
    def on_batch_end(self, run: Run, metrics: Mapping[str, float]) -> None:
        """Look at the monitored metric if a multiple of `every_n_steps` was reached."""
        step, n = run.progress.step, self.every_n_steps
        look, self._last_step = due(n, step, self._last_step), step
        value = metrics.get(self.monitor) if look else None
        if value is not None:
            self._check(run, self.monitor, value)

    @hookimpl
    def on_metrics(self, run: Run, metrics: Mapping[str, float]) -> None:
        """Look at the monitored metric, in training and in validation."""
        value = observe(run, metrics, self.monitor, self.missing)
        if value is not None:
            self._check(run, self.monitor, value)
        names = run.metric_names
        for name, twin in metrics.items():
            if name != self.monitor and names.is_validation(name) and names.plain(name) == names.plain(self.monitor):
                self._check(run, name, twin)

    def _check(self, run: Run, name: str, value: float) -> None:
        # One vote is enough: a NaN batch makes the epoch's mean NaN too.
        if math.isfinite(value) or any(vote.plugin == run.plugin for vote in run.stop_reasons):
            return
        message = f"{name} is {value} at epoch {run.progress.epoch + 1}, step {run.progress.step}"
        if self.action == "raise":
            raise MetricError(f"{run.plugin}: {message}.")
        run.stop(message, metric=name, value=value)

    def state_dict(self) -> dict[str, Any]:
        """Return the step of the latest batch."""
        return {"last_step": self._last_step}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from the step of `state`."""
        self._last_step = _STATE(state)["last_step"]
