"""What a record of a run may hold: every field with its type, checked before anything is restored from it."""

from __future__ import annotations

from typing import Any, Final

from hookcore import state
from hookcore.errors import ParameterError
from hookcore.schema import anything, fields, integer, list_of, mapping_of, number, optional, pair_of, text, truth

FORMAT: Final = 1


def read(record: str) -> dict[str, Any]:
    """Return the content of `record`, a JSON text; fields that earlier versions did not write have their defaults.

    Raises `ValueError`, which names the field, if it is not the record of a run in this format.
    """
    try:
        found = state.loads(record)
    except RecursionError as error:
        raise ValueError("its record has too many levels") from error
    if isinstance(found, dict) and found.get("format") != FORMAT:
        raise ValueError(f"its record has format {found.get('format')!r}, and this version of hookcore reads format {FORMAT}")
    try:
        checked: dict[str, Any] = _RECORD(found)
        if checked["steps_per_epoch"] is None:  # in earlier versions it was part of the loop's state
            checked["steps_per_epoch"] = _COUNT(checked["loop"].get("steps_per_epoch"), ("loop", "steps_per_epoch"))
    except ParameterError as error:
        raise ValueError(f"its record is damaged: {error}") from error
    if checked["fresh"] is None:
        checked["fresh"] = checked["metrics"]
    _check_rows(checked["history"])
    return checked


_COUNT: Final = optional(integer)
_VALUE: Final = optional(number)

_DECISION: Final = {"plugin": text, "message": text, "epoch": integer, "step": integer}

_HISTORY: Final = fields(
    {"epochs": list_of(integer), "metrics": mapping_of(list_of(number))},
    {
        "steps": (optional(list_of(_COUNT)), None),
        "by_steps": (optional(list_of(truth)), None),
        "learning_rates": (optional(list_of(_VALUE)), None),
        "absent": (optional(mapping_of(list_of(integer))), None),
    },
)

_RECORD: Final = fields(
    {
        "progress": fields({"epoch": integer, "batch": integer, "step": integer}, {"accumulated": (integer, 0)}),
        "position": fields({"epoch": integer, "batch": integer, "begun": truth}),
        "history": _HISTORY,
        "decisions": list_of(fields({**_DECISION, "kind": text}, {"value": (_VALUE, None)})),
        "stop_reasons": list_of(
            fields(
                _DECISION,
                {
                    "metric": (optional(text), None),
                    "value": (_VALUE, None),
                    "best": (_VALUE, None),
                    "best_epoch": (_COUNT, None),
                    "best_step": (_COUNT, None),
                },
            )
        ),
        "plugins": mapping_of(fields({"type": text, "parameters": mapping_of(anything), "state": anything})),
        "held": list_of(pair_of(text, text)),
        "loop": mapping_of(anything),
    },
    {
        "steps_per_epoch": (_COUNT, None),
        "validation_prefixes": (list_of(text), ()),
        "metrics": (mapping_of(number), {}),
        "fresh": (mapping_of(number), None),
        "logged": (mapping_of(pair_of(text, number)), {}),
    },
)
"""Checks a record. Other fields are left out, because a later version may write more."""


def _check_rows(history: dict[str, Any]) -> None:
    rows = len(history["epochs"])
    columns = {**history["metrics"], **{name: history[name] for name in ("steps", "by_steps", "learning_rates")}}
    for name, column in columns.items():
        if column is None:
            del history[name]  # an earlier version did not record it
        elif len(column) != rows:
            raise ValueError(f"its record is damaged: the history has {rows} rows, and {len(column)} values of {name}")
