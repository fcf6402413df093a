"""Engines from configurations: TOML, YAML, JSON, mappings and the environment, and which of several sources counts."""

from __future__ import annotations

import json
import logging
import re
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import pytest

import hookcore_plugins
from hookcore import Engine, LoadError, ParameterError, RegistrationError, SpecError, hookimpl
from hookcore.registry import configuration, discovery
from hookcore_adapters.loop import Loop
from hookcore_plugins import Console, EarlyStopping, LearningRateSchedule

TABLE = {"plugins": ["console", {"early_stopping": {"patience": 3, "monitor": "loss"}}], "on_error": {"console": "raise"}}
TOML = """plugins = ["console", {early_stopping = {patience = 3, monitor = "loss"}}]
on_error = {console = "raise"}
"""
YAML = """# a comment
other: {plugins: 3}
hookcore:
  plugins:
    - console
    - early_stopping:
        patience: 3
        monitor: loss
  on_error:
    console: raise
"""


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Turn off what this environment autoloads."""
    monkeypatch.setenv("HOOKCORE_NO_AUTOLOAD", "1")
    monkeypatch.delenv("HOOKCORE_DISABLE_PLUGINS", raising=False)
    monkeypatch.delenv("HOOKCORE_PLUGINS", raising=False)


def write(directory: Path, name: str, text: str) -> Path:
    path = directory / name
    path.write_text(text)
    return path


def halved(epoch: int) -> float:
    return 0.5**epoch


HALVED = f"{__name__}:halved"


class Foreign(Mapping[str, Any]):
    """A mapping of another library, such as OmegaConf's."""

    def __init__(self, content: dict[str, Any]) -> None:
        self.content = content

    def __getitem__(self, key: str) -> Any:
        value = self.content[key]
        return Foreign(value) if isinstance(value, dict) else Listed(value) if isinstance(value, list) else value

    def __iter__(self) -> Iterator[str]:
        return iter(self.content)

    def __len__(self) -> int:
        return len(self.content)


class Listed(Sequence[Any]):
    def __init__(self, content: list[Any]) -> None:
        self.content = content

    def __getitem__(self, index: Any) -> Any:
        value = self.content[index]
        return Foreign(value) if isinstance(value, dict) else value

    def __len__(self) -> int:
        return len(self.content)


@attrs.define(eq=False)
class Labelled:
    labels: list[str]
    weights: dict[str, list[int]]

    @hookimpl
    def on_train_begin(self) -> None:
        pass


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("hookcore.toml", f"[hookcore]\n{TOML}"),
        ("train.toml", f"[model]\nlayers = 3\n[hookcore]\n{TOML}"),
        ("pyproject.toml", f"[tool.hookcore]\n{TOML}"),
        ("run.json", json.dumps({"hookcore": TABLE})),
        ("run.yaml", YAML),
        ("run.yml", YAML),
    ],
)
def test_a_file_gives_the_engine_that_code_gives(tmp_path: Path, name: str, text: str) -> None:
    """TOML, pyproject.toml, YAML and JSON give the same plugins in the same order, with the same parameters and policies."""
    if name.endswith(("yaml", "yml")):
        pytest.importorskip("yaml")
    path = write(tmp_path, name, text)
    for engine in (Engine.from_config(path), Engine.from_config(str(path)), Engine.of(path), Engine.of(str(path))):
        assert engine.names == ["console", "early_stopping"]
        assert (engine["early_stopping"].patience, engine["early_stopping"].monitor) == (3, "loss")
        assert engine.on_error == {"console": "raise"}


@pytest.mark.parametrize(
    "given",
    [
        TABLE,
        {"hookcore": TABLE, "model": {}},
        Foreign(TABLE),
        {**TABLE, "plugins": {"console": None, "early_stopping": {"patience": 3, "monitor": "loss"}}},
        {**TABLE, "plugins": [Console(), EarlyStopping("loss", patience=3)]},
        {**TABLE, "plugins": ["console", "early_stopping:patience=3,monitor=loss"]},
    ],
    ids=["table", "whole", "foreign", "names", "objects", "specs"],
)
def test_a_mapping_is_a_configuration(given: Any) -> None:
    """A configuration is the table or a mapping with the key `hookcore`, of any library, with plugins as a list or by name."""
    with Loop(given, epochs=1) as loop:
        engine = loop._driver.engine
    assert engine.names == ["console", "early_stopping"]
    assert engine["early_stopping"].patience == 3
    assert engine.on_error == {"console": "raise"}


def test_plugins_of_a_list_may_be_mappings() -> None:
    """A mapping in a list of plugins, also in code, has parameters and may have a name."""
    engine = Engine([{"early_stopping": {"patience": 2}}, {"early_stopping": {"monitor": "val_acc"}, "name": "second"}])
    assert engine.names == ["early_stopping", "second"]
    assert (engine["early_stopping"].patience, engine["second"].monitor) == (2, "val_acc")


