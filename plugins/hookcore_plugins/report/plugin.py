"""Record a run in a file that `hookcore report` shows."""

from __future__ import annotations

import hashlib
import os
import sys
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, TextIO

import attrs

from hookcore import Decision, HookcoreError, MetricError, Outcome, Preempted, Run, StopReason, hookimpl, store
from hookcore.authoring import Mode, describe, direction_of, reason_lacking, schema, traceback_of, validators
from hookcore_plugins import log_file
from hookcore_plugins.report.config import as_config
from hookcore_plugins.report.items import Failure, Part
from hookcore_plugins.report.record import FILE, RunRecord
from hookcore_plugins.report.run_json import build
from hookcore_plugins.report.run_report import RunReport
from hookcore_plugins.report.surroundings import command, data_sizes, environment, kept_checkpoints, revision, without_home

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hookcore import SavedCheckpoint

_ENDED_BY_EXCEPTION: Final = frozenset({Outcome.FAILED, Outcome.INTERRUPTED, Outcome.PREEMPTED})
_STATE: Final = schema.fields(
    {
        "seconds": schema.list_of(schema.optional(schema.seconds)),
        "within": schema.optional(schema.seconds),
        "parts": schema.list_of(schema.fields({"began": schema.seconds, "seconds": schema.seconds, "step": schema.integer})),
        "plugin_seconds": schema.mapping_of(schema.seconds),
        "failures": schema.list_of(
            schema.fields(dict.fromkeys(("plugin", "hook", "error", "traceback"), schema.text) | {"disabled": schema.truth})
        ),
        "directories": schema.list_of(schema.text),
    },
    {"rates": (schema.list_of(schema.optional(schema.number)), [])},  # of an earlier version
)


@attrs.define
class _Saved:
    """The part of the record that is kept in checkpoints, because the run does not have it."""

    seconds: list[float | None] = attrs.field(factory=list)
    within: float | None = None
    """Seconds since the latest row, or since the latest epoch began; None before the first."""
    parts: list[Part] = attrs.field(factory=list)
    plugin_seconds: dict[str, float] = attrs.field(factory=dict)
    failures: list[Failure] = attrs.field(factory=list)
    directories: list[str] = attrs.field(factory=list)
    """The directories with checkpoints of the run."""

    def note(self, checkpoint: SavedCheckpoint) -> None:
        directory = os.fspath(checkpoint.path.parent)
        if directory not in self.directories:
            self.directories.append(directory)


@attrs.define(eq=False)
class _Current:
    """The part of the run that is under way in this process."""

    run: Run
    part: Part
    began: float
    environment: dict[str, str]
    commit: str | None
    is_dirty: bool | None
    file: log_file.LogFile
    since: float | None = None
    """When the latest epoch began, or its latest row was observed."""
    epoch_ended: float | None = None
    written: float | None = None
    exception: BaseException | None = None
    graph: str | None = None
    graph_hint: str | None = None


