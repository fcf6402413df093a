"""The report in the terminal: one screen."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, TextIO

from hookcore import Outcome
from hookcore.authoring import format_count, format_duration, format_value, printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from hookcore_plugins.report.run_report import RunReport

    Row = tuple[str, str]

_SHOWN: Final = 3
"""So many of a kind are shown, with the number of those left out: the summary is one screen."""
_RATES: Final = 4
_LABEL: Final = 13  # columns
_LONG: Final = 200
"""So many characters of what others wrote."""
LARGE_SHARE: Final = 0.1
"""A plugin that takes this share of the time or more is named for it."""
_BAD: Final = frozenset({Outcome.FAILED, Outcome.INTERRUPTED, Outcome.PREEMPTED})


def show(report: RunReport, stream: TextIO | None = None, *, beside_progress: bool = False) -> None:
    """Print the summary to `stream`; by default to standard output.

    Beside a plugin that shows progress it has only what that one has not said.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    plain = not Console(file=stream).is_terminal or Console().is_jupyter
    console = Console(
        file=stream, highlight=False, markup=False, emoji=False, force_jupyter=False, force_terminal=False if plain else None
    )
    rows = [*_rest(report)] if beside_progress else [*_ending(report), *_rest(report)]
    if not beside_progress:
        style = "bold red" if report.outcome in _BAD else "bold"
        console.print(Text(_head(report), style=style), soft_wrap=True)
    if plain:
        # What is piped is searched and cut by other tools: no breaks within a row.
        for label, text in rows:
            console.print(f"{label:<{_LABEL}} {text}", soft_wrap=True)
        return
    table = Table.grid(padding=(0, 1, 0, 0))
    table.add_column(style="dim", no_wrap=True, width=_LABEL)
    table.add_column(overflow="fold")
    for label, text in rows:
        table.add_row(label, Text(text, style="red" if label == "errors" else ""))
    console.print(table)


def _head(report: RunReport) -> str:
    voters = ", ".join(dict.fromkeys(vote.plugin or "loop" for vote in report.stop_reasons))
    by = f" by {voters}" if report.outcome == Outcome.STOPPED else ""
    return printable(f"{report.path.parent}: {'not ended' if report.outcome == Outcome.RUNNING else report.outcome}{by}")


def _ending(report: RunReport) -> Iterator[Row]:
    """What a plugin that shows progress says too."""
    yield from _labelled("why", _first(report.why()))
    done, asked = len(report.history), "" if report.epochs is None else f" of {report.epochs}"
    facts = [f"{done}{asked}", format_count(report.progress.step, "step"), format_duration(report.total_seconds)]
    yield "epochs", ", ".join(facts)
    best = report.best(report.monitor)
    if best is not None:
        yield "best", f"{_name(best.metric)} {format_value(best.value)} in epoch {best.epoch + 1}"
    if done:
        last = [
            f"{_name(name)} {format_value(report.last(name))}" for name in report.history if not math.isnan(report.last(name))
        ]
        yield "last", _joined(last, 6)
    changes = report.rate_changes()
    if changes:
        first = next(rate for rate in report.learning_rates if rate is not None)
        cuts = [f"{first:.4g}", *(f"{rate:.4g} from epoch {epoch + 1}" for epoch, rate in changes)]
        many = f"{first:.4g} to {changes[-1][1]:.4g}, changed {len(changes)} times"
        yield "learning rate", ", ".join(cuts) if len(changes) <= _RATES else many


def _rest(report: RunReport) -> Iterator[Row]:
    """What only the report says."""
    # The newest and the best first, whatever else is kept.
    kept = sorted(report.checkpoints, key=lambda one: (not one.reasons.startswith(("newest", "best")), -one.step))
    yield from _labelled(
        "checkpoints", _first([f"step {one.step}, epoch {one.epoch + 1}: {one.reasons or 'kept'}" for one in kept])
    )
    if kept:
        yield "", f"in {printable(_directory(kept[0].path), _LONG)}"
    if len(report.parts) > 1:
        began = datetime.fromtimestamp(report.parts[0].began, UTC).astimezone()
        steps = _joined([str(part.step) for part in report.parts[1:]])
        yield "resumed", f"{format_count(len(report.parts) - 1, 'time')}, at step {steps}; begun {began:%Y-%m-%d %H:%M}"
    shares = report.time_shares()
    if report.plugin_seconds and report.total_seconds:
        said = [
            f"{_name(name) if name is not None else 'training itself'} {share:.0%}"
            for name, _, share in shares
            if name is None or share >= 0.005  # noqa: PLR2004 - what rounds to 1 %
        ]
        yield "time", _joined(said)
    yield from _labelled(
        "errors",
        _first([f"{_name(one.plugin)} in {one.hook}: {one.error}{'; disabled' * one.disabled}" for one in report.failures]),
    )
    if report.graph_hint is not None:
        yield "model", printable(report.graph_hint, _LONG)
    yield "report", printable(str(report.path), _LONG)


def _labelled(label: str, lines: Iterable[str]) -> Iterator[Row]:
    for line in lines:
        yield label, line
        label = ""


def _first(lines: Sequence[str]) -> list[str]:
    more = [f"and {len(lines) - _SHOWN} more"] if len(lines) > _SHOWN else []
    return [printable(line, _LONG) for line in lines[:_SHOWN]] + more


def _joined(items: Sequence[str], shown: int = _SHOWN) -> str:
    if len(items) <= shown + 1:
        return ", ".join(items)
    return ", ".join([*items[: shown - 1], "...", items[-1]]) + f" ({len(items)} in all)"


def _name(name: str) -> str:
    return printable(name, 40)


def _directory(path: str) -> str:
    return path.rpartition("/")[0] or "."
