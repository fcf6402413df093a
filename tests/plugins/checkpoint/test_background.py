"""Work on another thread."""

from __future__ import annotations

import functools
import gc
import json
import os
import subprocess
import sys
import textwrap
import threading
import weakref
from typing import TYPE_CHECKING

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookcore_plugins.checkpoint.background import Background, Job
from tests.patience import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable


def gated(gate: threading.Semaphore, done: list[int], number: int) -> Callable[[], int]:
    """Return work that waits for `gate`."""

    def work() -> int:
        assert gate.acquire(timeout=PATIENCE)
        done.append(number)
        return number

    return work


def fails(error: BaseException) -> Callable[[], int]:
    def work() -> int:
        raise error

    return work


def test_handing_over_does_not_wait() -> None:
    """Handing over does not wait for the work; results are collected in the order of the work, each once."""
    gate, done, background = threading.Semaphore(0), list[int](), Background[int]()
    for number in range(3):
        background.submit("work", gated(gate, done, number))
    assert (done, background.unfinished(), list(background.collect())) == ([], 3, [])
    background.wait(unfinished=5)  # no need
    gate.release(2)
    background.wait(unfinished=1)
    assert (done, background.unfinished(), list(background.collect()), len(background.jobs)) == ([0, 1], 1, [0, 1], 1)
    gate.release()
    background.wait()
    assert list(background.collect()) == [2]
    assert not background.jobs


def test_one_piece_at_a_time() -> None:
    """A piece of work begins when the one before it is done."""
    background, under_way, most = Background[None](), [0], [0]

    def work() -> None:
        under_way[0] += 1
        most[0] = max(most[0], under_way[0])
        threading.Event().wait(0)  # lets another thread run
        under_way[0] -= 1

    for _ in range(20):
        background.submit("work", work)
    background.wait()
    assert (most, len(list(background.collect()))) == ([1], 20)


def test_it_is_done_on_a_thread_that_ends_with_it() -> None:
    """Work is done on another thread, for which the process waits even if the thread that handed over is a daemon."""
    seen: list[threading.Thread] = []
    background = Background[None]()

    def hand_over() -> None:
        background.submit("writing", lambda: seen.append(threading.current_thread()))
        background.wait()

    daemon = threading.Thread(target=hand_over, daemon=True)
    daemon.start()
    daemon.join(PATIENCE)
    seen[0].join(PATIENCE)
    assert (seen[0].name, seen[0].daemon, seen[0].is_alive()) == ("writing", False, False)
    assert seen[0] is not daemon


def test_an_error_is_raised_where_it_is_collected(caplog: pytest.LogCaptureFixture) -> None:
    """An error is raised in the place of its result; later work is still done, and the log names the work that failed."""
    background = Background[int]()
    for work in (lambda: 1, fails(OSError("disk")), lambda: 3):
        background.submit("writing something", work)
    background.wait()
    collected: list[int] = []
    with pytest.raises(OSError, match="disk"):
        collected.extend(background.collect())
    assert list(background.collect()) == [3]
    assert "writing something failed: OSError: disk" in caplog.text


def test_an_error_tells_where_it_was_raised() -> None:
    """An error has the traceback of the other thread as text, with its causes."""
    background = Background[int]()

    def work() -> int:
        try:
            return fails(OSError("disk"))()
        except OSError as error:
            raise RuntimeError("not written") from error

    background.submit("work", work)
    background.wait()
    with pytest.raises(RuntimeError, match="not written") as caught:
        list(background.collect())
    (note,) = caught.value.__notes__
    for part in ("raise error", "OSError: disk", 'raise RuntimeError("not written") from error', "RuntimeError: not written"):
        assert part in note


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()])
def test_what_is_no_exception_is_raised_there_too(error: BaseException) -> None:
    """What is not an Exception, such as KeyboardInterrupt, is collected like an error."""
    background = Background[int]()
    background.submit("work", fails(error))
    background.wait()
    with pytest.raises(type(error)):
        list(background.collect())


@attrs.define(eq=False)
class Large:
    """As large as a model."""


