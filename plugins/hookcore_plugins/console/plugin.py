"""Show the progress of a run: a live bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TextIO

import attrs

from hookcore import Decision, Outcome, Run, hookimpl
from hookcore.authoring import format_count, format_duration, format_value, place_in_words, validators
from hookcore_plugins.console.screen import GAP, Screen

if TYPE_CHECKING:
    from rich.text import Text  # noqa: TC004 - importing the plugins does not import rich

_REFRESH = 0.1  # seconds from one drawing of the bar to the next: reading a metric may wait for a device
_SAVED_MARK = "*"
_CALLER = "loop"  # who decided if no plugin did: the code that runs the loop


@attrs.define(eq=False)
class Console:
    """Print one line per observation, what was decided on it and why, and how the run ended; on a terminal, a live bar.

    An observation is the end of an epoch or, in a loop that evaluates by steps, an evaluation, with the time since the one
    before. Epochs are shown counted from 1. The learning rate is the one that was trained with, before any plugin reduced it. The
    bar shows the batches done in the epoch, the latest metrics as far as they fit, and the time left in the epoch. It is drawn at
    most ten times a second, and metrics are read only then.

    * `verbose`: `"bar"`, `"lines"` for plain lines without control characters, or `"auto"`: the bar if `stream` is a
      terminal or a notebook's output, and lines in a file, a pipe, or beneath another live display of rich. In a notebook the
      bar stands above the lines.
    * `stream`: where to write; by default what `sys.stdout` is when training begins. What is printed to
      `sys.stdout` meanwhile appears above the bar.
    * `clock`: seconds, for durations.

    Raises `ParameterError` for another `verbose`, a stream that cannot be written to or a clock that cannot be called.
    """

    type_name: ClassVar[str] = "hookcore_plugins.console.Console"
    role: ClassVar[str] = "observer"
    shows_progress: ClassVar[bool] = True
    """Tells an adapter that the framework's own progress bar would be a second one."""

    verbose: Literal["auto", "bar", "lines"] = attrs.field(default="auto", validator=validators.one_of("auto", "bar", "lines"))
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
        if self._display is not None:  # of a run that was abandoned
            self._display.screen.close()
        screen = Screen(sys.stdout if self.stream is None else self.stream, self.verbose)
        now = self.clock()
        self._display = _Display(screen, now, now, now)  # a resumed run may begin within an epoch
        if run.resumed_from is not None:
            self._display.decisions = len(run.decisions)  # shown in the earlier run
            with self._displaying():
                screen.line([screen.text(f"resumed from {run.resumed_from.path}, step {run.resumed_from.step}")])

    @hookimpl(trylast=True)
    def on_epoch_begin(self, run: Run) -> None:
        """Begin the epoch's bar."""
        with self._displaying() as display:
            display.epoch_began = display.line_began = self.clock()
            display.batches, display.metrics = 0, {}
            self._print_news(run, display)
            self._draw(run, display)

    @hookimpl(trylast=True)
    def on_batch_end(self, run: Run, batch: int, metrics: Mapping[str, float]) -> None:
        """Move the bar, if it was not drawn for a while."""
        display = self._display
        if display is None:
            return
        display.batches = batch + 1
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

    @hookimpl(wrapper=True)  # so that the line has all that plugins log and decide here, wherever they are listed
    def on_metrics(self, run: Run, metrics: Mapping[str, float]) -> Generator[None, None, None]:
        """Print the observation's line. That of an epoch's end is printed at the next event, which may still tell of a save."""
        try:
            yield
        finally:
            with self._displaying() as display:
                self._make_line(run, display, metrics)
                if run.history.by_steps[-1]:  # the next event is the end of another batch
                    self._print_news(run, display)
                    self._draw(run, display)

    def _make_line(self, run: Run, display: _Display, metrics: Mapping[str, float]) -> None:
        styled, history, now = display.screen.text, run.history, self.clock()
        epoch, step, rate = history.epochs[-1], history.steps[-1], history.learning_rates[-1]
        head, display.place = _epoch(run, epoch), (epoch, None)
        if history.by_steps[-1]:
            display.place = (epoch, step)
        if history.by_steps[-1] or history.epochs[-2:-1] == [epoch]:  # else the line is of the whole epoch
            head = f"{head}  {place_in_words(epoch, step, by_steps=True)}"
        display.line = [styled((head, "bold"))]
        # Keras's callbacks add a learning rate to the metrics.
        shown = {name: value for name, value in metrics.items() if rate is None or name != "learning_rate"}
        display.line += _items(display.screen, shown)
        if rate is not None:
            display.line.append(styled(("lr ", "dim"), f"{rate:.4g}"))
        display.line.append(styled((format_duration(now - display.line_began), "dim")))
        display.line_began = now

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
        """Print the line of an observation, then what was decided; a checkpoint of it is a mark on its line."""
        news, display.decisions = run.decisions[display.decisions :], len(run.decisions)
        if display.line is not None:
            saves = [decision for decision in news if decision.kind == "checkpoint" and display.shows_place_of(decision)]
            news = [decision for decision in news if decision not in saves]
            is_saved = bool(saves) or display.saved == display.place
            display.line += [display.screen.text(_SAVED_MARK)] * is_saved
            display.any_saved |= is_saved
            display.screen.clear_bar()
            display.screen.line(display.line, indent=display.line[0].cell_len + GAP)
            display.line = None
        for decision in news:
            place = "" if display.shows_place_of(decision) else f" in epoch {decision.epoch + 1}, step {decision.step}"
            stop = "stop, " if decision.kind == "stop" else ""
            if decision.kind == "checkpoint":
                display.saved = (decision.epoch, decision.step)
            display.screen.note(decision.plugin or _CALLER, f"{place}: {stop}{decision.message}")

    def _draw(self, run: Run, display: _Display, doing: str = "") -> None:
        if not display.screen.has_bar:
            return
        display.drawn = self.clock()
        done, total, elapsed = display.batches, run.steps_per_epoch, display.drawn - display.epoch_began
        if not doing and total is not None and 0 < done < total:
            doing = f"{format_duration(elapsed * (total - done) / done)} left"
        count = format_count(done, "batch", "batches") if total is None else f"{done}/{total}"
        head, tail = _epoch(run, run.progress.epoch), doing or format_duration(elapsed)
        display.screen.bar(head, count, _items(display.screen, display.metrics), tail, done=done, total=total)

    def _summary(self, run: Run, display: _Display) -> list[Text]:
        styled = display.screen.text
        voters = ", ".join(dict.fromkeys(reason.plugin or _CALLER for reason in run.stop_reasons))
        head = f"{run.outcome} by {voters}:" if run.outcome is Outcome.STOPPED else f"{run.outcome}:"
        items = [styled((head, "bold red" if run.outcome is Outcome.FAILED else "bold"))]
        items.append(styled(format_count(len(set(run.history.epochs)), "epoch")))
        if run.progress.step:
            items.append(styled(format_count(run.progress.step, "step")))
        items.append(styled(format_duration(self.clock() - display.began)))
        bests = {f"best {reason.metric}": reason.best for reason in run.stop_reasons if reason.best is not None}
        items += _items(display.screen, bests)
        return items + [styled((f"{_SAVED_MARK} saved", "dim"))] * display.any_saved


