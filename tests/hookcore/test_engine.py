"""The engine: order, roles, the error policy, and several runs of one engine."""

from __future__ import annotations

import functools
import logging
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar

import attrs
import pytest

from hookcore import (
    HOOKS,
    CapabilityError,
    Engine,
    HookcoreError,
    Outcome,
    ParameterError,
    RegistrationError,
    Run,
    SavedCheckpoint,
    hookimpl,
    state,
)
from hookcore.testing import RecordingPlugin, ScriptedTrainee
from hookcore_adapters.loop import Loop
from hookcore_plugins import Checkpoint
from tests.hookcore.small_plugins import Plain, bad, engine, generator

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from hookcore import Session


def test_the_same_name_twice_is_refused() -> None:
    """Two plugins of one name are an error that tells how to name one of them."""
    with pytest.raises(RegistrationError, match=r"Two plugins are called 'plain'.*\('plain_2', Plain\(\.\.\.\)\)"):
        engine(Plain(), Plain())


def test_a_refused_plugin_leaves_the_engine_as_it_was() -> None:
    """After a refused registration the engine has the plugins that it had before."""
    one = engine(Plain())
    with pytest.raises(RegistrationError):
        one.register(Plain())
    assert one.names == ["plain"]


# The engine as a collection.


def test_plugins_are_called_as_listed() -> None:
    """Without marks, plugins are called in the order in which they are listed, and `order` returns it."""
    plugins = [(name, Plain()) for name in "dbca"]
    assert engine(*plugins).order("on_train_begin") == list("dbca")


def test_order_puts_wrappers_tryfirst_and_trylast_where_pluggy_does() -> None:
    """`order` has wrappers, then tryfirst, then the rest, then trylast; plugins without the hook are left out."""
    plugins = [
        ("last", bad("on_epoch_end", lambda: None, trylast=True)),
        ("listed", bad("on_epoch_end", lambda: None)),
        ("wrap", bad("on_epoch_end", generator(), wrapper=True)),
        ("first", bad("on_epoch_end", lambda: None, tryfirst=True)),
    ]
    assert engine(*plugins, Plain()).order("on_epoch_end") == ["wrap", "first", "listed", "last"]


def test_plugins_are_found_by_name_and_taken_out() -> None:
    """An engine returns a plugin by its name; unregistering it removes it and its error policy."""
    plugin = Plain()
    one = engine(("mine", plugin), on_error={"mine": "raise"})
    assert one["mine"] is plugin
    assert [registered.origin for registered in one.plugins] == [Plain.__module__]
    one.unregister("mine")
    assert (one.names, one.on_error) == ([], {})
    with pytest.raises(RegistrationError, match="No plugin is called 'mine'; there are: none"):
        one["mine"]
    assert one.register(plugin) == "plain"
    with pytest.raises(RegistrationError, match=r"No plugin is called 'plian'.*Did you mean 'plain'"):
        one.unregister("plian")


def test_one_string_is_one_plugin() -> None:
    """A string in place of the list is one spec string, not a list of letters."""
    assert Engine("early_stopping:patience=3", autoload=False).names == ["early_stopping"]


def test_a_blocked_plugin_cannot_be_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """`register` raises for a name that the environment blocks, while a list leaves it out."""
    monkeypatch.setenv("HOOKCORE_DISABLE_PLUGINS", "plain, other")
    assert engine(Plain(), ("other", RecordingPlugin()), RecordingPlugin()).names == ["recording"]
    with pytest.raises(RegistrationError, match=r"blocked by HOOKCORE_DISABLE_PLUGINS"):
        engine().register(Plain())


@pytest.mark.parametrize(
    ("on_error", "message"),
    [
        ({"plian": "raise"}, "no plugin is called 'plian'; there are: plain. Did you mean 'plain'"),
        ({"plain": "ignore"}, "the policy for 'plain' must be 'raise' or 'disable', got 'ignore'"),
    ],
)
def test_on_error_is_validated(on_error: Any, message: str) -> None:
    """A policy for an unknown plugin, or an unknown policy, is refused."""
    with pytest.raises(ParameterError, match=f"on_error: {message}"):
        engine(Plain(), on_error=on_error)


# The error policy.

CHECKPOINT: Any = SimpleNamespace(path="step-00000001", value=None)


class BodyError(Exception):
    """The error that ends the training in `drive`."""


def end_of_the_body() -> None:
    raise BodyError


