"""The compiled call equals pluggy's own, and an error in one plugin does not end it for the others."""

from __future__ import annotations

import contextlib
import inspect
import traceback
from collections import Counter
from importlib import metadata
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import attrs
import pluggy
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hookcore import HOOKS, Engine, PluginError, Preempted, Run, hookimpl, specs
from hookcore.raised import describe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from hookcore import Session

# pluggy gave an argument with a default only from 1.7 on; hookcore always does.
PLUGGY_GIVES_DEFAULTS = tuple(map(int, metadata.version("pluggy").split(".")[:2])) >= (1, 7)
VALUES = {"epoch": 7, "batch": 3, "metrics": {"loss": 0.5}, "checkpoint": "saved", "exception": ValueError("given")}


@attrs.frozen
class Plan:
    """One implementation: the arguments that it names, in order, how many of the last have defaults, and its options."""

    arguments: tuple[str, ...]
    defaults: int
    unknown: bool
    """Whether it has one more argument with a default, which no hook gives, before those with defaults."""
    tryfirst: bool
    trylast: bool
    wrapper: bool

    def plugin(self, hook: str, record: Callable[..., None]) -> object:
        """Return a plugin whose one method reports its arguments to `record`."""
        positional = self.arguments[: len(self.arguments) - self.defaults]
        with_default = self.arguments[len(positional) :]
        parameters = [
            *positional,
            *(["absent='default'"] if self.unknown else []),
            *(f"{name}='default'" for name in with_default),
        ]
        given = ", ".join(f"{name}={name}" for name in [*self.arguments, *(["absent"] if self.unknown else [])])
        body = f"record('before', {given}); yield; record('after')" if self.wrapper else f"record('call', {given})"
        namespace: dict[str, Any] = {"record": record}
        exec(f"def {hook}({', '.join(parameters)}): {body}", namespace)  # noqa: S102 - the source is this test's own
        method = hookimpl(tryfirst=self.tryfirst, trylast=self.trylast, wrapper=self.wrapper)(namespace[hook])
        return SimpleNamespace(**{hook: method})


@st.composite
def plans(draw: st.DrawFn, hook: str) -> Plan:
    """Draw any implementation of `hook` that pluggy accepts."""
    arguments = tuple(draw(st.permutations(HOOKS[hook]))[: draw(st.integers(0, len(HOOKS[hook])))])
    defaults = draw(st.integers(0, len(arguments))) if PLUGGY_GIVES_DEFAULTS else 0
    first, last = draw(st.sampled_from([(False, False), (True, False), (False, True)]))
    return Plan(arguments, defaults, draw(st.booleans()), first, last, draw(st.booleans()))


Calls = list[tuple[Any, ...]]


def pluggys(hook: str, planned: Sequence[Plan]) -> Calls:
    """Return the calls that pluggy itself makes, in order; the first of `planned` is called first."""
    calls: Calls = []
    manager = pluggy.PluginManager("hookcore")
    manager.add_hookspecs(specs)
    for i, plan in reversed(list(enumerate(planned))):

        def record(phase: str, *, i: int = i, **arguments: object) -> None:
            calls.append((i, phase, arguments))

        # hookcore gives the plugin's own handle, for which a string stands here.
        manager.register(plan.plugin(hook, record), f"p{i}")
    getattr(manager.hook, hook)(**{name: VALUES.get(name, "the run") for name in HOOKS[hook]})
    return calls


def ours(hook: str, planned: Sequence[Plan]) -> Calls:
    """Return the calls that the compiled function makes. A plugin's own handle is written as pluggy's stand-in for it."""
    calls: Calls = []

    def recorder(i: int) -> Callable[..., None]:
        def record(phase: str, **arguments: object) -> None:
            run = arguments.get("run")
            if isinstance(run, Run):
                assert run.plugin == f"p{i}"
                arguments["run"] = "the run"
            calls.append((i, phase, arguments))

        return record

    engine = Engine([(f"p{i}", plan.plugin(hook, recorder(i))) for i, plan in enumerate(planned)], autoload=False)
    getattr(engine.start(Run()).hooks, hook)(*(VALUES[name] for name in HOOKS[hook][1:]))
    return calls


WANTS_ALL = Plan(HOOKS["on_epoch_end"], 0, unknown=False, tryfirst=False, trylast=False, wrapper=False)


