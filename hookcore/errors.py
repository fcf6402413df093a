"""Every error that hookcore raises, under one base, and the "did you mean" that their messages share."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class HookcoreError(Exception):
    """The base of every error that hookcore raises."""


class RegistrationError(HookcoreError, TypeError):
    """A plugin cannot be registered: a misspelt hook or argument, an unmarked method, a name taken."""


class ParameterError(HookcoreError, ValueError):
    """A parameter has the wrong type or lies outside its range."""


class SpecError(HookcoreError, ValueError):
    """A plugin asked for in a string, `"name:key=value"`, is unknown or its parameters do not fit."""


class LoadError(HookcoreError, ImportError):
    """A plugin asked for by name could not be imported or made."""


class CapabilityError(HookcoreError, TypeError):
    """A plugin needs something that this trainee cannot do."""


class MetricError(HookcoreError, LookupError):
    """A metric is missing, is no number, or its direction is unknown."""


class CheckpointError(HookcoreError, OSError):
    """A checkpoint could not be written, or what is on disk does not verify."""


class DiskFullError(CheckpointError):
    """The disk has no room for a checkpoint. Earlier checkpoints are untouched."""


class PluginError(HookcoreError, RuntimeError):
    """A plugin raised `StopIteration` or the like, which the training loop would take for the end of its data."""


class Preempted(SystemExit):
    """The process was asked to end, and the run ended for it. Where nobody catches it the exit status is `code`.

    `remaining` returns the seconds that are left before the process is killed, or None where nobody knows.
    """

    def __init__(self, reason: str, code: int, remaining: Callable[[], float | None] = lambda: None) -> None:
        super().__init__(code)
        self.reason = reason
        self.remaining = remaining

    def __str__(self) -> str:
        return self.reason


class HookcoreWarning(UserWarning):
    """Something was left out or switched off, and the run goes on."""
