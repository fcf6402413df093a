"""Entry points of real distributions, blocking, and plugins asked for by spec string."""

from __future__ import annotations

import importlib
import logging
import os
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import attrs
import pytest

from hookcore import CapabilityError, Engine, HookcoreWarning, LoadError, RegistrationError, Run, SpecError, hookimpl
from hookcore.registry.discovery import autoload_allowed, entry_points
from hookcore.registry.place import Place
from hookcore.registry.request import requested
from hookcore.registry.spec_string import parse_arguments
from hookcore.testing import RecordingPlugin, ScriptedTrainee

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Distribution = Callable[..., Path]

PLUGIN = """
    from hookcore import hookimpl
    class Alert:
        def __init__(self, channel: str = "general"):
            self.channel = channel
        @hookimpl
        def on_train_end(self):
            pass
"""


INSTALLED = [entry.name for entry in entry_points("hookcore.autoload")]
"""The plugins that other distributions in this environment autoload, which these tests leave out."""


def names(engine: Engine) -> list[str]:
    return [name for name in engine.names if name not in INSTALLED]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Distribution]:
    """Return a function that installs a distribution with one module and entry points.

    It returns the file that the module's import leaves behind.
    """
    modules: list[str] = []

    def installed(distribution: str, source: str, *, module: str | None = None, **groups: dict[str, str]) -> Path:
        """Install it. `groups` are `plugins` and `autoload`: entry-point names with the object in the module."""
        site, module = tmp_path / distribution, module or f"module_of_{distribution}"
        modules.append(module)
        marker = site / "imported"
        metadata = site / f"{distribution}-1.0.dist-info"
        metadata.mkdir(parents=True)
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
        lines = [
            line
            for group, names in groups.items()
            for line in [f"[hookcore.{group}]", *(f"{name} = {module}{target}" for name, target in names.items())]
        ]
        (metadata / "entry_points.txt").write_text("\n".join(lines))
        (site / f"{module}.py").write_text(f"import pathlib\npathlib.Path({str(marker)!r}).touch()\n{textwrap.dedent(source)}")
        monkeypatch.syspath_prepend(site)
        importlib.invalidate_caches()
        return marker

    yield installed
    for module in modules:
        sys.modules.pop(module, None)


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the environment variables before each test."""
    monkeypatch.delenv("HOOKCORE_DISABLE_PLUGINS", raising=False)
    monkeypatch.delenv("HOOKCORE_NO_AUTOLOAD", raising=False)
    monkeypatch.delenv("HOOKCORE_PLUGINS", raising=False)


# The catalogue.


def test_a_catalogue_plugin_is_made_only_when_asked_for(install: Distribution) -> None:
    """An entry point of the catalogue is imported only when its name is asked for, and its origin is recorded."""
    marker = install("acme", PLUGIN, plugins={"alert": ":Alert"})
    assert "alert" in [entry.name for entry in entry_points("hookcore.plugins")]
    assert names(Engine()) == []
    assert not marker.exists()
    engine = Engine(["alert:channel=ops", ("second", "alert")])
    assert marker.exists()
    assert [(one.name, one.origin, one.plugin.channel) for one in engine.plugins if one.name not in INSTALLED] == [
        ("alert", "acme 1.0", "ops"),
        ("second", "acme 1.0", "general"),
    ]


def test_a_catalogue_entry_may_be_a_plugin_itself(install: Distribution) -> None:
    """An entry point that names a module gives the module as plugin, which takes no parameters."""
    install("acme", "from hookcore import hookimpl\n@hookimpl\ndef on_train_end(): pass\n", plugins={"alert": ""})
    assert Engine(["alert"])["alert"].__name__ == "module_of_acme"
    with pytest.raises(SpecError, match="no parameter 'channel'; there are: none"):
        Engine(["alert:channel=ops"])


def test_an_unknown_name_is_refused_with_the_nearest(install: Distribution) -> None:
    """A name that no distribution offers is an error that lists the names and suggests the nearest."""
    install("acme", PLUGIN, plugins={"alert": ":Alert"})
    with pytest.raises(SpecError, match=r"is called 'alrt'; there are: activations, alert, checkpoint.*Did you mean 'alert'"):
        Engine(["alrt"])


def test_a_plugin_that_fails_to_import_is_an_error_when_asked_for(install: Distribution) -> None:
    """A failing import of a plugin that was asked for is an error that names plugin, distribution, module and reason."""
    install("acme", "import no_such_module", plugins={"alert": ":Alert"})
    with pytest.raises(LoadError, match=r"'alert' of acme 1.0 .*'module_of_acme:Alert': ModuleNotFoundError: .*no_such_module"):
        Engine(["alert"])


def test_a_plugin_that_cannot_be_made_is_an_error_that_names_it(install: Distribution) -> None:
    """A factory's error becomes an error that names plugin and distribution."""
    install("acme", "def make(): raise ImportError('pip install acme[all]')", plugins={"alert": ":make"})
    with pytest.raises(LoadError, match=r"'alert' of acme 1.0 could not be made: ImportError: pip install acme\[all\]"):
        Engine(["alert"])


