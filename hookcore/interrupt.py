"""Ctrl-C once what is trained is whole: within a batch it would tear weights from record, or crash a framework."""

from __future__ import annotations

import os
import signal
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType, TracebackType
    from typing import Self


class DelayedInterrupt:
    """From `install` to `uninstall`, or within this context, hands Ctrl-C to `interrupt`; a second one is raised at once.

    `interrupt` gets the `KeyboardInterrupt` to raise when the time has come, and returns the exception that will be raised then:
    an earlier one, if there is one. If that is no `KeyboardInterrupt`, another signal has asked for the end, and Ctrl-C is the
    second. One that was not raised by then is raised at the end of the context, or by `raise_pending`.
    Does nothing outside of the main thread, or if the program handles SIGINT itself.
    """

    def __init__(self, interrupt: Callable[[BaseException], BaseException]) -> None:
        self._interrupt = interrupt
        self._pending: BaseException | None = None
        self._installed = False
        self._delays = False
        self._before: Any = None
        self._process = os.getpid()

    def install(self) -> None:
        """Handle Ctrl-C from now on."""
        if threading.current_thread() is threading.main_thread():
            self._before = signal.getsignal(signal.SIGINT)
            # A run within a run takes Ctrl-C over: its batches end sooner.
            delayed = isinstance(getattr(self._before, "__self__", None), DelayedInterrupt)
            self._installed = self._delays = delayed or self._before is signal.default_int_handler
        if self._installed:
            signal.signal(signal.SIGINT, self._handle)

    def let_through(self) -> None:
        """Delay no longer: raise each Ctrl-C at once."""
        self._delays = False

    def uninstall(self) -> None:
        """Put the earlier handler back, unless another was put in place since."""
        self.let_through()
        if self._installed and signal.getsignal(signal.SIGINT) == self._handle:
            signal.signal(signal.SIGINT, self._before)
        self._installed = False

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

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if not self._delays or self._pending is not None or os.getpid() != self._process:
            signal.default_int_handler(number, frame)
        pending = self._interrupt(KeyboardInterrupt())
        if not isinstance(pending, KeyboardInterrupt):
            signal.default_int_handler(number, frame)
        self._pending = pending
