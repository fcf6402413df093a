"""The error policy: whatever the engine asks of a plugin, an observer's error costs no run, and an actor's stops it."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import signal
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from hookcore import Engine, Outcome, ParameterError, PluginError, RegistrationError, Run, SavedCheckpoint, hookimpl, store
from hookcore.testing import RecordingPlugin, ScriptedTrainee
from hookcore_adapters.loop import Loop
from hookcore_plugins import Checkpoint, Report

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path


class BoomError(Exception):
    """The error that the plugins here raise."""


def boom(*_: object) -> Any:
    raise BoomError


def train(plugins: list[Any], epochs: int = 3, *, resume: Any = False) -> Run:
    with Loop(Engine(plugins, autoload=False), epochs=epochs, trainee=ScriptedTrainee(), resume=resume) as loop:
        for _ in loop.epochs():
            for _ in loop.batches(range(2)):
                loop.log(loss=1.0)
    assert loop.run is not None
    return loop.run


class Asked:
    """A plugin that is asked for everything. Its answers are attributes, which a test replaces after the registration."""

    name = "asked"
    needs: tuple[str, ...] = ()
    shows_progress = False

    def __init__(self, role: str) -> None:
        self.role = role
        self.state: Callable[[], Any] = dict
        self.take: Callable[[Any], Any] = lambda _: None
        self.held: Callable[[], Any] = dict
        self.take_held: Callable[[Any], Any] = lambda _: None
        self.newest: Callable[[], Any] = lambda: None
        self.began = 0

    @hookimpl
    def on_epoch_begin(self) -> None:
        self.began += 1

    def state_dict(self) -> Any:
        return self.state()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.take(state)

    def snapshots(self) -> Any:
        return self.held()

    def load_snapshots(self, snapshots: Mapping[str, Any]) -> None:
        self.take_held(snapshots)

    def resumable(self) -> Any:
        return self.newest()


def endless() -> list[Any]:
    found: list[Any] = []
    found.append(found)
    return found


ANSWERS: dict[str, tuple[str, Callable[[], Any]]] = {
    "state_dict raises": ("state", boom),
    "state_dict raises SystemExit": ("state", lambda: exit_by("state")),
    "a set as state": ("state", lambda: {"seen": {1}}),
    "a key that is no string": ("state", lambda: {1: 1}),
    "a number with too many digits": ("state", lambda: {"k": 10**5000}),
    "a list that holds itself": ("state", endless),
    "snapshots raises": ("held", boom),
    "snapshots gives no mapping": ("held", lambda: 3),
    "a snapshot under a number": ("held", lambda: {1: "x"}),
}
"""What may be wrong with an answer that a checkpoint needs."""


def exit_by(reason: str) -> Any:
    raise SystemExit(reason)


@pytest.mark.parametrize("case", ANSWERS)
def test_an_observer_that_cannot_be_captured_costs_no_checkpoint(case: str, tmp_path: Path) -> None:
    """An observer whose state cannot be saved is disabled; every checkpoint is whole, and the run can be resumed."""
    asked, last = Asked("observer"), RecordingPlugin("last")
    engine = [asked, Checkpoint(tmp_path, keep_last=None), last]
    attribute, answer = ANSWERS[case]

    def spoil() -> None:
        setattr(asked, attribute, answer)

    run = train([SimpleNamespace(name="spoils", on_epoch_end=hookimpl(spoil)), *engine])
    assert [(failure.plugin, failure.disabled) for failure in run.failures] == [("asked", True)]
    assert (run.outcome, asked.began, last.hooks[-1]) == (Outcome.COMPLETED, 1, "on_train_end")
    assert [store.verify(found).epoch for found in store.named(tmp_path)] == [0, 1, 2]
    again = train([Asked("observer"), Checkpoint(tmp_path)], 4, resume="auto")
    assert (again.failures, again.history.epochs) == ([], [0, 1, 2, 3])


@pytest.mark.parametrize("case", ANSWERS)
def test_an_actor_that_cannot_be_captured_stops_the_run_by_its_own_name(case: str, tmp_path: Path) -> None:
    """An actor whose state cannot be saved stops the run; the error names it, and not the plugin that asked for a capture."""
    asked, last = Asked("actor"), RecordingPlugin("last")
    attribute, answer = ANSWERS[case]
    plugins = [SimpleNamespace(name="spoils", on_epoch_end=hookimpl(lambda: setattr(asked, attribute, answer)))]
    engine = Engine([*plugins, asked, Checkpoint(tmp_path), last], autoload=False)
    with pytest.raises(BaseException) as caught, Loop(engine, epochs=3, trainee=ScriptedTrainee()) as loop:  # noqa: PT011, PT012
        for _ in loop.epochs():
            loop.log(loss=1.0)
    assert "'asked'" in "".join(caught.value.__notes__)
    assert engine.run is not None
    assert {failure.plugin for failure in engine.run.failures} == {"asked"}
    assert (engine.run.outcome, last.hooks[-1]) == (Outcome.FAILED, "on_train_end")


def test_an_observer_that_cannot_begin_afresh_is_disabled() -> None:
    """If `load_state_dict` raises at the start of a run, an observer is disabled before its first hook; an actor is refused."""
    asked, last = Asked("observer"), RecordingPlugin("last")
    asked.take = boom
    run = train([asked, last])
    assert [(failure.plugin, failure.hook) for failure in run.failures] == [("asked", "load_state_dict")]
    assert (run.outcome, asked.began) == (Outcome.COMPLETED, 0)
    actor = Asked("actor")
    actor.take = boom
    engine = Engine([RecordingPlugin("first"), actor], autoload=False)
    with pytest.raises(BoomError) as caught:
        engine.start(Run())
    assert "Raised by plugin 'asked'" in caught.value.__notes__[0]
    assert engine.run is not None
    assert engine.run.outcome is Outcome.FAILED


@pytest.mark.parametrize("attribute", ["take", "take_held"])
def test_an_observer_that_cannot_be_resumed_at_all_is_disabled(attribute: str, tmp_path: Path) -> None:
    """An observer that can load neither its saved nor its fresh state is disabled, and the run resumes without it."""
    asked = Asked("observer")
    asked.held = lambda: {"best": {"weights": [7.0]}}
    train([asked, Checkpoint(tmp_path)])
    asked, taken = Asked("observer"), [False]

    def second(_: Any) -> None:
        if taken[0] or attribute == "take_held":
            raise BoomError
        taken[0] = True

    setattr(asked, attribute, second)
    run = train([asked, Checkpoint(tmp_path)], 4, resume="auto")
    assert (run.outcome, run.history.epochs) == (Outcome.COMPLETED, [0, 1, 2, 3])
    assert [failure.plugin for failure in run.failures] == (["asked"] if attribute == "take" else [])


@pytest.mark.parametrize("answer", [boom, lambda: "runs/first", lambda: exit_by("resumable")])
def test_an_observer_that_cannot_tell_its_checkpoints_is_not_resumed(
    answer: Callable[[], Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """If an observer raises in `resumable`, its checkpoints are left out and the error is logged; an actor's error is raised."""
    train([Checkpoint(tmp_path)])
    asked = Asked("observer")
    asked.newest = answer
    with caplog.at_level(logging.ERROR, "hookcore"):
        run = train([asked, Checkpoint(tmp_path)], 4, resume="auto")
    assert isinstance(run.resumed_from, SavedCheckpoint)
    assert "plugin 'asked' raised in resumable" in caplog.text
    actor = Asked("actor")
    actor.newest = answer
    with pytest.raises((BoomError, PluginError, SystemExit)) as caught:
        train([actor, Checkpoint(tmp_path)], 4, resume="auto")
    assert "Raised by plugin 'asked'" in "".join(caught.value.__notes__)