def drive(session: Session) -> BaseException:
    """Call every hook, as an adapter would, up to an end by an exception, and return the exception."""
    hooks = session.hooks
    events: list[Callable[[], None]] = [
        session.train_begin,
        lambda: session.epoch_begin(0),
        lambda: session.batch_begin(0),
        lambda: session.batch_end(0, {}),
        hooks_call(hooks, "on_evaluate_begin"),
        hooks_call(hooks, "on_evaluate_batch_begin", 0),
        hooks_call(hooks, "on_evaluate_batch_end", 0, {}),
        hooks_call(hooks, "on_evaluate_end", {}),
        lambda: session.epoch_end(0, {}, {}),
        hooks_call(hooks, "on_predict_begin"),
        hooks_call(hooks, "on_predict_batch_begin", 0),
        hooks_call(hooks, "on_predict_batch_end", 0),
        hooks_call(hooks, "on_predict_end"),
        lambda: session.run.checkpoint_saved(CHECKPOINT),
    ]
    try:
        for event in [*events, end_of_the_body]:
            event()
    except Exception as error:  # noqa: BLE001 - as an adapter does
        session.end(error)
        return error
    return BaseException("nothing was raised")


def hooks_call(hooks: Any, name: str, *arguments: object) -> Callable[[], None]:
    # Looked up when called: a disabled plugin changes the hooks.
    return lambda: getattr(hooks, name)(*arguments)


ALL_EVENTS = list(HOOKS)


def failing(hook: str, role: str) -> tuple[object, list[str]]:
    """Return a plugin that implements every hook and raises in `hook`, and the list of hooks that it was called for."""
    called: list[str] = []

    def implement(name: str) -> Callable[[], None]:
        @hookimpl
        def call() -> None:
            called.append(name)
            if name == hook:
                raise RuntimeError(hook)

        return call

    return SimpleNamespace(name="failing", role=role, **{name: implement(name) for name in HOOKS}), called


def test_drive_emits_every_hook_in_the_order_of_hooks() -> None:
    """The function `drive` of these tests calls each hook once, in the order of HOOKS."""
    recording = RecordingPlugin()
    assert isinstance(drive(engine(recording).start(Run())), BodyError)
    assert recording.hooks == ALL_EVENTS


@pytest.mark.parametrize("hook", HOOKS)
def test_an_observer_that_raises_is_disabled_and_nothing_else_changes(hook: str, caplog: pytest.LogCaptureFixture) -> None:
    """If an observer raises in any hook, it is not called again; the others get every event, and the run ends as without it."""
    plugin, called = failing(hook, "observer")
    before, after = RecordingPlugin("before"), RecordingPlugin("after")
    session = engine(before, plugin, after).start(Run())
    with caplog.at_level(logging.WARNING, "hookcore"):
        assert isinstance(drive(session), BodyError)
    assert before.hooks == after.hooks == ALL_EVENTS
    assert called == ALL_EVENTS[: ALL_EVENTS.index(hook) + 1]
    (failure,) = session.run.failures
    assert (failure.plugin, failure.hook, repr(failure.error), failure.disabled) == (
        "failing",
        hook,
        f"RuntimeError('{hook}')",
        True,
    )
    reported, at_the_end = (record.getMessage() for record in caplog.records)
    assert f"'failing' raised in {hook}" in reported
    assert "Traceback" in reported
    assert at_the_end == f"disabled during the run: failing (in {hook}: RuntimeError: {hook})"


@pytest.mark.parametrize("hook", HOOKS)
def test_an_actor_that_raises_ends_the_run_and_hides_no_event(hook: str, caplog: pytest.LogCaptureFixture) -> None:
    """If an actor raises in any hook, the others get that event and the end; the error is raised, or is a note on another."""
    plugin, called = failing(hook, "actor")
    before, after = RecordingPlugin("before"), RecordingPlugin("after")
    session = engine(before, plugin, after).start(Run())
    error = drive(session)
    ending = ["on_exception", "on_train_end"]
    seen = ALL_EVENTS if hook in ending else [*ALL_EVENTS[: ALL_EVENTS.index(hook) + 1], *ending]
    assert before.hooks == after.hooks == called == seen
    assert session.run.outcome is Outcome.FAILED
    assert [(failure.hook, failure.disabled) for failure in session.run.failures] == [(hook, False)]
    assert not caplog.records
    if hook in ending:
        assert isinstance(error, BodyError)
        assert error.__notes__ == [f"Then, in {hook}: RuntimeError: {hook}"]
    else:
        assert str(error) == hook
        assert error.__notes__ == [f"Raised by plugin 'failing' (types) in {hook}."]