@attrs.define(eq=False)
class _Display:
    """What is shown of one run, and how far."""

    screen: Screen
    began: float
    epoch_began: float
    line_began: float
    """When the epoch began, or the line before was made."""
    drawn: float = 0.0
    batches: int = 0
    decisions: int = 0
    metrics: Mapping[str, float] = attrs.field(factory=dict)
    any_saved: bool = False
    line: list[Text] | None = None
    """The line of the latest observation, until it is printed."""
    saved: tuple[int, int] | None = None
    """The epoch and step of the latest checkpoint that was shown by a sentence: after a batch whose observation came later."""
    place: tuple[int, int | None] | None = None
    """The epoch and step of the latest observation; the step is None at the end of an epoch."""

    def shows_place_of(self, decision: Decision) -> bool:
        """Return whether `decision` belongs to the latest line, which tells where the run is."""
        return self.place in {(decision.epoch, None), (decision.epoch, decision.step)}


def _items(screen: Screen, metrics: Mapping[str, float]) -> list[Text]:
    return [screen.text((f"{name} ", "dim"), format_value(value)) for name, value in metrics.items()]


def _epoch(run: Run, epoch: int) -> str:
    if run.epochs is None:
        return f"epoch {epoch + 1}"
    return f"epoch {epoch + 1:>{len(str(run.epochs))}}/{run.epochs}"
