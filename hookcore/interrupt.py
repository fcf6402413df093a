"""Delay Ctrl-C until the moment is settled: within a batch, weights and record would differ, or the framework might crash."""

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
    """From `install` to `uninstall`, or within this context, passes Ctrl-C to `interrupt`; a second Ctrl-C is raised at once.

    * `interrupt`: gets a `KeyboardInterrupt` to raise later, and returns the exception that will be raised: an earlier one, if an
      end was asked for before. If that is not a `KeyboardInterrupt`, another signal has asked for the end, and this Ctrl-C counts
      as the second. A Ctrl-C that is still pending at the end of the context is raised there, or by `raise_pending`.
    * `waits_for`: returns what the first Ctrl-C waits for, which is written to the standard error.
    * `loop`: the code of the function that runs the loop, if exceptions may leave it without being reported.

    The first two are methods, and are held weakly. If their object is gone, or `loop` is not being executed, the run is over:
    nothing is delayed, and the earlier handler is put back.
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
            # A run within a run takes over Ctrl-C, and a pending one too, because its batches end sooner.
            outer = _owner(self._before)
            self._pending = None if outer is None else outer._pending  # noqa: SLF001 - of this class
            self._installed = self._delays = outer is not None or self._before is signal.default_int_handler
        if self._installed:
            signal.signal(signal.SIGINT, self._handle)

    def let_through(self) -> None:
        """Raise each Ctrl-C at once from now on."""
        self._delays = False

    def uninstall(self) -> None:
        """Put the earlier handler back, unless the program has installed another. On another thread, the next Ctrl-C does it."""
        self._installed = False  # first, so that a Ctrl-C from here on puts the earlier handler back itself
        if self._before is not None and _in_main_thread() and signal.getsignal(signal.SIGINT) == self._handle:
            signal.signal(signal.SIGINT, _latest_in_use(self._before))

    def raise_pending(self, error: BaseException | None) -> None:
        """Raise a Ctrl-C that was not raised yet, unless `error`, which is propagating, ends the process too."""
        pending = self._pending
        # It has a traceback if it was raised.
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
        """Whether it is installed and its run is not over: its object exists, and the loop is being executed."""
        return self._installed and self._interrupt() is not None and self._runs(sys._getframe())  # noqa: SLF001 - the only way

    @property
    def before(self) -> Any:
        """The earlier handler."""
        return self._before

    def _handle(self, number: int, frame: FrameType | None) -> None:
        interrupt = self._interrupt()
        if not self._installed or interrupt is None or not self._runs(frame):
            self.uninstall()  # the run ended on another thread or was abandoned, or another handler calls this one
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

        Not with `logging` or `print`: a signal handler may run while they write, and their locks and buffers do not allow for
        that.
        """
        waits_for = None if self._waits_for is None else self._waits_for()
        what = "the batch that is trained, or the next one" if waits_for is None else waits_for()
        text = f"\nCtrl-C: waiting for {what}. A second Ctrl-C stops at once, without a checkpoint.\n"
        if sys.__stderr__ is not None:
            with contextlib.suppress(OSError, ValueError):  # it is closed, or is not a file
                os.write(sys.__stderr__.fileno(), text.encode())


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def being_executed(frame: FrameType | None) -> Iterator[CodeType]:
    """Return the code of `frame` and of its callers, the innermost first."""
    return (caller.f_code for caller in callers(frame))


def _owner(handler: Any) -> DelayedInterrupt | None:
    owner = getattr(handler, "__self__", None)
    return owner if isinstance(owner, DelayedInterrupt) else None


def _latest_in_use(handler: Any) -> Any:
    """Return `handler`; if its run is over, the latest earlier handler whose run is not."""
    while (owner := _owner(handler)) is not None and not owner.in_use:
        handler = owner.before
    return handler
