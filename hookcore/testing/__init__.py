"""Tools for tests of plugins and adapters: test doubles, events as values, and checks of the contracts of both.

Names that need Hypothesis are imported on first use: install `hookcore[testing]` for them.
"""

from __future__ import annotations

import importlib
import typing

from hookcore.errors import LoadError as _LoadError
from hookcore.testing.adapters import (
    SEED,
    AdapterCheck,
    Check,
    Feature,
    Harness,
    Job,
    Result,
    Scenario,
    Votes,
    adapter_checks,
    check_adapter,
    digest_of,
)
from hookcore.testing.contract import Clause
from hookcore.testing.doubles import RecordingPlugin, ScriptedTrainee
from hookcore.testing.events import Event, check_events
from hookcore.testing.faults import Faults
from hookcore.testing.playing import Stop, play

if typing.TYPE_CHECKING:
    from hookcore.testing.conformance import check_plugin, plugin_machine
    from hookcore.testing.sequences import event_sequences, illegal_event_sequences
    from hookcore.testing.series import metric_series

__all__ = [
    "SEED",
    "AdapterCheck",
    "Check",
    "Clause",
    "Event",
    "Faults",
    "Feature",
    "Harness",
    "Job",
    "RecordingPlugin",
    "Result",
    "Scenario",
    "ScriptedTrainee",
    "Stop",
    "Votes",
    "adapter_checks",
    "check_adapter",
    "check_events",
    "check_plugin",
    "digest_of",
    "event_sequences",
    "illegal_event_sequences",
    "metric_series",
    "play",
    "plugin_machine",
]

_NEEDS_HYPOTHESIS = {
    "check_plugin": "conformance",
    "event_sequences": "sequences",
    "illegal_event_sequences": "sequences",
    "metric_series": "series",
    "plugin_machine": "conformance",
}


def __getattr__(name: str) -> typing.Any:
    if name not in _NEEDS_HYPOTHESIS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        module = importlib.import_module(f"{__name__}.{_NEEDS_HYPOTHESIS[name]}")
    except ModuleNotFoundError as error:
        if error.name != "hypothesis":
            raise
        raise _LoadError(f"{__name__}.{name} needs Hypothesis: pip install 'hookcore[testing]'.") from error
    return getattr(module, name)
