"""Read the fields of a record from the JSON in `run.json`, and check each."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Any, Final, TypeVar

import attrs

from hookcore import Decision, History, MetricNames, Outcome, Progress, StopReason
from hookcore.authoring import printable
from hookcore_plugins.report.items import Failure, KeptCheckpoint, Part

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Item = TypeVar("Item")

FORMAT: Final = 2
_RATES_BESIDE_HISTORY: Final = 1
"""The earlier format: no steps in the history, learning rates beside it, and the names of metrics as they are by default."""
_GRAPH: Final = re.compile(r"model-[0-9a-f]{16}\.png")
"""The name of a file with the model's picture. A file with any other name is not read, even if `run.json` names it."""
_LONGEST: Final = 10.0**11
"""The limit for seconds: more than any run takes, and more than a date can have."""


def fields_in(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a `RunRecord` in `data`, also in that of an earlier version.

    Raises `ValueError` or another error of Python for anything that `Report` does not write.
    """
    if data["report"] not in (_RATES_BESIDE_HISTORY, FORMAT):
        raise ValueError(f"its format is {data['report']!r}, and this version of hookcore reads format {FORMAT} and earlier")
    is_earlier = data["report"] == _RATES_BESIDE_HISTORY
    history = _history({**data["history"], "learning_rates": data["learning_rates"]} if is_earlier else data["history"])
    names = {} if is_earlier else {kind: tuple(prefixes) for kind, prefixes in data["metric_names"].items()}
    graph = data["graph"]
    return {
        "outcome": str(Outcome(data["outcome"])),
        "exception": _optional_text(data["exception"]),
        "traceback": _optional_text(data["traceback"]),
        "epochs": None if data["epochs"] is None else _whole("epochs", data["epochs"]),
        "progress": build(Progress, data["progress"]),
        "history": history,
        "seconds": _column("seconds", data["seconds"], history, _duration),
        "metric_names": MetricNames(**names),
        "monitor": _optional_text(data["monitor"]),
        "directions": {name: mode if mode in {"min", "max"} else None for name, mode in data["directions"].items()},
        "stop_reasons": [build(StopReason, vote) for vote in data["stop_reasons"]],
        "decisions": [build(Decision, decision) for decision in data["decisions"]],
        "checkpoints": [build(KeptCheckpoint, checkpoint) for checkpoint in data["checkpoints"]],
        "failures": [build(Failure, failure) for failure in data["failures"]],
        "plugins": {name: dict(parameters) for name, parameters in data["plugins"].items()},
        "parts": [_part(part) for part in data["parts"]],
        "plugin_seconds": {name: _duration(f"the seconds of {name}", took) for name, took in data["plugin_seconds"].items()},
        "environment": {name: _text(name, version) for name, version in data["environment"].items()},
        "config": dict(data.get("config", {})),
        "chosen_parameters": _chosen(data.get("chosen_parameters")),
        "command": [_text("an argument", argument) for argument in data.get("command", ())],
        "commit": _optional_text(data.get("commit")),
        "is_dirty": None if data.get("is_dirty") is None else _truth("is_dirty", data["is_dirty"]),
        "data": {name: _whole(name, size) for name, size in data.get("data", {}).items()},
        "graph": graph if graph is not None and _GRAPH.fullmatch(graph) else None,
        "graph_hint": _optional_text(data["graph_hint"]),
    }


def _optional_text(value: Any) -> str | None:
    return None if value is None else _text("a message", value)


def _chosen(raw: Any) -> dict[str, list[str]] | None:
    return None if raw is None else {plugin: [_text("a parameter", name) for name in names] for plugin, names in raw.items()}


def _part(raw: Mapping[str, Any]) -> Part:
    part = build(Part, raw)
    _duration("the beginning of a part", part.began)
    _duration("the seconds of a part", part.seconds)
    return part


def _history(rows: Mapping[str, Any]) -> History:
    history = History()
    history.load_state_dict(rows)
    history.learning_rates = _column("a learning rate", history.learning_rates, history, _number)
    history.epochs = [_whole("an epoch", epoch) for epoch in history.epochs]
    history.steps = [None if step is None else _whole("a step", step) for step in history.steps]
    history.by_steps = [_truth("by_steps", by_steps) for by_steps in history.by_steps]
    if any(by_steps and step is None for by_steps, step in zip(history.by_steps, history.steps, strict=True)):
        raise ValueError("an observation by steps has no step")
    return history


def _column(name: str, values: Any, history: History, convert: Callable[[str, Any], float]) -> list[float | None]:
    """Return a number or None for each row of the history."""
    column = [None if value is None else convert(name, value) for value in values]
    if len(column) != len(history):
        raise ValueError(f"a column of {len(column)} values for {len(history)} rows")
    return column


def build(kind: type[Item], raw: Mapping[str, Any]) -> Item:
    """Build a `kind`, an attrs class, from `raw` by its annotations. Raises `ValueError`, which names the field."""
    fields = {field.name: str(field.type) for field in attrs.fields(kind)}  # type: ignore[arg-type]  # an attrs class
    return kind(**{name: _typed(f"{kind.__name__}.{name}", value, fields.get(name, "")) for name, value in raw.items()})


def _typed(name: str, value: Any, annotation: str) -> Any:
    plain = annotation.removesuffix(" | None")
    if value is None and plain != annotation:
        return None
    convert: Callable[[str, Any], Any] = {"int": _whole, "float": _number, "bool": _truth}.get(plain, _text)
    return convert(name, value)


def _whole(name: str, value: Any) -> int:
    """Return `value`, read from a file, if it is a whole number. Otherwise raises `ValueError`, which has `name`."""
    if type(value) is not int or not 0 <= value <= sys.maxsize:
        raise ValueError(f"{name} must be a whole number of at least 0, got {_shown(value)}")
    return value


def _number(name: str, value: Any) -> float:
    """Return `value` if it is a number; raises as `_whole` does, and so do the next three."""
    if not (type(value) is float or (type(value) is int and abs(value) <= sys.maxsize)):
        raise ValueError(f"{name} must be a number, got {_shown(value)}")
    return float(value)


def _duration(name: str, value: Any) -> float:
    """Return `value` if it is a finite number of seconds."""
    seconds = _number(name, value)
    if not 0 <= seconds < _LONGEST:
        raise ValueError(f"{name} must be a number of seconds, got {_shown(value)}")
    return seconds


def _truth(name: str, value: Any) -> bool:
    """Return `value` if it is true or false."""
    if not isinstance(value, bool):
        raise ValueError(f"{name} must be true or false, got {_shown(value)}")  # noqa: TRY004 - the file is wrong, not the code
    return value


def _text(name: str, value: Any) -> str:
    """Return `value` if it is a string."""
    if not isinstance(value, str):
        raise ValueError(f"{name} must be a string, got {_shown(value)}")  # noqa: TRY004 - the file is wrong, not the code
    return value


def _shown(value: Any) -> str:
    return printable(repr(value), 100)
