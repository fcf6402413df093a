"""End a run in order when the process is asked to end."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
import warnings
import weakref
from collections.abc import Callable, Generator, Iterable
from typing import TYPE_CHECKING, Any, Final

import attrs

from hookcore import HookcoreWarning, Outcome, ParameterError, Preempted, Run, SavedCheckpoint, hookimpl
from hookcore.authoring import did_you_mean, validators

if TYPE_CHECKING:
    from types import FrameType

logger = logging.getLogger("hookcore")

_DEFAULT_SIGNALS: Final = ("SIGTERM", "SIGINT", "SIGUSR1")


def _as_names(value: str | Iterable[str]) -> tuple[str, ...]:
    """Return the names in `value`, which may also be one string with commas, as a spec gives it."""
    if isinstance(value, str):
        return tuple(name.strip() for name in value.split(","))
    given: Any = value
    return tuple(given) if isinstance(given, Iterable) else (given,)


def _signal_called(name: object) -> signal.Signals | None:
    found = getattr(signal, name, None) if isinstance(name, str) else None
    return found if isinstance(found, signal.Signals) else None


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


@attrs.define(eq=False, on_setattr=validators.convert_and_validate)
class Preemption:
    """At the first signal finish the batch, let every plugin save, and end the run; a second signal goes through at once.

    After the batch, of training or of an evaluation, plugins get `on_exception` (`Checkpoint` saves) and `on_train_end`.
    Whatever belongs to the batch is finished first, so that a resumed run equals one that was never interrupted: an accumulation
    of gradients up to its update, an evaluation by steps, and in a loop without batches the epoch. The deadline keeps running:
    if less than a tenth of it is left at the end of one of these batches, the run ends there, without another checkpoint. If
    evaluations are long, let `Checkpoint` save every few steps. SIGINT (Ctrl-C) then reaches the caller as `KeyboardInterrupt`,
    and the outcome is `interrupted`; any other signal as `hookcore.Preempted`, a `SystemExit` with the status 128 + its number,
    and the outcome is `preempted`. A signal that comes when training is over reaches the caller likewise, and the outcome stays;
    one that comes when the run has failed does not.

    * `signals`: names of signals. A handler that the program has for one is called too, after this one. A signal that the
      process ignores (`nohup`) stays ignored. A signal with a handler that was not set from Python is left alone. Python does
      not see the handlers of `faulthandler.register`: leave their signals out.
    * `deadline`: seconds from the signal to the kill, as the scheduler grants them; None for unknown. The default is that of
      Kubernetes (`terminationGracePeriodSeconds`: 30) and of Slurm (`KillWait`: 30). `Checkpoint` begins no save for which too
      little of it is left.
    * `clock`: a function that returns seconds and never goes back; `time.monotonic` by default.

    At the end the log names the time since the signal, and how much of the deadline was left.

    Handlers are installed from `on_train_begin` to the end of `on_train_end`, and only if training runs in the main thread, as
    Python demands; otherwise the run warns with `HookcoreWarning` and continues without them. A handler runs only when the main
    thread is back in Python: a batch may delay it. Processes forked from this one are not protected. If a framework does not
    tell the adapter that a run has ended (Keras, after an error that no plugin raised), the handlers stay until the plugin's
    next run, and may swallow the first signal, but not a second.

    Raises `ParameterError` for a signal that this platform does not know or that cannot be handled, and for other values
    outside their range. Of the default signals, those that the platform lacks are left out with a warning.
    """

    signals: tuple[str, ...] = attrs.field(default=_DEFAULT_SIGNALS, converter=_as_names)
    deadline: float | None = attrs.field(default=30.0, validator=validators.number(above=0, optional=True))
    clock: Callable[[], float] = attrs.field(default=time.monotonic, validator=validators.function(), kw_only=True)
    seconds_to_end: float | None = attrs.field(init=False, default=None)
    """How long it took from the first signal to the end of the latest run; None if no signal came."""
    _handler: _Handler | None = attrs.field(init=False, default=None)
    _newest: SavedCheckpoint | None = attrs.field(init=False, default=None)

    @signals.validator
    def _can_be_handled(self, attribute: Any, value: tuple[object, ...]) -> None:
        del attribute
        if not value:
            raise ParameterError("Preemption: signals must be at least one name of a signal such as 'SIGTERM', got ().")
        for name in value:
            if name in {"SIGKILL", "SIGSTOP"}:
                raise ParameterError(f"Preemption: no process can handle {name}.")
            if _signal_called(name) is None and value != _DEFAULT_SIGNALS:
                hint = did_you_mean(name, filter(_signal_called, dir(signal))) if isinstance(name, str) else ""
                raise ParameterError(
                    f"Preemption: signals must be names of signals of this platform such as 'SIGTERM', got {name!r}.{hint}"
                )

    @hookimpl(tryfirst=True)
    def on_train_begin(self, run: Run) -> None:
        """Install the handlers."""
        self._uninstall(run)  # of an earlier run that was abandoned
        self.seconds_to_end, self._newest = None, run.resumed_from
        if not _in_main_thread():
            where = threading.current_thread().name
            msg = f"{run.plugin}: signals are not handled in this run: it is in thread {where!r}, and only the main thread can."
            warnings.warn(msg, HookcoreWarning, stacklevel=2)
            return
        self._handler = _Handler(weakref.ref(run), self.deadline, self.clock)
        for name in self.signals:
            found = _signal_called(name)
            if found is None:
                warnings.warn(f"{run.plugin}: this platform has no {name}; it is left out.", HookcoreWarning, stacklevel=2)
            else:
                self._handler.install(run.plugin, found)

    @hookimpl
    def on_checkpoint(self, checkpoint: SavedCheckpoint) -> None:
        """Remember the newest checkpoint, which the log names at the end."""
        self._newest = checkpoint

    @hookimpl(wrapper=True, tryfirst=True)  # after every other plugin, whatever one raises
    def on_train_end(self, run: Run) -> Generator[None, object, object]:
        """Put the earlier handlers back, and log how the time was used."""
        try:
            result = yield
        finally:
            received = self._uninstall(run)
            if received is not None:
                self._report(run, received)
        if received is not None and run.outcome in {Outcome.COMPLETED, Outcome.STOPPED}:
            raise received.exception  # it came too late to end the run, and must not be lost
        return result

    def _uninstall(self, run: Run) -> _FirstSignal | None:
        handler, self._handler = self._handler, None
        if handler is None:
            return None
        handler.end(run.plugin)
        return handler.received

    def _report(self, run: Run, received: _FirstSignal) -> None:
        self.seconds_to_end = self.clock() - received.time
        left = None if self.deadline is None else self.deadline - self.seconds_to_end
        parts = [f"{received.signal} came at epoch {received.epoch + 1}, step {received.step}"]
        parts.append(f"the run ended {self.seconds_to_end:.3g} s later")
        if left is not None:
            parts[-1] += f", {abs(left):.3g} s {'before' if left >= 0 else 'after'} the deadline"
        parts.append("there is no checkpoint" if self._newest is None else f"the newest checkpoint is {self._newest.path}")
        log = logger.info if left is None or left >= 0 else logger.warning
        log("%s: %s", run.plugin, "; ".join(parts))


@attrs.frozen
class _FirstSignal:
    """The first signal of a run: when and where it came, and what it raises."""

    signal: str
    time: float
    epoch: int
    step: int
    exception: BaseException


@attrs.define(eq=False, repr=False)  # signal.getsignal makes a repr each time, and handlers nest
class _Handler:
    """Handle the signals of one run.

    It passes on a signal that comes after the run: other code may have kept the handler to call it, or have installed it again.
    """

    _run: weakref.ref[Run]
    _deadline: float | None
    _clock: Callable[[], float]
    received: _FirstSignal | None = None
    _before: dict[int, Any] = attrs.field(factory=dict)
    """The handlers that were installed before, by the signal's number."""
    _ended: bool = False
    _process: int = attrs.field(factory=os.getpid)

    def install(self, plugin: str, signum: signal.Signals) -> None:
        """Handle a signal from now on, unless the process ignores it or its handler is not Python's."""
        before = _latest_in_use(signal.getsignal(signum), signum)
        if before is None or before is signal.SIG_IGN:
            reason = "its handler is not Python's" if before is None else "the process ignores it"
            logger.info("%s: %s is not handled: %s", plugin, signum.name, reason)
        elif signum not in self._before:  # two names may be one signal
            self._before[signum] = before
            signal.signal(signum, self)

    def end(self, plugin: str) -> None:
        """Put the earlier handlers back, or pass every signal on if another handler has been set since."""
        self._ended = True
        for signum, before in self._before.items():
            if _in_main_thread() and signal.getsignal(signum) is self:
                signal.signal(signum, _latest_in_use(before, signum))
            else:
                why = "something else has set one since" if _in_main_thread() else "only the main thread can"
                logger.info("%s: the earlier handler of %s is not put back: %s", plugin, signal.Signals(signum).name, why)

    @property
    def over(self) -> bool:
        """Whether the run has ended or no longer exists."""
        return self._ended or self._run() is None

    def before(self, signum: int) -> Any:
        """Return the handler that was installed before this one."""
        return self._before[signum]

    # It logs nothing: a handler runs between any two lines, even while another line is being logged.
    def __call__(self, signum: int, frame: FrameType | None) -> None:
        first, before = self._receive(signum), self._before[signum]
        if before is signal.SIG_DFL:
            if not first:
                signal.signal(signum, signal.SIG_DFL)
                signal.raise_signal(signum)
        elif not (first and before is signal.default_int_handler):
            before(signum, frame)

    def _receive(self, signum: int) -> bool:
        """Interrupt the run by the first signal; return whether it was."""
        run = self._run()
        # A forked process, such as one that loads data, has the handlers too, and must end when its parent ends it.
        if run is None or self._ended or self.received is not None or os.getpid() != self._process:
            return False
        now, name = self._clock(), signal.Signals(signum).name
        exception = (
            KeyboardInterrupt()
            if signum == signal.SIGINT
            else Preempted(f"{name} received", 128 + signum, lambda: self._remaining(now), reserve=(self._deadline or 0) / 10)
        )
        self.received = _FirstSignal(name, now, run.progress.epoch, run.progress.step, exception)
        run.interrupt(exception)
        return True

    def _remaining(self, since: float) -> float | None:
        return None if self._deadline is None else self._deadline - (self._clock() - since)


def _latest_in_use(handler: Any, signum: int) -> Any:
    """Return `handler`, or if its run is over, the latest one before it that is still in use."""
    while isinstance(handler, _Handler) and handler.over:
        handler = handler.before(signum)
    return handler