@pytest.mark.parametrize(
    ("role", "policy", "disabled"),
    [("observer", "raise", False), ("actor", "disable", True), (None, None, False), ("actor", None, False)],
)
def test_on_error_overrides_the_role(role: str | None, policy: Any, disabled: bool) -> None:  # noqa: FBT001 - a parameter
    """`on_error` wins over the role, and a plugin that names no role is an actor."""
    plugin, _ = failing("on_epoch_begin", role or "")
    if role is None:
        del vars(plugin)["role"]
    session = engine(plugin, on_error={"failing": policy} if policy else None).start(Run())
    assert isinstance(drive(session), BodyError) == disabled


def test_an_actor_that_raises_at_the_end_fails_the_run() -> None:
    """An actor's error in `on_train_end` of a completed run is raised to the caller, and the outcome is failed."""
    plugin, _ = failing("on_train_end", "actor")
    recording = RecordingPlugin()
    session = engine(plugin, recording).start(Run())
    session.train_begin()
    with pytest.raises(RuntimeError, match="on_train_end"):
        session.end()
    assert session.run.outcome is Outcome.FAILED
    assert recording.hooks == ["on_train_begin", "on_train_end"]


def test_a_disabled_plugin_is_back_in_the_next_run() -> None:
    """A plugin is disabled only for the run: the next one begins with every plugin."""
    plugin, called = failing("on_train_begin", "observer")
    one = engine(plugin)
    for _ in range(2):
        drive(one.start(Run()))
    assert called == ["on_train_begin"] * 2


# Sessions.


@pytest.mark.parametrize(
    ("exception", "vote", "outcome"),
    [
        (None, False, Outcome.COMPLETED),
        (None, True, Outcome.STOPPED),
        (KeyboardInterrupt(), False, Outcome.INTERRUPTED),
        (KeyboardInterrupt(), True, Outcome.INTERRUPTED),
        (ValueError(), False, Outcome.FAILED),
        (SystemExit(), False, Outcome.FAILED),
    ],
)
def test_outcomes(exception: BaseException | None, vote: bool, outcome: Outcome) -> None:  # noqa: FBT001 - a parameter
    """The outcome tells how the run ended, and `on_train_end` sees it; if there is an exception, `on_exception` comes first."""
    recording = RecordingPlugin()
    session = engine(recording).start(Run())
    session.train_begin()
    assert session.run.outcome is Outcome.RUNNING
    if vote:
        session.run.stop("enough")
    session.end(exception)
    session.end()
    assert session.run.outcome is outcome
    assert recording.events[1:] == [*([("on_exception", exception)] if exception else []), ("on_train_end", outcome)]


def test_progress_counts_epochs_batches_and_steps() -> None:
    """The session keeps the progress: a new epoch begins with batch 0, and a step is counted before `on_batch_end`."""
    seen = []

    class Looking:
        @hookimpl
        def on_batch_end(self, run: Run) -> None:
            seen.append(attrs.astuple(run.progress))

    session = engine(Looking()).start(Run())
    for epoch in (3, 4):
        session.epoch_begin(epoch)
        assert session.run.progress.batch == 0
        for batch in (0, 1):
            session.batch_begin(batch)
            session.batches_end({}, batch + 1, 1)
    assert seen == [(3, 0, 1, 0), (3, 1, 3, 0), (4, 0, 4, 0), (4, 1, 6, 0)]


def test_history_holds_the_epoch_before_on_epoch_end() -> None:
    """In `on_epoch_end` the history already has the metrics that are fresh at the end of the epoch."""
    seen = []

    class Looking:
        @hookimpl
        def on_epoch_end(self, run: Run) -> None:
            seen.append(run.history["loss"])

    session = engine(Looking()).start(Run())
    session.epoch_end(0, {"loss": 3.0}, {"loss": 2.0})
    session.epoch_end(1, {"loss": 3.0}, {"loss": 1.0})
    assert seen == [[2.0], [2.0, 1.0]]


