"""Preemption with real signals: raised within this process where it survives them, else in a child process."""

from __future__ import annotations

import contextlib
import gc
import logging
import signal
import subprocess
import sys
import textwrap
import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from hookcore import Engine, HookcoreWarning, Outcome, ParameterError, Preempted, Run, SavedCheckpoint, hookimpl
from hookcore.driver import Driver
from hookcore.testing import RecordingPlugin, ScriptedTrainee
from hookcore_adapters.loop import Loop
from hookcore_plugins import Checkpoint, Preemption
from tests.patience import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator
    from pathlib import Path

USUAL = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


@attrs.define
class Clock:
    """Seconds that pass when the test lets them."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def _handlers_are_put_back() -> Iterator[None]:
    """Check that every handler after a test is the one from before it."""
    before = {number: signal.getsignal(number) for number in USUAL}
    yield
    after = {number: signal.getsignal(number) for number in USUAL}
    for number, handler in before.items():
        signal.signal(number, handler)
    assert after == before


@contextlib.contextmanager
def handling(number: int, handler: Any) -> Iterator[None]:
    """Install the program's own handler, or SIG_IGN, within this context; it must still be there at the end."""
    before = signal.signal(number, handler)
    try:
        yield
        assert signal.getsignal(number) is handler
    finally:
        signal.signal(number, before)


def calling(function: Callable[[Run], object], *, at: str, name: str = "calling") -> object:
    """Return a plugin that calls `function(run)` in the hook `at`."""

    @hookimpl
    def hook(run: Run) -> None:
        function(run)

    return SimpleNamespace(name=name, **{at: hook})


def sending(*numbers: int, at: str, epoch: int = 0) -> object:
    """Return a plugin that sends signals to this process in the hook `at`, once."""
    left = list(numbers)

    def send(run: Run) -> None:
        while left and run.progress.epoch == epoch:
            signal.raise_signal(left.pop(0))

    return calling(send, at=at, name="sending")


def train(
    plugins: Iterable[object] | Engine, *, epochs: int = 2, body: Callable[[int], object] = lambda _: None, **more: Any
) -> Run:
    """Train epochs of two batches, `body(epoch)` and an evaluation of two batches each."""
    loop = Loop(plugins, epochs=epochs, **more)
    with loop:
        for epoch in loop.epochs():
            for batch in loop.batches(range(2)):
                loop.log(loss=batch)
            body(epoch)
            with loop.evaluation():
                for batch in loop.batches(range(2)):
                    loop.log(loss=batch)
    return loop.run


def ended(plugins: Iterable[object], *, by: type[BaseException] = Preempted, **more: Any) -> tuple[Run, BaseException]:
    """Train a run that an exception `by` ends, and return both."""
    engine = Engine(plugins, autoload=False)
    with pytest.raises(by) as caught:
        train(engine, **more)
    assert engine.run is not None
    return engine.run, caught.value


def script(code: str) -> str:
    """Return `code` with the imports that it needs."""
    names = """
        import logging, os, signal, sys
        from types import SimpleNamespace
        from hookcore import hookimpl
        from hookcore_adapters.loop import Loop
        from hookcore_plugins import Preemption

        def at(hook, function):
            return SimpleNamespace(name="calling", **{hook: hookimpl(lambda run: function(run))})

        def train(*plugins, epochs=1):
            with Loop([Preemption(), *plugins], epochs=epochs) as loop:
                for _ in loop.epochs():
                    for batch in loop.batches(range(2)):
                        print("batch", batch, flush=True)
    """
    return textwrap.dedent(names) + textwrap.dedent(code)


def child(code: str) -> subprocess.CompletedProcess[str]:
    """Run `script(code)` in a new interpreter."""
    return subprocess.run([sys.executable, "-c", script(code)], capture_output=True, text=True, timeout=PATIENCE, check=False)


# The first signal


