"""Follow a run while it trains: in the terminal, and as a page that loads itself again."""

from __future__ import annotations

import itertools
import math
import time
from typing import TYPE_CHECKING, Final, TextIO

import attrs

from hookcore import Outcome, store
from hookcore.authoring import format_value, place_in_words, printable
from hookcore_plugins.report.run_report import RunReport
from hookcore_plugins.report.summary import open_console, rendered, show

if TYPE_CHECKING:
    import os
    from collections.abc import Callable
    from pathlib import Path

    from rich.console import Console
    from rich.live import Live

_INTERVAL: Final = 1.0  # seconds
_PAGE_SECONDS: Final = 5
"""The least time between two writes of the page, and the time after which it loads itself again."""


def watch(
    run: str | os.PathLike[str],
    page: Path | None = None,
    stream: TextIO | None = None,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> RunReport:
    """Show the record of a run until the run has ended or was killed, and return it.

    In a terminal the summary stays in place; elsewhere each observation is a line, and the summary follows at the end. `page` is
    written repeatedly, and reloads itself in the browser. Raises `ReportError`.
    """
    from rich.live import Live

    console = open_console(stream)
    report, written = RunReport.read(run), -math.inf
    live = Live(console=console, auto_refresh=False) if console.is_terminal else None
    shown = 0 if live is None else None
    if live is not None:
        live.start()
    try:
        while True:
            shown = _show(console, live, report, shown)
            is_over = report.outcome != Outcome.RUNNING or report.is_alive is False
            if page is not None and (is_over or clock() - written >= _PAGE_SECONDS):
                report.save(page, "html", refresh=None if is_over else _PAGE_SECONDS)
                written = clock()
            if is_over:
                break
            sleep(_INTERVAL)
            report = _newer(report)
    finally:
        if live is not None:
            live.stop()
    if live is None:
        show(report, stream)
    return report


def _newer(report: RunReport) -> RunReport:
    """Return the record as it is now. It is read in full only if it was written since: each write makes a new file."""
    is_alive = store.is_locked(report.path)  # first: a run writes its end, and then frees the lock
    return attrs.evolve(report, is_alive=is_alive) if report.is_up_to_date() else RunReport.read(report.path)


def _show(console: Console, live: Live | None, report: RunReport, shown: int | None) -> int | None:
    """Show the record in place, or the rows since the first `shown` ones as lines; return how many are shown."""
    if live is not None:
        live.update(rendered(report), refresh=True)
        return None
    history, begin = report.history, shown or 0
    for row, metrics in itertools.islice(enumerate(history.rows()), begin, None):
        place = place_in_words(history.epochs[row], history.steps[row], by_steps=history.by_steps[row])
        values = [f"{printable(name, 40)} {format_value(value)}" for name, value in metrics.items()]
        console.print(f"{place}: {', '.join(values)}", soft_wrap=True)
    return len(history)
