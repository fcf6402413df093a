"""Record a run in a file that `hookcore report` shows."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import re
import sys
import time
import traceback
from collections.abc import Callable, Generator, Iterable
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, TextIO

import attrs

from hookcore import Decision, HookcoreError, MetricError, Outcome, Preempted, Run, StopReason, hookimpl, store
from hookcore.authoring import Mode, describe, direction_of, learning_rate_of, reason_lacking, validators
from hookcore_plugins import log_file
from hookcore_plugins.report.run_report import FILE, Failure, Kept, Part, RunReport, record

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hookcore import SavedCheckpoint

_MONITORS: Final = ("val_loss", "loss")
_LIBRARIES: Final = {
    name: name for name in ("jax", "keras", "lightgbm", "lightning", "numpy", "tensorflow", "torch", "transformers", "xgboost")
} | {"sklearn": "scikit-learn"}
"""Libraries whose version matters, by the name of their module."""
_BY_EXCEPTION: Final = frozenset({Outcome.FAILED, Outcome.INTERRUPTED, Outcome.PREEMPTED})


@attrs.define(eq=False)
class Report:
    """Record the run in `run.json` in the directory `directory`, and sum it up at its end.

    Recorded are the outcome and why, every decision, the metrics, learning rate and duration of every epoch, the best epoch, the
    checkpoints that are kept and why, the plugins with their parameters, what the time went to, the errors of plugins, and the
    versions of Python and the libraries: no user, no host, no environment variables; the home directory appears as `~`.
    `hookcore report directory` shows it, with `--html` as a page and with `--svg` or `--png` as a picture; so does `show()`.

    The file is written when the run begins, at ends of epochs, and when the run ends, however it ends. A run that is resumed
    goes on with its file. One that is not moves that of an earlier run aside, to `run.1.json` and so on.

    * `monitor`: the metric whose best epoch counts; None, the default, for `val_loss`, or `loss` where nothing is validated.
    * `mode`: `"min"`, `"max"`, or `"auto"` for what is known of the metric. Where nothing is, there is no best epoch.
    * `graph`: `"png"` for a picture of the model, where the trainee can draw one; where it cannot, the report says why.
    * `interval`: the least number of seconds between two writes at ends of epochs, as long as the run goes on.
    * `summary`: whether to print the summary at the end. Beside a plugin that shows progress it has only what that one does not
      say.
    * `stream`: where to print it; by default what `sys.stdout` is then.
    * `clock`: seconds, for durations. `now`: seconds since 1970.

    Raises `ParameterError` for a directory that is a file, and for a value outside its range.
    """

    role: ClassVar[str] = "observer"

    directory: Path = attrs.field(converter=validators.as_path, validator=validators.directory())
    monitor: str | None = attrs.field(default=None, validator=validators.text(optional=True))
    mode: Mode | Literal["auto"] = attrs.field(default="auto", validator=validators.one_of("min", "max", "auto"))
    graph: Literal["png"] | None = attrs.field(default=None, kw_only=True)
    interval: float = attrs.field(default=5.0, validator=validators.number(at_least=0), kw_only=True)
    summary: bool = attrs.field(default=True, validator=validators.boolean(), kw_only=True)
    stream: TextIO | None = attrs.field(default=None, kw_only=True)
    clock: Callable[[], float] = attrs.field(default=time.monotonic, validator=validators.function(), kw_only=True)
    now: Callable[[], float] = attrs.field(default=time.time, validator=validators.function(), kw_only=True)
    _past: _Past = attrs.field(init=False, repr=False)
    _live: _Live | None = attrs.field(init=False, default=None, repr=False)

    @_past.default
    def _nothing(self) -> _Past:
        return _Past()

    @graph.validator
    def _png(self, attribute: Any, value: Any) -> None:
        if value not in {None, "png"}:
            validators.reject(self, attribute.alias, value, "'png' or None")

    @hookimpl
    def on_train_begin(self, run: Run) -> None:
        """Record that the run has begun."""
        path = self.directory / FILE
        if run.resumed_from is None and path.exists():
            log_file.set_aside(path, run)
        elif run.resumed_from is not None:
            self._past.found(run.resumed_from)
        now = self.clock()
        self._live = live = _Live(run, Part(self.now(), 0.0, run.progress.step), now, _environment(run))
        if self._past.within is not None:
            live.epoch_began = now - self._past.within
        self._write(live)

    @hookimpl
    def on_epoch_begin(self) -> None:
        """Take the time."""
        if self._live is not None:
            self._live.epoch_began = self.clock()

    @hookimpl(specname="on_epoch_end", tryfirst=True)
    def note_epoch(self, run: Run) -> None:
        """Take note of the time, and of the learning rate before a plugin changes it."""
        live = self._live
        if live is None:
            return
        began, live.epoch_began, self._past.within = live.epoch_began, None, None
        self._past.rates.append(learning_rate_of(run))
        self._past.seconds.append(None if began is None else self.clock() - began)

    @hookimpl(trylast=True)
    def on_epoch_end(self) -> None:
        """Write, unless that was only just done."""
        live = self._live
        if live is not None and (live.written is None or self.clock() - live.written >= self.interval):
            self._draw_model(live)
            self._write(live)
            live.written = self.clock()

    @hookimpl
    def on_checkpoint(self, checkpoint: SavedCheckpoint) -> None:
        """Take note of where checkpoints are."""
        self._past.found(checkpoint)

    @hookimpl
    def on_exception(self, exception: BaseException) -> None:
        """Take note of what ended the run."""
        if self._live is not None:
            self._live.exception = exception

    @hookimpl(wrapper=True)  # when all others are done, so that what they still do is in it
    def on_train_end(self) -> Generator[None, object, object]:
        """Write the whole, and sum it up."""
        try:
            return (yield)
        except Exception as error:
            if self._live is not None and self._live.exception is None:
                self._live.exception = error
            raise
        finally:
            self._end()

    def _end(self) -> None:
        live = self._live
        if live is None:
            return
        self._draw_model(live)
        report = self._write(live)
        self._past, self._live = self._so_far(), None
        if self.summary:
            from hookcore_plugins.report.summary import show

            show(report, sys.stdout if self.stream is None else self.stream, beside_progress=live.run.shows_progress)

    def show(self) -> RunReport:
        """What is recorded of the latest run, which a notebook shows as curves. Raises `ReportError`."""
        return RunReport.read(self.directory)

    def _write(self, live: _Live) -> RunReport:
        report = self._report(live)
        content = _without_home(report.dumps())
        store.write_bytes(report.path, content.encode())
        return report

    def _report(self, live: _Live) -> RunReport:
        run, past, error = live.run, self._so_far(), live.exception
        monitor = self.monitor or next((name for name in _MONITORS if name in run.history), None)
        missing = [None] * (len(run.history) - len(past.rates))  # epochs of a run that had no report, and was resumed
        told = error is None or isinstance(error, KeyboardInterrupt | Preempted)
        return RunReport(
            path=self.directory / FILE,
            outcome=str(Outcome.FAILED if error is not None and run.outcome not in _BY_EXCEPTION else run.outcome),
            exception=None if error is None else describe(error).removesuffix(": "),
            traceback=None if told or error is None else "".join(traceback.format_exception(error)),
            epochs=run.epochs,
            progress=run.progress,
            history=run.history,
            learning_rates=[*missing, *past.rates],
            seconds=[*missing, *past.seconds],
            monitor=monitor,
            directions={name: self._direction(run, name) for name in run.history},
            stop_reasons=[record(StopReason, attrs.asdict(one)) for one in run.stop_reasons],
            decisions=[record(Decision, attrs.asdict(one)) for one in run.decisions],
            checkpoints=_kept(past.directories),
            failures=past.failures,
            plugins=run.parameters,
            parts=past.parts,
            plugin_seconds=past.plugin_seconds,
            environment=live.environment,
            graph=live.graph,
            graph_hint=live.graph_hint,
        )

    def _direction(self, run: Run, name: str) -> Mode | None:
        try:
            return direction_of(run, name, self.mode if name == self.monitor else "auto")
        except MetricError:
            return None

    def _draw_model(self, live: _Live) -> None:
        """Have the trainee draw the model, once: it may be built by the first batch only."""
        if self.graph is None or live.graph is not None or live.graph_hint is not None:
            return
        trainee: Any = live.run.trainee
        lacking = reason_lacking(trainee, "picture")
        if lacking is not None:
            live.graph_hint = f"there is no picture of the model, as {lacking}"
            return
        try:
            drawn = trainee.picture()
        except Exception as error:  # noqa: BLE001 - the report is worth more than the picture
            live.graph_hint = str(error) if isinstance(error, HookcoreError) else describe(error)
            return
        live.graph = f"model-{hashlib.sha256(drawn).hexdigest()[:16]}.png"
        store.write_bytes(self.directory / live.graph, drawn)

    def _so_far(self) -> _Past:
        """What was recorded up to now."""
        past, live = self._past, self._live
        if live is None:
            return past
        now, run = self.clock(), live.run
        seconds = {name: past.plugin_seconds.get(name, 0.0) for name in {**past.plugin_seconds, **run.plugin_seconds}}
        failures = [Failure(one.plugin, one.hook, describe(one.error), one.traceback, one.disabled) for one in run.failures]
        return attrs.evolve(
            past,
            within=None if live.epoch_began is None else now - live.epoch_began,
            parts=[*past.parts, attrs.evolve(live.part, seconds=now - live.began)],
            plugin_seconds={name: before + run.plugin_seconds.get(name, 0.0) for name, before in seconds.items()},
            failures=[*past.failures, *failures],
        )

    def state_dict(self) -> dict[str, Any]:
        """What is recorded and not in the run itself."""
        return attrs.asdict(self._so_far())

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        self._live = None
        self._past = _Past(
            **{
                **state,
                "parts": [Part(**part) for part in state["parts"]],
                "failures": [Failure(**failure) for failure in state["failures"]],
            }
        )


@attrs.define(eq=False)
class _Live:
    """The part of the run that goes on."""

    run: Run
    part: Part
    began: float
    environment: dict[str, str]
    epoch_began: float | None = None
    written: float | None = None
    exception: BaseException | None = None
    graph: str | None = None
    graph_hint: str | None = None


@attrs.define
class _Past:
    """What is recorded and travels with a checkpoint."""

    rates: list[float | None] = attrs.field(factory=list)
    seconds: list[float | None] = attrs.field(factory=list)
    within: float | None = None
    """How long the epoch that goes on has taken; None between two."""
    parts: list[Part] = attrs.field(factory=list)
    plugin_seconds: dict[str, float] = attrs.field(factory=dict)
    failures: list[Failure] = attrs.field(factory=list)
    directories: list[str] = attrs.field(factory=list)
    """Where there are checkpoints of the run."""

    def found(self, checkpoint: SavedCheckpoint) -> None:
        directory = os.fspath(checkpoint.path.parent)
        if directory not in self.directories:
            self.directories.append(directory)


def _kept(directories: Iterable[str]) -> list[Kept]:
    """The checkpoints that are there now, and why: by the retention that the newest of each directory was saved with."""
    kept = []
    for directory in directories:
        there = store.available(Path(directory))
        retention = there[-1].retention if there else None
        reasons = {} if retention is None else retention.reasons(there)
        kept += [
            Kept(os.fspath(one.path), one.epoch, one.step, one.metric, one.value, ", ".join(reasons.get(one.path, ())))
            for one in there
        ]
    return kept


def _environment(run: Run) -> dict[str, str]:
    """Versions: nothing about who runs it, and where."""
    found = {"python": platform.python_version(), "platform": platform.platform(), "hookcore": metadata.version("hookcore")}
    if run.trainee.framework != "none":
        found["trained by"] = run.trainee.framework
    for module, distribution in _LIBRARIES.items():
        if module in sys.modules:
            with contextlib.suppress(metadata.PackageNotFoundError):
                found[distribution] = metadata.version(distribution)
    return found


def _without_home(text: str) -> str:
    """`text`, which is JSON, with `~` for the home directory: its name is the user's."""
    home = json.dumps(str(Path.home()))[1:-1]
    return text if len(home) <= 1 else re.sub(rf"{re.escape(home)}(?![\w.-])", "~", text)
