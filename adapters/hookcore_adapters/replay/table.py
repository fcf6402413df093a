"""Show what settings would have done, as a table or as values for JSON."""

from __future__ import annotations

import math
import re
import statistics
from typing import TYPE_CHECKING, Any, Final

from rich.table import Table
from rich.text import Text

from hookcore import Outcome
from hookcore.authoring import format_count, format_value, printable
from hookcore_adapters.replay.sweep import best_of, frontier, overall

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from hookcore_adapters.replay.sweep import Overall, Result, Swept
    from hookcore_plugins.report.items import Best

_WIDE: Final = 120
"""The width of a terminal, in columns, from which a table has the reasons for stops."""
_MOST_NOTES: Final = 5
_MOST_CHANGES: Final = 3
"""The most changes of the learning rate that a cell names; the number of the others follows."""
_HEADER: Final = 11
"""The most letters in a line of a header."""


def show(console: Console, swept: Sequence[Swept], at_most: float) -> None:
    """Print the table, the best setting, and what a replay cannot know."""
    settings = overall(swept)
    best = best_of(settings, at_most)
    runs = format_count(len(swept), "run")
    first = swept[0]
    full = "" if first.full is None else f", best {format_value(first.full.value)} at {first.unit} {_at(first.full, first.unit)}"
    title = f"{first.recorded.name}: {first.metric}{full}" if len(swept) == 1 else f"{runs}: {first.metric}"
    console.print(Text(printable(title), style="bold"))
    console.print(_of_one(first, best, wide=console.width >= _WIDE) if len(swept) == 1 else _of_several(settings, best))
    for line in [*conclusion(swept, at_most), *notes(swept)]:
        console.print(Text(printable(line, 400)))


def conclusion(swept: Sequence[Swept], at_most: float) -> list[str]:
    """Return lines that name the best setting and why it is best; empty if there is only one setting."""
    settings = overall(swept)
    best, first = best_of(settings, at_most), swept[0]
    if len(settings) < 2:  # noqa: PLR2004 - there is no choice
        return []
    if not any(one.stops for one in settings):
        return ["No setting stops a run before its end."]
    if best is None or best.worst is None:
        return [f"No setting is best: {first.metric} has no number."]
    of = "the run's" if len(swept) == 1 else "any run's"
    loss = "nothing" if at_most == 0 else f"at most {at_most:g}"
    least = format_value(best.worst)
    if best.worst <= at_most:
        why = f"it saves the most {first.unit}s of the settings that lose {loss} of {of} best {first.metric}"
    elif len(swept) == 1:
        why = f"every setting loses more than {at_most:g} of the run's best {first.metric}, and it loses the least, {least}"
    else:
        why = (
            f"every setting loses more than {at_most:g} of some run's best {first.metric}, and its greatest loss, {least}, is "
            "the smallest"
        )
    spread = f"{best.share:.0%} of the {first.unit}s saved"
    if len(swept) > 1:
        spread += (
            f" in the mean, {_spread([result.share for result in best.results])}; it stops {best.stops} of {len(swept)} runs"
        )
    return [f"Best (*): {best.setting}: {why}: {spread}."]


def notes(swept: Sequence[Swept]) -> list[str]:
    """Return lines with what the logs lack, and what a replay cannot know."""
    found = [f"Note: {one.recorded.name}: {note}" for one in swept for note in one.recorded.notes]
    more = len(found) - _MOST_NOTES
    found = found[:_MOST_NOTES] + ([f"Note: and {more} more, which --json lists."] if more > 0 else [])
    if any(result.cuts for one in swept for result in one.results):
        found.append(
            "Not known: what would have followed a change of the learning rate. After the first, the recorded curve no longer "
            "shows it, and later changes, stops and best values are decided on that curve."
        )
    unknown = [one.recorded.name for one in swept if one.recorded.outcome in {None, Outcome.RUNNING}]
    if unknown:
        run = "the run was" if len(swept) == 1 else f"{len(unknown)} of the runs {'was' if len(unknown) == 1 else 'were'}"
        lack = "its log does not record how it" if len(unknown) == 1 else "their logs do not record how they"
        found.append(
            f"Not known: whether {run} stopped early: {lack} ended. If so, a setting that waits longer would have trained beyond "
            "the log."
        )
    stopped = [one for one in swept if one.recorded.stop_reasons]
    if stopped:
        which = "The run was" if len(swept) == 1 else f"{len(stopped)} of the runs {'was' if len(stopped) == 1 else 'were'}"
        found.append(
            f"Not known: what would have come later. {which} stopped early, and a setting that waits longer would have trained "
            "beyond the log."
        )
    return found


def _of_one(swept: Swept, best: Overall | None, *, wide: bool) -> Table:
    rows, unit = swept.results, swept.unit
    has_changes = any(result.cuts for result in rows)
    columns = [*_keys(rows), f"stops at {unit}", "saved", "best", f"of {unit}", "lost"]
    table = _table([*columns, *([f"rate changes at {unit}"] if has_changes else []), *(["why"] if wide else [])])
    for result in rows:
        kept = result.kept
        cells = [
            *_values(result),
            "end" if result.place is None else str(result.place),
            f"{result.saved} ({result.share:.0%})" if result.saved else "-",
            "-" if kept is None else format_value(kept.value),
            "-" if kept is None else str(_at(kept, unit)),
            _lost(result.lost),
        ]
        cells += [_changes(result, unit)] if has_changes else []
        cells += ["; ".join(f"{vote.plugin}: {vote.message}" for vote in result.votes)] if wide else []
        _add(table, cells, is_best=best is not None and result.setting == best.setting and len(rows) > 1)
    return table


