"""A secret parameter is in no record, log, message or page."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from hookcore import Engine, HookcoreError, ParameterError, Run, SpecError, hookimpl
from hookcore.authoring import validators
from hookcore.cli.installed import InstalledPlugin
from hookcore.cli.plugin_tables import _parameters
from hookcore.registry.spec_string import parse_arguments
from hookcore.secrecy import is_secret
from hookcore.testing import ScriptedTrainee
from hookcore_plugins import Checkpoint, JSONLog, Report

if TYPE_CHECKING:
    from pathlib import Path

SECRET = "hunter2"  # noqa: S105 - the secret of these tests


@attrs.define(eq=False)
class Posts:
    """Posts to a service."""

    url: str = attrs.field(default="https://example.org", validator=validators.text())
    api_token: str = attrs.field(default=SECRET, validator=validators.text())
    room: str = attrs.field(default=SECRET, repr=False, validator=validators.one_of(SECRET, "lobby"))

    @hookimpl
    def on_epoch_end(self) -> None:
        """Post nothing."""

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: Any) -> None:
        pass


@pytest.mark.parametrize(
    "name", ["token", "api_key", "apiKey", "aws_secret_access_key", "PASSWORD", "credentials", "auth", "key", "db_passwd"]
)
def test_a_name_tells_a_secret(name: str) -> None:
    """A secret word in a parameter's name makes it secret, in snake case and in camel case."""
    assert is_secret(name)


@pytest.mark.parametrize("name", ["monitor", "tokenizer", "keyboard", "author", "monkey", "patience", "secretary"])
def test_a_name_that_only_contains_one_is_none(name: str) -> None:
    """A secret word counts only as a whole word of the name."""
    assert not is_secret(name)


def test_no_file_of_a_run_has_a_secret(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The checkpoints, the log and the report have no secret, and neither has the log of a resumed run with another secret."""
    with caplog.at_level(logging.DEBUG):
        for epochs, posts in ((2, Posts()), (3, Posts("https://example.com", SECRET + "new", "lobby"))):
            plugins = [posts, Checkpoint(tmp_path / "c"), JSONLog(tmp_path / "log.jsonl"), Report(tmp_path / "r", summary=False)]
            train(plugins, epochs)
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert any(b"example.org" in file.read_bytes() for file in files)
    assert not any(SECRET.encode() in file.read_bytes() for file in files)
    assert "the parameters of plugin 'posts' have changed: url was" in caplog.text
    assert SECRET not in caplog.text
    assert "lobby" not in caplog.text


def train(plugins: list[Any], epochs: int) -> Run:
    from hookcore_adapters.loop import Loop

    with Loop(Engine(plugins, autoload=False), epochs=epochs, trainee=ScriptedTrainee(), resume="auto") as loop:
        for _ in loop.epochs():
            loop.log(loss=1.0)
    return loop.run


def test_a_secret_of_an_earlier_record_is_not_told(caplog: pytest.LogCaptureFixture) -> None:
    """A secret in a record of an earlier version is not shown, and its change is no reason to drop a vote."""
    first = Engine([Posts()], autoload=False).start(Run.of(ScriptedTrainee()))
    first.run.as_plugin("posts").stop("enough")
    capture = first.capture()
    record = json.loads(capture.record)
    assert SECRET not in capture.record
    record["plugins"]["posts"]["parameters"] |= {"api_token": SECRET, "room": SECRET}
    again = Engine([Posts()], autoload=False).start(Run.of(ScriptedTrainee()))
    again.restore(attrs.evolve(capture, record=json.dumps(record)))
    assert again.stopping
    assert SECRET not in caplog.text


@pytest.mark.parametrize("wrong", [{"api_token": 7_000_001}, {"room": "7000001"}])
def test_a_refused_secret_is_not_shown(wrong: dict[str, Any]) -> None:
    """If the value of a secret parameter is refused, the message has what was expected, and not the value."""
    with pytest.raises(ParameterError, match=r"Posts: .* must be .*, got \(secret\)") as caught:
        Posts(**wrong)
    assert "7000001" not in str(caught.value)


@pytest.mark.parametrize(
    "text", [f"api_token={SECRET},x=1", f"api_token={SECRET},{SECRET}", f"room={SECRET},x=1", f'room="{SECRET}']
)
def test_a_spec_with_a_secret_is_not_quoted(text: str) -> None:
    """An error in a spec string with a secret does not quote the string, whatever the mistake."""
    with pytest.raises(SpecError, match=r"Plugin spec 'posts:\(secret\)'") as caught:
        parse_arguments(f"posts:{text}", text, Posts)
    assert SECRET not in str(caught.value)


def test_a_blocked_spec_with_a_secret_is_not_quoted(monkeypatch: pytest.MonkeyPatch) -> None:
    """If a spec string with a secret is blocked, the error has only the plugin's name."""
    monkeypatch.setenv("HOOKCORE_DISABLE_PLUGINS", "posts")
    with pytest.raises(HookcoreError, match="Plugin 'posts' is blocked") as caught:
        Engine(autoload=False).register(f"posts:token={SECRET}")
    assert SECRET not in str(caught.value)


def test_a_page_of_a_plugin_has_no_secret() -> None:
    """`hookcore plugins NAME` shows that a secret has a default, and not its value."""
    table = _parameters(InstalledPlugin("posts", "catalogue", "here", "posts:Posts", plugin=Posts, methods=Posts))
    shown = [str(cell) for column in table.columns for cell in column.cells]
    assert "(secret)" in shown
    assert not any(SECRET in cell for cell in shown)