HOOKS = [
    # Where the signal comes, and the last event before the end of the run with its epoch or batch.
    ("on_train_begin", ("on_epoch_begin", 0), 0),
    ("on_epoch_begin", ("on_epoch_begin", 0), 0),
    ("on_batch_begin", ("on_batch_end", 0), 1),
    ("on_batch_end", ("on_batch_end", 0), 1),
    ("on_evaluate_begin", ("on_evaluate_batch_end", 0), 2),
    ("on_evaluate_batch_begin", ("on_evaluate_batch_end", 0), 2),
    ("on_evaluate_batch_end", ("on_evaluate_batch_end", 0), 2),
    ("on_evaluate_end", ("on_metrics",), 2),
    ("on_epoch_end", ("on_metrics",), 2),
    ("on_metrics", ("on_metrics",), 2),
]


@pytest.mark.parametrize(("hook", "last", "step"), HOOKS)
@pytest.mark.parametrize("number", USUAL)
def test_the_batch_is_finished_and_every_plugin_is_told(number: int, hook: str, last: tuple[Any, ...], step: int) -> None:
    """Wherever a signal comes, every plugin has the end of the batch or event, then `on_exception` and `on_train_end`."""
    first, second = RecordingPlugin("first"), RecordingPlugin("second")
    by, outcome = (KeyboardInterrupt, Outcome.INTERRUPTED) if number == signal.SIGINT else (Preempted, Outcome.PREEMPTED)
    run, exception = ended([first, Preemption(), sending(number, at=hook), second], by=by)
    assert first.events[-3][: len(last)] == last
    assert first.events[-2:] == [("on_exception", exception), ("on_train_end", outcome)]
    assert second.events == first.events
    assert run.outcome is outcome
    assert run.progress.step == step


def test_the_handlers_are_there_before_the_other_plugins_begin() -> None:
    """A signal in the `on_train_begin` of a plugin that is listed earlier ends the run in order too."""
    run, _ = ended([sending(signal.SIGTERM, at="on_train_begin"), Preemption()])
    assert run.outcome is Outcome.PREEMPTED


def test_a_signal_between_two_epochs_ends_the_run_before_the_next() -> None:
    """A signal in the loop's own code takes effect at the next event."""
    recording = RecordingPlugin()
    run, _ = ended([Preemption(), recording], body=lambda _: signal.raise_signal(signal.SIGTERM))
    assert recording.hooks[-3:] == ["on_evaluate_batch_end", "on_exception", "on_train_end"]
    assert (run.outcome, run.progress.epoch) == (Outcome.PREEMPTED, 0)


@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 143), ("SIGUSR1", 138), ("SIGHUP", 129)])
def test_the_exception_says_which_signal_and_how_long_there_is(name: str, code: int) -> None:
    """`Preempted` has the status 128 + the signal's number, its name, and what is left of the deadline by the clock."""
    clock = Clock()

    def later(_: Run) -> None:
        signal.raise_signal(getattr(signal, name))
        clock.now += 7

    plugins = [Preemption((name,), 20, clock=clock), calling(later, at="on_batch_begin")]
    _, exception = ended(plugins)
    assert isinstance(exception, Preempted)
    assert (exception.code, str(exception)) == (code, f"{name} received")
    assert exception.remaining() == 13
    clock.now += 15
    assert exception.remaining() == -2


def test_an_unknown_deadline_is_unknown_to_who_asks() -> None:
    """Without a deadline `remaining` returns None."""
    _, exception = ended([Preemption(deadline=None), sending(signal.SIGTERM, at="on_batch_begin")])
    assert isinstance(exception, Preempted)
    assert exception.remaining() is None


def test_a_signal_after_the_last_event_reaches_the_caller() -> None:
    """A signal in another plugin's `on_train_end` does not change how the run ended, and is not lost."""
    sender = sending(signal.SIGTERM, at="on_train_end", epoch=1)
    run, exception = ended([sender, Preemption(), RecordingPlugin()])
    assert run.outcome is Outcome.COMPLETED
    assert getattr(exception, "code", None) == 143


def test_a_run_that_fails_by_itself_fails_by_its_own_error() -> None:
    """If a plugin raises in the event in which the signal came, the caller gets that error."""

    def fail(_: Run) -> None:
        signal.raise_signal(signal.SIGTERM)
        raise OSError

    run, _ = ended([Preemption(), calling(fail, at="on_batch_end")], by=OSError)
    assert run.outcome is Outcome.FAILED