def test_one_name_in_two_distributions_is_refused(install: Distribution) -> None:
    """If two distributions offer different objects under one name, neither is taken, and the error names both."""
    markers = [install(name, PLUGIN, plugins={"alert": ":Alert"}) for name in ("acme", "zeta")]
    with pytest.raises(SpecError, match=r"'alert' is offered by acme 1.0 and by zeta 1.0"):
        Engine(["alert"])
    assert not any(marker.exists() for marker in markers)


def test_one_name_for_one_object_in_two_distributions_is_fine(install: Distribution) -> None:
    """Two distributions may offer the same object under one name, such as an old and a new name of one project."""
    for name in ("acme", "zeta"):
        install(name, PLUGIN, module="shared_module", plugins={"alert": ":Alert"})
    assert names(Engine(["alert"])) == ["alert"]


# Autoload.


def test_an_autoload_plugin_is_in_every_engine_after_those_listed(install: Distribution) -> None:
    """Autoloaded plugins come after the plugins asked for, by name, and each engine gets new ones."""
    install("acme", PLUGIN, autoload={"zulu": ":Alert", "alpha": ":Alert"})
    first, second = Engine(["early_stopping"]), Engine()
    assert (names(first), names(second)) == (["early_stopping", "alpha", "zulu"], ["alpha", "zulu"])
    assert first["alpha"] is not second["alpha"]
    assert names(Engine(autoload=False)) == []


def test_an_autoload_plugin_may_be_a_module(install: Distribution) -> None:
    """An entry point of the autoload group that names a module gives the module as plugin."""
    install("acme", "from hookcore import hookimpl\n@hookimpl\ndef on_train_end(): pass\n", autoload={"alert": ""})
    assert Engine()["alert"].__name__ == "module_of_acme"


@pytest.mark.parametrize(
    "source",
    [
        "import no_such_module",
        "x = 1",
        "def Alert(): raise RuntimeError('no network')",
        "class Alert:\n    def on_epoch_ende(self): pass",
    ],
)
def test_an_autoload_plugin_that_fails_is_a_warning(install: Distribution, source: str) -> None:
    """If an autoload plugin cannot be imported, made or registered, a warning names it and the remedy; others load."""
    install("acme", source, autoload={"alert": ":Alert"})
    install("zeta", PLUGIN, autoload={"working": ":Alert"})
    with pytest.warns(HookcoreWarning, match=r"'alert' of acme 1.0 .*HOOKCORE_DISABLE_PLUGINS=alert"):
        assert names(Engine()) == ["working"]


def test_an_explicit_plugin_wins_over_autoload(install: Distribution) -> None:
    """A plugin that is listed under the name of an autoloaded one replaces it, and the other is not imported."""
    marker = install("acme", PLUGIN, autoload={"alert": ":Alert"})

    @attrs.define
    class Alert:
        @hookimpl
        def on_train_end(self) -> None:
            pass

    mine = Alert()
    assert Engine([mine])["alert"] is mine
    assert not marker.exists()