@given(data=st.data(), hook=st.sampled_from(sorted(HOOKS)))
def test_compiled_call_equals_pluggys(data: st.DataObject, hook: str) -> None:
    """For any plugins, arguments, tryfirst, trylast and wrappers, the compiled call makes the calls that pluggy makes."""
    planned = data.draw(st.lists(plans(hook), max_size=6))
    assert ours(hook, planned) == pluggys(hook, planned)


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_gives_every_argument(hook: str) -> None:
    """An implementation that names every argument of its hook gets all of them."""
    everything = attrs.evolve(WANTS_ALL, arguments=HOOKS[hook])
    assert ours(hook, [everything]) == [(0, "call", {name: VALUES.get(name, "the run") for name in HOOKS[hook]})]


def test_argument_with_default_is_given() -> None:
    """An argument that has a default in the implementation is still given, whichever pluggy is installed."""
    with_defaults = attrs.evolve(WANTS_ALL, defaults=2)
    assert ours("on_epoch_end", [with_defaults]) == ours("on_epoch_end", [WANTS_ALL])


def test_argument_with_default_that_no_hook_gives_keeps_its_default() -> None:
    """An argument that the hook does not have keeps its default, and never gets the value of another argument."""
    ((_, _, given),) = ours("on_epoch_end", [attrs.evolve(WANTS_ALL, defaults=1, unknown=True)])
    assert (given["absent"], given["metrics"]) == ("default", VALUES["metrics"])


# Errors. `begin` is an event in which plugins raise.


def session_of(*plugins: object, observers: Sequence[str] = ()) -> Session:
    """Return a session over `plugins`, called p0, p1 and so on; those in `observers` are disabled if they raise."""
    named = [(f"p{i}", plugin) for i, plugin in enumerate(plugins)]
    return Engine(named, on_error=dict.fromkeys(observers, "disable"), autoload=False).start(Run())


def raising(error: BaseException) -> object:
    """Return a plugin that raises `error` in `on_epoch_begin`."""

    @hookimpl
    def on_epoch_begin() -> None:
        raise error

    return SimpleNamespace(on_epoch_begin=on_epoch_begin)


@attrs.define
class Counting:
    """Counts its calls."""

    calls: int = 0

    @hookimpl
    def on_epoch_begin(self) -> None:
        self.calls += 1


@given(st.lists(st.tuples(st.sampled_from(["quiet", "raises"]), st.booleans(), st.booleans()), max_size=7))
@example(
    [("raises", False, False), ("quiet", False, False), ("raises", False, True), ("raises", True, False), ("quiet", True, True)]
)
def test_an_error_reaches_no_other_plugin(planned: list[tuple[str, bool, bool]]) -> None:
    """If several plugins raise, all are still called once, the first actor's error is raised, and observers are disabled."""
    calls: Counter[int] = Counter()
    errors = {i: RuntimeError(f"of p{i}") for i, (kind, _, _) in enumerate(planned) if kind == "raises"}

    def plugin(i: int, last: bool) -> object:  # noqa: FBT001 - drawn
        @hookimpl(trylast=last)
        def on_epoch_begin() -> None:
            calls[i] += 1
            if i in errors:
                raise errors[i]

        return SimpleNamespace(on_epoch_begin=on_epoch_begin)

    observers = {i for i, (_, observer, _) in enumerate(planned) if observer}
    session = session_of(*(plugin(i, last) for i, (*_, last) in enumerate(planned)), observers=[f"p{i}" for i in observers])
    # pluggy calls the trylast plugins after the rest, and the first registered of them last of all.
    in_order = sorted(errors.keys() - observers, key=lambda i: (planned[i][2], -i if planned[i][2] else i))
    for event in (1, 2):
        calls.clear()
        raised = None
        try:
            session.hooks.on_epoch_begin(0)
        except RuntimeError as error:
            raised = error
        assert raised is (errors[in_order[0]] if in_order else None)
        silenced = observers & errors.keys() if event == 2 else set()
        assert calls == Counter(set(range(len(planned))) - silenced)
        for other in in_order[1:]:
            assert any(describe(errors[other]) in note for note in errors[in_order[0]].__notes__)


