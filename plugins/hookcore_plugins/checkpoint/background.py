"""Work on another thread, for plugins that write."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Generic, TypeVar

import attrs

from hookcore.authoring import describe, drop_frames

if TYPE_CHECKING:
    from collections.abc import Iterator

logger = logging.getLogger("hookcore")

T = TypeVar("T")
_NICE = 10
"""A nice value: about a tenth of a core while training uses all of it, and the whole core while training waits."""


@attrs.define(eq=False)
class Background(Generic[T]):
    """Do work on another thread, one piece at a time, in the order in which it is handed over.

    One thread, the one that trains, hands over, waits and collects; by `wait` it limits how much is under way. Each piece has a
    thread that ends with it, so nothing has to be closed: if a run is abandoned, its work is still done before the process ends.
    A forked process leaves the work to its parent.
    """

    jobs: deque[Job[T]] = attrs.field(factory=deque, init=False)
    """What was handed over and not collected, oldest first."""
    _process: int = attrs.field(factory=os.getpid, init=False)

    def submit(self, what: str, work: Callable[[], T]) -> None:
        """Hand over `work`; `what` names it in the log. If no thread can be started, it is done at once."""
        self._leave_to_parent()
        job = Job(what, [work], self.jobs[-1] if self.jobs else None)
        self.jobs.append(job)
        try:
            job.thread.start()  # if Ctrl-C comes before this, `wait` does the work
        except RuntimeError:  # the interpreter is ending, or there are too many threads
            job.do()

    def unfinished(self) -> int:
        """Return the number of pieces that are not done."""
        return sum(not job.done.is_set() for job in self.jobs)

    def wait(self, unfinished: int = 0) -> None:
        """Wait until at most `unfinished` pieces are not done. Does not raise their errors."""
        self._leave_to_parent()
        waiting = [job for job in self.jobs if not job.done.is_set()]
        for job in waiting[: max(0, len(waiting) - unfinished)]:
            job.wait()

    def collect(self) -> Iterator[T]:
        """Yield the results of the pieces that are done, each once. Raises the first error, and keeps the pieces after it."""
        while self.jobs and self.jobs[0].done.is_set():
            yield self.jobs.popleft().result()

    def _leave_to_parent(self) -> None:
        if self._process != os.getpid():  # a fork has no such threads, and would wait for them forever
            self._process = os.getpid()
            self.jobs.clear()


@attrs.define(eq=False)
class Job(Generic[T]):
    """A piece of work, and its result or error."""

    what: str
    _work: list[Callable[[], T]]
    """The work, until a thread has taken it."""
    _after: Job[T] | None
    thread: threading.Thread = attrs.field(init=False)
    done: threading.Event = attrs.field(factory=threading.Event, init=False)
    _results: list[T] = attrs.field(factory=list, init=False)
    _error: BaseException | None = attrs.field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        # Never a daemon, even if the thread that trains is one: the process must not end before it.
        self.thread = threading.Thread(target=self.do, name=self.what, daemon=False)

    def wait(self) -> None:
        """Wait until it is done. If its thread was never started, do it here."""
        if self.thread.ident is None:
            self.do()
        # Not by `join`: once Ctrl-C has interrupted it, it takes a running thread for one that has ended.
        self.done.wait()

    def do(self) -> None:
        """Wait for the piece before, and do this one, unless another thread does. Does not refer to the work afterwards."""
        try:
            work = self._work.pop()
        except IndexError:
            return
        try:
            if threading.current_thread() is self.thread:
                _yield_to_training()
            after, self._after = self._after, None
            if after is not None:
                after.wait()
            self._results.append(work())
        except BaseException as error:  # noqa: BLE001 - raised where it is collected
            logger.error("%s failed: %s", self.what, describe(error))  # noqa: TRY400 - `result` raises the error with its traceback
            drop_frames(error)  # a snapshot is as large as the model
            self._error = error
        finally:
            del work, after
            self.done.set()

    def result(self) -> T:
        """Return what the work returned. Raises what it raised."""
        if self._error is not None:
            raise self._error
        return self._results.pop()


def _yield_to_training() -> None:
    """Lower the priority of this thread, if the system has priorities for threads, as Linux does."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):  # a sandbox may not allow it
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), max(_NICE, os.getpriority(os.PRIO_PROCESS, 0)))