def test_what_a_plugin_declares_is_read_once() -> None:
    """`role`, `needs` and `shows_progress` are read at registration, and not again."""

    class Once:
        role = "observer"
        name = "once"
        asked: ClassVar[list[str]] = []

        @property
        def needs(self) -> tuple[str, ...]:
            self.asked.append("needs")
            return () if len(self.asked) == 1 else boom()

        @hookimpl
        def on_epoch_end(self) -> None:
            self.role = ["neither"]  # type: ignore[assignment]  # on purpose
            raise BoomError

    run = train([Once()])
    assert (run.outcome, [failure.disabled for failure in run.failures]) == (Outcome.COMPLETED, [True])


@pytest.mark.parametrize("attribute", ["role", "needs", "shows_progress", "resumable", "snapshots", "on_epoch_end", "name"])
def test_a_declaration_that_raises_is_refused_before_training(attribute: str) -> None:
    """If `role`, `needs` or `shows_progress` raises, the error names the plugin and the attribute."""

    class Raises:
        def __get__(self, instance: object, owner: object) -> Any:
            return self if instance is None else boom()

    kind = type("Odd", (), {"on_train_end": staticmethod(hookimpl(lambda: None)), attribute: Raises()})
    with pytest.raises(RegistrationError, match=rf"Plugin '?odd'? cannot be registered: its {attribute} raised BoomError"):
        Engine([kind()], autoload=False)


