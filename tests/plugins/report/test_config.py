"""The configuration, the command and the commit in the record of a run."""

from __future__ import annotations

import argparse
import enum
import functools
import shutil
import subprocess
import sys
from collections.abc import Iterator, MutableMapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest

from hookcore import ParameterError, Run
from hookcore.authoring import command_without_secrets, without_secrets
from hookcore_plugins import EarlyStopping, Report, RunReport
from hookcore_plugins.report import surroundings
from hookcore_plugins.report.surroundings import data_sizes
from tests.plugins.report.reporting import recorded

LOSSES = [{"loss": 1.0, "val_loss": 1.0}]


class Kind(enum.Enum):
    ADAM = "adam"
    OTHER = 7


@dataclass
class Optimizer:
    rate: float = 0.1
    kind: Kind = Kind.ADAM
    secret_id: str = field(default="hunter2", repr=False)


@attrs.define
class Model:
    depth: int = 3
    login: str = attrs.field(default="hunter2", repr=False)


class Omega(MutableMapping[str, Any]):
    """A mapping that computes its values, as OmegaConf's do, and is not a `dict`."""

    def __init__(self, **values: Any) -> None:
        self.values_ = values

    def __getitem__(self, key: str) -> Any:
        value = self.values_[key]
        if value == "???":
            raise ValueError(f"Missing mandatory value: {key}")
        return self.values_[value[2:-1]] if isinstance(value, str) and value.startswith("${") else value

    def __setitem__(self, key: str, value: Any) -> None: ...
    def __delitem__(self, key: str) -> None: ...
    def __iter__(self) -> Iterator[str]:
        return iter(self.values_)

    def __len__(self) -> int:
        return len(self.values_)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, {}),
        (
            {"lr": np.float32(0.5), "layers": (1, 2), "nan": None, 7: {"a", "b"}},
            {"lr": 0.5, "layers": [1, 2], "nan": None, "7": ["a", "b"]},
        ),
        (
            argparse.Namespace(out=Path("runs"), func=shutil.copy, api_key="hunter2"),
            {"out": "runs", "func": "copy", "api_key": "(secret)"},
        ),
        (Optimizer(), {"rate": 0.1, "kind": "adam", "secret_id": "(secret)"}),
        ({"model": Model(), "other": Kind.OTHER}, {"model": {"depth": 3, "login": "(secret)"}, "other": "OTHER"}),
        ({"db": {"password": "hunter2", "keys": ["hunter2"]}}, {"db": {"password": "(secret)", "keys": "(secret)"}}),
        (Omega(a=1, b="${a}", inner=Omega(c=[True])), {"a": 1, "b": 1, "inner": {"c": [True]}}),
        ({"data": "s3://ada:hunter2@host/x?part=2", "max_tokens": 5}, {"data": "s3://(secret)@host/x?part=2", "max_tokens": 5}),
    ],
)
def test_every_form_of_a_configuration(given: Any, expected: dict[str, Any]) -> None:
    """Mappings, classes and namespaces become plain values, and no secret is kept, not even in the plugin."""
    assert Report("runs", config=given).config == expected
    assert "hunter2" not in repr(Report("runs", config=given))


def deep() -> dict[str, Any]:
    config: dict[str, Any] = {}
    config["self"] = config
    return config


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (7, "config must be a mapping, an attrs or dataclass object, or an argparse namespace, got 7"),
        (Optimizer, "config must be a mapping"),
        ({"a": [{"b": b"x"}]}, r"config\.a\[0\]\.b must be JSON-able, .*, got b'x'"),
        ({1: 0, "1": 0}, "two keys of one name"),
        ({(1, 2): 0}, "must have texts or numbers as keys"),
        (deep(), "Does it contain itself"),
        (Omega(a="???"), "config cannot be read: ValueError: Missing mandatory value: a"),
    ],
)
def test_what_is_no_configuration(given: Any, message: str) -> None:
    """The error names the entry and what was expected."""
    with pytest.raises(ParameterError, match=message):
        Report("runs", config=given)


def test_the_record_has_the_configuration_once(tmp_path: Path) -> None:
    """The configuration reads back equal, and is not also a parameter of the plugin."""
    report = recorded(tmp_path, LOSSES, [EarlyStopping(patience=4, mode="auto")], config={"lr": 0.1, "model": {"depth": 3}})
    assert report.config == {"lr": 0.1, "model": {"depth": 3}}
    assert "config" not in report.plugins["report"]
    assert report.parameters_chosen("early_stopping") == {"patience": 4}
    assert report.dumps() == (tmp_path / "run.json").read_text()