def _of_several(settings: Sequence[Overall], best: Overall | None) -> Table:
    first = settings[0].results
    has_changes = any(result.cuts for one in settings for result in one.results)
    columns = [
        *_keys([one.results[0] for one in settings]),
        "runs stopped",
        "mean saved",
        "range saved",
        "median lost",
        "most lost",
    ]
    table = _table([*columns, *(["rate changes per run"] if has_changes else [])])
    for one in settings:
        shares = [result.share for result in one.results]
        lost = [result.lost for result in one.results if result.lost is not None]
        cells = [
            *_values(one.results[0]),
            f"{one.stops} of {len(first)}",
            f"{one.share:.0%}",
            _spread(shares),
            _lost(statistics.median(lost) if lost else None),
            _lost(one.worst),
        ]
        counts = [len(result.cuts) for result in one.results]
        cells += [f"{min(counts)} - {max(counts)}"] if has_changes else []
        _add(table, cells, is_best=best is not None and one.setting == best.setting and len(settings) > 1)
    return table


def _spread(shares: Sequence[float]) -> str:
    return f"{min(shares):.0%} - {max(shares):.0%}"


def _table(columns: Sequence[str]) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="bold", show_edge=False)
    for column in columns:
        table.add_column(Text(_in_lines(printable(column, 60))), overflow="fold", vertical="bottom")
    return table


def _in_lines(header: str) -> str:
    """Break a header into lines, so that it does not widen its column."""
    lines = [""]
    for part in re.findall(r"[^ ._]*[ ._]?", header):
        if lines[-1] and len(lines[-1] + part.rstrip()) > _HEADER:
            lines.append("")
        lines[-1] += part
    return "\n".join(line.rstrip(" .") for line in lines if line)


def _add(table: Table, cells: Sequence[str], *, is_best: bool) -> None:
    # The best row is also marked by a character, because piped output has no style.
    marked = f"{cells[0]} *" if is_best else cells[0]
    table.add_row(*(Text(printable(cell, 300)) for cell in (marked, *cells[1:])), style="bold green" if is_best else "")


def _keys(rows: Sequence[Result]) -> list[str]:
    return [key for key, _ in rows[0].setting.varied] or ["setting"]


def _values(result: Result) -> list[str]:
    return [value for _, value in result.setting.varied] or ["as given"]


def _at(best: Best, unit: str) -> int | None:
    return best.step if unit == "step" else best.epoch + 1


def _lost(lost: float | None) -> str:
    return "unknown" if lost is None else "0" if lost == 0 else format_value(lost)


def _changes(result: Result, unit: str) -> str:
    if not result.cuts:
        return "-"
    places = [str(made.step if unit == "step" else made.epoch + 1) for made in result.cuts]
    return ", ".join(places[:_MOST_CHANGES]) + (f" and {more} more" if (more := len(places) - _MOST_CHANGES) > 0 else "")


def as_json(swept: Sequence[Swept], at_most: float) -> dict[str, Any]:
    """Return everything as values for JSON. Epochs count from zero, as in code; values that are not finite become None."""
    settings = overall(swept)
    best, efficient = best_of(settings, at_most), {id(one) for one in frontier(settings)}
    return {
        "metric": swept[0].metric,
        "mode": swept[0].mode,
        "unit": swept[0].unit,
        "lose_at_most": at_most,
        "best": {**({"setting": None, "plugins": None} if best is None else _setting(best)), "why": conclusion(swept, at_most)},
        "notes": [*notes(swept), *(note for one in swept for note in one.recorded.notes)],
        "settings": [
            {
                **_setting(one),
                "stops": one.stops,
                "saved_share": one.share,
                "lost_at_most": _finite(one.worst),
                "on_frontier": id(one) in efficient,
            }
            for one in settings
        ],
        "runs": [
            {
                "name": one.recorded.name,
                "format": one.recorded.format,
                "observations": len(one.recorded.history),
                "best": _best(one.full),
                "settings": [_result(result) for result in one.results],
            }
            for one in swept
        ],
    }


def _setting(one: Overall) -> dict[str, Any]:
    return {"setting": dict(one.setting.varied), "plugins": [spec for _, spec in one.setting.plugins]}


def _result(result: Result) -> dict[str, Any]:
    vote = result.votes[0] if result.votes else None
    return {
        "setting": dict(result.setting.varied),
        "stopped": vote is not None,
        "epoch": None if vote is None else vote.epoch,
        "step": None if vote is None else vote.step,
        "trained": result.trained,
        "saved": result.saved,
        "best": _best(result.kept),
        "lost": _finite(result.lost),
        "rate_changes": [
            {"epoch": made.epoch, "step": made.step, "learning_rate": _finite(made.value), "why": made.message}
            for made in result.cuts
        ],
        "why": [f"{one.plugin}: {one.message}" for one in result.votes],
    }


def _best(best: Best | None) -> dict[str, Any] | None:
    return None if best is None else {"value": _finite(best.value), "epoch": best.epoch, "step": best.step}


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