def test_each_plugin_has_a_handle_of_its_own_on_one_run() -> None:
    """Votes and decisions are recorded under the plugin that made them, and every plugin sees all of them."""

    class Voting:
        @hookimpl
        def on_epoch_begin(self, run: Run) -> None:
            run.stop("enough", metric="loss", value=2.0, best=1.0, best_epoch=3, best_step=4)

    session = engine(("a", Voting()), ("b", Voting())).start(Run())
    before = session.stopping
    session.epoch_begin(5)
    assert (before, session.stopping) == (False, True)
    assert [attrs.astuple(reason) for reason in session.run.stop_reasons] == [
        (name, "enough", 5, 0, "loss", 2.0, 1.0, 3, 4) for name in "ab"
    ]
    assert [(decision.plugin, decision.kind) for decision in session.run.decisions] == [("a", "stop"), ("b", "stop")]


def test_a_missing_capability_is_refused_before_anything_is_called() -> None:
    """A plugin that needs a missing capability is refused by name with the reason, and no plugin is called."""

    class Needy(Plain):
        needs: ClassVar = ("snapshot", "learning_rate")

    recording = RecordingPlugin()
    session = engine(recording, Needy()).start(Run.of(ScriptedTrainee(cannot={"learning_rate": "a schedule sets it"})))
    with pytest.raises(CapabilityError, match="Plugin 'needy' needs the trainee's learning rate, but a schedule sets it"):
        session.train_begin()
    session.end(ValueError())
    assert recording.events == []
    assert session.run.outcome is Outcome.FAILED


@attrs.define(eq=False)
class Counter:
    """Counts epochs, as state that a run changes in place."""

    seen: list[int] = attrs.field(factory=list)

    @hookimpl
    def on_epoch_begin(self, epoch: int) -> None:
        self.seen.append(epoch)

    def state_dict(self) -> dict[str, Any]:
        return {"seen": self.seen}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.seen = state["seen"]


def test_each_run_starts_from_the_state_at_registration() -> None:
    """One engine serves many runs, and each starts from the plugins' first state, whatever earlier runs did."""
    counter = Counter([100])
    one = engine(counter)
    for epoch in range(3):
        session = one.start(Run())
        assert one.run is session.run
        session.epoch_begin(epoch)
        assert counter.seen == [100, epoch]
        session.end()


def test_a_plugin_that_served_another_engine_starts_afresh() -> None:
    """A plugin object in a second engine starts from the same state as in the first."""
    counter = Counter()
    engine(counter).start(Run()).epoch_begin(1)
    engine(counter).start(Run()).epoch_begin(2)
    assert counter.seen == [2]


def test_state_of_a_plugin_that_cannot_be_remembered_is_what_it_is_now() -> None:
    """A plugin that cannot be hashed starts each run from its state at registration."""

    class Unhashable(Counter):
        __hash__ = None  # type: ignore[assignment]  # what it is about

    counter = Unhashable([7])
    one = engine(counter)
    for epoch in (1, 2):
        one.start(Run()).epoch_begin(epoch)
        assert counter.seen == [7, epoch]


def test_two_engines_never_meet() -> None:
    """Plugins, votes, failures and runs of one engine are invisible to another."""
    here, there = RecordingPlugin(), RecordingPlugin()
    first, second = engine(here), engine(there)
    first.start(Run()).train_begin()
    first.start(Run()).run.stop("enough")
    assert there.events == []
    assert second.run is None
    assert not second.start(Run()).stopping


def test_plugins_changed_during_a_run_count_from_the_next_one() -> None:
    """Registering and unregistering plugins does not change the run in progress: its events, its error policy and its state."""
    late, failing_plugin = RecordingPlugin("late"), failing("on_epoch_end", "observer")[0]
    one = engine(Counter(), failing_plugin)
    session = one.start(Run())
    one.register(late)
    one.unregister("failing")
    one.unregister("counter")
    texts: list[str] = []
    session.when_settled("counter", lambda capture: texts.append(capture.record))
    assert isinstance(drive(session), BodyError)
    assert late.events == []
    assert [failure.plugin for failure in session.run.failures] == ["failing"]
    states = {name: one["state"] for name, one in state.loads(texts[0])["plugins"].items()}
    assert states == {"failing": None, "counter": {"seen": []}}
    drive(one.start(Run()))
    assert late.hooks == ALL_EVENTS


def test_a_saved_checkpoint_is_announced_to_every_plugin(tmp_path: Path) -> None:
    """`checkpoint_saved` calls `on_checkpoint` of every plugin."""
    recording = RecordingPlugin()
    session = engine(recording).start(Run())
    saved = SavedCheckpoint(tmp_path, epoch=0, step=1)
    session.run.checkpoint_saved(saved)
    assert recording.events == [("on_checkpoint", saved)]


