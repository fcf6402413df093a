"""One engine is in one run at a time: a second run is refused by name, and an abandoned run does not block the next."""

from __future__ import annotations

import gc
import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from hookcore import Engine, HookcoreError, Outcome, Run, hookimpl
from hookcore.driver import Driver
from hookcore.host import NoHost
from hookcore.testing import RecordingPlugin, check_events
from hookcore_adapters.loop import Loop

if TYPE_CHECKING:
    from collections.abc import Callable

HOOKS = [
    "on_train_begin",
    "on_epoch_begin",
    "on_batch_begin",
    "on_batch_end",
    "on_evaluate_end",
    "on_epoch_end",
    "on_train_end",
]
REFUSED = (
    r"cannot begin a run on an engine in use: (tiny|loop) is in a run with the same plugins, recording(, nesting)?, "
    r"which has not ended\. Give each its own Engine, with plugins of its own\."
)


def loop_over(engine: Engine, epochs: int = 1) -> Run:
    with Loop(engine, epochs=epochs) as loop:
        for _ in loop.epochs():
            for _ in loop.batches(range(2)):
                loop.log(loss=1.0)
            with loop.evaluation():
                loop.log(loss=1.0)
    return loop.run


def drive(driver: Driver) -> Run:
    """Drive a run like a framework, batch by batch and evaluation by evaluation."""
    run = Run.of(epochs=1)
    driver.begin(run)
    driver.epoch_begin()
    driver.batch_begin()
    driver.batch_end({"loss": 1.0})
    driver.evaluate_end({"loss": 1.0})
    driver.epoch_end({"loss": 1.0})
    driver.end()
    return run


def engine_of(*plugins: object) -> Engine:
    return Engine([RecordingPlugin(), *plugins], autoload=False)


def events(engine: Engine) -> list[Any]:
    found: list[Any] = engine["recording"].events
    return found


def calling(function: Callable[[], object], hook: str, *, wrapper: bool) -> SimpleNamespace:
    """Return a plugin that calls `function` in one hook, once, or around it."""
    called: list[bool] = []

    def once() -> None:
        if not called:
            called.append(True)
            function()

    def around() -> Any:
        once()
        yield

    return SimpleNamespace(name="nesting", **{hook: hookimpl(around, wrapper=True) if wrapper else hookimpl(once)})


@pytest.mark.parametrize("wrapper", [False, True], ids=["hook", "wrapper"])
@pytest.mark.parametrize("inner", ["loop", "driver", "same driver"])
@pytest.mark.parametrize("outer", ["loop", "driver"])
@pytest.mark.parametrize("hook", HOOKS)
def test_a_hook_that_trains_on_its_own_engine_is_refused(outer: str, inner: str, hook: str, *, wrapper: bool) -> None:
    """In every hook, a second run on the same engine is an error that names both loops, and the outer run continues."""
    errors: list[str] = []

    def nest() -> None:
        other = driver if inner == "same driver" and outer == "driver" else Driver(engine, host=NoHost("tiny"))
        with pytest.raises(HookcoreError, match=REFUSED) as caught:
            _ = loop_over(engine) if inner == "loop" else drive(other)
        errors.append(str(caught.value))

    engine = engine_of(calling(nest, hook, wrapper=wrapper))
    driver = Driver(engine, host=NoHost("tiny"))
    run = loop_over(engine) if outer == "loop" else drive(driver)
    assert run.outcome is Outcome.COMPLETED
    assert engine.run is run
    assert len(errors) == 1
    assert errors[0].startswith("loop cannot" if inner == "loop" else "tiny cannot")
    check_events(events(engine))


@pytest.mark.parametrize("hook", HOOKS)
def test_a_hook_that_trains_on_another_engine_works(hook: str) -> None:
    """A hook may train on another engine, as in a parameter search, and both runs complete."""
    inner = engine_of()
    outer = engine_of(calling(lambda: loop_over(inner, epochs=2), hook, wrapper=False))
    assert loop_over(outer, epochs=2).outcome is Outcome.COMPLETED
    assert inner.run is not None
    assert (inner.run.outcome, inner.run.history.epochs) == (Outcome.COMPLETED, [0, 1])
    for engine in (inner, outer):
        check_events(events(engine))


