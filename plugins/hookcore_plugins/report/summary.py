"""Sum up a recorded run on one screen of the terminal."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, TextIO

from hookcore import Outcome
from hookcore.authoring import format_count, format_duration, format_value, printable, state

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from rich.console import Console, RenderableType

    from hookcore_plugins.report.record import RunRecord

    Row = tuple[str, str]

_MOST_SHOWN: Final = 3
"""The most lines or names of a kind, so that the summary fits on a screen. The number of the others follows."""
_MOST_RATES: Final = 4
_LABEL_WIDTH: Final = 13  # columns
_LONGEST: Final = 200
"""The most characters of a text from the run."""
_BAD: Final = frozenset({Outcome.FAILED, Outcome.INTERRUPTED, Outcome.PREEMPTED, "killed"})


def show(report: RunRecord, stream: TextIO | None = None, *, beside_progress: bool = False) -> None:
    """Print the summary to `stream`; by default to standard output.

    `beside_progress` leaves out what a plugin that shows progress prints too.
    """
    console = open_console(stream)
    if console.is_terminal:
        console.print(rendered(report, beside_progress=beside_progress))
        return
    # Other tools search and cut piped output: a row is one line.
    if not beside_progress:
        console.print(_title(report), soft_wrap=True)
    for label, text in _rows(report, beside_progress=beside_progress):
        console.print(f"{label:<{_LABEL_WIDTH}} {text}", soft_wrap=True)


def open_console(stream: TextIO | None) -> Console:
    """Return a console that prints unchanged what it is given, in colours only in a terminal."""
    from rich.console import Console

    plain = not Console(file=stream).is_terminal or Console().is_jupyter
    return Console(
        file=stream, highlight=False, markup=False, emoji=False, force_jupyter=False, force_terminal=False if plain else None
    )


def rendered(report: RunRecord, *, beside_progress: bool = False) -> RenderableType:
    """Return the summary for a terminal, as `show` prints it there."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 1, 0, 0))
    table.add_column(style="dim", no_wrap=True, width=_LABEL_WIDTH)
    table.add_column(overflow="fold")
    for label, text in _rows(report, beside_progress=beside_progress):
        table.add_row(label, Text(text, style="red" if label == "errors" else ""))
    if beside_progress:
        return table
    return Group(Text(_title(report), style="bold red" if report.status in _BAD else "bold"), table)


def _rows(report: RunRecord, *, beside_progress: bool) -> list[Row]:
    return [*(() if beside_progress else _result(report)), *_details(report)]


def _title(report: RunRecord) -> str:
    voters = ", ".join(dict.fromkeys(vote.plugin or "loop" for vote in report.stop_reasons))
    by = f" by {voters}" if report.outcome == Outcome.STOPPED else ""
    return printable(f"{report.path.parent}: {report.status}{by}")


def _result(report: RunRecord) -> Iterator[Row]:
    """Yield the rows that a plugin that shows progress prints too."""
    yield from _labelled("why", _shortened(report.why()))
    asked = "" if report.epochs is None else f" of {report.epochs}"
    rows = [format_count(len(report.history), "observation")] if report.by_steps else []
    step = format_count(report.progress.step, "step")
    yield "epochs", ", ".join([f"{report.observed_epochs}{asked}", *rows, step, format_duration(report.total_seconds)])
    best = report.best(report.monitor)
    if best is not None:
        yield "best", f"{_name(best.metric)} {format_value(best.value)} {best.place}"
    if report.history.epochs:
        last = [
            f"{_name(name)} {format_value(report.last(name))}" for name in report.history if not math.isnan(report.last(name))
        ]
        yield "last", _joined(last, 6)
    changes = report.rate_changes()
    if changes:
        first = next(rate for rate in report.learning_rates if rate is not None)
        cuts = [f"{first:.4g}", *(f"{rate:.4g} {_since(report, where)}" for where, rate in changes)]
        many = f"{first:.4g} to {changes[-1][1]:.4g}, changed {len(changes)} times"
        yield "learning rate", ", ".join(cuts) if len(changes) <= _MOST_RATES else many


def _details(report: RunRecord) -> Iterator[Row]:
    """Yield the rows that only the report has."""
    # The newest and the best first: the others may not be shown.
    kept = sorted(report.checkpoints, key=lambda saved: (not saved.reasons.startswith(("newest", "best")), -saved.step))
    lines = [f"step {saved.step}, epoch {saved.epoch + 1}: {saved.reasons or 'kept'}" for saved in kept]
    yield from _labelled("checkpoints", _shortened(lines))
    if kept:
        yield "", f"in {printable(_directory(kept[0].path), _LONGEST)}"
    if len(report.parts) > 1:
        began = datetime.fromtimestamp(report.parts[0].began, UTC).astimezone()
        steps = _joined([str(part.step) for part in report.parts[1:]])
        yield "resumed", f"{format_count(len(report.parts) - 1, 'time')}, at step {steps}; begun {began:%Y-%m-%d %H:%M}"
    config = state.flattened(dict(report.config))
    if config:
        yield "config", _joined([f"{_name(name)} {printable(str(value), 40)}" for name, value in config.items()], 8)
    if report.plugin_seconds and report.total_seconds:
        shares = [
            f"{_name(name) if name is not None else 'training itself'} {share:.0%}"
            for name, _, share in report.time_shares()
            if name is None or share >= 0.005  # noqa: PLR2004 - what rounds to 1 %
        ]
        yield "time", _joined(shares)
    errors = [
        f"{_name(failure.plugin)} in {failure.hook}: {failure.error}{'; disabled' * failure.disabled}"
        for failure in report.failures
    ]
    yield from _labelled("errors", _shortened(errors))
    if report.graph_hint is not None:
        yield "model", printable(report.graph_hint, _LONGEST)
    age = "" if report.stat is None or not report.is_alive else f", written {_age(report.stat.st_mtime)} ago"
    yield "report", printable(str(report.path), _LONGEST) + age


def _age(written: float) -> str:
    return format_duration(max(0.0, datetime.now(UTC).timestamp() - written))


def _since(report: RunRecord, changed: int) -> str:
    return f"after step {changed}" if report.by_steps else f"from epoch {changed + 1}"


def _labelled(label: str, lines: Iterable[str]) -> Iterator[Row]:
    for line in lines:
        yield label, line
        label = ""


def _shortened(lines: Sequence[str]) -> list[str]:
    more = [f"and {len(lines) - _MOST_SHOWN} more"] if len(lines) > _MOST_SHOWN else []
    return [printable(line, _LONGEST) for line in lines[:_MOST_SHOWN]] + more


def _joined(items: Sequence[str], shown: int = _MOST_SHOWN) -> str:
    if len(items) <= shown + 1:
        return ", ".join(items)
    return ", ".join([*items[: shown - 1], "...", items[-1]]) + f" ({len(items)} in all)"


def _name(name: str) -> str:
    return printable(name, 40)


def _directory(path: str) -> str:
    return path.rpartition("/")[0] or "."