def test_values_of_another_library_become_plain() -> None:
    """A plugin gets plain dicts and lists, whose copies and states are JSON-able, for those of another library."""
    from hookcore.registry.place import Place
    from hookcore.registry.spec_string import checked_arguments

    given = Foreign({"labels": ["a"], "weights": {"b": [1]}})
    arguments = checked_arguments(Place(), given, Labelled)
    assert arguments == {"labels": ["a"], "weights": {"b": [1]}}
    assert [type(arguments[key]) for key in arguments] == [list, dict]
    assert type(arguments["weights"]["b"]) is list


def test_a_text_is_converted_as_in_a_spec_string() -> None:
    """`1e-3`, which is a string in YAML, becomes a number if the parameter is a number."""
    assert Engine([{"early_stopping": {"min_delta": "1e-3", "patience": "4"}}])["early_stopping"].min_delta == 0.001


@pytest.mark.parametrize(
    "given",
    [f"learning_rate_schedule:schedule={HALVED}", {"learning_rate_schedule": {"schedule": HALVED}}],
)
def test_a_schedule_can_be_named(given: Any) -> None:
    """A function is written as package.module:function, in a spec string and in a mapping."""
    assert Engine([given])["learning_rate_schedule"].schedule(2) == 0.25


@pytest.mark.parametrize("name", ["cosine", "hookcore.nothing:f", "math:nothing", "math:pi", "math:", ":f"])
def test_a_function_that_cannot_be_imported_is_an_error(name: str) -> None:
    """The error has the value, how to write a function, and why the import failed."""
    with pytest.raises(SpecError, match=r"schedule must be the name of a function .* package\.module:function, got"):
        Engine([f"learning_rate_schedule:schedule={name}"])


FILE = "hookcore.toml: hookcore."
MISTAKES = {
    "plugin = []": FILE + "plugin: there is no key 'plugin'; there are: plugins, on_error, autoload. Did you mean 'plugins'?",
    "plugins = 3": FILE + "plugins: expected a list",
    "plugins = 'console'": FILE + "plugins: expected a list",
    "plugins = [3]": FILE + "plugins[0]: expected a spec string or a mapping, got 3.",
    "plugins = ['early_stoping']": FILE + "plugins[0]: No plugin is called 'early_stoping'",
    "plugins = ['console', 'early_stopping:patiance=3']": FILE
    + "plugins[1]: Plugin spec 'early_stopping:patiance=3': no parameter 'patiance'",
    "plugins = [{early_stoping = {}}]": FILE + "plugins[0].early_stoping: No plugin is called 'early_stoping'",
    "plugins = [{early_stopping = {patiance = 3}}]": FILE + "plugins[0].early_stopping.patiance: no parameter 'patiance'",
    "plugins = [{early_stopping = {patience = 'x'}}]": FILE
    + "plugins[0].early_stopping.patience: patience must be an integer, got 'x'.",
    "plugins = [{early_stopping = {patience = -1}}]": FILE
    + "plugins[0].early_stopping.patience: EarlyStopping: patience must be an integer of at least 0, got -1.",
    "plugins = [{early_stopping = 3}]": FILE + "plugins[0].early_stopping: expected a mapping of parameters, got int.",
    "plugins = [{csv_log = {}}]": FILE + 'plugins[0].csv_log: path must be given, as in {csv_log = {path = "..."}}.',
    "plugins = ['csv_log']": FILE + "plugins[0]: Plugin spec 'csv_log': path must be given, as in 'csv_log:path=...'.",
    "plugins = ['csv_log:append=true']": FILE
    + "plugins[0]: Plugin spec 'csv_log:append=true': path must be given, as in 'csv_log:append=...,path=...'.",
    "plugins = [{monitor = 'loss', min_delta = 0}]": FILE
    + "plugins[0]: a mapping must have one plugin's name with its parameters, such as {early_stopping = {patience = 3}}, "
    "and may have name and replaces beside it, got the keys 'monitor', 'min_delta'. None of them is a plugin's name. "
    "If Hydra made this plugin, its engine or loop needs `_convert_: all`.",
    "plugins = [{class_path = 'hookcore_plugins.CSVLog'}]": FILE
    + "plugins[0]: class_path is for jsonargparse, which has not made 'hookcore_plugins.CSVLog'. With jsonargparse.set",
    "plugins = [{}]": FILE + "plugins[0]: a mapping must have one plugin's name",
    "plugins = [{console = {}, csv_log = {}}]": FILE + "plugins[0]: a mapping must have one plugin's name",
    "plugins = [{console = {}, name = 3}]": FILE + "plugins[0].name: name must be a non-empty string, got 3.",
    "plugins = [{console = {}, replaces = 3}]": FILE + "plugins[0].replaces: ",
    "plugins = ['console', 'console']": FILE + "plugins[1]: Two plugins are called 'console'.",
    "[hookcore.plugins]\nearly_stopping = {patiance = 3}": FILE + "plugins.early_stopping.patiance: no parameter 'patiance'",
    "autoload = 1": FILE + "autoload: autoload must be true or false, got 1.",
    "on_error = 'raise'": FILE + "on_error: expected a table",
    "plugins = ['console']\non_error = {consol = 'raise'}": FILE + "on_error: no plugin is called 'consol'",
    "plugins = ['console']\non_error = {console = 'ignore'}": FILE + "on_error: the policy for 'console' must be",
}


