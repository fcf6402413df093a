"""The built site has everything that there is to document, and loads nothing from other hosts.

`tox run -e docs` builds it, with every warning of Sphinx as an error, and gives its directory as the variable SITE.
"""

from __future__ import annotations

import functools
import os
import re
import zlib
from html.parser import HTMLParser
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
import pytest

import hookcore
import hookcore.authoring
import hookcore.store
import hookcore.testing
import hookcore_plugins
import hookcore_plugins.report.recorded
from hookcore import HOOKS
from hookcore.adapter_info import GROUP
from hookcore.cli.main import main
from hookcore.registry import discovery

if TYPE_CHECKING:
    from collections.abc import Iterator

SITE: Final = Path(os.environ["SITE"])
PAGES: Final = sorted(SITE.rglob("*.html"))
DOORS: Final = (
    hookcore,
    hookcore.authoring,
    hookcore.store,
    hookcore.testing,
    hookcore_plugins,
    hookcore_plugins.report.recorded,
)
"""The modules whose `__all__` is the public API."""


class Page(HTMLParser):
    """The ids in a page, and what a browser loads for it."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.loaded: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.ids.add(given.get("id", ""))
        # An anchor is followed by a person; all else is loaded by itself.
        self.loaded |= {given[name] for name in ("src", "srcset", "data", "poster") if name in given}
        if tag == "link" and given.get("rel") not in {"next", "prev", "index", "search", "author", "copyright", "canonical"}:
            self.loaded.add(given.get("href", ""))


@functools.cache
def read(path: Path) -> Page:
    return Page(path)


def ids(page: str) -> set[str]:
    return read(SITE / page).ids


def described() -> dict[str, str]:
    """Return the kind of each Python object that the site describes, by its name: the lines of `objects.inv`."""
    _, _, _, packed = (SITE / "objects.inv").read_bytes().split(b"\n", 4)[1:]
    lines = (line.split(" ", 2) for line in zlib.decompress(packed).decode().splitlines())
    return {name: kind.removeprefix("py:") for name, kind, _ in lines if kind.startswith("py:")}


def shipped(group: str) -> list[metadata.EntryPoint]:
    return [entry for entry in discovery.entry_points(group) if entry.dist is not None and entry.dist.name == "hookcore"]


@pytest.mark.parametrize("door", DOORS, ids=lambda door: door.__name__)
def test_every_public_name_is_described(door: Any) -> None:
    """The reference has each name of a public module: under the module's name, or under that of `hookcore`."""
    known = described()
    at_this = {name for name in door.__all__ if f"{door.__name__}.{name}" in known}
    at_first = {name for name in door.__all__ if f"hookcore.{name}" in known}
    assert set(door.__all__) - at_this - at_first == set()


def test_every_error_class_is_described_as_an_exception() -> None:
    """Each error and warning that a public module exports is on the page of errors."""
    errors = {
        name
        for door in DOORS
        for name in door.__all__
        if isinstance(getattr(door, name), type) and issubclass(getattr(door, name), BaseException)
    }
    assert len(errors) > 10
    assert {name.rpartition(".")[2] for name in ids("reference/errors.html") if described().get(name) == "exception"} == errors


def test_every_hook_has_a_heading() -> None:
    """The page of hooks has a section for each hook, and one for their traces."""
    sections = [f"{hook}-{'-'.join(arguments)}".replace("_", "-") for hook, arguments in HOOKS.items()]
    assert {*sections, "golden-traces"} - ids("hooks.html") == set()


@pytest.mark.parametrize("entry", shipped(discovery.CATALOGUE), ids=lambda entry: entry.name)
def test_every_plugin_has_a_page(entry: metadata.EntryPoint) -> None:
    """The page of a plugin has its name, and describes its class."""
    assert f"hookcore_plugins.{entry.attr}" in ids(f"plugins/{entry.name}.html")


@pytest.mark.parametrize("entry", shipped(GROUP), ids=lambda entry: entry.name)
def test_every_adapter_has_a_page(entry: metadata.EntryPoint) -> None:
    """Each class and function by which a person uses an adapter is described on a page with a section of parameters."""
    module, _, names = entry.load().use.partition(":")
    used = {f"{module}.{name}" for name in re.findall(r"\w+", names.partition(", in ")[0])}
    assert used
    assert [page for page in PAGES if {*used, "parameters"} <= read(page).ids]


def commands(group: click.Group, name: str) -> Iterator[str]:
    context = click.Context(group)
    for each in group.list_commands(context):
        command = group.get_command(context, each)
        assert command is not None
        yield f"{name}-{each}"
        if isinstance(command, click.Group):
            yield from commands(command, f"{name}-{each}")


@pytest.mark.parametrize("command", list(commands(main, "hookcore")))
def test_every_command_has_a_heading(command: str) -> None:
    """The page of the command line has a section for each command, those within a group too."""
    assert command in ids("reference/command-line.html")


def test_every_extra_has_a_heading() -> None:
    """The page of extras has a section for each extra of the distribution."""
    extras = set(metadata.metadata("hookcore").get_all("Provides-Extra") or ())
    assert extras
    assert extras - ids("reference/extras.html") == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(SITE).as_posix())
def test_a_page_loads_nothing_from_another_host(page: Path) -> None:
    """Scripts, styles, fonts and pictures of a page are files of the site."""
    assert [source for source in read(page).loaded if re.match(r"[a-z]+:(?!image/)|//", source)] == []


@pytest.mark.parametrize("file", sorted({*SITE.rglob("*.css"), *SITE.rglob("*.svg")}), ids=lambda file: file.name)
def test_a_style_or_a_drawing_loads_nothing_from_another_host(file: Path) -> None:
    """No style and no drawing names a font or a picture on another host."""
    outside = r"@import[^;]*|url\(\s*['\"]?(?:https?:)?//[^)]*|href=['\"](?:https?:)?//[^'\"]*"
    assert re.findall(outside, file.read_text(encoding="utf-8")) == []


def test_the_search_finds_words_of_pages_and_of_docstrings() -> None:
    """Sphinx's index, which the page of the search loads, has a word of a tutorial and a name of the API."""
    index = (SITE / "searchindex.js").read_text(encoding="utf-8")
    assert '"patienc"' in index or "patienc:" in index
    assert "EarlyStopping" in index