@pytest.mark.parametrize("error", [None, ValueError("bad")])
def test_work_that_is_done_holds_nothing(error: Exception | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work that is done no longer refers to anything, even before it is collected and if it failed."""
    background, large = Background[None](), Large()
    known, there = weakref.ref(large), list[object]()
    set_event = threading.Event.set

    def said(event: threading.Event) -> None:
        if event is background.jobs[0].done:
            gc.collect()
            there.append(known())
        set_event(event)

    monkeypatch.setattr(threading.Event, "set", said)

    def work(held: Large) -> None:
        alias = held  # a local of the frame in which it is raised
        try:
            if error is not None:
                raise error
        except ValueError as caught:
            raise RuntimeError(repr(alias)) from caught

    def hand_over(held: Large) -> None:
        background.submit("work", lambda: work(held))

    hand_over(large)
    del large
    background.wait()
    assert there == [None]
    assert len(background.jobs) == 1


def test_work_whose_thread_was_never_started_is_done_by_who_waits_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """If Ctrl-C comes before the thread starts, who waits does the work, and neither the run nor later work waits forever."""
    background, start, done = Background[int](), threading.Thread.start, list[int]()

    def interrupted(_: threading.Thread) -> None:
        monkeypatch.setattr(threading.Thread, "start", start)
        raise KeyboardInterrupt

    gate = threading.Semaphore(9)
    background.submit("work", gated(gate, done, 0))
    monkeypatch.setattr(threading.Thread, "start", interrupted)
    with pytest.raises(KeyboardInterrupt):
        background.submit("work", gated(gate, done, 1))
    background.submit("work", gated(gate, done, 2))
    background.jobs[-1].thread.join(PATIENCE)
    background.wait()
    assert done == [0, 1, 2]
    assert list(background.collect()) == [0, 1, 2]


def test_where_there_can_be_no_thread_the_work_is_done_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """If no thread can be started, as when the interpreter ends, the work is done at once, after the work before it."""
    background, done, gate = Background[int](), list[int](), threading.Semaphore(0)
    background.submit("work", gated(gate, done, 1))

    def refuse(thread: threading.Thread) -> None:
        del thread
        gate.release(2)
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    background.submit("work", gated(gate, done, 2))
    assert (done, list(background.collect())) == ([1, 2], [1, 2])


@pytest.mark.parametrize("where", ["script", "thread"])
def test_the_end_of_the_process_waits_for_the_work(where: str) -> None:
    """The process waits for work that was handed over by a script that ends at once, or by a thread that outlives it."""
    script = """
        import sys, threading
        from hookcore_plugins.checkpoint.background import Background, Job

        background = Background()

        def hand_over():
            for number in range(3):
                background.submit("work", lambda number=number: (waits(), print(number, flush=True)))

        waits = threading.main_thread().join  # until the script has ended
        if sys.argv[1] == "script":
            hand_over()
        else:
            threading.Thread(target=lambda: (waits(), hand_over())).start()
    """
    command = [sys.executable, "-c", textwrap.dedent(script), where]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=PATIENCE)
    assert done.stdout.split() == ["0", "1", "2"], done.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_forked_child_leaves_the_work_to_its_parent() -> None:
    """A forked child does not wait for its parent's threads, and may hand over other work."""
    script = """
        import json, os, threading, warnings
        from hookcore_plugins.checkpoint.background import Background, Job

        warnings.simplefilter("ignore")
        background, gate = Background(), threading.Event()
        background.submit("parent", lambda: gate.wait() and "parent")

        def child(*first):
            for do in first:
                do()
            background.submit("child", lambda: "child")
            background.wait()
            os._exit(0 if list(background.collect()) == ["child"] else 1)

        statuses = []
        for first in ([], [background.wait]):
            process = os.fork()
            if process == 0:
                child(*first)
            statuses.append(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]))
        gate.set()
        background.wait()
        print(json.dumps([statuses, list(background.collect())]))
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=PATIENCE)
    assert json.loads(done.stdout) == [[0, 0], ["parent"]]


@given(st.lists(st.tuples(st.sampled_from(["ok", "error", "wait", "collect"]), st.integers(0, 2)), max_size=12))
def test_nothing_is_lost_or_done_twice(moves: list[tuple[str, int]]) -> None:
    """In whatever order work is handed over, waited for and collected, each piece is done once and collected once, in order."""
    background, done, told, number = Background[int](), list[int](), list[int](), 0

    def collect() -> None:
        while background.jobs and background.jobs[0].done.is_set():
            try:
                told.extend(background.collect())
            except LookupError as error:
                told.append(int(error.args[0]))

    def work(number: int, *, failing: bool) -> int:
        done.append(number)
        if failing:
            raise LookupError(number)
        return number

    for move, unfinished in moves:
        if move == "wait":
            background.wait(unfinished)
            assert background.unfinished() <= unfinished
        elif move == "collect":
            collect()
        else:
            background.submit("work", functools.partial(work, number, failing=move == "error"))
            number += 1
    background.wait()
    collect()
    assert done == told == list(range(number))


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no priority for one thread")
def test_work_has_a_low_priority() -> None:
    """The thread that works has a low priority, and the one that trains keeps its own, also if it does the work itself."""
    background, own = Background[int](), os.getpriority(os.PRIO_PROCESS, 0)

    def priority() -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    background.submit("work", priority)
    background.wait()
    assert list(background.collect()) == [10]
    Job("work", [priority], None).do()
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == own
