"""What a plugin may be, what it is called, and every mistake that is found at its registration."""

from __future__ import annotations

import gc
import re
from types import ModuleType, SimpleNamespace
from typing import Any

import pluggy
import pytest

from hookcore import Engine, Metrics, RegistrationError, Run, hookimpl
from hookcore.markers import PROJECT
from hookcore.testing import RecordingPlugin
from tests.hookcore.small_plugins import Plain, bad, engine, generator


async def coroutine() -> None: ...


def describe(self: object) -> None:
    repr(self)


def namesake(self: object) -> None:
    repr(self)


@pytest.mark.parametrize(
    ("plugin", "message"),
    [
        (bad("on_epoch_ende", lambda: None), r"no hook 'on_epoch_ende'\. Did you mean 'on_epoch_end'"),
        (type("Bad", (), {"on_epoch_ende": hookimpl(namesake)})(), r"no hook 'on_epoch_ende'\. Did you mean 'on_epoch_end'"),
        (bad("log", lambda: None), "no hook 'log'. There are: on_train_begin, .*on_train_end"),
        (bad("log", lambda: None, specname="on_epoch_ende"), r"no hook 'on_epoch_ende'\. Did you mean 'on_epoch_end'"),
        (bad("on_epoch_end", lambda metric: metric), r"on_epoch_end has an argument 'metric', .*Did you mean 'metrics'"),
        (bad("on_batch_end", lambda epoch: epoch), r"argument 'epoch', which on_batch_end\(run, batch, metrics\)"),
        (bad("on_epoch_end", lambda metric, /: metric), "an argument 'metric', .*Did you mean 'metrics'"),
        (bad("on_epoch_end", lambda *, epoch: epoch), r"keyword-only argument 'epoch'.* drop the '\*'"),
        (bad("on_epoch_end", generator(), hookwrapper=True), "hookwrapper=True, pluggy's old style; use wrapper=True"),
        (bad("on_epoch_end", lambda: None, wrapper=True), "wrapper=True .*not a generator"),
        (bad("on_epoch_end", generator()), "a generator or a coroutine.*wrapper=True"),
        (bad("on_epoch_end", coroutine), "a generator or a coroutine"),
        (SimpleNamespace(name="bad", on_epoch_end=print), "on_epoch_end is not marked with @hookimpl"),
        (SimpleNamespace(name="bad", on_epoch_ende=print), "on_epoch_ende is not marked .*Did you mean 'on_epoch_end'"),
        (type("Bad", (), {"on_epoch_end": describe})(), "on_epoch_end is not marked with @hookimpl"),
        (type("Bad", (), {"on_epoch_end": staticmethod(print)})(), "on_epoch_end is not marked with @hookimpl"),
        (type("Bad", (), {})(), "has no method marked with @hookimpl"),
        (type("Bad", (Plain,), {}), r"is a class; pass an instance: Bad\(\.\.\.\)"),
        (type("Bad", (Plain,), {"state_dict": dict})(), "both state_dict and load_state_dict"),
        (type("Bad", (Plain,), {"load_state_dict": dict})(), "both state_dict and load_state_dict"),
    ],
)
def test_a_mistake_in_a_plugin_is_refused_at_registration(plugin: object, message: str) -> None:
    """A method that would never be called, or not as intended, is an error that names the plugin and the nearest right name."""
    with pytest.raises(RegistrationError, match=f"(?s)Plugin 'bad'.*{message}"):
        engine(Plain(), plugin)


def test_plugins_are_named_by_themselves_their_class_or_a_pair() -> None:
    """A plugin's name is that of the pair, its own `name`, its class's in snake case, or its module's without the package."""
    module = ModuleType("acme.alerts")
    vars(module)["on_train_end"] = hookimpl(lambda: None)
    classes = [type(name, (Plain,), {}) for name in ("NaNGuard", "HTTPLog", "CSVLog", "L2Norm")]
    names = engine(
        ("mine", Plain()),
        Plain(),
        RecordingPlugin(name="own"),
        module,
        *(made() for made in classes),
        SimpleNamespace(name="bare", on_train_end=hookimpl(lambda: None)),
    ).names
    assert names == ["mine", "plain", "own", "alerts", "na_n_guard", "http_log", "csv_log", "l2_norm", "bare"]


