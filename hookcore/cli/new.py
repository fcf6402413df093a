"""`hookcore new`: make a distribution with a plugin or an adapter, whose tests pass."""

from __future__ import annotations

import importlib.util
import keyword
import re
import shutil
import sys
from importlib import metadata, resources
from pathlib import Path
from string import Template
from typing import Final

import click

from hookcore.registry import discovery

_NAME: Final = re.compile(r"[a-z][a-z0-9]*([-_][a-z0-9]+)*")
_BOTH: Final = {
    ".github/workflows/tests.yml": "tests.yml",
    ".gitignore": "gitignore",
    "tox.ini": "tox.ini",
    "src/{package}/py.typed": None,
}
_PLUGIN: Final = _BOTH | {
    "README.md": "plugin/README.md",
    "pyproject.toml": "plugin/pyproject.toml",
    "src/{package}/__init__.py": "plugin/init.py",
    "src/{package}/plugin.py": "plugin/plugin.py",
    "tests/test_plugin.py": "plugin/test_plugin.py",
}
_ADAPTER: Final = _BOTH | {
    "README.md": "adapter/README.md",
    "pyproject.toml": "adapter/pyproject.toml",
    "src/{package}/__init__.py": "adapter/init.py",
    "src/{package}/adapter.py": "adapter/adapter.py",
    "src/{package}/info.py": "adapter/info.py",
    "tests/downhill.py": "adapter/downhill.py",
    "tests/test_adapter.py": "adapter/test_adapter.py",
}
"""The files of a distribution, each with its template; None for an empty file. The adapter is docs/writing-an-adapter.md's."""

_IMPORTED: Final = frozenset({"Any", "Engine", "Loop", "Mapping", "ParameterError", "Run"})
"""The names that the templates import, which the class must not have."""


@click.command(short_help="Make a distribution with a plugin or an adapter of your own.")
@click.argument("name")
@click.option("--adapter", is_flag=True, help="Make an adapter for a framework instead of a plugin.")
@click.option(
    "--in",
    "parent",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    default=".",
    help="The directory in which to make it; by default the current one.",
)
def new(name: str, parent: Path, *, adapter: bool) -> None:
    """Make a distribution called NAME in a new directory: a plugin with its entry point, tests and README.

    NAME is the name for pip, in lower case, such as acme-limits. The module is then called acme_limits, and runs ask for the
    plugin by that name. The tests pass before you change anything. A directory that exists is not changed.
    """
    package = name.replace("-", "_")
    kind = "".join(word.capitalize() for word in package.split("_"))
    directory = parent / name
    if reason := _reason_against(name, package, kind):
        raise click.BadParameter(f"{name!r} {reason}", param_hint="NAME")
    values = {
        "name": name,
        "package": package,
        "Class": kind,
        "plugin": discovery.name_of(type(kind, (), {})),  # `package`, unless that has single letters or numbers
        "version": metadata.version("hookcore"),
    }
    try:
        directory.mkdir()
    except FileExistsError:
        message = f"{directory} already exists, and is not changed. Choose another name, or another directory with --in."
        raise click.ClickException(message) from None
    except OSError as error:
        raise click.ClickException(f"{directory} could not be made: {error.strerror}.") from error
    try:
        _write(directory, _ADAPTER if adapter else _PLUGIN, values)
    except BaseException as error:
        shutil.rmtree(directory, ignore_errors=True)  # this command made it, and a part of it is of no use
        if isinstance(error, OSError):
            raise click.ClickException(f"{directory} could not be written: {error.strerror}.") from error
        raise
    click.echo(f"Made {directory}, with {'an adapter' if adapter else f'the plugin {package}'}. To try it:\n")
    shown = f"hookcore plugins {'' if adapter else package}"
    commands = (f"cd {directory}", "pip install --upgrade pip", "pip install -e . --group test", "pytest", shown)
    click.echo("\n".join(f"  {command}".rstrip() for command in commands))


def _reason_against(name: str, package: str, kind: str) -> str:
    """Return why no distribution can have this name, as the end of a sentence; an empty string if one can."""
    if not _NAME.fullmatch(name):
        return "must be words of lower-case letters and digits, joined by - or _, and begin with a letter, such as acme-limits."
    if keyword.iskeyword(package) or package in sys.stdlib_module_names:
        return f"is a keyword or a standard module of Python. Put another word before it, such as acme-{name}."
    if keyword.iskeyword(kind) or kind in _IMPORTED:
        taken = "a keyword of Python" if keyword.iskeyword(kind) else "a name that its module imports"
        return f"would be a class {kind}, {taken}. Put another word before it, such as acme-{name}."
    if any(entry.name == package for entry in discovery.entry_points(discovery.CATALOGUE)):
        return "is the name of an installed plugin. Choose another: `hookcore plugins` lists those that are taken."
    if package in {"src", "test", "tests"} or importlib.util.find_spec(package) is not None:
        return "is the name of a module that is already installed, and one would hide the other. Choose another."
    reason = "is the name of an installed distribution, and pip would replace it with yours. Choose another."
    return reason if _is_installed(name) else ""


def _is_installed(name: str) -> bool:
    try:
        metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def _write(directory: Path, files: dict[str, str | None], values: dict[str, str]) -> None:
    templates = resources.files("hookcore.cli") / "templates"
    for name, template in files.items():
        path = directory / name.format_map(values)
        path.parent.mkdir(parents=True, exist_ok=True)
        text = "" if template is None else (templates / f"{template}.template").read_text(encoding="utf-8")
        path.write_text(Template(text).substitute(values), encoding="utf-8")