def test_a_raised_error_names_plugin_and_hook() -> None:
    """An actor's error has a note with the plugin's name, its module, and the hook."""
    with pytest.raises(ValueError, match="broken") as caught:
        session_of(Counting(), raising(ValueError("broken"))).hooks.on_epoch_begin(0)
    (note,) = caught.value.__notes__
    assert "'p1'" in note
    assert "(types)" in note
    assert "on_epoch_begin" in note


def test_a_traceback_holds_the_plugins_line() -> None:
    """The traceback of an error, whether raised or recorded, reaches the line in the plugin."""
    session = session_of(raising(ValueError("raised")), raising(KeyError("recorded")), observers=["p1"])
    with pytest.raises(ValueError, match="raised") as caught:
        session.hooks.on_epoch_begin(0)
    assert "raise error" in "".join(traceback.format_exception(caught.value))
    assert all("raise error" in failure.traceback and __file__ in failure.traceback for failure in session.run.failures)


@pytest.mark.parametrize("plugins", [[raising(StopIteration(3))], [Counting(), raising(StopIteration(3)), Counting()]])
def test_stop_iteration_becomes_a_plugin_error(plugins: list[object]) -> None:
    """A StopIteration never leaves an event, because a training loop would take it for the end of its data."""
    with pytest.raises(PluginError, match="StopIteration in on_epoch_begin") as caught:
        session_of(*plugins).hooks.on_epoch_begin(0)
    assert isinstance(caught.value.__cause__, StopIteration)


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt(), Preempted("SIGTERM", 143)])
@pytest.mark.parametrize("before", [[], [raising(ValueError("earlier"))]])
def test_an_interrupt_goes_straight_through(interrupt: BaseException, before: list[object]) -> None:
    """Ctrl-C or a preemption in any plugin ends the event at once, even after another plugin's error."""
    counting = Counting()
    observers = [f"p{i}" for i in range(len(before) + 1)]
    session = session_of(*before, raising(interrupt), counting, observers=observers)
    with pytest.raises(type(interrupt)):
        session.hooks.on_epoch_begin(0)
    assert counting.calls == 0


@pytest.mark.parametrize("where", ["plain", "wrapper, before", "wrapper, after"])
def test_every_plugin_has_the_end_of_training_whatever_cuts_one(where: str) -> None:
    """Ctrl-C in one `on_train_end` is raised after all plugins had theirs, because there they close files and release locks."""
    ended = []

    def cut() -> None:
        raise KeyboardInterrupt

    def around() -> Iterator[None]:
        if where.endswith("before"):
            raise KeyboardInterrupt
        yield
        raise KeyboardInterrupt

    interrupting = hookimpl(cut) if where == "plain" else hookimpl(wrapper=True)(around)
    others = [SimpleNamespace(on_train_end=hookimpl(lambda i=i: ended.append(i))) for i in range(2)]
    session = session_of(others[0], SimpleNamespace(on_train_end=interrupting), others[1])
    with pytest.raises(KeyboardInterrupt):
        session.end()
    assert ended == [0, 1]
    assert session.run.failures == []


# Wrappers that misbehave. Each of these is the outermost; `Counting` is what it wraps.


def does_not_yield() -> Iterator[None]:
    return
    yield


def yields_twice() -> Iterator[None]:
    yield
    yield


def raises_before() -> Iterator[None]:
    int("mine")
    yield


def raises_after() -> Iterator[None]:
    yield
    int("mine")


def raises_when_closed() -> Iterator[None]:
    yield
    try:
        yield
    finally:
        int("mine")


def swallows() -> Iterator[None]:
    with contextlib.suppress(Exception):
        yield


def replaces() -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise LookupError("replaced") from error


def behaves() -> Iterator[None]:
    yield


def wrapper(function: Callable[[], Iterator[None]]) -> object:
    """Return a plugin that wraps `on_epoch_begin` in `function`."""
    return SimpleNamespace(on_epoch_begin=hookimpl(wrapper=True)(function_copy(function)))


def function_copy(function: Callable[[], Iterator[None]]) -> Callable[[], Iterator[None]]:
    """Return a new function with the same body, because `hookimpl` marks the function itself."""

    def copy() -> Iterator[None]:
        return (yield from function())

    return copy


MISBEHAVING: dict[Callable[[], Iterator[None]], tuple[type[Exception], str]] = {
    does_not_yield: (RuntimeError, "did not yield"),
    yields_twice: (RuntimeError, "yielded twice"),
    raises_before: (ValueError, "mine"),
    raises_after: (ValueError, "mine"),
    raises_when_closed: (ValueError, "mine"),
}


