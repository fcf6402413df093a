"""Write the observations and decisions of a run to a file of JSON lines."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Final

import attrs

from hookcore import Run, hookimpl
from hookcore.authoring import schema, validators
from hookcore_plugins import log_file

_STATE: Final = schema.fields({"lines": schema.optional(schema.integer), "decisions": schema.integer})
_encode: Final = json.JSONEncoder(allow_nan=False).encode  # `json.dumps` would make an encoder for each line


@attrs.define(eq=False, on_setattr=validators.convert_and_validate)
class JSONLog:
    """Write one JSON object per line to the file `path`: each observation, each decision as it happens, and the end of the run.

    * `{"event": "epoch", "time": 1700000000.0, "epoch": 0, "step": 100, "learning_rate": 0.1, "metrics": {"loss": 0.5}}`, and
      likewise `"evaluation"` for an observation within an epoch, in a loop that evaluates by steps
    * `{"event": "stop", "time": ..., "epoch": 3, "step": 400, "plugin": "early_stopping", "message": "..."}`, and likewise for
      `"learning_rate"` and `"checkpoint"`
    * `{"event": "train_end", "time": ..., "epoch": 3, "step": 400, "outcome": "stopped"}`

    Epochs count from 0. `step` is the number of optimizer updates so far. The learning rate is the one in use then, before any
    plugin reduced it; it is left out if the trainee has no learning rate. Floats read back exactly; those that JSON does not
    have are the strings `"NaN"`, `"Infinity"` and `"-Infinity"`.

    * `append`: continue the file of an earlier run. By default that file is moved aside, to `log.1.jsonl` beside `log.jsonl` and
      so on. A resumed run always continues its file, without the lines that were written after the checkpoint.
    * `clock`: what gives `time`, in seconds since 1970.

    While a run trains, any other plugin or run that would write the file is refused when its training begins.

    A file whose first line is not a JSON object was not written by this plugin and is moved aside. Raises `ParameterError` for a
    path that cannot be a file and for a value outside its range.
    """

    role: ClassVar[str] = "observer"

    path: Path = attrs.field(converter=validators.as_path, validator=validators.file())
    append: bool = attrs.field(default=False, validator=validators.boolean())
    clock: Callable[[], float] = attrs.field(default=time.time, validator=validators.function(), kw_only=True)
    _decisions: int = attrs.field(init=False, default=0)
    """How many of the run's decisions are written."""
    _lines: int | None = attrs.field(init=False, default=None)
    """How many lines there are in the file; None before a run."""
    _file: log_file.LogFile | None = attrs.field(init=False, default=None, repr=False)
    """The file, from the beginning of a run to its end."""

    @hookimpl
    def on_train_begin(self, run: Run) -> None:
        """Prepare the file: keep the lines that the run continues, or empty it."""
        self._file = log_file.LogFile.open(self.path, run)
        lines = log_file.earlier_lines(self.path, run, append=self.append).split("\n")[:-1]
        if lines and not _parse(lines[0]):
            log_file.set_aside(self.path, run)
            lines = []
        if run.resumed_from is not None:
            if self._lines is None:  # the earlier run lacked this plugin, or had another version of it
                self._decisions = len(run.decisions)
                lines = log_file.rows_up_to(lines, run.resumed_from.step, lambda line: _parse(line).get("step"))
                # That run had ended, and now continues.
                while lines and _parse(lines[-1]).get("event") == "train_end":
                    lines.pop()
            lines = lines[: self._lines]
        self._lines = len(lines)
        self._file.replace("".join(f"{line}\n" for line in lines))

    @hookimpl(trylast=True)
    def on_epoch_begin(self, run: Run) -> None:
        """Write the decisions since the latest line."""
        self._write_decisions(run)

    @hookimpl(trylast=True)
    def on_batch_end(self, run: Run) -> None:
        """Write new decisions at once, and not only when a long epoch ends."""
        if len(run.decisions) > self._decisions:
            self._write_decisions(run)

    @hookimpl(tryfirst=True)
    def on_epoch_end(self, run: Run) -> None:
        """Write the decisions made before the end of the epoch."""
        self._write_decisions(run)

    @hookimpl(wrapper=True)  # after all other plugins, so that the line has what they log
    def on_metrics(self, run: Run, metrics: Mapping[str, float]) -> Generator[None, None, None]:
        """Write the observation, and the decisions that followed from it."""
        try:
            yield
        finally:
            self._write_observation(run, metrics)

    def _write_observation(self, run: Run, metrics: Mapping[str, float]) -> None:
        history, progress = run.history, run.progress
        learning_rate = history.learning_rates[-1]
        rate = {} if learning_rate is None else {"learning_rate": _number(learning_rate)}
        values = {name: _number(value) for name, value in metrics.items()}
        self._write("evaluation" if history.by_steps[-1] else "epoch", progress.epoch, progress.step, **rate, metrics=values)
        self._write_decisions(run)

    @hookimpl(trylast=True)
    def on_train_end(self, run: Run) -> None:
        """Write the last decisions and the outcome."""
        if self._file is None:
            return
        try:
            self._write_decisions(run)
            self._write("train_end", run.progress.epoch, run.progress.step, outcome=str(run.outcome))
        finally:
            self._file.close()
            self._file = None

    def _write_decisions(self, run: Run) -> None:
        for decision in run.decisions[self._decisions :]:
            self._write(decision.kind, decision.epoch, decision.step, plugin=decision.plugin, message=decision.message)
            self._decisions += 1

    def _write(self, event: str, epoch: int, step: int, **more: Any) -> None:
        line = {"event": event, "time": self.clock(), "epoch": epoch, "step": step, **more}
        assert self._file is not None  # noqa: S101 - from on_train_begin on
        text = _encode(line) + "\n"
        if self._file.is_changed():  # by another program, which may have removed lines or the last line end
            found = self._file.read()
            if found and not found.endswith("\n"):
                text, found = f"\n{text}", f"{found}\n"
            self._lines = found.count("\n")
        self._file.add(text)
        self._lines = (self._lines or 0) + 1

    def state_dict(self) -> dict[str, Any]:
        """Return how far the file was written, so that a resumed run continues there."""
        return {"lines": self._lines, "decisions": self._decisions}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue where `state` was taken."""
        own = _STATE(state)
        self._lines, self._decisions = own["lines"], own["decisions"]


def _parse(line: str) -> dict[str, Any]:
    """Return the object in a line, or an empty one if the line is anything else."""
    try:
        value = json.loads(line)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _number(value: float) -> float | str:
    """Return `value`, or for NaN and the infinities the string that protobuf's JSON mapping has for them."""
    value = float(value)
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
