"""hookcore: write a training plugin once; run it in every training loop."""

from __future__ import annotations

from hookcore.capture import Capture
from hookcore.dispatch import Hooks
from hookcore.engine import Engine
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
from hookcore.markers import hookimpl, hookspec
from hookcore.metrics import History, Metrics
from hookcore.monitor import Monitor
from hookcore.run import Decision, Outcome, PluginFailure, Progress, Run, StopReason
from hookcore.session import Session
from hookcore.specs import HOOKS
from hookcore.store import SavedCheckpoint
from hookcore.trainee import Trainee

__all__ = [
    "HOOKS",
    "CapabilityError",
    "Capture",
    "CheckpointError",
    "Decision",
    "DiskFullError",
    "Engine",
    "History",
    "HookcoreError",
    "HookcoreWarning",
    "Hooks",
    "LoadError",
    "MetricError",
    "Metrics",
    "Monitor",
    "Outcome",
    "ParameterError",
    "PluginError",
    "PluginFailure",
    "Preempted",
    "Progress",
    "RegistrationError",
    "Run",
    "SavedCheckpoint",
    "Session",
    "SpecError",
    "StopReason",
    "Trainee",
    "hookimpl",
    "hookspec",
]