def test_one_object_serves_one_run_after_another() -> None:
    """The next run has neither the signal nor the time of the run before, and can be preempted too."""
    preemption = Preemption()
    times = [preemption.seconds_to_end]
    ended([preemption, sending(signal.SIGTERM, at="on_batch_begin")])
    times.append(preemption.seconds_to_end)
    assert train([preemption]).outcome is Outcome.COMPLETED
    times.append(preemption.seconds_to_end)
    assert [time is None for time in times] == [True, False, True]
    ended([preemption, sending(signal.SIGTERM, at="on_batch_begin")])


@pytest.mark.parametrize(
    ("seconds", "last", "saved"), [(9, ("on_evaluate_end", {}), True), (10, ("on_evaluate_batch_end", 2, {}), False)]
)
@pytest.mark.parametrize("held", [True, False])
def test_an_evaluation_that_is_waited_for_counts_against_the_deadline(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, seconds: float, last: tuple[Any, ...], *, saved: bool, held: bool
) -> None:
    """An evaluation continues until a tenth of the time is left; then it is cut, plugins are notified, and nothing is saved."""
    clock, recording, trainee = Clock(), RecordingPlugin(), ScriptedTrainee()
    preemption = Preemption(deadline=30, clock=clock)
    driver = Driver(Engine([preemption, Checkpoint(tmp_path), recording], autoload=False))
    driver.begin(Run.of(trainee))
    driver.epoch_begin()
    if held:
        driver.batch_held()
    driver.evaluate_begin()
    signal.raise_signal(signal.SIGTERM)

    def evaluate() -> None:
        for _ in range(3):
            driver.evaluate_batch_begin()
            clock.now += seconds
            driver.evaluate_batch_end()
        driver.evaluate_end()
        if held:
            driver.settled()
        else:
            driver.epoch_end()

    with pytest.raises(Preempted):
        evaluate()
    ends = recording.hooks.index("on_exception") - (saved and (1 if held else 2))  # its observation, and the epoch's end
    assert recording.events[ends - 1] == last
    assert recording.hooks[-1] == "on_train_end"
    assert [path.name for path in tmp_path.glob("step-*")] == (["step-00000001"] if saved else [])
    what = "the events after batch 1 in epoch 1" if held else "the first batch of epoch 1, or its end"
    assert (f"SIGTERM received: not waiting for {what}: 0 s are left" in caplog.messages) is not saved


