"""The shipped plugins. Importing this package imports no heavy library; a plugin that needs one imports it when it is made.

PYTEST_DONT_REWRITE: hookcore has a pytest plugin, and pytest would warn of a session in which this was imported before.
"""

from __future__ import annotations

from hookcore_plugins.activations import Activations
from hookcore_plugins.checkpoint import Checkpoint
from hookcore_plugins.console import Console
from hookcore_plugins.csv_log import CSVLog
from hookcore_plugins.early_stopping import EarlyStopping
from hookcore_plugins.json_log import JSONLog
from hookcore_plugins.lr_schedule import LearningRateSchedule
from hookcore_plugins.nan_guard import NaNGuard
from hookcore_plugins.preemption import Preemption
from hookcore_plugins.reduce_lr import ReduceLROnPlateau
from hookcore_plugins.report import Report, ReportError, RunReport
from hookcore_plugins.tensorboard import TensorBoard
from hookcore_plugins.time_limit import TimeLimit

__all__ = [
    "Activations",
    "CSVLog",
    "Checkpoint",
    "Console",
    "EarlyStopping",
    "JSONLog",
    "LearningRateSchedule",
    "NaNGuard",
    "Preemption",
    "ReduceLROnPlateau",
    "Report",
    "ReportError",
    "RunReport",
    "TensorBoard",
    "TimeLimit",
]
