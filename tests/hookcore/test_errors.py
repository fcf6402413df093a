"""Every error names the page of the documentation that helps, once, in tracebacks and in the log."""

from __future__ import annotations

import copy
import importlib
import logging
import pickle
import re
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hookcore import CheckpointError, DiskFullError, Engine, HookcoreError, LoadError, MetricError, Run, SpecError, hookimpl

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
for module in ("hookcore_plugins.report.record", "hookcore_plugins.report.recorded.run"):
    importlib.import_module(module)  # each has an error class


def classes(base: type[HookcoreError] = HookcoreError) -> Iterator[type[HookcoreError]]:
    """Yield `base` and the subclasses of it that this repository defines and that are imported."""
    if base.__module__.partition(".")[0] in {"hookcore", "hookcore_adapters", "hookcore_plugins"}:
        yield base
    for below in base.__subclasses__():
        yield from classes(below)


CLASSES = sorted(set(classes()), key=lambda kind: kind.__qualname__)


def headings(page: Path) -> set[str]:
    """Return the anchors of the headings of a page, as GitHub makes them."""
    found = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).lower().replace(" ", "-") for heading in found}


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_the_page_of_every_error_exists(kind: type[HookcoreError]) -> None:
    """The page of each error class is in docs/, and has the heading that an anchor names."""
    path, _, anchor = kind.page.partition("#")
    assert path.startswith("docs/")
    assert (ROOT / path).is_file()
    assert not anchor or anchor in headings(ROOT / path)


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_a_traceback_names_the_page_once(kind: type[HookcoreError]) -> None:
    """A traceback names the page after the message, which lacks it, also if the error was copied or pickled."""
    error = kind("What happened.")
    for one in (error, copy.copy(error), pickle.loads(pickle.dumps(error))):  # noqa: S301 - our own
        assert str(one) == "What happened."
        lines = traceback.format_exception_only(one)
        assert lines == [f"{kind.__module__}.{kind.__qualname__}: What happened.\n", f"See {kind.page}.\n"]


def test_a_subclass_inherits_the_page() -> None:
    """A class without a page of its own has that of its base."""
    assert DiskFullError.page == CheckpointError.page


def test_the_log_names_the_page_of_an_observers_error(caplog: pytest.LogCaptureFixture) -> None:
    """If a plugin is disabled for one of these errors, the log has its page."""

    class Watching:
        role = "observer"

        @hookimpl
        def on_epoch_end(self) -> None:
            raise MetricError("There is no metric 'los'.")

    session = Engine([Watching()], autoload=False).start(Run())
    session.epoch_begin(0)
    with caplog.at_level(logging.ERROR, "hookcore"):
        session.epoch_end(0, {})
    assert caplog.text.count(f"See {MetricError.page}.") == 1


def test_an_error_that_gets_its_place_names_the_page_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error of a spec string in the environment, to which the variable's name is added, has one message and one page."""
    monkeypatch.setenv("HOOKCORE_PLUGINS", "consoel")
    with pytest.raises(SpecError, match=r"^HOOKCORE_PLUGINS: No plugin is called 'consoel'") as caught:
        Engine()
    text = "".join(traceback.format_exception(caught.value))
    assert text.count("No plugin is called") == 1
    assert text.count(f"See {SpecError.page}.") == 1


def test_a_load_error_takes_the_keywords_of_an_import_error() -> None:
    """`LoadError` takes `name` and `path`, and a copy has them; another error takes no keywords."""
    error = LoadError("What happened.", name="acme", path="acme.py")
    for one in (error, copy.copy(error)):
        assert (str(one), one.name, one.path) == ("What happened.", "acme", "acme.py")
    with pytest.raises(TypeError):
        SpecError("What happened.", name="acme")