@pytest.mark.parametrize(("attribute", "value"), [("role", ["observer"]), ("needs", 5), ("needs", (["weights"],))])
def test_a_declaration_of_another_type_is_refused(attribute: str, value: object) -> None:
    """A role or need of a type that cannot be compared is an error that shows its value."""
    plugin = SimpleNamespace(name="odd", on_train_end=hookimpl(lambda: None), **{attribute: value})
    with pytest.raises(RegistrationError, match=f"Plugin 'odd': {attribute} must be"):
        Engine([plugin], autoload=False)


# Errors that do not cooperate


@dataclasses.dataclass(frozen=True)
class FrozenError(Exception):
    """Refuses assignment to its attributes."""

    why: str = "frozen"


class MuteError(Exception):
    """Raises whenever it is asked for a text."""

    def __repr__(self) -> str:
        raise BoomError

    __str__ = __repr__

    def add_note(self, text: str) -> None:
        raise BoomError(text)

    def __bool__(self) -> bool:
        raise BoomError

    @property
    def __cause__(self) -> BaseException | None:  # type: ignore[override]  # on purpose
        raise BoomError


class ExitsError(Exception):
    """Ends the process if it is formatted."""

    def __str__(self) -> str:
        raise SystemExit


class OwnBase(BaseException):
    """Inherits from `BaseException` only, like the exceptions of pytest."""


ERRORS: list[Callable[[], BaseException]] = [
    FrozenError,
    MuteError,
    ExitsError,
    OwnBase,
    lambda: SystemExit("I give up"),
    asyncio.CancelledError,
    GeneratorExit,
]


def plugin_of(role: str, hook: str, error: Callable[[], BaseException], *, wrapper: bool) -> Any:
    """Return a plugin that raises `error()` in `hook`."""

    def raises() -> None:
        raise error()

    def wraps() -> Iterator[None]:
        yield
        raise error()

    method = hookimpl(wrapper=True)(wraps) if wrapper else hookimpl(raises)
    return SimpleNamespace(name="raising", role=role, **{hook: method})


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("hook", ["on_batch_end", "on_epoch_end", "on_train_end"])
@pytest.mark.parametrize("wrapper", [False, True])
def test_no_error_of_an_observer_breaks_a_run(error: Callable[[], BaseException], hook: str, wrapper: bool) -> None:  # noqa: FBT001
    """Whatever an observer raises is recorded with a traceback, and the plugins after it get every hook."""
    last = RecordingPlugin("last")
    run = train([plugin_of("observer", hook, error, wrapper=wrapper), last])
    (failure,) = run.failures
    assert (failure.plugin, failure.hook, failure.disabled) == ("raising", hook, True)
    assert type(error()).__name__ in failure.traceback
    assert "raise error()" in failure.traceback
    assert (run.outcome, last.hooks.count("on_epoch_end"), last.hooks[-1]) == (Outcome.COMPLETED, 3, "on_train_end")


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("hook", ["on_batch_end", "on_epoch_end", "on_train_end"])
@pytest.mark.parametrize("wrapper", [False, True])
def test_any_error_of_an_actor_ends_the_run_for_all(error: Callable[[], BaseException], hook: str, wrapper: bool) -> None:  # noqa: FBT001
    """An actor's error is raised itself, with a note that names the plugin, after the other plugins had the event and the end."""
    last = RecordingPlugin("last")
    engine = Engine([plugin_of("actor", hook, error, wrapper=wrapper), last], autoload=False)
    with pytest.raises(type(error())) as caught, Loop(engine, epochs=2) as loop:  # noqa: PT012
        for _ in loop.epochs():
            for _ in loop.batches(range(2)):
                loop.log(loss=1.0)
    assert caught.value.__notes__ == [f"Raised by plugin 'raising' (types) in {hook}."]
    assert hook in last.hooks
    assert (engine.run is not None and engine.run.outcome, last.hooks[-1]) == (Outcome.FAILED, "on_train_end")