def test_of_two_autoload_plugins_of_one_name_the_first_is_taken(install: Distribution) -> None:
    """If two distributions autoload one name, that of the first distribution by name is taken."""
    install("zeta", PLUGIN, autoload={"alert": ":Alert"})
    install("acme", PLUGIN, autoload={"alert": ":Alert"})
    assert [one.origin for one in Engine().plugins if one.name not in INSTALLED] == ["acme 1.0"]


# Blocking.


@pytest.mark.parametrize("value", ["alert", "other, alert ,", "alert,other"])
def test_a_blocked_plugin_is_not_even_imported(install: Distribution, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    """A name in HOOKCORE_DISABLE_PLUGINS is neither autoloaded nor made when asked for, and its module is not imported."""
    marker = install("acme", PLUGIN, autoload={"alert": ":Alert"}, plugins={"alert": ":Alert"})
    monkeypatch.setenv("HOOKCORE_DISABLE_PLUGINS", value)
    assert names(Engine(["alert", "alert : channel=ops", ("mine", "alert"), ("alert", "early_stopping")])) == []
    assert not marker.exists()


@pytest.mark.parametrize(("value", "loaded"), [("1", False), ("yes", False), ("0", True), ("", True)])
def test_autoload_can_be_switched_off(
    install: Distribution,
    monkeypatch: pytest.MonkeyPatch,
    value: str,
    loaded: bool,  # noqa: FBT001 - a parameter
) -> None:
    """HOOKCORE_NO_AUTOLOAD, unless empty or 0, leaves out the whole autoload group without importing it; names still work."""
    marker = install("acme", PLUGIN, autoload={"alert": ":Alert"}, plugins={"asked": ":Alert"})
    monkeypatch.setenv("HOOKCORE_NO_AUTOLOAD", value)
    assert names(Engine()) == (["alert"] if loaded else [])
    assert marker.exists() == loaded
    assert names(Engine(["asked"]))[0] == "asked"


def test_the_environment_is_read_for_each_engine(install: Distribution, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable that is set after the import counts from the next engine on."""
    install("acme", PLUGIN, autoload={"alert": ":Alert"})
    before = names(Engine())
    monkeypatch.setitem(os.environ, "HOOKCORE_DISABLE_PLUGINS", "alert")
    assert (before, names(Engine())) == (["alert"], [])


# Spec strings.


@attrs.define
class Everything:
    """A factory with parameters of each kind that a string can give, and some that it cannot."""

    word: str = ""
    count: int = 0
    rate: float = 0.0
    flag: bool = False
    mode: Literal["auto", "min"] = "auto"
    path: Path = Path()
    maybe: int | None = None
    words: str | None = None
    either: bool | float | str = ""
    like: os.PathLike[str] = Path()
    items: list[int] = attrs.field(factory=list)
    later: int | list[int] = 0


def untyped(word=1, **more):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN003, ANN201 - what it is about
    """Take parameters without types."""


def unresolved(count: NoSuchType) -> None:  # type: ignore[name-defined]  # noqa: F821 - what it is about
    """Take parameters whose types cannot be resolved."""


def parse(text: str, factory: Any = Everything) -> dict[str, Any]:
    return parse_arguments(f"everything:{text}", text, factory)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {}),
        ("word=loss", {"word": "loss"}),
        (" word = a b , count = 3 ", {"word": "a b", "count": 3}),
        ('word="a,b=c"', {"word": "a,b=c"}),
        ("word='a,b'", {"word": "a,b"}),
        (r"path=C:\runs\first", {"path": Path(r"C:\runs\first")}),
        ("word=#1", {"word": "#1"}),
        ("word=", {"word": ""}),
        ("word=a=b", {"word": "a=b"}),
        ("count=-3,rate=1e-4", {"count": -3, "rate": 1e-4}),
        ("rate=3", {"rate": 3.0}),
        ("flag=true", {"flag": True}),
        ("flag=False", {"flag": False}),
        ("mode=min", {"mode": "min"}),
        ("path=runs/first,like=runs", {"path": Path("runs/first"), "like": "runs"}),
        ("maybe=none", {"maybe": None}),
        ("maybe=None", {"maybe": None}),
        ("maybe=4", {"maybe": 4}),
        ("words=none", {"words": None}),
        ("words=4", {"words": "4"}),
        ("either=true", {"either": True}),
        ("either=0.5", {"either": 0.5}),
        ("either=half", {"either": "half"}),
        ("later=4", {"later": 4}),
    ],
)
def test_values_are_converted_to_the_parameters_type(text: str, expected: dict[str, Any]) -> None:
    """The values of a spec string become what the factory's type hints name; only quotes and commas are special."""
    parsed = parse(text)
    assert parsed == expected
    assert {key: type(value) for key, value in parsed.items()} == {key: type(value) for key, value in expected.items()}


@pytest.mark.parametrize(("text", "expected"), [("word=3", {"word": "3"}), ("more=x", {"more": "x"})])
def test_a_factory_without_types_gets_strings(text: str, expected: dict[str, Any]) -> None:
    """If a parameter has no type, its value stays a string."""
    assert parse(text, untyped) == expected


def test_a_factory_whose_types_cannot_be_found_gets_strings() -> None:
    """If a type cannot be resolved, the value stays a string."""
    assert parse("count=3", unresolved) == {"count": "3"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("patience", "expected key=value, got 'patience'"),
        ("3", "expected key=value, got '3'"),
        ("cuont=3", r"no parameter 'cuont'; there are: word, count, .*Did you mean 'count'"),
        ("count=3,count=4", "'count' is given twice"),
        ("count=3.5", "count must be an integer, got '3.5'"),
        ("count=", "count must be an integer, got ''"),
        ("rate=fast", "rate must be a number, got 'fast'"),
        ("flag=yes", "flag must be true or false, got 'yes'"),
        ("mode=max", "mode must be 'auto' or 'min', got 'max'"),
        ("maybe=some", "maybe must be an integer or none, got 'some'"),
        ("items=1", "items must be given in Python, not in a string"),
        ("later=x", "later must be an integer or given in Python"),
        ('word="a', "No closing quotation"),
    ],
)
def test_a_spec_that_does_not_fit_is_refused(text: str, message: str) -> None:
    """A mistake in a spec string is an error that has the whole string, the parameter, the value and what was expected."""
    with pytest.raises(SpecError, match=f"(?s)Plugin spec .*everything:.*{message}"):
        parse(text)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("early_stopping:patience=-1", "EarlyStopping: patience must be an integer of at least 0, got -1"),
        ("early_stopping:mode=mni", "mode must be 'auto' or 'min' or 'max', got 'mni'"),
        ("checkpoint", "directory"),
        ("", "No plugin is called ''"),
    ],
)
def test_a_shipped_plugin_by_spec_validates_its_parameters(spec: str, message: str) -> None:
    """The parameters of a spec string are validated by the plugin, and a missing parameter is named."""
    with pytest.raises(SpecError, match=message):
        requested(spec, Place()).make()


