"""Find in which parameters and configuration runs differ."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

from hookcore.authoring import HIDDEN, state

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hookcore_plugins.report.recorded import RecordedRun

_OWN: Final = frozenset({"clock", "deadline", "directory", "log_dir", "now", "path", "stream"})
"""Parameters that differ in each run, and do not affect training."""
_OF_LOGS: Final = frozenset({"log_dir", "path", "stream"})
"""Parameters that only plugins have that write a log or print, which do not affect training either."""
_SHORT_COMMIT: Final = 10
_MOST_EXACT: Final = 2**53
"""The integers below it are floats too."""
_RATE: Final = "learning rate"


def differing(runs: Sequence[RecordedRun]) -> tuple[list[str], list[dict[str, Any]]]:
    """Return the names of the values in which `runs` differ, the configuration first, and each run's values by name.

    A value differs if two of the runs that have it have different ones. A run that lacks it has None. A plugin that some runs
    lack, though their logs name plugins, is a difference too, with True as its value, unless one of its parameters differs.
    """
    kinds = [[_config(run) for run in runs], [_parameters(run) for run in runs], [_surroundings(run) for run in runs]]
    kinds.insert(1, _plugins(runs, [name for name in _names_of(kinds[1]) if _differ(name, kinds[1])]))
    found: dict[str, list[Any]] = {}
    for values in kinds:
        for name in _names_of(values):
            if values is kinds[1] or _differ(name, values):
                found[name] = [known.get(name) for known in values]
    if _RATE in found and any(_has_all(found[name], found[_RATE]) for name in found if name != _RATE):
        del found[_RATE]  # the configuration has it
    return list(found), [{name: column[row] for name, column in found.items()} for row in range(len(runs))]


def _names_of(values: Sequence[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(name for known in values for name in known))


def _differ(name: str, values: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether two of the runs that have `name` have different values: 32 and 32.0 are one value."""
    return len({state.dumps(_as_float(known[name])) for known in values if name in known}) > 1


def _as_float(value: Any) -> Any:
    return float(value) if isinstance(value, int) and not isinstance(value, bool) and abs(value) < _MOST_EXACT else value


def _plugins(runs: Sequence[RecordedRun], differing_parameters: Sequence[str]) -> list[dict[str, Any]]:
    """Return the plugins of each run that another run lacks, without those that write logs, or of which a parameter differs."""
    telling = [run.parameters for run in runs if run.parameters]
    shown = {name.partition(".")[0] for name in differing_parameters}
    lacking = {name for name in _names_of(telling) if any(name not in known for known in telling)} - shown
    return [
        {name: True for name, parameters in run.parameters.items() if name in lacking and not _OF_LOGS & parameters.keys()}
        for run in runs
    ]


def _has_all(column: Sequence[Any], rates: Sequence[Any]) -> bool:
    """Return whether a column has the learning rate of each run that has one, compared as 32-bit floats."""
    pairs = [(value, rate) for value, rate in zip(column, rates, strict=True) if rate is not None]
    return all(
        isinstance(value, int | float) and not isinstance(value, bool) and math.isclose(value, rate, rel_tol=1e-6)
        for value, rate in pairs
    )


def _config(run: RecordedRun) -> dict[str, Any]:
    return {name: value for name, value in state.flattened(dict(run.config)).items() if value != HIDDEN}


def _parameters(run: RecordedRun) -> dict[str, Any]:
    return {
        f"{plugin}.{name}": value
        for plugin, parameters in run.parameters.items()
        for name, value in parameters.items()
        if name not in _OWN
    }


def _surroundings(run: RecordedRun) -> dict[str, Any]:
    """Return the learning rate at the start, the framework and the commit."""
    rates = [rate for rate in run.history.learning_rates if rate is not None]
    found: dict[str, Any] = {_RATE: rates[0]} if rates else {}
    record = run.record
    if record is not None and "trained by" in record.environment:
        found["framework"] = record.environment["trained by"]
    if record is not None and record.commit is not None:
        found["commit"] = record.commit[:_SHORT_COMMIT] + "+" * bool(record.is_dirty)
    return found