def test_an_accumulation_counts_against_the_deadline(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Batches until the next update are trained as long as a tenth of the time is left; then nothing is saved."""
    clock = Clock()

    def later(_: Run) -> None:
        clock.now += 10

    plugins = [Preemption(clock=clock), calling(later, at="on_batch_begin"), Checkpoint(tmp_path)]
    driver = Driver(Engine(plugins, autoload=False))
    driver.begin(Run.of(ScriptedTrainee()))
    driver.epoch_begin()
    signal.raise_signal(signal.SIGTERM)
    driver.batch_end(updates=0)
    driver.batch_end(updates=0)
    with pytest.raises(Preempted):
        driver.batch_end(updates=0)
    assert not list(tmp_path.glob("step-*"))
    assert "SIGTERM received: not waiting for the next update in epoch 1: 0 s are left" in caplog.messages
    assert "checkpoint: no capture: the events after batch 3 were cut" in caplog.messages


# A second signal


def test_a_second_ctrl_c_is_raised_at_once() -> None:
    """Two SIGINTs within a batch end the run where the second arrives, and the batch has no end."""
    recording = RecordingPlugin()
    sender = sending(signal.SIGINT, signal.SIGINT, at="on_batch_begin")
    run, _ = ended([Preemption(), recording, sender], by=KeyboardInterrupt)
    assert recording.hooks[-3:] == ["on_batch_begin", "on_exception", "on_train_end"]
    assert run.outcome is Outcome.INTERRUPTED


def test_ctrl_c_after_another_signal_is_raised_at_once() -> None:
    """The second signal need not be the same as the first."""
    sender = sending(signal.SIGUSR1, signal.SIGINT, at="on_batch_begin")
    run, _ = ended([Preemption(), sender], by=KeyboardInterrupt)
    assert (run.outcome, run.progress.step) == (Outcome.INTERRUPTED, 0)


def test_ctrl_c_while_plugins_save_goes_through_and_the_first_signal_is_what_the_caller_gets() -> None:
    """A second signal in `on_exception` ends what happens there, and the run still ends."""
    recording = RecordingPlugin()
    saved: list[str] = []

    def save(_: Run) -> None:
        signal.raise_signal(signal.SIGINT)
        saved.append("not reached")

    plugins = [Preemption(), sending(signal.SIGTERM, at="on_batch_begin"), calling(save, at="on_exception"), recording]
    run, exception = ended(plugins)
    assert not saved
    assert recording.hooks[-1] == "on_train_end"
    assert run.outcome is Outcome.PREEMPTED
    assert "KeyboardInterrupt" in "".join(exception.__notes__)


@pytest.mark.parametrize(("first", "second"), [("SIGTERM", "SIGTERM"), ("SIGUSR1", "SIGTERM"), ("SIGINT", "SIGUSR1")])
def test_a_second_signal_kills_where_it_would_have_without_us(first: str, second: str) -> None:
    """If the default action was installed before, the second signal ends the process by that, at once."""
    done = child(f"""
        def twice(run):
            os.kill(os.getpid(), signal.{first})
            print("continuing", flush=True)
            os.kill(os.getpid(), signal.{second})
            print("not reached", flush=True)
        train(at("on_batch_begin", twice))
    """)
    assert done.stdout == "continuing\n"
    assert done.returncode == -getattr(signal, second)


# The handlers before


def test_a_handler_of_the_programs_own_is_called_after_ours_each_time() -> None:
    """The program's handler is called for each signal, with its frame; for the first, after the run was interrupted."""
    seen: list[tuple[int, bool, bool]] = []
    engine = Engine([Preemption(), sending(*[signal.SIGTERM] * 3, at="on_batch_begin")], autoload=False)

    def own(number: int, frame: object) -> None:
        assert engine.run is not None
        seen.append((number, frame is not None, engine.run.shared.interruption is not None))

    with handling(signal.SIGTERM, own), pytest.raises(Preempted):
        train(engine)
    assert seen == [(signal.SIGTERM, True, True)] * 3


def test_a_signal_that_the_process_ignores_stays_ignored() -> None:
    """A signal that the process ignores, as under `nohup`, is not handled, and the run continues."""
    with handling(signal.SIGTERM, signal.SIG_IGN):
        run = train([Preemption(), sending(signal.SIGTERM, signal.SIGTERM, at="on_batch_begin")])
    assert run.outcome is Outcome.COMPLETED


def test_a_handler_that_is_not_pythons_is_left_alone(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """A handler that is not Python's stays, as Python could not put it back; the log names the signal; others are handled."""
    known = signal.getsignal
    monkeypatch.setattr(signal, "getsignal", lambda number: None if number == signal.SIGUSR1 else known(number))
    during: list[Any] = []
    with caplog.at_level(logging.INFO, "hookcore"):
        train([Preemption(), calling(lambda _: during.extend(map(known, USUAL)), at="on_train_begin")])
    assert [handler is known(number) for handler, number in zip(during, USUAL, strict=True)] == [False, False, True]
    assert "preemption: SIGUSR1 is not handled: its handler is not Python's" in caplog.messages


@pytest.mark.parametrize("fails", [True, False])
def test_handlers_are_put_back_however_the_others_end(fails: bool) -> None:  # noqa: FBT001 - a test's parameter
    """Handlers are put back after every other plugin's `on_train_end`, also a wrapper's, even if one raises or Ctrl-C comes."""
    before = signal.getsignal(signal.SIGTERM)
    seen: list[bool] = []

    def end() -> Generator[None]:
        yield
        seen.append(signal.getsignal(signal.SIGTERM) is before)
        if fails:
            raise KeyboardInterrupt

    wrapper = SimpleNamespace(name="wrapper", on_train_end=hookimpl(wrapper=True)(end))
    with pytest.raises(KeyboardInterrupt) if fails else contextlib.nullcontext():
        train([wrapper, Preemption()])
    assert seen == [False]
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_handler_that_was_installed_on_top_is_left_there(caplog: pytest.LogCaptureFixture) -> None:
    """A handler that was installed later stays, the log names the signal, and ours passes on what it gets from that one."""
    before = signal.getsignal(signal.SIGINT)
    ours: list[Any] = []
    passed: list[int] = []

    def on_top(number: int, frame: Any) -> None:
        passed.append(number)
        ours[0](number, frame)

    def install(_: Run) -> None:
        ours.append(signal.signal(signal.SIGINT, on_top))

    try:
        with caplog.at_level(logging.INFO, "hookcore"):
            train([Preemption(), calling(install, at="on_train_begin")])
        assert signal.getsignal(signal.SIGINT) is on_top
        expected = "preemption: the earlier handler of SIGINT is not put back: something else has set one since"
        assert [message for message in caplog.messages if "put back" in message] == [expected]
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        assert passed == [signal.SIGINT]
    finally:
        signal.signal(signal.SIGINT, before)


# More than one run


def test_both_of_two_nested_runs_are_preempted() -> None:
    """A signal in a run within a run ends both, first the inner one, each with its outcome."""
    inner = Engine([Preemption(), sending(signal.SIGTERM, at="on_batch_begin")], autoload=False)
    run, exception = ended([Preemption(), calling(lambda _: train(inner), at="on_batch_begin")])
    assert inner.run is not None
    assert (inner.run.outcome, run.outcome) == (Outcome.PREEMPTED, Outcome.PREEMPTED)
    assert inner.run.progress.step == 1
    assert isinstance(exception, Preempted)


def test_a_signal_after_the_inner_of_two_runs_ends_the_outer() -> None:
    """When a run within a run has ended, the outer one's handlers are there again."""
    inner = Engine([Preemption()], autoload=False)
    plugins = [Preemption(), calling(lambda _: train(inner), at="on_batch_begin"), sending(signal.SIGTERM, at="on_batch_end")]
    run, _ = ended(plugins)
    assert run.outcome is Outcome.PREEMPTED
    assert inner.run is not None
    assert inner.run.outcome is Outcome.COMPLETED


def test_two_runs_that_end_in_the_order_in_which_they_began_leave_nothing_behind() -> None:
    """The first to end cannot put the earlier handler back, and the last one does it for both."""
    before = signal.getsignal(signal.SIGTERM)
    sessions = [Engine([Preemption()], autoload=False).start(Run()) for _ in range(3)]
    for session in sessions:
        session.train_begin()
    assert len(repr(signal.getsignal(signal.SIGTERM))) < 100, "getsignal makes one each time"
    for session in sessions:
        assert signal.getsignal(signal.SIGTERM) is not before
        session.end()
    assert signal.getsignal(signal.SIGTERM) is before


def abandon(engine: Engine) -> None:
    """Begin a run, and abandon it."""
    engine.start(Run(), training=False).train_begin()
    gc.collect()


def test_the_handlers_of_a_run_that_is_gone_pass_everything_on() -> None:
    """If an abandoned run no longer exists, the first signal does what it did before."""
    engine = Engine([preemption := Preemption()], autoload=False)
    abandon(engine)
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    train([preemption])


def test_a_run_after_one_that_is_gone_ends_in_order() -> None:
    """The handler of an abandoned run is not taken for the program's: the run of another plugin finishes its batch."""
    abandon(Engine([Preemption()], autoload=False))
    recording = RecordingPlugin()
    ended([Preemption(), sending(signal.SIGINT, at="on_batch_begin"), recording], by=KeyboardInterrupt)
    assert recording.hooks[-3:] == ["on_batch_end", "on_exception", "on_train_end"]


def test_the_second_signal_to_an_abandoned_run_goes_through() -> None:
    """If an abandoned run still exists, one signal is lost, and no more."""
    session = (engine := Engine([Preemption()], autoload=False)).start(Run())
    session.train_begin()
    signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    train(engine)


def test_the_next_run_of_the_plugin_puts_back_what_an_abandoned_one_left() -> None:
    """A plugin's next run starts without the earlier signal, and at its end the handlers from before both runs are back."""
    session = (engine := Engine([Preemption()], autoload=False)).start(Run())
    session.train_begin()
    signal.raise_signal(signal.SIGTERM)
    assert train(engine).outcome is Outcome.COMPLETED
    assert session.run.outcome is Outcome.FAILED


# Where signals cannot be handled


def in_thread(function: Callable[[], object]) -> None:
    """Call `function` in a thread and wait for it."""
    raised: list[BaseException] = []

    def body() -> None:
        try:
            function()
        except BaseException as error:  # noqa: BLE001 - raised again by who waits
            raised.append(error)

    thread = threading.Thread(target=body, name="trainer")
    thread.start()
    thread.join()
    for error in raised:
        raise error


def test_a_run_in_a_thread_says_that_it_handles_no_signals() -> None:
    """A run outside of the main thread warns with the reason, installs no handler and completes."""
    before = [signal.getsignal(number) for number in USUAL]
    during: list[Any] = []
    watch = calling(lambda _: during.extend(signal.getsignal(number) for number in USUAL), at="on_batch_begin")
    with pytest.warns(HookcoreWarning, match=r"^preemption: signals are not handled .* in thread 'trainer', and only the main"):
        in_thread(lambda: train([Preemption(), watch], epochs=1))
    assert during == before * 2


def test_a_run_that_began_in_the_main_thread_may_end_in_another(caplog: pytest.LogCaptureFixture) -> None:
    """A run that ends outside of the main thread cannot put handlers back: the log gives the reason; signals are passed on."""
    before = [signal.getsignal(number) for number in USUAL]
    session = Engine([Preemption()], autoload=False).start(Run())
    session.train_begin()
    with caplog.at_level(logging.INFO, "hookcore"):
        in_thread(session.end)
    assert session.run.outcome is Outcome.COMPLETED
    assert caplog.messages[-1] == "preemption: the earlier handler of SIGUSR1 is not put back: only the main thread can"
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    for number, handler in zip(USUAL, before, strict=True):
        signal.signal(number, handler)


def test_a_process_forked_in_the_run_dies_by_what_its_parent_sends() -> None:
    """A forked worker can be terminated despite the handlers that it inherits, and its parent continues to train."""
    done = child("""
        def fork(run):
            pid = os.fork()
            if not pid:
                os.kill(os.getpid(), signal.SIGTERM)
                os._exit(0)
            print("worker", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
        train(at("on_train_begin", fork))
    """)
    assert (done.stdout, done.returncode) == ("worker -15\nbatch 0\nbatch 1\n", 0)


# Processes


def test_the_process_exits_with_the_signals_status() -> None:
    """A script that catches nothing finishes its batch, logs how the time was used, and exits with 143 without a traceback."""
    done = child("""
        logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
        train(at("on_batch_begin", lambda run: os.kill(os.getpid(), signal.SIGTERM)))
    """)
    assert done.returncode == 143
    assert done.stderr == ""
    batch, report = done.stdout.splitlines()
    assert batch == "batch 0"
    assert report.startswith("preemption: SIGTERM came at epoch 1, step 0; the run ended ")


def test_ctrl_c_ends_the_process_as_ever() -> None:
    """After a SIGINT that is not caught the process ends by the signal, with a traceback, after the batch."""
    done = child("""train(at("on_batch_begin", lambda run: os.kill(os.getpid(), signal.SIGINT)))""")
    assert done.stdout == "batch 0\n"
    assert done.stderr.splitlines()[-1] == "KeyboardInterrupt"
    assert done.returncode == -signal.SIGINT


def test_a_signal_from_another_process_ends_the_run_after_the_batch() -> None:
    """A parent that sends SIGTERM while a batch is trained sees that batch end, and no other."""
    text = script("""
        def wait(run):
            print("training", flush=True)
            sys.stdin.readline()
        train(at("on_batch_begin", wait))
    """)
    with subprocess.Popen([sys.executable, "-c", text], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "training\n"
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate("sent\n", timeout=PATIENCE)
    assert output == "batch 0\n"
    assert process.returncode == 143


# The report


def report(
    caplog: pytest.LogCaptureFixture, *plugins: object, deadline: float | None = 30, **more: Any
) -> tuple[str, str, float]:
    """Return the level and text of the log for a signal 5 seconds before the end, and the time measured."""
    clock = Clock()
    preemption = Preemption(deadline=deadline, clock=clock)

    def later(_: Run) -> None:
        clock.now += 5

    later_yet = [calling(later, at="on_exception", name="slow"), *plugins]
    with caplog.at_level(logging.INFO, "hookcore"):
        ended([*later_yet, preemption, sending(signal.SIGTERM, at="on_batch_begin", epoch=1)], **more)
    assert preemption.seconds_to_end is not None
    return caplog.records[-1].levelname, caplog.records[-1].getMessage(), preemption.seconds_to_end


@pytest.mark.parametrize(
    ("deadline", "level", "used"),
    [
        (30, "INFO", "the run ended 5 s later, 25 s before the deadline"),
        (5, "INFO", "the run ended 5 s later, 0 s before the deadline"),
        (3.5, "WARNING", "the run ended 5 s later, 1.5 s after the deadline"),
        (None, "INFO", "the run ended 5 s later"),
    ],
)
def test_the_log_says_how_the_time_was_used(
    caplog: pytest.LogCaptureFixture, deadline: float | None, level: str, used: str
) -> None:
    """Which signal, where, how long it took, and what was left of the deadline or by how much it was missed."""
    expected = f"preemption: SIGTERM came at epoch 2, step 2; {used}; there is no checkpoint"
    assert report(caplog, deadline=deadline) == (level, expected, 5)


def test_the_log_names_the_newest_checkpoint(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    """A checkpoint that becomes durable at the last moment, even in `on_train_end`, is named."""

    def announce(run: Run) -> None:
        run.checkpoint_saved(SavedCheckpoint(tmp_path / f"step-{run.progress.step}", run.progress.epoch, run.progress.step))

    saves = [calling(announce, at=hook, name=hook) for hook in ("on_epoch_end", "on_train_end")]
    _, text, _ = report(caplog, *saves)
    assert text.endswith(f"; the newest checkpoint is {tmp_path / 'step-3'}")


def test_without_a_signal_nothing_is_said(caplog: pytest.LogCaptureFixture) -> None:
    """A run that completes has nothing in the log, and no time measured."""
    preemption = Preemption()
    with caplog.at_level(logging.DEBUG, "hookcore"):
        train([preemption])
    assert caplog.messages == []
    assert preemption.seconds_to_end is None


# On from there


def descend(directory: Path, *plugins: object, resume: bool = False) -> tuple[list[float], dict[str, list[float]], list[int]]:
    """Train three epochs of three batches, saved in `directory`; return the weights, the history and the batches trained."""
    trained: list[int] = []
    trainee = ScriptedTrainee()
    loop = Loop(
        [*plugins, Preemption(), Checkpoint(directory, monitor="loss", every_n_epochs=None)],
        epochs=3,
        trainee=trainee,
        resume="auto" if resume else False,
    )
    with loop:
        for epoch in loop.epochs():
            for batch in loop.batches(range(3)):
                trained.append(3 * epoch + batch)
                trainee.weights[0] = 0.5 * trainee.weights[0] + batch + epoch
                loop.log(loss=trainee.weights[0])
            with loop.evaluation():
                for _ in loop.batches(range(2)):
                    loop.log(loss=2 * trainee.weights[0])
    return trainee.weights, {name: loop.run.history[name] for name in ("loss", "val_loss")}, trained


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize(
    ("hook", "next_batch"),
    [("on_epoch_begin", 3), ("on_batch_begin", 4), ("on_batch_end", 4), ("on_evaluate_batch_begin", 6), ("on_epoch_end", 6)],
)
def test_a_resumed_run_continues_with_the_next_batch_and_reaches_the_same_end(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, number: int, hook: str, next_batch: int
) -> None:
    """The one checkpoint is of the batch that was finished; with it no batch is trained twice, none is left out."""
    expected = descend(tmp_path / "uncut")
    with caplog.at_level(logging.INFO, "hookcore"), pytest.raises((Preempted, KeyboardInterrupt)):
        descend(tmp_path / "cut", sending(number, at=hook, epoch=1))
    (saved,) = (tmp_path / "cut").glob("step-*")
    assert int(saved.name.removeprefix("step-")) == next_batch
    assert caplog.messages[-1].endswith(f"; the newest checkpoint is {saved}")
    weights, history, trained = descend(tmp_path / "cut", resume=True)
    assert trained == list(range(next_batch, 9))
    assert (weights, history) == expected[:2]


def test_the_log_names_the_checkpoint_that_the_run_resumed_from_if_none_is_newer(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A resumed run that is preempted before its first batch still has a checkpoint: the earlier run's."""
    with pytest.raises(Preempted):
        descend(tmp_path, sending(signal.SIGTERM, at="on_batch_begin", epoch=1))
    (saved,) = tmp_path.glob("step-*")
    with caplog.at_level(logging.INFO, "hookcore"), pytest.raises(Preempted):
        descend(tmp_path, sending(signal.SIGTERM, at="on_train_begin", epoch=1), resume=True)
    assert [*tmp_path.glob("step-*")] == [saved]
    assert caplog.messages[-1].endswith(f"; the newest checkpoint is {saved}")


# Parameters


@pytest.mark.parametrize(
    ("signals", "message"),
    [
        (
            "SIGTREM",
            "signals must be names of signals of this platform such as 'SIGTERM', got 'SIGTREM'. Did you mean 'SIGTERM'?",
        ),
        (["SIGTERM", "USR1"], "such as 'SIGTERM', got 'USR1'. Did you mean 'SIGUSR1'?"),
        (["SIG_IGN"], "such as 'SIGTERM', got 'SIG_IGN'."),
        (15, "such as 'SIGTERM', got 15."),
        ([signal.SIGTERM], "such as 'SIGTERM', got <Signals.SIGTERM: 15>."),
        ((), "signals must be at least one name of a signal such as 'SIGTERM', got ()."),
        (("SIGTERM", "SIGKILL"), "no process can handle SIGKILL."),
        ("SIGSTOP", "no process can handle SIGSTOP."),
    ],
)
def test_a_signal_that_cannot_be_handled_is_refused(signals: Any, message: str) -> None:
    """The error names the value and, if one is near, the nearest name that is right."""
    with pytest.raises(ParameterError, match=r"^Preemption: ") as caught:
        Preemption(signals)
    assert message in str(caught.value)


@pytest.mark.parametrize("deadline", [0, -1, float("inf"), float("nan"), "30", True])
def test_a_deadline_outside_its_range_is_refused(deadline: Any) -> None:
    """A deadline that is not a finite number above 0 or None is refused, with the value."""
    with pytest.raises(ParameterError, match="Preemption: deadline must be a finite number above 0 or None, got"):
        Preemption(deadline=deadline)


def test_a_clock_must_be_a_function() -> None:
    """The error is raised before training."""
    with pytest.raises(ParameterError, match=r"Preemption: clock must be a function, got 3\."):
        Preemption(clock=3)  # type: ignore[arg-type]  # on purpose


def test_a_usual_signal_that_the_platform_lacks_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without SIGUSR1, as on Windows, a run warns and handles the others; who asks for it by name gets an error."""
    monkeypatch.delattr(signal, "SIGUSR1")
    with pytest.warns(HookcoreWarning, match=r"^preemption: this platform has no SIGUSR1; it is left out\.$"):
        ended([Preemption(), sending(signal.SIGTERM, at="on_batch_begin")])
    with pytest.raises(ParameterError, match="got 'SIGUSR1'"):
        Preemption(("SIGTERM", "SIGUSR1"))


def test_only_the_signals_asked_for_are_handled() -> None:
    """Signals that were not chosen keep their actions; Ctrl-C is handled by the loop, in every run."""
    during: list[Any] = []
    watch = calling(lambda _: during.extend(signal.getsignal(number) for number in USUAL), at="on_batch_begin")
    before = [signal.getsignal(number) for number in USUAL]
    train([Preemption("SIGUSR1"), watch], epochs=1)
    assert [now is then for now, then in zip(during, before * 2, strict=True)] == [True, False, False] * 2


def test_it_can_be_asked_for_by_a_spec_string() -> None:
    """Several signals go into quotes, and `none` is an unknown deadline."""
    plugin = Engine(['preemption:signals="SIGTERM, SIGUSR2",deadline=none'], autoload=False)["preemption"]
    assert (plugin.signals, plugin.deadline) == (("SIGTERM", "SIGUSR2"), None)


def test_a_signal_with_two_names_is_handled_once() -> None:
    """The same signal named twice has its earlier handler called once, and put back."""
    seen: list[int] = []
    with handling(signal.SIGTERM, lambda number, _: seen.append(number)):
        ended([Preemption(("SIGTERM", "SIGTERM")), sending(signal.SIGTERM, at="on_batch_begin")])
    assert seen == [signal.SIGTERM]
