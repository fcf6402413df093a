"""Show a comparison as a table in the terminal."""

from __future__ import annotations

import io
import math
import textwrap
from typing import TYPE_CHECKING, Any, Final, TextIO

import attrs

from hookcore import Outcome
from hookcore.authoring import format_count, format_duration, format_value, place_in_words, printable, state

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from hookcore_plugins.report.compare.ranking import Compared, Ranking

_COLUMNS: Final = ("run", "outcome", "epochs", "best", "at", "last", "time")
_TO_THE_RIGHT: Final = frozenset({"epochs", "best", "last", "time"})
_GAP: Final = 2
_LONGEST_NAME: Final = 60
_LONGEST_VALUE: Final = 24
_SHORTEST_NAME: Final = 12
_LONGEST_REASON: Final = 300
_INDENT: Final = "    "
_NO_BREAK: Final = "\u00a0"
_BAD: Final = frozenset({"failed", "interrupted", "preempted", "killed"})


def show(comparison: Ranking, stream: TextIO | None = None) -> None:
    """Print the table to `stream`, by default the standard output.

    If the terminal is too narrow for a row in one line, the differences and the reason follow beneath each run.
    """
    from rich.console import Console

    console = Console(file=stream, highlight=False, markup=False, emoji=False, force_jupyter=False)
    if console.is_terminal:
        _print(comparison, console)
    else:
        # Other tools search and cut piped output: a row is one line.
        print(text_of(comparison, 100_000), file=stream)


def text_of(comparison: Ranking, width: int = 120) -> str:
    """Return the table as text."""
    from rich.console import Console

    stream = io.StringIO()
    # In a notebook's kernel, a console would display what it prints.
    plain = Console(file=stream, width=width, no_color=True, highlight=False, markup=False, emoji=False, force_jupyter=False)
    _print(comparison, plain)
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines())


def value_text(value: Any) -> str:
    """Return a parameter's value as one short line; `-` for None."""
    if value is None:
        return "-"
    if isinstance(value, float) and not isinstance(value, bool):
        return f"{value:.6g}"
    return printable(value if isinstance(value, str) else state.dumps(value), _LONGEST_VALUE)


@attrs.frozen
class _Layout:
    """The texts of the table, and how wide each column is."""

    cells: list[list[str]]
    """For each run, the cells of `_COLUMNS`."""
    names: list[str]
    values: list[list[str]]
    """For each run, its values of `names`."""
    reasons: list[str]

    @property
    def widths(self) -> list[int]:
        return [max(map(_length, column)) for column in zip(_COLUMNS, *self.cells, strict=True)]

    @property
    def more_widths(self) -> list[int]:
        return [max(map(_length, column)) for column in zip(self.names, *self.values, strict=True)]

    @property
    def rest(self) -> int:
        """The width, in columns of the terminal, of a row without the reason."""
        return sum(width + _GAP for width in (*self.widths, *self.more_widths))


def _print(comparison: Ranking, console: Console) -> None:
    from rich.text import Text

    layout = _Layout(
        [_cells(row, comparison.metric) for row in comparison],
        [printable(name, _LONGEST_NAME) for name in comparison.differs],
        [[value_text(row.differs[name]) for name in comparison.differs] for row in comparison],
        ["" if row.status == Outcome.COMPLETED else printable(row.why, _LONGEST_REASON) for row in comparison],
    )
    title = printable(f"{format_count(len(comparison), 'run')}, {comparison.by}", 200)
    console.print(Text(title, style="bold"), soft_wrap=True)
    longest = max(map(_length, layout.reasons), default=0)
    if layout.rest + longest <= console.width:
        _print_in_lines(comparison, layout, console)
    else:
        _print_stacked(comparison, layout, console)
    for reason in comparison.left_out:
        console.print(Text(f"left out: {printable(reason, _LONGEST_REASON)}"), soft_wrap=True)


def _print_in_lines(comparison: Ranking, layout: _Layout, console: Console) -> None:
    """Print one line for each run, with the reason in the space that is left."""
    left = console.width - layout.rest
    heads = [*_COLUMNS, *layout.names, "why" * any(layout.reasons)]
    widths = [*layout.widths, *layout.more_widths, left]
    _print_line(console, heads, widths, "dim")
    for row, own, values, reason in zip(comparison, layout.cells, layout.values, layout.reasons, strict=True):
        _print_line(console, [*own, *values, reason], widths, "", bad=row.status in _BAD)


def _print_stacked(comparison: Ranking, layout: _Layout, console: Console) -> None:
    """Print a line for each run, and beneath it the differences and the reason."""
    from rich.text import Text

    own = sum(width + _GAP for width in layout.widths)
    widths = [max(_SHORTEST_NAME, min(layout.widths[0], layout.widths[0] + console.width - own)), *layout.widths[1:]]
    _print_line(console, _COLUMNS, widths, "dim")
    for row, cells, values, reason in zip(comparison, layout.cells, layout.values, layout.reasons, strict=True):
        _print_line(console, [printable(cells[0], widths[0]), *cells[1:]], widths, "", bad=row.status in _BAD)
        # A name and its value stay on one line.
        pairs = [
            f"{name} {value}".replace(" ", _NO_BREAK) for name, value in zip(layout.names, values, strict=True) if value != "-"
        ]
        room = max(20, console.width - len(_INDENT))
        for text in (", ".join(pair.replace(" ", _NO_BREAK) for pair in pairs), reason):
            for line in textwrap.wrap(text, room, break_on_hyphens=False):
                console.print(Text(_INDENT + line.replace(_NO_BREAK, " "), style="dim"), soft_wrap=True)


def _print_line(console: Console, cells: Sequence[str], widths: Sequence[int], style: str, *, bad: bool = False) -> None:
    from rich.text import Text

    line = Text(style=style)
    for number, (cell, width) in enumerate(zip(cells, widths, strict=False)):
        to_the_right = number < len(_COLUMNS) and _COLUMNS[number] in _TO_THE_RIGHT
        padding = " " * max(0, width - _length(cell))
        line.append(f"{padding}{cell}" if to_the_right else f"{cell}{padding}", style="red" if bad and number == 1 else "")
        line.append(" " * _GAP)
    line.rstrip()
    console.print(line, soft_wrap=True)


def _length(text: str) -> int:
    """Return the width of `text` in columns of a terminal: letters of some scripts take two."""
    from rich.cells import cell_len

    return cell_len(text)


def _cells(row: Compared, metric: str | None) -> list[str]:
    best = row.best
    asked = "" if row.run.epochs is None else f"/{row.run.epochs}"
    called = "" if row.metric in {metric, None} else f" ({printable(str(row.metric), 20)})"
    return [
        printable(row.name, _LONGEST_NAME),
        row.status or "-",
        f"{row.epochs}{asked}",
        "-" if best is None else format_value(best.value) + called,
        "-" if best is None else place_in_words(best.epoch, best.step, by_steps=best.by_steps),
        "-" if math.isnan(row.last) else format_value(row.last),
        "-" if row.duration is None else format_duration(row.duration, milliseconds=True),
    ]
