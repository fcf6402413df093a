"""Ctrl-C once what is trained is whole: within a batch it would tear weights from record, or crash a framework."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import weakref
from typing import TYPE_CHECKING, Any

from hookcore.stacks import callers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import CodeType, FrameType, TracebackType
    from typing import Self


class DelayedInterrupt:
    """From `install` to `uninstall`, or within this context, hands Ctrl-C to `interrupt`; a second one is raised at once.

    `interrupt` gets the `KeyboardInterrupt` to raise when the time has come, and returns the exception that will be raised then:
    an earlier one, if there is one. If that is no `KeyboardInterrupt`, another signal has asked for the end, and Ctrl-C is the
    second. One that was not raised by then is raised at the end of the context, or by `raise_pending`.
    `waits_for` returns what the first Ctrl-C waits for, which is written to the standard error for the user.
    Both are methods, and held weakly: if their object is gone, nothing is delayed, and the earlier handler is put back. So it is
    if `loop`, the code of the function that runs the loop, is not being executed: it was left by an exception that was not told.
    Does nothing outside of the main thread, or if the program handles SIGINT itself.
    """

    def __init__(
        self,
        interrupt: Callable[[BaseException], BaseException],
        waits_for: Callable[[], str] | None = None,
        loop: CodeType | None = None,
    ) -> None:
        self._interrupt = weakref.WeakMethod(interrupt, lambda _: self.uninstall())
        self._waits_for = None if waits_for is None else weakref.WeakMethod(waits_for)
        self._pending: BaseException | None = None
        self._installed = False
        self._delays = False
        self._before: Any = None
        self._process = os.getpid()
        self._loop = loop

    def install(self) -> None:
        """Handle Ctrl-C from now on."""
        if _in_main_thread():
            self._before = _latest_in_use(signal.getsignal(signal.SIGINT))
            # A run within a run takes Ctrl-C over, and one that waits already: its batches end sooner.
            outer = _owner(self._before)
            self._pending = None if outer is None else outer._pending  # noqa: SLF001 - of this class
            self._installed = self._delays = outer is not None or self._before is signal.default_int_handler
        if self._installed:
            signal.signal(signal.SIGINT, self._handle)

    def let_through(self) -> None:
        """Delay no longer: raise each Ctrl-C at once."""
        self._delays = False

    def uninstall(self) -> None:
        """Put the earlier handler back, unless another was put in place since. In another thread, the next Ctrl-C does."""
        self._installed = False  # before all else: a Ctrl-C from here on puts the earlier handler back itself
        if self._before is not None and _in_main_thread() and signal.getsignal(signal.SIGINT) == self._handle:
            signal.signal(signal.SIGINT, _latest_in_use(self._before))

    def raise_pending(self, error: BaseException | None) -> None:
        """Raise the Ctrl-C that was not raised yet, unless `error` on its way out stands for it."""
        pending = self._pending
        # What was raised has a traceback; and if a plugin handles Ctrl-C too, that or what it stands for is on its way.
        if pending is not None and pending.__traceback__ is None and not isinstance(error, KeyboardInterrupt | SystemExit):
            raise pending

    def __enter__(self) -> Self:
        self.install()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.uninstall()
        self.raise_pending(error)

    @property
    def in_use(self) -> bool:
        """Whether it is installed, and its run not over: neither its object nor the function that runs the loop is gone."""
        return self._installed and self._interrupt() is not None and self._runs(sys._getframe())  # noqa: SLF001 - the only way

    @property
    def before(self) -> Any:
        """The earlier handler."""
        return self._before

    def _handle(self, number: int, frame: FrameType | None) -> None:
        interrupt = self._interrupt()
        if not self._installed or interrupt is None or not self._runs(frame):
            self.uninstall()  # the run is over, on another thread or abandoned, or another handler calls this one
            _latest_in_use(self._before)(number, frame)
            return
        if not self._delays or self._pending is not None or os.getpid() != self._process:
            signal.default_int_handler(number, frame)
        pending = interrupt(KeyboardInterrupt())
        if not isinstance(pending, KeyboardInterrupt):
            signal.default_int_handler(number, frame)
        self._pending = pending
        self._tell()

    def _runs(self, frame: FrameType | None) -> bool:
        return self._loop is None or self._loop in being_executed(frame)

    def _tell(self) -> None:
        """Write what Ctrl-C waits for.

        Not by `logging` or `print`: this runs between any two lines, also while another is being written, and their locks and
        buffers do not allow for that.
        """
        waits_for = None if self._waits_for is None else self._waits_for()
        what = "the batch that is trained, or the next one" if waits_for is None else waits_for()
        text = f"\nCtrl-C: waiting for {what}. A second Ctrl-C stops at once, without a checkpoint.\n"
        if sys.__stderr__ is not None:
            with contextlib.suppress(OSError, ValueError):  # it is closed, or no file
                os.write(sys.__stderr__.fileno(), text.encode())


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def being_executed(frame: FrameType | None) -> Iterator[CodeType]:
    """Return the code of `frame`, and of all that called it, the innermost first."""
    return (caller.f_code for caller in callers(frame))


def _owner(handler: Any) -> DelayedInterrupt | None:
    owner = getattr(handler, "__self__", None)
    return owner if isinstance(owner, DelayedInterrupt) else None


def _latest_in_use(handler: Any) -> Any:
    """Return `handler`, or if its run is over, the latest one before it whose run is not."""
    while (owner := _owner(handler)) is not None and not owner.in_use:
        handler = owner.before
    return handler
