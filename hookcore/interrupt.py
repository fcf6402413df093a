"""Ctrl-C between two batches: TensorFlow can crash the process where `KeyboardInterrupt` is raised in the middle of its work."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType, TracebackType
    from typing import Self


class DelayedInterrupt:
    """Within this context Ctrl-C is handed to `interrupt`, to be raised between two batches; a second one is raised at once.

    One that was not raised by then is raised at the end of the context. Does nothing outside of the main thread, nor where
    the program handles SIGINT itself.
    """

    def __init__(self, interrupt: Callable[[BaseException], None]) -> None:
        self._interrupt = interrupt
        self._pending: KeyboardInterrupt | None = None
        self._installed = False

    def __enter__(self) -> Self:
        main = threading.current_thread() is threading.main_thread()
        self._installed = main and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        if self._installed:
            signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._installed:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        pending = self._pending
        # What was raised has a traceback, and where a plugin handles Ctrl-C too, that or what it stands for is on its way.
        if pending is not None and pending.__traceback__ is None and not isinstance(error, KeyboardInterrupt | SystemExit):
            raise pending

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self._pending is not None:
            signal.default_int_handler(number, frame)
        self._pending = KeyboardInterrupt()
        self._interrupt(self._pending)