def test_one_error_of_two_observers_disables_both() -> None:
    """If two observers raise the same error object, both are disabled."""
    error = BoomError()
    plugins = [SimpleNamespace(name=name, role="observer", on_epoch_end=hookimpl(lambda: raise_(error))) for name in ("a", "b")]
    run = train(plugins)
    assert [(failure.plugin, failure.disabled) for failure in run.failures] == [("a", True), ("b", True)]


def raise_(error: BaseException) -> None:
    raise error


def test_a_signal_s_exit_is_no_error_of_the_plugin_that_it_cuts() -> None:
    """`sys.exit` in a script's SIGTERM handler ends the run, even while an observer is called."""
    before = signal.signal(signal.SIGTERM, lambda *_: exit_by("asked to"))
    observer = SimpleNamespace(role="observer", on_epoch_end=hookimpl(lambda: signal.raise_signal(signal.SIGTERM)))
    engine = Engine([observer], autoload=False)
    try:
        with pytest.raises(SystemExit, match="asked to"), Loop(engine, epochs=2) as loop:  # noqa: PT012
            for _ in loop.epochs():
                loop.log(loss=1.0)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert engine.run is not None
    assert (engine.run.failures, engine.run.progress.epoch) == ([], 0)


def test_each_run_begins_with_a_state_of_its_own(tmp_path: Path) -> None:
    """A plugin that changes the state that it was given does not change the state of later runs, even after a failed resume."""
    begun: list[list[int]] = []

    class Grows:
        name = "grows"
        role = "observer"
        broken = False

        def __init__(self) -> None:
            self.seen: list[int] = []

        @hookimpl
        def on_train_begin(self) -> None:
            begun.append([*self.seen])

        @hookimpl
        def on_epoch_end(self, epoch: int) -> None:
            self.seen.append(epoch)

        def state_dict(self) -> Any:
            return {"seen": self.seen}

        def load_state_dict(self, state: Any) -> None:
            if self.broken and state["seen"]:
                raise BoomError
            self.seen = state["seen"]

    train([Grows(), Checkpoint(tmp_path)])
    grows = Grows()
    grows.broken = True
    train([grows, Checkpoint(tmp_path)], 4, resume="auto")
    train([grows])
    train([grows])
    assert begun == [[], [], [], []]


def test_a_message_of_megabytes_is_in_no_checkpoint(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What is recorded, logged and reported of an observer's error is bounded, and tells how much was left out."""

    def fail() -> None:
        raise BoomError("A" * 10_000_000)

    failing = SimpleNamespace(name="failing", role="observer", on_epoch_end=hookimpl(fail))
    run = train([failing, Checkpoint(tmp_path / "checkpoints"), Report(tmp_path / "report", summary=False)])
    assert "characters left out" in run.failures[0].traceback
    assert sum(file.stat().st_size for file in tmp_path.rglob("*") if file.is_file()) < 500_000
    assert len(caplog.text) < 100_000


@pytest.mark.parametrize(
    "tell",
    [
        lambda run: run.interrupt("not an exception"),
        lambda run: run.decide("nonsense", "why"),
        lambda run: run.decide("stop", object()),
        lambda run: run.decide("stop", "why", {1, 2}),
        lambda run: run.stop(3),
        lambda run: run.stop("why", best="0.5"),
    ],
)
def test_what_cannot_be_recorded_is_the_error_of_the_plugin_that_tells_it(tell: Callable[[Any], None], tmp_path: Path) -> None:
    """An observer that records an invalid vote or decision is disabled at once: no later checkpoint fails, and no vote counts."""
    odd = SimpleNamespace(name="odd", role="observer", on_batch_end=hookimpl(lambda run, tell=tell: tell(run)))
    run = train([odd, Checkpoint(tmp_path)])
    assert [(failure.plugin, type(failure.error)) for failure in run.failures] == [("odd", ParameterError)]
    assert (run.outcome, run.stop_reasons) == (Outcome.COMPLETED, [])
    assert {decision.plugin for decision in run.decisions} == {"checkpoint"}
    assert store.newest(tmp_path).epoch == 2