@pytest.mark.parametrize("text", MISTAKES)
def test_a_mistake_is_named_by_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """The error has the file, the path of the key, what is wrong and, for a name, the nearest."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path, "hookcore.toml", text if text.startswith("[") else f"[hookcore]\n{text}")
    with pytest.raises((SpecError, ParameterError, RegistrationError)) as caught:
        Engine.from_config("hookcore.toml")
    assert str(caught.value).startswith(MISTAKES[text])
    if "patiance" in text:
        assert str(caught.value).endswith("Did you mean 'patience'?")


def test_a_mistake_in_yaml_has_its_line(tmp_path: Path) -> None:
    """The error has the line of the parameter, of the plugin, or of a key that is given twice."""
    pytest.importorskip("yaml")
    path = tmp_path / "run.yaml"
    for old, new, error in (
        ("patience", "patiance", ", line 7: hookcore.plugins[1].early_stopping.patiance: no parameter"),
        ("patience: 3", "patience: -3", ", line 7: hookcore.plugins[1].early_stopping.patience: EarlyStopping: patience must"),
        ("- early_stopping", "- early", ", line 6: hookcore.plugins[1].early: No plugin is called"),
        ("console: raise", "nothing: raise", ", line 9: hookcore.on_error: no plugin is called"),
        (
            "monitor: loss",
            "patience: 4",
            ", line 8: hookcore.plugins[1].early_stopping.patience: the key is given twice, first in",
        ),
        ("- console", "- console:x", ", line 5: hookcore.plugins[0]: Plugin spec 'console:x': expected key=value"),
    ):
        path.write_text(YAML.replace(old, new, 1))
        with pytest.raises((SpecError, ParameterError), match=re.escape(f"{path}{error}")):
            Engine.from_config(path)


def test_yaml_that_cannot_be_read_is_named_by_its_line(tmp_path: Path) -> None:
    """The error has the line's number, and not its text, which may have a secret."""
    pytest.importorskip("yaml")
    path = write(tmp_path, "run.yaml", "hookcore:\n  plugins: [alert: {api_token: hunter2}, }\n")
    with pytest.raises(SpecError, match="line 2 cannot be read as a configuration") as caught:
        Engine.from_config(path)
    assert "hunter2" not in str(caught.value)


def test_a_key_that_json_has_twice_is_an_error(tmp_path: Path) -> None:
    """A key that JSON has twice is an error, because otherwise one value would be lost without a message."""
    path = write(tmp_path, "run.json", '{"hookcore": {"plugins": ["console"], "plugins": []}}')
    with pytest.raises(SpecError, match="the key 'plugins' is given twice"):
        Engine.from_config(path)


@pytest.mark.parametrize(
    ("name", "text", "error"),
    [
        ("run.ini", "", "must be a file that ends in .toml, .yaml, .yml, .json"),
        ("none.toml", None, "No such file"),
        ("run.toml", "[hookcore", "cannot be read as a configuration: Expected"),
        ("run.json", "{", "cannot be read as a configuration: .*line 1"),
        ("run.toml", "[hookcor]", r"has no table \[hookcore\]; there are: hookcor. Did you mean 'hookcor'"),
        ("pyproject.toml", "[hookcore]", r"has no table \[tool.hookcore\]"),
        ("run.json", "[]", "has no key 'hookcore'"),
        ("run.json", '{"hookcore": 3}', "expected a table with plugins or on_error or autoload, got 3"),
    ],
)
def test_a_file_that_gives_no_table_is_an_error(tmp_path: Path, name: str, text: str | None, error: str) -> None:
    """The error names the file, and what was expected in it."""
    path = tmp_path / name
    if text is not None:
        path.write_text(text)
    with pytest.raises(SpecError, match=error) as caught:
        Engine.from_config(path)
    assert name in str(caught.value)


def test_yaml_without_its_library_names_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """YAML without PyYAML is an error that names the extra to install."""
    monkeypatch.setitem(__import__("sys").modules, "yaml", None)
    with pytest.raises(LoadError, match=r"needs PyYAML: pip install 'hookcore\[yaml\]'"):
        Engine.from_config(write(tmp_path, "run.yaml", YAML))


