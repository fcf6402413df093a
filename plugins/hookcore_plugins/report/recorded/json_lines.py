"""`JSONLog`'s files: one object per line, for each observation, each decision and the end of the run.

An incomplete last line is left out. If the epochs start again after the end of a run, another run follows.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import attrs

from hookcore import Decision, StopReason
from hookcore.authoring import printable
from hookcore_plugins.report.recorded.rows import MAX_EPOCH, Row, check_name, fail, history_of, names_of, number, whole
from hookcore_plugins.report.recorded.run import RecordedRun
from hookcore_plugins.report.recorded.text import lines

if TYPE_CHECKING:
    from pathlib import Path


@attrs.define
class _Run:
    """One run of the file, as far as it was read."""

    rows: list[Row] = attrs.field(factory=list)
    decisions: list[Decision] = attrs.field(factory=list)
    outcome: str | None = None
    began: float | None = None
    ended: float | None = None


def is_log(head: str) -> bool:
    """Return whether a file with this beginning is `JSONLog`'s."""
    try:
        found = json.loads(head.partition("\n")[0])
    except (ValueError, RecursionError):
        return False
    return isinstance(found, dict) and isinstance(found.get("event"), str) and "epoch" in found


def read(path: Path, name: str) -> list[RecordedRun]:
    """Read the runs in the file. Raises `RecordedError`."""
    runs, notes = [_Run()], list[str]()
    for line, text, is_whole in lines(path):
        where = f"{path}, line {line}"
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            if not is_whole:
                notes.append(f"{where}: the last line is left out: it is cut.")
                break
            fail(where, "it is not an object of JSON.")
        if not isinstance(found, dict):
            fail(where, f"it must be an object, got {printable(text, 60)}.")
        if line > MAX_EPOCH:
            fail(where, f"at most {MAX_EPOCH} lines are read.")
        _take(where, found, runs)
    return [_run(path, name, i, one, notes) for i, one in enumerate(one for one in runs if one.rows or len(runs) == 1)]


def _take(where: str, found: dict[str, Any], runs: list[_Run]) -> None:
    event, epoch, step = found.get("event"), whole(where, "epoch", found.get("epoch")), whole(where, "step", found.get("step"))
    time = number(where, "time", found["time"]) if "time" in found else None
    if event in {"epoch", "evaluation"}:
        last = runs[-1].rows[-1] if runs[-1].rows else None
        if runs[-1].outcome is not None and last is not None and (epoch, step) <= (last.epoch, last.step):
            runs.append(_Run())
        metrics, rate = found.get("metrics"), found.get("learning_rate")
        if not isinstance(metrics, dict):
            fail(where, "its metrics must be an object.")
        own = {check_name(where, name): number(where, name, value) for name, value in metrics.items()}
        rate = None if rate is None else number(where, "learning_rate", rate)
        runs[-1].rows.append(Row(where, own, epoch, step, event == "evaluation", rate, time))
        runs[-1].outcome = None
    elif event == "train_end":
        runs[-1].outcome, runs[-1].ended = str(found.get("outcome")), time
    elif event in {"stop", "learning_rate", "checkpoint"}:
        plugin, message = str(found.get("plugin", "")), str(found.get("message", ""))
        runs[-1].decisions.append(Decision(plugin, event, message, epoch, step))
    else:
        fail(where, f"an event of JSONLog was expected, got {printable(repr(event), 60)}.")


def _run(path: Path, name: str, place: int, one: _Run, notes: list[str]) -> RecordedRun:
    history, seconds, more = history_of(path, one.rows)
    stops = tuple(StopReason(made.plugin, made.message, made.epoch, made.step) for made in one.decisions if made.kind == "stop")
    times = [row.time for row in one.rows if row.time is not None]
    return RecordedRun(
        path=path,
        name=f"{name}#{place + 1}" if place else name,
        label=str(place + 1),
        format="JSONLog",
        history=history,
        seconds=seconds,
        metric_names=names_of(history),
        outcome=one.outcome,
        why=tuple(f"{vote.plugin}: {vote.message}" for vote in stops),
        stop_reasons=stops,
        decisions=tuple(one.decisions),
        duration=None if one.ended is None or not times else max(one.ended - times[0], 0.0),
        notes=(*notes, *more),
    )