def test_shipped_plugins_come_through_the_same_door() -> None:
    """The shipped plugins are entry points of this distribution, and none of them is autoloaded."""
    found = requested("early_stopping:patience=3,monitor=val_auc,restore_best_weights=true", Place()).make()
    plugin: Any = found.plugin
    assert found.origin.startswith("hookcore ")
    assert (plugin.patience, plugin.monitor, plugin.restore_best_weights) == (3, "val_auc", True)
    assert names(Engine()) == []


def test_a_pair_of_something_else_is_no_named_plugin() -> None:
    """Only a pair names a plugin: a longer tuple is taken for a plugin, and refused as one."""
    with pytest.raises(RegistrationError, match="no method marked"):
        Engine([("a", "b", "c")])


def test_a_blocked_name_that_no_plugin_has_is_said(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """A dash counts as an underscore; a name that is neither installed nor asked for is logged, with the nearest."""
    monkeypatch.setenv("HOOKCORE_DISABLE_PLUGINS", "csv-log, json_lgo,given")
    with caplog.at_level(logging.WARNING, "hookcore"):
        engine = Engine([("given", RecordingPlugin()), "csv_log:path=x"])
    assert engine.names == []
    assert [record.getMessage() for record in caplog.records if "no installed" in record.getMessage()] == [
        "HOOKCORE_DISABLE_PLUGINS names 'json_lgo', and no installed plugin is called that. Did you mean 'json_log'?"
    ]


def test_a_blocked_plugin_that_was_asked_for_is_said(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """If a plugin that was asked for is blocked, the log names it."""
    monkeypatch.setenv("HOOKCORE_DISABLE_PLUGINS", "early_stopping,second")
    assert Engine(["early_stopping:patience=3", ("second", RecordingPlugin())], autoload=False).names == []
    assert [record.getMessage() for record in caplog.records] == [
        f"plugin {name!r} was asked for and is blocked by HOOKCORE_DISABLE_PLUGINS" for name in ("early_stopping", "second")
    ]


@pytest.mark.parametrize(("value", "allowed"), [("", True), ("0", True), ("false", True), ("1", False), ("true", False)])
def test_autoload_is_switched_off_by_a_word_that_says_so(value: str, allowed: bool) -> None:  # noqa: FBT001
    """A word for false does not turn off the autoload group."""
    assert autoload_allowed({"HOOKCORE_NO_AUTOLOAD": value}) is allowed


def broken_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, metadata: bytes, entries: bytes) -> None:
    """Put a distribution with these files on the path."""
    info = tmp_path / "broken" / "unrelated-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_bytes(metadata)
    (info / "entry_points.txt").write_bytes(entries)
    monkeypatch.syspath_prepend(str(info.parent))
    importlib.invalidate_caches()


NAMED = b"Metadata-Version: 2.1\nName: unrelated\nVersion: 1.0\n"


@pytest.mark.parametrize(
    ("files", "origin"),
    [
        ((NAMED, b"[console_scripts]\nbroken line\n"), "unrelated 1.0"),
        ((NAMED, b"[console_scripts]\nx = \xff\xfe:y\n"), "unrelated 1.0"),
        ((b"Name: \xff\xfe\nVersion: \xff", b"[hookcore.autoload]\nbroken line\n"), "a distribution in "),
        ((b"Summary: nothing\n", b"[hookcore.autoload]\nbroken line\n"), "a distribution in "),
    ],
)
def test_a_package_whose_entry_points_cannot_be_read_costs_no_other(
    install: Distribution, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: tuple[bytes, bytes], origin: str
) -> None:
    """Each engine warns of such a package by name, and has the plugins of the others; an unknown name may be one of its names."""
    install("acme", PLUGIN, autoload={"alert": ":Alert"}, plugins={"asked": ":Alert"})
    broken_package(tmp_path, monkeypatch, *files)
    with pytest.warns(HookcoreWarning, match=f"The entry points of {origin}.*cannot be read, and runs continue"):
        engine = Engine(["asked:channel=x"])
    assert names(engine) == ["asked", "alert"]
    with pytest.raises(SpecError, match=f"No plugin is called 'lost'.* The entry points of {origin}.* cannot be read."):
        Engine(["lost"], autoload=False)


def test_a_package_without_metadata_is_named_by_its_place(
    install: Distribution, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A package without metadata is named by its place, and its plugin is used anyway."""
    install("acme", PLUGIN)
    broken_package(tmp_path, monkeypatch, b"Name: \xff\xfe", b"[hookcore.autoload]\nalert = module_of_acme:Alert\n")
    (alert,) = [registered for registered in Engine().plugins if registered.name == "alert"]
    assert alert.origin.startswith("a distribution in ")


OBSERVER = """
    from hookcore import hookimpl
    class Watch:
        role = "observer"
        {}
        @hookimpl
        def on_train_end(self):
            pass
"""


@pytest.mark.parametrize(
    "source",
    [
        "class S(BaseException): pass\nraise S('skipped')",
        "raise GeneratorExit",
        "import asyncio\nraise asyncio.CancelledError",
        "class E(Exception):\n    def __str__(self): raise ValueError\nraise E",
        *(
            OBSERVER.format(line)
            for line in (
                "role = property(lambda self: 1 / 0)",
                "needs = property(lambda self: 1 / 0)",
                "needs = 5",
                "shows_progress = property(lambda self: 1 / 0)",
                "on_epoch_end = property(lambda self: 1 / 0)\n        def __getattr__(self, name): raise ValueError(name)",
                "def state_dict(self): raise SystemExit\n        def load_state_dict(self, state): pass",
            )
        ),
    ],
)
def test_whatever_an_autoload_plugin_raises_is_a_warning(install: Distribution, source: str) -> None:
    """Whatever an autoload plugin raises, at import or registration, is a warning; if it was asked for, it is our error."""
    install("acme", source, autoload={"watch": ":Watch"}, plugins={"asked": ":Watch"})
    with pytest.warns(HookcoreWarning, match=r"Plugin 'watch' of acme 1\.0 could not be loaded"):
        assert names(Engine()) == []
    with pytest.raises((LoadError, RegistrationError), match="'asked'"):
        Engine(["asked"], autoload=False)


def test_ctrl_c_at_an_import_goes_through(install: Distribution) -> None:
    """Ctrl-C while a plugin is imported is raised at once."""
    install("acme", "raise KeyboardInterrupt", autoload={"watch": ":Watch"})
    with pytest.raises(KeyboardInterrupt):
        Engine()


def test_an_entry_point_without_a_name_is_left_out(install: Distribution) -> None:
    """An entry point without a name is left out, and the warning has its value."""
    install("acme", OBSERVER.format(""), autoload={"": ":Watch"})
    with pytest.warns(HookcoreWarning, match="the entry point 'module_of_acme:Watch' has no name"):
        assert names(Engine()) == []


def test_an_autoloaded_observer_that_the_trainee_cannot_serve_is_left_out(install: Distribution) -> None:
    """A warning names the need, and the run continues; if it was asked for, or is an actor, the run is refused."""
    install("acme", OBSERVER.format('needs = ("gradients",)'), autoload={"watch": ":Watch"}, plugins={"asked": ":Watch"})
    session = Engine().start(Run.of(ScriptedTrainee()))
    with pytest.warns(HookcoreWarning, match="'watch' of acme 1.0 .* runs continue without it: .* needs the trainee's gradients"):
        session.train_begin()
    session.end()
    assert (session.run.outcome, session.run.failures) == ("completed", [])
    with pytest.raises(CapabilityError, match="'asked' needs the trainee's gradients"):
        Engine(["asked"], autoload=False).start(Run.of(ScriptedTrainee())).train_begin()


AUTOLOADED = {"autoload": {"alert": ":Alert"}}


@pytest.mark.parametrize(
    "given", ["alert:channel=training", {"alert": {"channel": "training"}}, ("alert", "alert:channel=training")], ids=str
)
def test_an_autoloaded_plugin_gets_parameters(install: Distribution, given: Any) -> None:
    """An autoloaded plugin that is asked for by name is made once, with the given parameters."""
    install("alerts", PLUGIN, **AUTOLOADED)
    engine = Engine([given])
    assert names(engine) == ["alert"]
    assert engine["alert"].channel == "training"


def test_the_environment_gives_an_autoloaded_plugin_parameters(install: Distribution, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment can give an autoloaded plugin parameters."""
    install("alerts", PLUGIN, **AUTOLOADED)
    monkeypatch.setenv("HOOKCORE_PLUGINS", "alert:channel=training")
    assert Engine()["alert"].channel == "training"


class Mine(RecordingPlugin):
    replaces = ("alert",)


@pytest.mark.parametrize("given", [Mine(), ("mine", Mine()), {"csv_log": {"path": "x.csv"}, "replaces": "alert"}], ids=str)
def test_a_plugin_of_another_name_replaces_an_autoloaded_one(install: Distribution, given: Any) -> None:
    """A plugin replaces the autoloaded ones that it, or the mapping that asks for it, lists; they are not imported."""
    marker = install("alerts", PLUGIN, **AUTOLOADED)
    assert "alert" not in Engine([given]).names
    assert not marker.exists()


def test_names_that_a_plugin_replaces_are_a_tuple() -> None:
    """`replaces` must be a tuple, because a string would be a sequence of letters."""
    with pytest.raises(RegistrationError, match=r"replaces must be a tuple of names, got 'alert'"):
        Engine([type("Wrong", (RecordingPlugin,), {"replaces": "alert"})()])
