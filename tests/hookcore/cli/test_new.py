"""`hookcore new` makes distributions that work, and refuses a name before it writes anything."""

from __future__ import annotations

import configparser
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from hookcore.cli.new import new
from hookcore.testing import Harness, adapter_checks

if TYPE_CHECKING:
    from click.testing import Result

ROOT = Path(__file__).parents[3]
INSTALL = "  pip install --upgrade pip\n  pip install -e . --group test"  # a new environment's pip may be without --group
BLOCK = re.compile(r"^```python\n(?:# (\w+\.py)\n)?(.+?)^```$", re.MULTILINE | re.DOTALL)


def make(parent: Path, *arguments: str) -> Result:
    return CliRunner().invoke(new, [*arguments, "--in", str(parent)])


def run(directory: Path, *command: str) -> str:
    """Run `python command` beside the distribution in `directory`, as if it were installed; return what it prints."""
    project = tomllib.loads((directory / "pyproject.toml").read_text())["project"]
    info = directory / "src" / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir(exist_ok=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    groups = project["entry-points"].items()
    sections = [f"[{group}]\n" + "".join(f"{name} = {entries[name]}\n" for name in entries) for group, entries in groups]
    (info / "entry_points.txt").write_text("\n".join(sections))
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}
    environment["PYTHONPATH"] = os.pathsep.join([str(directory / "src"), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run([sys.executable, *command], cwd=directory, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_new_plugin_passes_its_tests_and_is_found_by_its_name(tmp_path: Path) -> None:
    """A new plugin passes its tests, one of which asks for it by name, and `hookcore plugins` lists it with its parameters."""
    made = make(tmp_path, "acme-limits")
    assert made.exit_code == 0
    directory = tmp_path / "acme-limits"
    assert f"  cd {directory}\n{INSTALL}\n  pytest\n  hookcore plugins acme_limits\n" in made.output
    assert "5 passed" in run(directory, "-m", "pytest", "-q", "-p", "no:cacheprovider")
    listed = run(directory, "-c", "from hookcore.cli.main import main; main()", "plugins", "acme_limits")
    assert "acme-limits 0.1.0" in listed
    assert "patience" in listed


def test_a_new_adapter_passes_its_tests(tmp_path: Path) -> None:
    """A new adapter passes every check of the contract, in a harness that another process imports; the list has it."""
    made = make(tmp_path, "acme-downhill", "--adapter")
    assert made.exit_code == 0
    assert f"{INSTALL}\n  pytest\n  hookcore plugins\n" in made.output
    directory = tmp_path / "acme-downhill"
    printed = run(directory, "-m", "pytest", "-q", "-p", "no:cacheprovider")
    assert f"{len(adapter_checks(Harness))} passed" in printed
    (row,) = [line for line in run(directory, "-m", "hookcore", "plugins").splitlines() if line.startswith("acme_downhill ")]
    assert row.split() == ["acme_downhill", "Downhill"]


@pytest.mark.parametrize("options", [[], ["--adapter"]])
def test_tox_works_with_some_of_the_pythons_and_with_a_clone(tmp_path: Path, options: list[str]) -> None:
    """It skips a Python that is missing, and the README shows how it gets hookcore from a clone."""
    make(tmp_path, "acme-limits", *options)
    tox = configparser.ConfigParser()
    tox.read(tmp_path / "acme-limits" / "tox.ini")
    assert tox["tox"].getboolean("skip_missing_interpreters")
    assert '$ PIP_FIND_LINKS="$(pwd)/wheels" tox' in (tmp_path / "acme-limits" / "README.md").read_text()


def test_the_documentation_has_the_same_adapter(tmp_path: Path) -> None:
    """The files of docs/writing-an-adapter.md are those of `hookcore new --adapter`, except for the name of the module."""
    blocks = {name: block for name, block in BLOCK.findall((ROOT / "docs/writing-an-adapter.md").read_text()) if name}
    make(tmp_path, "downhill-hooks", "--adapter")
    made = tmp_path / "downhill-hooks"
    assert blocks == {
        "downhill.py": (made / "tests/downhill.py").read_text(),
        "downhill_hooks.py": (made / "src/downhill_hooks/adapter.py").read_text(),
        "test_downhill.py": (made / "tests/test_adapter.py").read_text().replace("downhill_hooks.adapter", "downhill_hooks"),
    }


@pytest.mark.parametrize("name", ["x2-y3", "a-b-c", "gpu2_limits"])
def test_whatever_the_name_is_the_files_are_python_and_toml(tmp_path: Path, name: str) -> None:
    """No placeholder is left in any file, and each Python and TOML file is valid."""
    for kind in ("plugin", "adapter"):
        (tmp_path / kind).mkdir()
        assert make(tmp_path / kind, name, *["--adapter"] * (kind == "adapter")).exit_code == 0
        files = [path for path in (tmp_path / kind).rglob("*") if path.is_file()]
        assert {path.name for path in files} >= {"pyproject.toml", "README.md", "tox.ini", "tests.yml", ".gitignore", "py.typed"}
        for path in files:
            text = path.read_text()
            assert not re.search(r"\$\w", text), path
            if path.suffix == ".py":
                compile(text, path, "exec")
            if path.suffix == ".toml":
                assert tomllib.loads(text)["project"]["name"] == name


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("Acme", "must be words of lower-case letters"),
        ("acme limits", "must be words of lower-case letters"),
        ("../acme", "must be words of lower-case letters"),
        ("2acme", "must be words of lower-case letters"),
        ("acme-", "must be words of lower-case letters"),
        ("", "must be words of lower-case letters"),
        ("class", "is a keyword or a standard module of Python. Put another word before it, such as acme-class."),
        ("none", "would be a class None, a keyword of Python. Put another word before it, such as acme-none."),
        ("true", "would be a class True, a keyword of Python"),
        ("json", "is a keyword or a standard module of Python"),
        ("early-stopping", "is the name of an installed plugin"),
        ("tests", "is the name of a module that is already installed"),
        ("hookcore", "is the name of a module that is already installed"),
        ("pluggy", "is the name of a module that is already installed"),
        ("run", "would be a class Run, a name that its module imports. Put another word before it, such as acme-run."),
    ],
)
def test_a_bad_name_is_an_error(tmp_path: Path, name: str, reason: str) -> None:
    """A bad name is an error that tells what is expected, and nothing is written."""
    made = make(tmp_path, name)
    assert made.exit_code == 2
    assert f"{name!r} {reason}" in " ".join(made.output.split())
    assert list(tmp_path.iterdir()) == []


def test_the_name_of_an_installed_distribution_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even if its module is called otherwise, as is scikit-learn's."""
    info = tmp_path / "site" / "acme_numbers-1.2.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: Acme-Numbers\nVersion: 1.2\n")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    made = make(tmp_path, "acme-numbers")
    assert made.exit_code == 2
    assert "'acme-numbers' is the name of an installed distribution" in " ".join(made.output.split())
    assert not (tmp_path / "acme-numbers").exists()


@pytest.mark.parametrize("is_file", [True, False])
def test_nothing_is_overwritten(tmp_path: Path, *, is_file: bool) -> None:
    """A file or directory with that name stays unchanged, even an empty directory."""
    there = tmp_path / "acme-limits"
    if is_file:
        there.write_text("mine")
    else:
        there.mkdir()
    made = make(tmp_path, "acme-limits")
    assert made.exit_code == 1
    assert "already exists, and is not changed" in made.output
    assert there.read_text() == "mine" if is_file else list(there.iterdir()) == []


def test_what_could_not_be_written_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the disk is full, the error tells it and nothing is left behind."""

    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", fail)
    made = make(tmp_path, "acme-limits")
    assert made.exit_code == 1
    assert "could not be written: No space left on device." in made.output
    assert list(tmp_path.iterdir()) == []
