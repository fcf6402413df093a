"""The golden traces of the documentation: the events of each kind of framework."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from hookcore import Outcome, Run
from hookcore.host import NoHost
from hookcore.testing import RecordingPlugin, check_events
from tests.hookcore.driver.driving import a_run, driver_of, plugin, run_of

if TYPE_CHECKING:
    from hookcore.driver import Driver


def traces(page: str) -> dict[str, str]:
    """Return the traces in a page of docs/, by the headings above them."""
    document = (Path(__file__).parents[3] / "docs" / page).read_text(encoding="utf-8")
    return dict(re.findall(r"^### (.+?)\n.*?^```text\n(.+?)^```$", document, re.MULTILINE | re.DOTALL))


TRACES = traces("hooks.md")


SHORT_TRACES = traces("writing-an-adapter.md")
"""Traces that have what the framework says, too, before the fact."""


def parsed(call: str) -> tuple[str, list[Any], dict[str, Any]]:
    """Return the name and the arguments of a call as it is written in the document."""
    tree = ast.parse(call, mode="eval").body
    assert isinstance(tree, ast.Call)
    keywords = {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in tree.keywords}
    return ast.unparse(tree.func), [ast.literal_eval(argument) for argument in tree.args], keywords


def play_trace(trace: str, *plugins: object) -> Driver:
    """Tell a driver the facts of a trace, and check that plugins get exactly the events beside each."""
    heard: list[Any] = []

    class Stopped(NoHost):
        def stop(self) -> None:
            heard.append(("host.stop",))

    driver = driver_of(RecordingPlugin(events=heard), *plugins, host=Stopped())
    for row in trace.splitlines():
        *_, told, expected = (side.strip() for side in row.split("->"))
        fact, arguments, keywords = parsed(told)
        if fact == "begin":
            driver.begin(a_run())
        else:
            getattr(driver, fact)(*arguments, **keywords)
        events = [] if expected == "nothing" else [parsed(event) for event in expected.split("; ")]
        assert heard == [(name, *given) for name, given, _ in events], row
        heard.clear()
    return driver


@pytest.mark.parametrize("kind", TRACES)
def test_a_golden_trace_is_what_the_document_says(kind: str) -> None:
    """For each fact in a trace of docs/hooks.md, plugins get exactly the events beside it."""

    def vote(run: Run, epoch: int) -> None:
        if epoch == 1 and "host.stop()" in TRACES[kind]:
            run.stop("two epochs are enough")

    run = run_of(play_trace(TRACES[kind], plugin("votes", on_epoch_end=vote)))
    by_steps = "by steps" in kind
    assert (run.outcome, run.history.epochs) == (Outcome.STOPPED, [0, 1, 1] if by_steps else [0, 1])
    assert run.history.by_steps == [by_steps] * len(run.history)
    assert run.progress.step == {"Iteration": 2, "Ended": 5}.get(kind.split(maxsplit=1)[0], 6)


@pytest.mark.parametrize("kind", SHORT_TRACES)
def test_a_trace_for_adapter_authors_is_what_the_document_says(kind: str) -> None:
    """For each fact in a trace of docs/writing-an-adapter.md, plugins get exactly the events beside it."""
    play_trace(SHORT_TRACES[kind])


def test_there_is_a_golden_trace_for_each_kind_of_framework() -> None:
    """docs/hooks.md has six traces and docs/writing-an-adapter.md three, each with a legal sequence of events."""
    assert (len(TRACES), len(SHORT_TRACES)) == (6, 3)
    for trace in (*TRACES.values(), *SHORT_TRACES.values()):
        events = [
            parsed(event) for row in trace.splitlines() for event in row.split("->")[-1].strip().split("; ") if "(" in event
        ]
        check_events([(name, *given) for name, given, _ in events if name != "host.stop"])
