"""Show a comparison as one HTML page with the curves of all runs, which a script in the page draws."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import math
from importlib import resources
from typing import TYPE_CHECKING, Any, Final

from hookcore.authoring import format_count, place_in_words, printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hookcore_plugins.report.compare.ranking import Compared, Ranking

_MOST_METRICS: Final = 13
"""The most charts: of the metric that ranks the runs, and of those that most runs have."""
_MOST_NUMBERS: Final = 1_000_000
"""About the most values of a page, which are 10 MB. Of longer runs it has every n-th row."""
_LONGEST: Final = 300
_FRAME_HEIGHT: Final = 720  # pixels


def page(comparison: Ranking) -> str:
    """Return the page. It loads nothing, and its policy lets no other script run, whatever the names in a run contain."""
    files = resources.files("hookcore_plugins.report.compare") / "templates"
    text, style, script = ((files / f"compare.{kind}").read_text(encoding="utf-8") for kind in ("html", "css", "js"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    parts = {
        "TITLE": html.escape(format_count(len(comparison), "run") + " compared"),
        "STYLE": style,
        "POLICY": f"sha256-{digest}",
        # Only `<` can end a script element or begin a comment in it, and JSON can escape it.
        "DATA": json.dumps(_data(comparison), allow_nan=False, separators=(",", ":")).replace("<", "\\u003c"),
        "SCRIPT": script,
    }
    pieces = text.split("%")
    return "".join(parts.get(piece, piece) for piece in pieces)


def frame(comparison: Ranking) -> str:
    """Return the page within a frame, for a notebook: its script reaches nothing outside of the frame."""
    return (
        f'<iframe srcdoc="{html.escape(page(comparison))}" sandbox="allow-scripts" title="{len(comparison)} runs compared" '
        f'style="width: 100%; height: {_FRAME_HEIGHT}px; border: 0"></iframe>'
    )


def _data(comparison: Ranking) -> dict[str, Any]:
    metrics = _metrics(comparison)
    numbers = sum(len(row.run.history) for row in comparison) * (len(metrics) + 3)
    every = -(-numbers // _MOST_NUMBERS)
    thinned = [f"The runs are long: every {every}th of their rows is drawn."] if every > 1 else []
    hidden = len({name for row in comparison for name in row.run.history}) - len(metrics)
    more = [f"{format_count(hidden, 'metric')} more: hookcore compare --metric NAME draws another."] if hidden > 0 else []
    return {
        "by": comparison.by[:1].upper() + comparison.by[1:],
        "metrics": metrics,
        "differs": [_clean(name) for name in comparison.differs],
        "runs": [_run(comparison, row, metrics, every) for row in comparison],
        "notes": thinned + more,
        "left_out": [_clean(reason) for reason in comparison.left_out],
    }


def _metrics(comparison: Ranking) -> list[str]:
    """Return the metrics that have a chart: the one that ranks the runs, then those that most runs have."""
    counts: dict[str, int] = {}
    for row in comparison:
        for name in row.run.history:
            own = comparison.metric if name == row.metric and comparison.metric is not None else name
            counts[own] = counts.get(own, 0) + 1
    names = sorted(counts, key=lambda name: (name != comparison.metric, -counts[name]))
    return [_clean(name) for name in names[:_MOST_METRICS]]


def _run(comparison: Ranking, row: Compared, metrics: Sequence[str], every: int) -> dict[str, Any]:
    history, best = row.run.history, row.best
    rows = sorted({*range(0, len(history), every), len(history) - 1}) if len(history) else []
    names = {comparison.metric if name == row.metric else name: name for name in history}
    columns = {_clean(str(shown)): history[name] for shown, name in names.items() if shown is not None}
    steps, times = history.steps, row.run.seconds
    places = {
        "epoch": _epochs(row),
        "step": steps if any(step is not None for step in steps) else None,
        "time": [None if time is None else round(time, 6) for time in times] if any(time is not None for time in times) else None,
    }
    return {
        "name": _clean(row.name),
        "outcome": None if row.status is None else _clean(row.status),
        "why": _clean(row.why),
        "epochs": row.epochs,
        "asked": row.run.epochs,
        "best": None if best is None else _number(best.value),
        "best_place": None if best is None else place_in_words(best.epoch, best.step, by_steps=best.by_steps),
        "best_in": None if best is None else best.place,
        "last": _number(row.last),
        "seconds": None if row.duration is None else _number(row.duration),
        "differs": [_value(row.differs[name]) for name in comparison.differs],
        "x": {axis: None if values is None else [values[i] for i in rows] for axis, values in places.items()},
        "y": {name: [_number(columns[name][i]) for i in rows] for name in metrics if name in columns},
    }


def _epochs(row: Compared) -> list[float]:
    """Return the epoch of each row, counted from one; rows within an epoch lie evenly before its end."""
    epochs = row.run.history.epochs
    counts: dict[int, int] = {}
    for epoch in epochs:
        counts[epoch] = counts.get(epoch, 0) + 1
    seen: dict[int, int] = {}
    places = []
    for epoch in epochs:
        seen[epoch] = seen.get(epoch, 0) + 1
        places.append(round(epoch + seen[epoch] / counts[epoch], 4))
    return places


def _number(value: float) -> float | None:
    """Return `value` rounded to the digits that a curve can show; None if it is not finite."""
    return float(f"{value:.6g}") if math.isfinite(value) else None


def _value(value: Any) -> Any:
    if isinstance(value, bool | int) or value is None:
        return value if not isinstance(value, int) or abs(value) < 2**53 else str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    return _clean(value if isinstance(value, str) else json.dumps(value, default=str))


def _clean(text: str) -> str:
    return printable(text, _LONGEST)