def test_a_record_without_any_of_it_is_read() -> None:
    """A file of an earlier version has no configuration, no command and no commit, and shows all parameters."""
    report = RunReport.read(Path(__file__).with_name("run_of_format_1.json"))
    assert (report.config, report.command, report.commit, report.is_dirty, report.data) == ({}, [], None, None, {})
    assert report.parameters_chosen("early_stopping") == report.plugins["early_stopping"]


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        (["--api-key", "x", "--lr", "0.1"], "--api-key (secret) --lr 0.1"),
        (["--password=x y", "-v"], "--password=(secret) -v"),
        (["db.password=x", "db.user=ada"], "db.password=(secret) db.user=ada"),
        (["posts:room=a,token=x,url=b"], "posts:room=a,token=(secret)"),
        (['{"api_key": "x"}', "{token: x}"], '{"api_key":(secret) {token:(secret)'),
        (["--no-auth", "--lr", "https://ada:x@host/a@b"], "--no-auth --lr https://(secret)@host/a@b"),
        (["--tokens", "A", "B", "--lr", "0.1"], "--tokens (secret) (secret) --lr 0.1"),
        (["--api-key", "-x", "-v", "y"], "--api-key (secret) -v y"),
        (["--api-key", "--lr", "0.1", "y"], "--api-key --lr 0.1 y"),
        (["--password=", "x", "y", "-v"], "--password=(secret) (secret) (secret) -v"),
        (["--header=Authorization: Bearer x"], "--header=Authorization: (secret)"),
        (["-H", "X-Api-Key:x"], "-H X-Api-Key:(secret)"),
        (["--bearer=x", "--pass=x", "--pass", "x"], "--bearer=(secret) --pass=(secret) --pass (secret)"),
        (["--first-pass=3", "--map", "a:b", "https://host:80/a"], "--first-pass=3 --map a:b https://host:80/a"),
        (["--max-new-tokens", "5", "key_dim=3", "tokenizer=bert"], "--max-new-tokens 5 key_dim=3 tokenizer=bert"),
    ],
)
def test_a_command_without_secrets(given: list[str], shown: str) -> None:
    """The values of secret options, pairs and headers, and the user and password in a URL, are hidden; everything else stays."""
    assert " ".join(command_without_secrets(given)) == shown
    assert without_secrets("a plain text: with = signs") == "a plain text: with = signs"


def test_the_command_and_the_commit(tmp_path: Path) -> None:
    """The record has the command line, the commit of the script, and whether tracked files were changed; no hook runs."""
    git = functools.partial(subprocess.run, cwd=tmp_path, check=True, capture_output=True, text=True)
    script = tmp_path / "train.py"
    script.write_text(
        "from hookcore_adapters.loop import Loop\nfrom hookcore_plugins import Report\n"
        "with Loop([Report('report', summary=False)], epochs=1) as loop:\n    [loop.log(loss=1.0) for _ in loop.epochs()]\n"
    )
    who = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    for arguments in (["init", "-q"], ["add", "train.py"], [*who, "commit", "-q", "-m", "first"]):
        git(["git", *arguments])
    hook = tmp_path / "hook.sh"
    hook.write_text(f"#!/bin/sh\ntouch {tmp_path / 'ran'}\n")
    hook.chmod(0o755)
    git(["git", "config", "core.fsmonitor", str(hook)])
    commit = git(["git", "rev-parse", "HEAD"]).stdout.strip()
    for is_dirty in (False, True):
        subprocess.run([sys.executable, script, "--token", "hunter2", "--lr=0.1"], cwd=tmp_path, check=True)
        report = RunReport.read(tmp_path / "report")
        assert (report.commit, report.is_dirty) == (commit, is_dirty)
        assert report.command == ["python", str(script), "--token", "(secret)", "--lr=0.1"]
        script.write_text(script.read_text() + "# changed\n")
    assert not (tmp_path / "ran").exists()


def test_without_git_or_a_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no commit, and no error, without a repository, without git, and in a repository that is damaged."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys.modules["__main__"], "__file__", str(tmp_path / "train.py"), raising=False)
    assert surroundings.revision() == (None, None)
    (tmp_path / ".git").mkdir()
    assert surroundings.revision() == (None, None)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert surroundings.revision() == (None, None)


class Data:
    def __init__(self, size: int) -> None:
        self.dataset = range(size)


@pytest.mark.parametrize(
    ("data", "size"),
    [((np.zeros((5, 2)), 0), 5), ({"x": np.zeros(4)}, 4), (Data(7), 7), ([Data(7), Data(8)], 15), (None, None), (iter([]), None)],
)
def test_sizes_as_far_as_the_loop_knows(data: Any, size: int | None) -> None:
    """The number of samples in arrays and loaders is recorded, and left out for other data."""
    expected = {} if size is None else {"validation_samples": size}
    assert data_sizes(Run.of(steps_per_epoch=3, validation_data=data)) == {"batches_per_epoch": 3, **expected}