def test_code_counts_more_than_a_configuration() -> None:
    """A plugin in code replaces the one of its name in the configuration; policies and autoload in code win too."""
    config = {"plugins": ["console", "early_stopping:patience=3"], "on_error": {"console": "raise"}, "autoload": False}
    engine = Engine.from_config(config, [EarlyStopping(patience=5)], on_error={"console": "disable"})
    assert engine.names == ["early_stopping", "console"]
    assert engine["early_stopping"].patience == 5
    assert engine.on_error == {"console": "disable"}


def test_the_environment_adds_plugins(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """The environment adds plugins after those of code and configuration, which win if names are equal; this is logged."""
    monkeypatch.setenv("HOOKCORE_PLUGINS", ' csv_log:path="a;b.csv" ;console; ; early_stopping:patience=9;')
    with caplog.at_level(logging.WARNING, logger="hookcore"):
        engine = Engine([Console()])
    assert engine.names == ["console", "csv_log", "early_stopping"]
    assert engine["csv_log"].path == Path("a;b.csv")
    assert caplog.messages == ["HOOKCORE_PLUGINS names 'console', which this engine has by code: that counts"]
    assert Engine.from_config({"plugins": ["early_stopping:patience=3"]})["early_stopping"].patience == 3
    assert Engine(autoload=False).names == []


@pytest.mark.parametrize("value", ["early_stoping", "console;early_stopping:patiance=3", "csv_log"])
def test_a_mistake_in_the_environment_names_the_variable(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    """A mistake in the environment is an error that names the variable, and is not left out."""
    monkeypatch.setenv("HOOKCORE_PLUGINS", value)
    with pytest.raises(SpecError, match=r"^HOOKCORE_PLUGINS: "):
        Engine()


def test_nothing_is_read_from_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A configuration file is read only if it is named."""
    monkeypatch.chdir(tmp_path)
    for name in ("hookcore.toml", "pyproject.toml"):
        write(tmp_path, name, "broken [")
    assert Engine().names == []


def test_an_engine_of_a_configuration_is_asked_for_as_one() -> None:
    """`Engine` takes plugins, and its error names the function that takes a configuration."""
    given: Any
    for given in (Path("hookcore.toml"), {"plugins": []}):
        with pytest.raises(RegistrationError, match="from_config"):
            Engine(given)
        with pytest.raises(RegistrationError, match="from_config"):
            Engine.from_config({}, given)
    assert Engine.from_config({}, "console").names == ["console"]


SHIPPED = [
    getattr(hookcore_plugins, entry.attr)
    for entry in discovery.entry_points(discovery.CATALOGUE)
    if entry.value.startswith("hookcore_plugins.")
]


@pytest.mark.parametrize("kind", [*SHIPPED, Engine, Loop], ids=lambda kind: kind.__name__)
def test_the_types_of_parameters_can_be_resolved(kind: Any) -> None:
    """Tools that make objects from configurations, such as jsonargparse, can resolve the types of parameters."""
    assert typing.get_type_hints(kind.__init__)


@pytest.mark.parametrize("init_args", [{"patience": 3}, {"patiance": 3}, {}])
def test_a_plugin_that_jsonargparse_has_not_made_is_an_error(init_args: dict[str, Any]) -> None:
    """Without the settings of the documentation it hands over a description instead of an object, a mapping or a namespace."""
    jsonargparse = pytest.importorskip("jsonargparse")
    jsonargparse.set_parsing_settings(instantiate_subclass_spec_in_any=False, validate_subclass_spec_in_any=False)
    parser = jsonargparse.ArgumentParser()
    parser.add_class_arguments(Engine, "engine")
    spec = {"class_path": "hookcore_plugins.EarlyStopping", "init_args": init_args}
    given = parser.parse_object({"engine": {"plugins": ["console", spec]}})
    with pytest.raises(
        SpecError, match=r"plugins\[1\]: class_path is for jsonargparse, which has not made 'hookcore_plugins\.Early"
    ):
        parser.instantiate(given)


def test_a_configuration_is_not_changed() -> None:
    """Reading does not change the mapping, which may serve the next run."""
    before = json.dumps(TABLE)
    Engine.from_config(TABLE)
    configuration.read(TABLE)
    assert json.dumps(TABLE) == before


def test_a_schedule_of_code_stays_a_function() -> None:
    """Objects in a configuration, such as those that Hydra's instantiate makes, are given to the plugin unchanged."""
    engine = Engine.from_config({"plugins": [{"learning_rate_schedule": {"schedule": halved}}]})
    assert isinstance(engine["learning_rate_schedule"], LearningRateSchedule)
    assert engine["learning_rate_schedule"].schedule is halved