@pytest.mark.parametrize("function", MISBEHAVING, ids=lambda function: function.__name__)
@pytest.mark.parametrize("position", [0, 1])
def test_a_misbehaving_wrapper_as_observer_is_disabled(function: Callable[[], Iterator[None]], position: int) -> None:
    """An observer whose wrapper does not yield, yields twice or raises is disabled, and the wrapped plugins are called."""
    expected, message = MISBEHAVING[function]
    counting, plugins = Counting(), [wrapper(behaves)]
    plugins.insert(position, wrapper(function))
    session = session_of(*plugins, counting, observers=[f"p{position}"])
    for calls in (1, 2):
        session.hooks.on_epoch_begin(0)
        assert counting.calls == calls
    (failure,) = session.run.failures
    assert failure.plugin == f"p{position}"
    assert isinstance(failure.error, expected)
    assert message in str(failure.error)


@pytest.mark.parametrize("function", MISBEHAVING, ids=lambda function: function.__name__)
def test_a_misbehaving_wrapper_as_actor_stops_the_run(function: Callable[[], Iterator[None]]) -> None:
    """An actor with such a wrapper stops the run, after the wrapped plugins were called."""
    expected, message = MISBEHAVING[function]
    counting = Counting()
    with pytest.raises(expected, match=message):
        session_of(wrapper(function), counting).hooks.on_epoch_begin(0)
    assert counting.calls == 1


def test_a_wrapper_may_swallow_the_inner_error() -> None:
    """A wrapper that catches the error of a wrapped plugin ends it there, as in pluggy; the error is still recorded."""
    session = session_of(wrapper(swallows), raising(ValueError("inner")))
    session.hooks.on_epoch_begin(0)
    assert [failure.plugin for failure in session.run.failures] == ["p1"]


@pytest.mark.parametrize("function", [behaves, raises_after, yields_twice, replaces], ids=lambda function: function.__name__)
def test_the_inner_error_survives_other_wrappers(function: Callable[[], Iterator[None]]) -> None:
    """The error of a wrapped plugin is raised unless a wrapper catches it; the wrappers' own errors become notes."""
    inner = ValueError("inner")
    session = session_of(wrapper(function), raising(inner))
    with pytest.raises(ValueError, match="inner") as caught:
        session.hooks.on_epoch_begin(0)
    assert caught.value is inner
    own = [failure.error for failure in session.run.failures if failure.plugin == "p0"]
    assert all(any(describe(error) in note for note in inner.__notes__) for error in own)
    assert bool(own) == (function is replaces)


@pytest.mark.parametrize("where", ["before", "after", "inner"])
def test_an_interrupt_passes_wrappers(where: str) -> None:
    """A KeyboardInterrupt in a wrapper, or in what it wraps, passes through the wrappers around it."""
    left = []

    def interrupting() -> Iterator[None]:
        if where == "before":
            raise KeyboardInterrupt
        yield
        if where == "after":
            raise KeyboardInterrupt

    def outermost() -> Iterator[None]:
        try:
            yield
        finally:
            left.append(True)

    inner = raising(KeyboardInterrupt()) if where == "inner" else Counting()
    with pytest.raises(KeyboardInterrupt):
        session_of(wrapper(outermost), wrapper(interrupting), inner).hooks.on_epoch_begin(0)
    assert left == [True]


def test_wrappers_nest_in_the_order_listed() -> None:
    """The first wrapper listed is entered first and left last."""
    steps: list[str] = []

    def noting(name: str) -> Callable[[], Iterator[None]]:
        def note() -> Iterator[None]:
            steps.append(f"{name} in")
            yield
            steps.append(f"{name} out")

        return note

    session_of(wrapper(noting("a")), wrapper(noting("b"))).hooks.on_epoch_begin(0)
    assert steps == ["a in", "b in", "b out", "a out"]


def test_hook_without_plugins_does_nothing() -> None:
    """Without plugins, each compiled hook takes its arguments and returns None."""
    hooks = Engine(autoload=False).start(Run()).hooks
    for hook, parameters in HOOKS.items():
        call = getattr(hooks, hook)
        assert list(inspect.signature(call).parameters) == list(parameters[1:])
        assert call(*(VALUES[name] for name in parameters[1:])) is None
