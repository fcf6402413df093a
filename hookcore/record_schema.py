"""What a record of a run may hold: every field with its type, checked before anything is restored from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NoReturn, TypeAlias

from hookcore import state
from hookcore.raised import shortened

FORMAT: Final = 1

_Where: TypeAlias = tuple[str | int, ...]
"""The keys and indices that lead to a field."""

Check: TypeAlias = Callable[[Any, _Where], Any]
"""A function that returns a field's value, or raises `ValueError` with the field's name."""

_LARGEST: Final = 2**63


def read(text: str) -> dict[str, Any]:
    """Return the record in `text`, with the fields that earlier versions did not write.

    Raises `ValueError`, which names the field, if `text` is not the record of a run in this format.
    """
    try:
        found = state.loads(text)
    except RecursionError as error:
        raise ValueError("its record has too many levels") from error
    if isinstance(found, dict) and found.get("format") != FORMAT:
        raise ValueError(f"its record has format {found.get('format')!r}, and this version of hookcore reads format {FORMAT}")
    record: dict[str, Any] = _RECORD(found, ())
    if record["fresh"] is None:
        record["fresh"] = record["metrics"]
    if record["steps_per_epoch"] is None:  # the loop's own, in earlier versions
        record["steps_per_epoch"] = _optional(_integer)(record["loop"].get("steps_per_epoch"), ("loop", "steps_per_epoch"))
    _check_rows(record["history"])
    return record


def _fail(where: _Where, expected: str, value: object) -> NoReturn:
    name = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in where).removeprefix(".") or "it"
    raise ValueError(f"its record is damaged: {name} must be {expected}, got {shortened(repr(value), 100)}")


def _integer(value: Any, where: _Where) -> int:
    if type(value) is not int or not 0 <= value < _LARGEST:
        _fail(where, "a whole number of at least 0", value)
    return value


def _number(value: Any, where: _Where) -> float:
    if type(value) is float:
        return value
    if type(value) is not int or abs(value) >= _LARGEST:
        _fail(where, "a number", value)
    return float(value)


def _text(value: Any, where: _Where) -> str:
    if not isinstance(value, str):
        _fail(where, "a string", value)
    return value


def _truth(value: Any, where: _Where) -> bool:
    if not isinstance(value, bool):
        _fail(where, "true or false", value)
    return value


def _any(value: Any, _: _Where) -> Any:
    return value


def _optional(check: Check) -> Check:
    return lambda value, where: None if value is None else check(value, where)


def _list_of(check: Check) -> Check:
    def checked(value: Any, where: _Where) -> list[Any]:
        if not isinstance(value, list):
            _fail(where, "a list", value)
        return [check(item, (*where, number)) for number, item in enumerate(value)]

    return checked


def _pair_of(first: Check, second: Check) -> Check:
    def checked(value: Any, where: _Where) -> list[Any]:
        if not isinstance(value, list) or len(value) != 2:  # noqa: PLR2004 - a pair
            _fail(where, "a list of two", value)
        return [first(value[0], (*where, 0)), second(value[1], (*where, 1))]

    return checked


def _mapping_of(check: Check) -> Check:
    def checked(value: Any, where: _Where) -> dict[str, Any]:
        if not isinstance(value, dict):
            _fail(where, "an object", value)
        return {key: check(item, (*where, key)) for key, item in value.items()}

    return checked


def _object(required: Mapping[str, Check], absent: Mapping[str, tuple[Check, Any]] | None = None) -> Check:
    """Return a check of an object with these fields, and those that may be `absent`, with what then stands for them."""
    others = absent or {}

    def checked(value: Any, where: _Where) -> dict[str, Any]:
        if not isinstance(value, dict):
            _fail(where, "an object", value)
        for name in required:
            if name not in value:
                _fail((*where, name), "there", None)
        found = {name: check(value[name], (*where, name)) for name, check in required.items()}
        for name, (check, default) in others.items():
            found[name] = check(value[name], (*where, name)) if name in value else default
        return found

    return checked


_COUNT: Final = _optional(_integer)
_VALUE: Final = _optional(_number)

_DECISION: Final = {"plugin": _text, "message": _text, "epoch": _integer, "step": _integer}

_HISTORY: Final = _object(
    {"epochs": _list_of(_integer), "metrics": _mapping_of(_list_of(_number))},
    {
        "steps": (_optional(_list_of(_COUNT)), None),
        "by_steps": (_optional(_list_of(_truth)), None),
        "learning_rates": (_optional(_list_of(_VALUE)), None),
    },
)

_RECORD: Final = _object(
    {
        "progress": _object({"epoch": _integer, "batch": _integer, "step": _integer}, {"accumulated": (_integer, 0)}),
        "position": _object({"epoch": _integer, "batch": _integer, "begun": _truth}),
        "history": _HISTORY,
        "decisions": _list_of(_object({**_DECISION, "kind": _text}, {"value": (_VALUE, None)})),
        "stop_reasons": _list_of(
            _object(
                _DECISION,
                {
                    "metric": (_optional(_text), None),
                    "value": (_VALUE, None),
                    "best": (_VALUE, None),
                    "best_epoch": (_COUNT, None),
                    "best_step": (_COUNT, None),
                },
            )
        ),
        "plugins": _mapping_of(_object({"type": _text, "parameters": _mapping_of(_any), "state": _any})),
        "held": _list_of(_pair_of(_text, _text)),
        "loop": _mapping_of(_any),
    },
    {
        "steps_per_epoch": (_COUNT, None),
        "validation_prefixes": (_list_of(_text), ()),
        "metrics": (_mapping_of(_number), {}),
        "fresh": (_mapping_of(_number), None),
        "logged": (_mapping_of(_pair_of(_text, _number)), {}),
    },
)
"""A record. Other fields are left out: a later version may write more."""


def _check_rows(history: dict[str, Any]) -> None:
    rows = len(history["epochs"])
    columns = {**history["metrics"], **{name: history[name] for name in ("steps", "by_steps", "learning_rates")}}
    for name, column in columns.items():
        if column is None:
            del history[name]  # an earlier version did not record it
        elif len(column) != rows:
            raise ValueError(f"its record is damaged: the history has {rows} rows, and {len(column)} values of {name}")