@pytest.mark.parametrize("inner", [loop_over, lambda engine: drive(Driver(engine, host=NoHost()))], ids=["loop", "driver"])
def test_a_run_within_the_body_of_a_loop_is_refused(inner: Callable[[Engine], Run]) -> None:
    """A run on the engine of an open loop is refused in its body, and the loop continues."""
    engine = engine_of()
    with Loop(engine, epochs=1) as loop:
        for _ in loop.epochs():
            with pytest.raises(HookcoreError, match=REFUSED):
                inner(engine)
            for _ in loop.batches(range(2)):
                with pytest.raises(HookcoreError, match=REFUSED):
                    inner(engine)
    assert loop.run.outcome is Outcome.COMPLETED
    check_events(events(engine))
    assert inner(engine).outcome is Outcome.COMPLETED


def test_a_run_on_another_thread_is_refused() -> None:
    """A run on another thread is refused while the first run is in a hook."""
    errors: list[str] = []

    def other() -> None:
        try:
            loop_over(engine)
        except HookcoreError as error:
            errors.append(str(error))

    def wait() -> None:
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()

    engine = engine_of(calling(wait, "on_batch_end", wrapper=False))
    assert drive(Driver(engine, host=NoHost("tiny"))).outcome is Outcome.COMPLETED
    assert len(errors) == 1
    assert "loop cannot begin a run on an engine in use: tiny is in a run" in errors[0]


def test_an_abandoned_run_ends_when_another_adapter_begins(caplog: pytest.LogCaptureFixture) -> None:
    """A run whose framework did not report its exception ends as failed when another run begins, and the log names it."""
    engine = engine_of()
    abandoned = Driver(engine, host=NoHost("tiny"))
    first = Run.of(epochs=1)
    abandoned.begin(first)
    abandoned.batch_begin()
    assert loop_over(engine).outcome is Outcome.COMPLETED
    assert first.outcome is Outcome.FAILED
    assert "An earlier run of tiny ended with an exception that was not reported. It ends now, as loop begins" in caplog.text
    check_events(events(engine))
    assert [event[0] for event in events(engine)][3:5] == ["on_exception", "on_train_end"]


@pytest.mark.parametrize("fact", ["batch_end", "epoch_end", "evaluate_begin", "log", "end", "shortest begin", "shortest end"])
def test_a_run_that_was_wrongly_regarded_as_abandoned_raises_an_error(fact: str) -> None:
    """The next event of a run that was wrongly ended as abandoned is an error, and calls no plugin."""
    engine = engine_of()
    driver = Driver(engine, host=NoHost("tiny"))
    driver.begin(Run.of(epochs=1))
    driver.epoch_begin()
    begin, end = driver.batches()
    second = Driver(engine, host=NoHost("other"))
    second.begin(Run.of(epochs=1))
    heard = len(events(engine))
    facts: dict[str, Callable[[], None]] = {
        "log": lambda: driver.log({"loss": 1.0}),
        "shortest begin": lambda: begin(0),
        "shortest end": lambda: end(0, None),
    }
    if fact == "end":
        driver.end()
    else:
        with pytest.raises(
            HookcoreError, match=r"This run of tiny has ended\. If that was because another run began on the same"
        ):
            facts.get(fact, getattr(driver, fact, None))()  # type: ignore[misc]
    assert len(events(engine)) == heard
    assert second.is_running
    second.end()
    assert not driver.is_running
    assert drive(driver).outcome is Outcome.COMPLETED
    check_events(events(engine))


def test_a_loop_that_was_dropped_without_its_end_blocks_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """A loop that was deleted before its end does not block the next run: its run has failed, and the log names it."""
    engine = engine_of()
    gc.disable()
    try:
        loop = Loop(engine, epochs=1)
        loop.__enter__()
        first = loop.run
        del loop
        assert loop_over(engine).outcome is Outcome.COMPLETED
    finally:
        gc.enable()
    assert first.outcome is Outcome.FAILED
    assert "An earlier run was dropped before its end, at step 0." in caplog.text
    with pytest.raises(HookcoreError, match="ended run holds no model"):
        _ = first.model
