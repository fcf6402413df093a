"""hookcore: write a training plugin once; run it in every training loop.

PYTEST_DONT_REWRITE: hookcore has a pytest plugin, and without this line pytest would warn if hookcore was imported before it.
"""

from __future__ import annotations

import importlib
import typing

from hookcore.dispatch import Hooks
from hookcore.engine import Engine, Plugins
from hookcore.error_policy import OnError
from hookcore.errors import (
    CapabilityError,
    CheckpointError,
    DiskFullError,
    HookcoreError,
    HookcoreWarning,
    LoadError,
    MetricError,
    ParameterError,
    PluginError,
    Preempted,
    RegistrationError,
    SpecError,
)
from hookcore.history import History
from hookcore.host import Host, NoHost
from hookcore.markers import hookimpl, hookspec
from hookcore.metric_names import MetricNames
from hookcore.metrics import Metrics
from hookcore.monitor import Monitor
from hookcore.registry.inspection import Registered
from hookcore.run import Run
from hookcore.run_state import Decision, DecisionKind, Outcome, PluginFailure, Position, Progress, StopReason
from hookcore.session import Session
from hookcore.specs import HOOKS
from hookcore.trainee import Trainee

if typing.TYPE_CHECKING:
    from hookcore.capture import Capture
    from hookcore.resume import Resume
    from hookcore.store import SavedCheckpoint

__all__ = [
    "HOOKS",
    "CapabilityError",
    "Capture",
    "CheckpointError",
    "Decision",
    "DecisionKind",
    "DiskFullError",
    "Engine",
    "History",
    "HookcoreError",
    "HookcoreWarning",
    "Hooks",
    "Host",
    "LoadError",
    "MetricError",
    "MetricNames",
    "Metrics",
    "Monitor",
    "NoHost",
    "OnError",
    "Outcome",
    "ParameterError",
    "PluginError",
    "PluginFailure",
    "Plugins",
    "Position",
    "Preempted",
    "Progress",
    "Registered",
    "RegistrationError",
    "Resume",
    "Run",
    "SavedCheckpoint",
    "Session",
    "SpecError",
    "StopReason",
    "Trainee",
    "hookimpl",
    "hookspec",
]

_ONLY_FOR_CHECKPOINTS = {"Capture": "capture", "Resume": "resume", "SavedCheckpoint": "store"}
"""Names that are imported on first use, with their modules, which take as long to import as all the others together."""


def __getattr__(name: str) -> typing.Any:
    if name not in _ONLY_FOR_CHECKPOINTS:
        if name[:1].isupper():
            _explain_plugin(name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_ONLY_FOR_CHECKPOINTS[name]}"), name)


def _explain_plugin(name: str) -> None:
    """Raise `LoadError`, which names what to import instead, if `name` is the class of a plugin in the catalogue."""
    from hookcore.registry import discovery

    for entry in discovery.entry_points(discovery.CATALOGUE):
        if entry.attr == name:
            module = entry.module.partition(".")[0]
            try:
                module = module if hasattr(importlib.import_module(module), name) else entry.module
            except Exception:  # noqa: BLE001 - raised by a third party's module; whoever imports it will see the error
                module = entry.module
            # Not an AttributeError, because `from hookcore import` shows no text of one.
            raise LoadError(f"{name} is a plugin, and not in hookcore: from {module} import {name}")
