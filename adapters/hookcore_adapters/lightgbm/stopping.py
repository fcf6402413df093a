"""The reasons for which LightGBM stops training without a plugin's vote."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import lightgbm

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_EARLY_STOPPING: Final = type(lightgbm.early_stopping(1))
_STOP_NOTHING: Final = {
    type(lightgbm.log_evaluation()),
    type(lightgbm.record_evaluation({})),
    type(lightgbm.reset_parameter()),
}
_PARAMETERS: Final = ("stopping_rounds", "min_delta", "first_metric_only")
_ROUNDS: Final = ("early_stopping_round", "early_stopping_rounds", "early_stopping", "n_iter_no_change")
"""LightGBM's names for the parameter with which it adds its own early stopping."""


def stops_by(callbacks: Iterable[Any], params: Mapping[str, Any]) -> str:
    """Return the reason if LightGBM itself stops: the callbacks that may stop it, with the parameters of early stopping."""
    able = [_described(callback) for callback in callbacks if type(callback) not in _STOP_NOTHING]
    rounds = next((params[name] for name in _ROUNDS if name in params), None)
    if rounds is not None:
        given = {"stopping_rounds": rounds, "min_delta": params.get("early_stopping_min_delta", 0.0)}
        able.append(_early_stopping({**given, "first_metric_only": params.get("first_metric_only", False)}))
    return f"a callback of lightgbm.train: {', '.join(able)}"


def _described(callback: Any) -> str:
    if type(callback) is _EARLY_STOPPING:
        return _early_stopping({name: getattr(callback, name) for name in _PARAMETERS})
    return str(getattr(callback, "__name__", type(callback).__name__))


def _early_stopping(given: Mapping[str, Any]) -> str:
    return f"early_stopping({', '.join(f'{name}={value!r}' for name, value in given.items() if value)})"
