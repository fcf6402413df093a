"""Show the progress of a run: a live bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import math
import sys
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TextIO

import attrs

from hookcore import Decision, Outcome, Run, SavedCheckpoint, hookimpl
from hookcore.authoring import Mode, format_count, format_duration, format_value, validators
from hookcore_plugins.console.best import Best
from hookcore_plugins.console.pace import Pace
from hookcore_plugins.console.screen import Screen
from hookcore_plugins.console.table import GAP

if TYPE_CHECKING:
    from rich.text import Text

_REFRESH = 0.1  # seconds from one drawing of the bar to the next: reading a metric may wait for a device
_BEST_MARK = "*"
_OURS = frozenset({"epoch", "step", "lr", "time"})
"""The names in the header of the items that are not metrics."""
_OUTCOME_STYLES = {
    Outcome.FAILED: "bold red",
    Outcome.INTERRUPTED: "bold yellow",
    Outcome.PREEMPTED: "bold yellow",
    Outcome.STOPPED: "bold yellow",
}
_CALLER = "loop"  # shown instead of a plugin if the code that runs the loop decided


@attrs.define(eq=False, on_setattr=validators.convert_and_validate)
class Console:
    """Print a line per observation, each decision with its reason, and how the run ended; on a terminal, show a live bar.

    An observation is the end of an epoch or, in a loop that evaluates by steps, an evaluation, with the time since the one
    before. Epochs are shown counted from 1. The learning rate is the one in use during training, before any plugin reduced it. A
    `*` marks each observation that is the best so far, and the last line names the best of all. On a terminal and in a notebook
    the names of the metrics stand in a header, which is printed again once it has left the screen; in a file each line has them.
    Checkpoints are counted in the last line. The bar shows the batches done in the epoch, the latest metrics as far as they fit,
    and the time left in the epoch and in the run. It is drawn at most ten times a second, and metrics are read only then.

    Colours: green is the best so far, yellow what ends a run early, red a failure and a metric that is not finite.

    * `verbose`: `"bar"`, `"lines"` for plain lines without control characters, or `"auto"`: the bar if `stream` is a
      terminal or a notebook's output, and lines in a file, a pipe, or beneath another live display of rich. In a notebook the
      bar stands above the lines.
    * `monitor`: the metric whose best observation is marked; by default what the first other plugin with a `monitor` monitors,
      else the loss of validation, else the first metric with a known direction, those of validation before the others.
    * `mode`: `"min"`, `"max"`, or `"auto"` for the known direction of `monitor`. A metric without one has no best.
    * `stream`: where to write; by default `sys.stdout`, as it is when training begins. Other output to `sys.stdout` appears
      above the bar.
    * `clock`: seconds, for durations.

    Raises `ParameterError` for another `verbose` or `mode`, an empty `monitor`, a stream that cannot be written to or a clock
    that cannot be called.
    """

    type_name: ClassVar[str] = "hookcore_plugins.console.Console"
    role: ClassVar[str] = "observer"
    shows_progress: ClassVar[bool] = True
    """Adapters turn off the framework's own progress bar beside a plugin that shows progress."""

    verbose: Literal["auto", "bar", "lines"] = attrs.field(default="auto", validator=validators.one_of("auto", "bar", "lines"))
    monitor: str | None = attrs.field(default=None, validator=attrs.validators.optional(validators.text()), kw_only=True)
    mode: Mode | Literal["auto"] = attrs.field(default="auto", validator=validators.one_of("auto", "min", "max"), kw_only=True)
    stream: TextIO | None = attrs.field(default=None, kw_only=True)
    clock: Callable[[], float] = attrs.field(default=time.monotonic, validator=validators.function(), kw_only=True)
    _display: _Display | None = attrs.field(init=False, default=None, repr=False)

    @stream.validator
    def _writable(self, attribute: Any, value: TextIO | None) -> None:
        if value is not None and not hasattr(value, "write"):
            validators.reject(self, attribute.alias, value, "a text stream or None")

    @hookimpl
    def on_train_begin(self, run: Run) -> None:
        """Open the screen."""
        if self._display is not None:  # of an abandoned run
            self._display.screen.close()
        screen = Screen(sys.stdout if self.stream is None else self.stream, self.verbose)
        now = self.clock()
        self._display = _Display(screen, Best(self.monitor, self.mode), Pace(now), now, now)
        if run.resumed_from is not None:
            self._display.decisions = len(run.decisions)  # shown in the earlier run
            with self._displaying():
                screen.line([screen.text(f"resumed from {run.resumed_from.path}, step {run.resumed_from.step}")])

    @hookimpl(trylast=True)
    def on_epoch_begin(self, run: Run) -> None:
        """Begin the epoch's bar."""
        with self._displaying() as display:
            display.pace.epoch_begin(self.clock())
            display.line_began, display.metrics = display.pace.epoch_began, {}
            self._print_news(run, display)
            self._draw(run, display)

    @hookimpl(trylast=True)
    def on_batch_end(self, run: Run, batch: int, metrics: Mapping[str, float]) -> None:
        """Redraw the bar, unless it was drawn just now."""
        display = self._display
        if display is None:
            return
        display.pace.batch_end(batch)
        due = display.screen.has_bar and self.clock() - display.drawn >= _REFRESH
        if due or len(run.decisions) > display.decisions:
            with self._displaying():
                self._print_news(run, display)
                if due:
                    display.metrics = dict(metrics)
                    self._draw(run, display)

    @hookimpl
    def on_evaluate_begin(self, run: Run) -> None:
        """Show that the model is being validated."""
        if self._display is not None:
            with self._displaying() as display:
                self._draw(run, display, "validating")

    @hookimpl(wrapper=True)  # after all other plugins, so that the line has what they log and decide
    def on_metrics(self, run: Run, metrics: Mapping[str, float]) -> Generator[None, None, None]:
        """Print the observation's line, and the decisions that followed from it."""
        try:
            yield
        finally:
            with self._displaying() as display:
                display.screen.clear_bar()
                self._print_observation(run, display, metrics)
                self._print_news(run, display)
                if run.history.by_steps[-1]:  # the next event is the end of another batch
                    self._draw(run, display)

    def _print_observation(self, run: Run, display: _Display, metrics: Mapping[str, float]) -> None:
        screen, history, now = display.screen, run.history, self.clock()
        epoch, step, rate, by_steps = history.epochs[-1], history.steps[-1], history.learning_rates[-1], history.by_steps[-1]
        is_best = display.best.observe(run)
        display.place = (epoch, step if by_steps else None)
        left = {"epoch": screen.text((_count_of(run, epoch), "bold"))}
        if by_steps or history.epochs[-2:-1] == [epoch]:  # else the line is of the whole epoch
            left["step"] = screen.text(str(step))
        middle = {}
        # Keras's callbacks add a learning rate to the metrics.
        shown = [name for name in metrics if rate is None or name != "learning_rate"]
        for name in sorted(shown, key=run.metric_names.is_validation):
            value, label = metrics[name], f"{name} (metric)" if name in _OURS else name
            style = "bold green" if is_best and name == display.best.metric else "" if math.isfinite(value) else "red"
            middle[screen.clean(label)] = screen.text((format_value(value), style))
        right = {} if rate is None else {"lr": screen.text(f"{rate:.4g}")}
        right["time"] = screen.text((format_duration(now - display.line_began), "dim"))
        screen.observation(left, middle, right, screen.text((_BEST_MARK, "bold green")) if is_best else None)
        display.line_began = now

    @hookimpl
    def on_checkpoint(self, checkpoint: SavedCheckpoint) -> None:
        """Count it."""
        if self._display is not None:
            # The checkpoint of an epoch's end replaces the one of its last step.
            self._display.saves += self._display.saved != checkpoint.path.name
            self._display.saved = checkpoint.path.name

    @hookimpl(trylast=True)
    def on_train_end(self, run: Run) -> None:
        """Take the bar away and print how the run ended."""
        with self._displaying() as display:
            self._print_news(run, display)
            display.screen.close()
            display.screen.line(self._summary(run, display), indent=GAP)
        self._display = None

    @contextlib.contextmanager
    def _displaying(self) -> Iterator[_Display]:
        """Yield the display, and close it at an error, after which this plugin is not called again."""
        if self._display is None:
            raise RuntimeError("an event of a run came before its on_train_begin")
        try:
            yield self._display
        except Exception:
            self._display.screen.close()
            self._display = None
            raise

    def _print_news(self, run: Run, display: _Display) -> None:
        """Print the decisions that were not printed yet, except for checkpoints."""
        news, display.decisions = run.decisions[display.decisions :], len(run.decisions)
        news = [decision for decision in news if decision.kind != "checkpoint"]
        if news:
            display.screen.clear_bar()
        for decision in news:
            place = "" if display.shows_place_of(decision) else f" in epoch {decision.epoch + 1}, step {decision.step}"
            stops = decision.kind == "stop"
            message = f"stop, {decision.message}" if stops else decision.message
            display.screen.note(decision.plugin or _CALLER, f"{place}: {message}", "bold yellow" if stops else "bold")

    def _draw(self, run: Run, display: _Display, doing: str = "") -> None:
        if not display.screen.has_bar:
            return
        display.drawn = self.clock()
        pace, total = display.pace, run.steps_per_epoch
        of_epoch, of_run = pace.left(display.drawn, total, run.progress.epoch, run.epochs)
        count = format_count(pace.batches, "batch", "batches") if total is None else f"{pace.batches}/{total}"
        whole = "" if of_run is None else f"run {format_duration(of_run)}"
        parts = [doing, whole and f"{whole} left"] if doing or of_epoch is None else [f"{format_duration(of_epoch)} left", whole]
        tail = ", ".join(filter(None, parts)) or format_duration(display.drawn - pace.epoch_began)
        head, items = f"epoch {_count_of(run, run.progress.epoch)}", _items(display.screen, display.metrics)
        display.screen.bar(head, count, items, tail, done=pace.batches, total=total)

    def _summary(self, run: Run, display: _Display) -> list[Text]:
        styled = display.screen.text
        voters = ", ".join(dict.fromkeys(reason.plugin or _CALLER for reason in run.stop_reasons))
        head = f"{run.outcome} by {voters}:" if run.outcome is Outcome.STOPPED else f"{run.outcome}:"
        items = [styled((head, _OUTCOME_STYLES.get(run.outcome, "bold")))]
        items.append(styled(format_count(len(set(run.history.epochs)), "epoch")))
        if run.progress.step:
            items.append(styled(format_count(run.progress.step, "step")))
        items.append(styled(format_duration(self.clock() - display.began)))
        metric, best = display.best.metric, display.best.monitor
        if metric is not None and best is not None and best.best is not None:
            place = f"{'at' if best.by_steps else 'in'} {best.best_place}"
            items.append(styled((f"{_BEST_MARK} best {metric} {format_value(best.best)} {place}", "bold green")))
        if display.saves:
            items.append(styled(f"{format_count(display.saves, 'checkpoint')}, the last {display.saved}"))
        return items


@attrs.define(eq=False)
class _Display:
    """The display of one run: its screen, and what was shown so far."""

    screen: Screen
    best: Best
    pace: Pace
    began: float
    line_began: float
    """When the epoch began, or the line before was printed."""
    drawn: float = 0.0
    decisions: int = 0
    metrics: Mapping[str, float] = attrs.field(factory=dict)
    saves: int = 0
    saved: str = ""
    """The name of the latest checkpoint."""
    place: tuple[int, int | None] | None = None
    """The epoch and step of the latest observation; the step is None at the end of an epoch."""

    def shows_place_of(self, decision: Decision) -> bool:
        """Return whether `decision` was made at the place that the latest line shows."""
        return self.place in {(decision.epoch, None), (decision.epoch, decision.step)}


def _items(screen: Screen, metrics: Mapping[str, float]) -> list[Text]:
    return [screen.text((f"{name} ", "dim"), format_value(value)) for name, value in metrics.items()]


def _count_of(run: Run, epoch: int) -> str:
    return f"{epoch + 1}" if run.epochs is None else f"{epoch + 1:>{len(str(run.epochs))}}/{run.epochs}"
