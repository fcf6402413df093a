"""Ctrl-C between two batches: TensorFlow can crash the process if `KeyboardInterrupt` is raised in the middle of its work."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType, TracebackType
    from typing import Self


class DelayedInterrupt:
    """A context in which Ctrl-C is given to `interrupt`, which raises it between two batches; a second Ctrl-C is raised at once.

    A Ctrl-C that is still pending at the end of the context is raised there. The context does nothing outside of the main
    thread, or if the program handles SIGINT itself.
    """

    def __init__(self, interrupt: Callable[[BaseException], None]) -> None:
        self._interrupt = interrupt
        self._pending: KeyboardInterrupt | None = None
        self._installed = False

    def __enter__(self) -> Self:
        main = threading.current_thread() is threading.main_thread()
        self._installed = main and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        if self._installed:
            signal.signal(signal.SIGINT, self._handle)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._installed:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        pending = self._pending
        # An interrupt that was raised has a traceback. If a plugin handles Ctrl-C too, its own exception is propagating.
        if pending is not None and pending.__traceback__ is None and not isinstance(error, KeyboardInterrupt | SystemExit):
            raise pending

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._pending is not None:
            signal.default_int_handler(number, frame)
        self._pending = KeyboardInterrupt()
        self._interrupt(self._pending)
