"""The documentation is held against the code. The samples in it run in the root's conftest.py."""

from __future__ import annotations

import inspect
import re
from importlib import metadata
from pathlib import Path

import pytest

from hookcore import HOOKS, specs
from hookcore.registry import discovery

ROOT = Path(__file__).parents[1]


def test_hook_reference_headings_are_signatures_in_order() -> None:
    """docs/hooks.md has one heading a hook, its exact signature, in the order in which a run calls them."""
    headings = re.findall(r"^## (.+)$", (ROOT / "docs/hooks.md").read_text(), re.MULTILINE)
    assert [f"{hook}({', '.join(arguments)})" for hook, arguments in HOOKS.items()] == headings


@pytest.mark.parametrize("hook", HOOKS)
def test_hook_reference_is_the_docstring(hook: str) -> None:
    """Under its heading stands the docstring of the hook's specification."""
    docstring = inspect.getdoc(getattr(specs, hook))
    assert docstring
    assert docstring in (ROOT / "docs/hooks.md").read_text()


def test_readme_lists_every_shipped_plugin() -> None:
    """The README's table names every plugin of this distribution, and its class."""
    readme = (ROOT / "README.md").read_text()
    shipped = [
        entry for entry in discovery.entry_points(discovery.CATALOGUE) if entry.dist is not None and entry.dist.name == "hookcore"
    ]
    assert shipped
    for entry in shipped:
        assert f"| `{entry.name}` | `{entry.attr}` |" in readme


def test_links_between_documents_lead_somewhere() -> None:
    """Every relative link in README.md, CHANGELOG.md and docs/ names a file that is there."""
    for document in [ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name}: {target}"


def test_version_in_changelog() -> None:
    """The changelog speaks of the version that is installed, or of what is unreleased."""
    changelog = (ROOT / "CHANGELOG.md").read_text()
    assert f"[{metadata.version('hookcore')}]" in changelog or "[Unreleased]" in changelog