@attrs.define(eq=False, on_setattr=validators.convert_and_validate)
class Report:
    """Record the run in `run.json` in the directory `directory`, and sum it up at its end.

    It records the outcome with its reason, every decision, the metrics, learning rate and duration of every epoch (of every
    observation in a loop that evaluates by steps), the best observation, the checkpoints that are kept and why, the plugins with
    their parameters, the configuration, how the time was spent, the errors of plugins, the command line without secrets, the git
    commit and whether tracked files differ from it, the sizes of the data if the loop knows them, and the versions of Python and
    the libraries. It records no user, host or environment variable, and replaces the home directory by `~`. `hookcore report
    directory` shows the record, with `--html` as a page and with `--svg` or `--png` as a picture; so does `show()`.

    The file is written when the run begins, at observations, and when the run ends, however it ends. A resumed run continues its
    file. Any other run first moves the file of an earlier run to `run.1.json`, or the next number. While a run trains, any other
    run that would write its file is refused when its training begins.

    * `monitor`: the metric whose best observation counts; None, the default, for the loss of validation, `val_loss` unless the
      loop names it otherwise, or for `loss` without validation.
    * `mode`: `"min"`, `"max"`, or `"auto"` for the metric's known direction. A metric without one has no best.
    * `config`: the configuration of the run, for the record and for comparing runs: a mapping (OmegaConf's too), an attrs or
      dataclass object, or an argparse namespace of JSON-able values. Values with the name of a secret are hidden at once.
    * `graph`: `"png"` for a picture of the model. If the trainee cannot draw one, the report gives the reason.
    * `interval`: the least number of seconds between two writes at observations.
    * `summary`: whether to print the summary at the end. Beside a plugin that shows progress, it leaves out what that plugin
      prints.
    * `stream`: where to print it; by default `sys.stdout` at that time.
    * `clock`: seconds, for durations. `now`: seconds since 1970.

    Raises `ParameterError` for a directory that is a file, and for a value outside its range.
    """

    role: ClassVar[str] = "observer"
    type_name: ClassVar[str] = "hookcore_plugins.report.Report"

    directory: Path = attrs.field(converter=validators.as_path, validator=validators.directory())
    monitor: str | None = attrs.field(default=None, validator=validators.text(optional=True))
    mode: Mode | Literal["auto"] = attrs.field(default="auto", validator=validators.one_of("min", "max", "auto"))
    config: dict[str, Any] = attrs.field(default=None, converter=as_config, kw_only=True)
    graph: Literal["png"] | None = attrs.field(default=None, kw_only=True)
    interval: float = attrs.field(default=5.0, validator=validators.number(at_least=0), kw_only=True)
    summary: bool = attrs.field(default=True, validator=validators.boolean(), kw_only=True)
    stream: TextIO | None = attrs.field(default=None, kw_only=True)
    clock: Callable[[], float] = attrs.field(default=time.monotonic, validator=validators.function(), kw_only=True)
    now: Callable[[], float] = attrs.field(default=time.time, validator=validators.function(), kw_only=True)
    _saved: _Saved = attrs.field(init=False, factory=_Saved, repr=False)
    _earlier_rates: list[float | None] = attrs.field(init=False, factory=list, repr=False)
    """The learning rates in the state of an earlier version, whose history lacks them."""
    _current: _Current | None = attrs.field(init=False, default=None, repr=False)

    @graph.validator
    def _png(self, attribute: Any, value: Any) -> None:
        if value not in {None, "png"}:
            validators.reject(self, attribute.alias, value, "'png' or None")

    @hookimpl
    def on_train_begin(self, run: Run) -> None:
        """Record that the run has begun."""
        path = self.directory / FILE
        file = log_file.LogFile.open(path, run)
        if run.resumed_from is None and path.exists():
            log_file.set_aside(path, run)
        elif run.resumed_from is not None:
            self._saved.note(run.resumed_from)
        rows, saved = run.history, self._saved
        if len(self._earlier_rates) <= len(rows):
            rows.learning_rates[len(rows) - len(self._earlier_rates) :] = self._earlier_rates
        saved.seconds[:0] = [None] * (len(rows) - len(saved.seconds))  # of rows before the run had this plugin
        del saved.seconds[len(rows) :]
        now = self.clock()
        part = Part(self.now(), 0.0, run.progress.step)
        self._current = current = _Current(run, part, now, environment(run), *revision(), file)
        if saved.within is not None:
            current.since = now - saved.within
        self._write(current)

    @hookimpl
    def on_epoch_begin(self) -> None:
        """Note when the epoch began."""
        if self._current is not None:
            self._current.since, self._current.epoch_ended = self.clock(), None

    @hookimpl(tryfirst=True)
    def on_epoch_end(self) -> None:
        """Note when the epoch ended: the time that other plugins take afterwards is not a part of it."""
        if self._current is not None:
            self._current.epoch_ended = self.clock()

    @hookimpl(specname="on_metrics", tryfirst=True)
    def note_row(self) -> None:
        """Note how long the latest row of the history took."""
        current = self._current
        if current is not None:
            now = self.clock() if current.epoch_ended is None else current.epoch_ended
            self._saved.seconds.append(None if current.since is None else now - current.since)
            current.since = now

    @hookimpl(trylast=True)
    def on_metrics(self) -> None:
        """Write the file, unless the latest write was less than `interval` ago."""
        current = self._current
        if current is not None and (current.written is None or self.clock() - current.written >= self.interval):
            self._draw_model(current)
            self._write(current)
            current.written = self.clock()

    @hookimpl
    def on_checkpoint(self, checkpoint: SavedCheckpoint) -> None:
        """Note the directory of the run's checkpoints."""
        self._saved.note(checkpoint)

    @hookimpl
    def on_exception(self, exception: BaseException) -> None:
        """Note the exception that ended the run."""
        if self._current is not None:
            self._current.exception = exception

    @hookimpl(wrapper=True)  # after all other plugins, so that the report has what they do at the end
    def on_train_end(self) -> Generator[None, object, object]:
        """Write the file, and print the summary."""
        try:
            return (yield)
        except Exception as error:
            if self._current is not None and self._current.exception is None:
                self._current.exception = error
            raise
        finally:
            self._end()

    def _end(self) -> None:
        current = self._current
        if current is None:
            return
        try:
            self._draw_model(current)
            record = self._write(current)
        finally:
            current.file.close()
        self._saved, self._current = self._up_to_now(), None
        if self.summary:
            from hookcore_plugins.report.summary import show

            show(record, sys.stdout if self.stream is None else self.stream, beside_progress=current.run.shows_progress)

    def show(self) -> RunReport:
        """Read the record of the latest run, which a notebook shows as curves. Raises `ReportError`."""
        return RunReport.read(self.directory)

    def _write(self, current: _Current) -> RunRecord:
        record = self._record(current)
        current.file.replace(without_home(record.dumps()))
        return record

    def _record(self, current: _Current) -> RunRecord:
        run, saved, error = current.run, self._up_to_now(), current.exception
        losses = (f"{prefix}loss" for prefix in (*run.metric_names.validation, "", *run.metric_names.training))
        monitor = self.monitor or next((name for name in losses if name in run.history), None)
        needs_traceback = error is not None and not isinstance(error, KeyboardInterrupt | Preempted)
        return RunRecord(
            path=self.directory / FILE,
            outcome=str(Outcome.FAILED if error is not None and run.outcome not in _ENDED_BY_EXCEPTION else run.outcome),
            exception=None if error is None else describe(error).removesuffix(": "),
            traceback=traceback_of(error) if error is not None and needs_traceback else None,
            epochs=run.epochs,
            progress=run.progress,
            history=run.history,
            seconds=saved.seconds,
            metric_names=run.metric_names,
            monitor=monitor,
            directions={name: self._direction(run, name) for name in run.history},
            stop_reasons=[build(StopReason, attrs.asdict(vote)) for vote in run.stop_reasons],
            decisions=[build(Decision, attrs.asdict(decision)) for decision in run.decisions],
            checkpoints=kept_checkpoints(saved.directories),
            failures=saved.failures,
            plugins={name: self._without_config(run, name) for name in run.parameters},
            parts=saved.parts,
            plugin_seconds=saved.plugin_seconds,
            environment=current.environment,
            config=self.config,
            chosen_parameters={
                name: [parameter for parameter in self._without_config(run, name) if parameter in run.chosen_parameters[name]]
                for name in run.parameters
            },
            command=command(),
            commit=current.commit,
            is_dirty=current.is_dirty,
            data=data_sizes(run),
            graph=current.graph,
            graph_hint=current.graph_hint,
        )

    @staticmethod
    def _without_config(run: Run, name: str) -> dict[str, Any]:
        """Return the parameters of a plugin, without this plugin's configuration, which the record has elsewhere."""
        hidden = {"config"} if name == run.plugin else set()
        return {parameter: value for parameter, value in run.parameters[name].items() if parameter not in hidden}

    def _direction(self, run: Run, name: str) -> Mode | None:
        try:
            return direction_of(run, name, self.mode if name == self.monitor else "auto")
        except MetricError:
            return None

    def _draw_model(self, current: _Current) -> None:
        """Let the trainee draw the model, once. The first batch may build the model, so it is not drawn before one."""
        if self.graph is None or current.graph is not None or current.graph_hint is not None:
            return
        trainee: Any = current.run.trainee
        lacking = reason_lacking(trainee, "picture")
        if lacking is not None:
            current.graph_hint = f"there is no picture of the model, as {lacking}"
            return
        try:
            drawn = trainee.picture()
        except Exception as error:  # noqa: BLE001 - the run keeps its report without the picture
            current.graph_hint = str(error) if isinstance(error, HookcoreError) else describe(error)
            return
        current.graph = f"model-{hashlib.sha256(drawn).hexdigest()[:16]}.png"
        store.write_bytes(self.directory / current.graph, drawn)

    def _up_to_now(self) -> _Saved:
        """Return what was recorded before the current part of the run, together with that part."""
        saved, current = self._saved, self._current
        if current is None:
            return saved
        now, run = self.clock(), current.run
        names = {**saved.plugin_seconds, **run.plugin_seconds}
        return attrs.evolve(
            saved,
            # The history has a row before this plugin is notified of it.
            seconds=[*saved.seconds, *[None] * (len(run.history) - len(saved.seconds))],
            within=None if current.since is None else now - current.since,
            parts=[*saved.parts, attrs.evolve(current.part, seconds=now - current.began)],
            plugin_seconds={name: saved.plugin_seconds.get(name, 0.0) + run.plugin_seconds.get(name, 0.0) for name in names},
            failures=[
                *saved.failures,
                *(Failure(new.plugin, new.hook, describe(new.error), new.traceback, new.disabled) for new in run.failures),
            ],
        )

    def state_dict(self) -> dict[str, Any]:
        """Return the part of the record that the run does not have."""
        return attrs.asdict(self._up_to_now())

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue the record in `state`, also in that of an earlier version."""
        own = _STATE(state)
        self._earlier_rates = own.pop("rates")
        parts, failures = [Part(**part) for part in own["parts"]], [Failure(**failure) for failure in own["failures"]]
        self._current, self._saved = None, _Saved(**{**own, "parts": parts, "failures": failures})
