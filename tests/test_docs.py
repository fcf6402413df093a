"""The documentation agrees with the code. The conftest.py in the root runs its samples."""

from __future__ import annotations

import contextlib
import inspect
import re
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from hookcore import HOOKS, hookimpl, specs
from hookcore.registry import discovery
from hookcore.testing import RecordingPlugin, check_events
from hookcore_plugins import Checkpoint
from tests import pages

if TYPE_CHECKING:
    from hookcore import Run

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("page", pages.PAGES)
def test_a_page_has_what_is_written_elsewhere(page: str) -> None:
    """A part of a page that a program makes is what the program makes of it now."""
    assert (ROOT / page).read_text() == pages.written(page), "stale: run python -m tests.pages"


def test_the_hook_reference_is_made_of_the_docstrings() -> None:
    """docs/hooks.md has a heading for each hook, its exact signature, in order, and each sentence of its docstring."""
    page = (ROOT / "docs/hooks.md").read_text()
    headings = re.findall(r"^## (on_.+)$", page, re.MULTILINE)
    assert headings == [f"{hook}({', '.join(arguments)})" for hook, arguments in HOOKS.items()]
    docstrings = [inspect.getdoc(getattr(specs, hook)) or "" for hook in HOOKS]
    assert [text for text in docstrings if not text or " ".join(text.split()) not in " ".join(page.split())] == []


def test_readme_lists_every_shipped_plugin() -> None:
    """The README's table names every plugin of this distribution, and its class."""
    readme = (ROOT / "README.md").read_text()
    shipped = [
        entry for entry in discovery.entry_points(discovery.CATALOGUE) if entry.dist is not None and entry.dist.name == "hookcore"
    ]
    assert shipped
    for entry in shipped:
        assert f"| `{entry.attr}`<br>`{entry.name}` |" in readme


BLOCK = re.compile(r"^```python\n(?:# (\w+\.py)\n)?(.+?)^```$", re.MULTILINE | re.DOTALL)
ADAPTER = {name: block for name, block in BLOCK.findall((ROOT / "docs/writing-an-adapter.md").read_text()) if name}
"""The files of the adapter that the page writes; `hookcore new --adapter` makes the same, and its test runs the page's."""


@pytest.mark.parametrize("cut", [4, 5, 6])
@pytest.mark.parametrize(("vote", "trained"), [(None, 12), (4, 6), (5, 6), (6, 6)])
@pytest.mark.parametrize("epochs", [1, 4])
def test_the_sample_adapter_resumes_within_an_epoch(
    tmp_path: Path, vote: int | None, trained: int, cut: int, epochs: int
) -> None:
    """A trainer finishes an epoch with a vote to stop, before or after a cut; an epoch that it never enters has no end."""
    sample: dict[str, Any] = {}
    for name in ("downhill.py", "downhill_hooks.py"):
        exec(ADAPTER[name], sample)  # noqa: S102 - our own documentation

    def vote_and_cut(run: Run) -> None:
        if run.progress.step == vote:
            run.stop("enough")
        if run.progress.step == cut and run.resumed_from is None:
            run.interrupt(KeyboardInterrupt())

    def train(epochs: int) -> tuple[list[tuple[Any, ...]], float]:
        recording = RecordingPlugin()
        plugins = [recording, SimpleNamespace(name="votes", on_batch_end=hookimpl(vote_and_cut)), Checkpoint(tmp_path)]
        trainer = sample["Trainer"]([sample["DownhillAdapter"](plugins, resume="auto")])
        with contextlib.suppress(KeyboardInterrupt):
            trainer.fit([1.0] * 3, epochs)
        return [event for event in recording.events if event[0] not in {"on_exception", "on_checkpoint"}], trainer.slope

    (*before, _), _ = train(4)
    (_, *after), slope = train(epochs)
    if epochs == 1:
        assert [event[0] for event in after] == ["on_train_end"]
    else:
        check_events([*before, *after])
        expected = sample["Trainer"]()
        expected.fit([1.0] * trained, 1)
        assert slope == expected.slope


def test_the_sample_adapter_is_short() -> None:
    """The page's adapter, its trainee included, has fewer than 60 lines of code."""
    assert len([line for line in ADAPTER["downhill_hooks.py"].splitlines() if line.strip()]) < 60


def test_links_between_documents_lead_somewhere() -> None:
    """Every relative link in docs/ and in the documents beside it names a file that exists."""
    for document in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name}: {target}"


def test_version_in_changelog() -> None:
    """The changelog has an entry for the installed version, or for unreleased changes."""
    changelog = (ROOT / "CHANGELOG.md").read_text()
    assert f"[{metadata.version('hookcore')}]" in changelog or "[Unreleased]" in changelog