def test_module_and_namespace_plugins_are_called() -> None:
    """A module's functions and a namespace's are hook implementations like methods."""
    called = []
    module = ModuleType("alerts")
    vars(module).update(on_train_begin=hookimpl(lambda run: called.append(run.plugin)), helper=lambda: None)
    namespace = SimpleNamespace(on_train_begin=hookimpl(lambda run: called.append(run.plugin)), on_time=True)
    engine(module, ("bare", namespace)).start(Run()).train_begin()
    assert called == ["alerts", "bare"]


def test_equal_plugins_are_two_plugins() -> None:
    """Plugins with equal methods, such as static ones, or the same object under two names, are each called."""
    called = []

    class Static:
        @staticmethod
        @hookimpl
        def on_train_begin(run: Run) -> None:
            called.append(run.plugin)

    one = Static()
    engine(("a", one), ("b", one), ("c", Static())).start(Run()).train_begin()
    assert called == ["a", "b", "c"]


def test_a_method_may_take_another_name_and_two_may_share_a_hook() -> None:
    """`specname` names the hook that a method of another name implements."""
    called = []

    class Renamed:
        @hookimpl(specname="on_epoch_begin")
        def first(self, epoch: int) -> None:
            called.append(("first", epoch))

        @hookimpl(specname="on_epoch_begin")
        def second(self) -> None:
            called.append(("second", 0))

    engine(Renamed()).start(Run()).epoch_begin(4)
    assert sorted(called) == [("first", 4), ("second", 0)]


def test_registration_evaluates_no_property() -> None:
    """Registration does not read a plugin's properties, whatever their names."""

    class Lazy(Plain):
        @property
        def on_device(self) -> bool:
            raise AssertionError("read")

        @property
        def expensive(self) -> bool:
            raise AssertionError("read")

    assert engine(Lazy()).names == ["lazy"]


def test_a_plugin_of_a_plain_class_keeps_its_attributes_inline() -> None:
    """A run does not make CPython create a dict for the attributes of a plain object, which would make them slower from then on.

    Registering the object itself with pluggy does.
    """

    class Plainer:
        def __init__(self) -> None:
            self.attribute = [0]

        @hookimpl
        def on_batch_end(self) -> None:
            self.attribute = [*self.attribute, 1]

    def has_dict(plugin: Plainer) -> bool:
        # Not by gc.get_referents(plugin): it shows the attributes in place of their dict since CPython 3.13.
        dicts = (one for one in gc.get_objects() if type(one) is dict)
        return any(one.get("attribute") is plugin.attribute for one in dicts)

    pluggys, plugin = Plainer(), Plainer()
    pluggy.PluginManager(PROJECT).register(pluggys)
    session = engine(plugin).start(Run())
    session.train_begin()
    session.epoch_begin(0)
    session.batch_end(0, Metrics())
    session.epoch_end(0, Metrics(), {})
    session.end()
    assert plugin.attribute == [0, 1]
    assert has_dict(pluggys)
    assert not has_dict(plugin)


@pytest.mark.parametrize(
    ("attribute", "value", "message"),
    [
        ("role", "observr", "role must be 'observer' or 'actor', got 'observr'. Did you mean 'observer'?"),
        (
            "needs",
            ("chekpoint",),
            "graph, embeddings, picture, got ('chekpoint',).",
        ),
        ("needs", "checkpoint", "got 'checkpoint'."),
    ],
)
def test_a_misspelt_role_or_need_is_refused(attribute: str, value: Any, message: str) -> None:
    """A misspelt role or need is an error, because it would make a logger an actor, or be ignored."""
    plugin = SimpleNamespace(name="odd", on_train_end=hookimpl(lambda: None), **{attribute: value})
    with pytest.raises(RegistrationError, match=re.escape(message)):
        Engine([plugin])


def test_state_that_cannot_be_saved_is_refused_by_name() -> None:
    """State that is not JSON-able is refused at registration, or when it is saved, with the name of the plugin that has it."""

    class Keeps:
        kept: object = None

        @hookimpl
        def on_epoch_end(self) -> None:
            self.kept = {1, 2}

        def state_dict(self) -> Any:
            return {"kept": self.kept}

        def load_state_dict(self, state: Any) -> None:
            self.kept = state["kept"]

    late = Keeps()
    session = Engine([("late", late)]).start(Run())
    session.epoch_end(0, {}, {})
    with pytest.raises(RegistrationError, match="Plugin 'late': state_dict returned a value that cannot be saved"):
        session.capture()
    early = Keeps()
    early.kept = {1}
    with pytest.raises(RegistrationError, match="Plugin 'early': state_dict returned a value that cannot be saved"):
        Engine([("early", early)])