def test_an_actors_error_in_an_event_within_an_event_is_reported_once(tmp_path: Path) -> None:
    """An actor's error in `on_checkpoint` propagates through the plugin that saved, which is not blamed for it."""

    class Uploader:
        @hookimpl
        def on_checkpoint(self) -> None:
            raise ConnectionError("no network")

    loop = Loop([Checkpoint(tmp_path), Uploader()], epochs=1, trainee=ScriptedTrainee())
    with pytest.raises(ConnectionError), loop:  # noqa: PT012
        for _ in loop.epochs():
            loop.log(loss=1.0)
    assert [(failure.plugin, failure.hook) for failure in loop.run.failures] == [("uploader", "on_checkpoint")]


def test_a_second_interrupt_in_on_exception_still_lets_training_end() -> None:
    """`on_train_end` is always called, and the caller gets the first exception."""

    class Impatient:
        @hookimpl
        def on_exception(self) -> None:
            raise KeyboardInterrupt

    recording = RecordingPlugin()
    with pytest.raises(ValueError, match="first"), Loop([Impatient(), recording], epochs=1):
        raise ValueError("first")
    assert recording.events[-1] == ("on_train_end", Outcome.FAILED)


def test_a_policy_for_a_blocked_plugin_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A script with a policy for a plugin still works if the environment blocks the plugin."""
    monkeypatch.setenv("HOOKCORE_DISABLE_PLUGINS", "recording")
    assert Engine([RecordingPlugin()], on_error={"recording": "raise"}).names == []


def test_a_plugin_that_cannot_be_hashed_starts_fresh_too() -> None:
    """A plugin of an attrs class with the default equality starts each engine from its first state."""

    @attrs.define
    class Counts:
        epochs: int = 0

        @hookimpl
        def on_epoch_end(self) -> None:
            self.epochs += 1

        def state_dict(self) -> Any:
            return {"epochs": self.epochs}

        def load_state_dict(self, state: Any) -> None:
            self.epochs = state["epochs"]

    counts = Counts()
    for _ in range(2):
        session = Engine([counts]).start(Run())
        session.epoch_end(0, {}, {})
        assert counts.epochs == 1


def test_one_plugin_where_a_list_is_expected_is_refused() -> None:
    """A plugin in place of a list of plugins is an error that tells what to do."""
    with pytest.raises(RegistrationError, match=r"plugins must be a list of plugins, got .*\[\.\.\.\]"):
        Engine(RecordingPlugin())  # type: ignore[arg-type]  # on purpose


def test_two_plugins_errors_in_one_event_have_nothing_to_do_with_each_other() -> None:
    """The traceback of a second plugin's error does not claim that it happened while the first was handled."""

    def fail() -> None:
        raise ValueError

    plugins = [SimpleNamespace(name=name, role="observer", on_train_begin=hookimpl(fail)) for name in ("first", "second")]
    session = Engine(plugins).start(Run())
    session.train_begin()
    assert len(session.run.failures) == 2
    assert not any("During handling" in failure.traceback for failure in session.run.failures)


def test_a_copy_in_a_forked_child_refuses_batches_that_no_plugin_gets() -> None:
    """After a fork the child's session refuses a batch even if no plugin has a hook for it."""
    session = engine(Plain()).start(Run())
    session.train_begin()
    session.epoch_begin(0)
    session.leave_to_parent()
    for batch in (session.batch_begin, functools.partial(session.batch_end, 0, {})):
        with pytest.raises(HookcoreError, match="is driven by the process that forked this one"):
            batch()


def test_batches_that_nobody_hears_of_are_counted() -> None:
    """Without plugins for batches, steps, position and latest metrics are kept, and an interruption is raised."""
    session = engine(bad("on_epoch_end", lambda: None)).start(Run.of(steps_per_epoch=6))
    session.train_begin()
    session.epoch_begin(2)
    for batch in range(3):
        session.batch_begin()
        assert session.latest is None
        session.batches_end({"loss": batch}, 1, 2)
        assert session.latest == {"loss": batch}
    assert (session.run.progress.batch, session.run.progress.step) == (5, 3)
    assert attrs.astuple(session.position) == (2, 6, True)
    session.batch_begin(6)
    session.run.interrupt(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        session.batch_end(6, None)
