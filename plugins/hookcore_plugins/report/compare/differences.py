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
_SHORT_COMMIT: Final = 10
_RATE: Final = "learning rate"


def differing(runs: Sequence[RecordedRun]) -> tuple[list[str], list[dict[str, Any]]]:
    """Return the names of the values in which `runs` differ, the configuration first, and each run's values by name.

    A run whose log has no configuration is left out when configurations are compared, and likewise for parameters. A value that
    one run has and another lacks is a difference; in a plugin that only some runs have, only parameters that are not at their
    defaults are.
    """
    kinds = [[_config(run) for run in runs], [_parameters(run) for run in runs], [_surroundings(run) for run in runs]]
    chosen = [set(_chosen(run)) for run in runs]
    names: list[str] = []
    found: list[dict[str, Any]] = [{} for _ in runs]
    for values in kinds:
        telling = [known for known in values if known]
        for name in dict.fromkeys(name for known in telling for name in known):
            present = {state.dumps(known[name]) for known in telling if name in known}
            if present == {state.dumps(HIDDEN)}:
                continue
            lacking = any(name not in known for known in telling)
            if len(present) < 2 and not (lacking and _counts(name, values, chosen)):  # noqa: PLR2004 - two values differ
                continue
            names.append(name)
            for own, known in zip(found, values, strict=True):
                if name in known:
                    own[name] = known[name]
    if _RATE in names and any(all(_is_same(own, name, _RATE) for own in found) for name in names if name != _RATE):
        names.remove(_RATE)  # the configuration has it
    return names, [{name: own[name] for name in names if name in own} for own in found]


def _is_same(own: Mapping[str, Any], name: str, other: str) -> bool:
    """Return whether a run has the same number under both names, compared as 32-bit floats, or has neither."""
    values = own.get(name), own.get(other)
    are_numbers = all(isinstance(value, int | float) for value in values)
    return math.isclose(values[0], values[1], rel_tol=1e-6) if are_numbers else values[0] == values[1]  # type: ignore[arg-type]


def _counts(name: str, values: Sequence[Mapping[str, Any]], chosen: Sequence[set[str]]) -> bool:
    """Return whether runs that have `name` differ from those that lack it."""
    return any(
        name in known and (name in mine or "." not in name or not mine) for known, mine in zip(values, chosen, strict=True)
    )


def _config(run: RecordedRun) -> dict[str, Any]:
    return state.flattened(dict(run.config))


def _parameters(run: RecordedRun) -> dict[str, Any]:
    return {
        f"{plugin}.{name}": value
        for plugin, parameters in run.parameters.items()
        for name, value in parameters.items()
        if name not in _OWN
    }


def _chosen(run: RecordedRun) -> list[str]:
    """Return the names of what the run was given: its configuration, and parameters that are not at their defaults."""
    chosen = None if run.record is None else run.record.chosen_parameters
    return [*_config(run), *(f"{plugin}.{name}" for plugin, names in (chosen or {}).items() for name in names)]


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
