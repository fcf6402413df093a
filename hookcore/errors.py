"""Every error that hookcore raises, under one base, and its warning."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from collections.abc import Callable


class HookcoreError(Exception):
    """The base of every error that hookcore raises. A note, which a traceback shows, names the page of its class."""

    page: ClassVar[str] = "docs/semantics.md"
    """The page of the documentation that helps; a subclass without one inherits it."""

    def __init__(self, *args: object, **named: Any) -> None:
        super().__init__(*args, **named)  # a subclass may have a base with keywords, as `ImportError` has `name` and `path`
        self.add_note(f"See {self.page}.")


class RegistrationError(HookcoreError, TypeError):
    """A plugin cannot be registered: a hook or argument is misspelt, a method is not marked, or the name is taken."""

    page = "docs/writing-a-plugin.md"


class ParameterError(HookcoreError, ValueError):
    """A parameter has the wrong type or lies outside its range."""

    page = "docs/configuration.md"


class SpecError(HookcoreError, ValueError):
    """A spec string, `"name:key=value"`, or a configuration has an unknown name or a wrong value, or cannot be read."""

    page = "docs/configuration.md"


class LoadError(HookcoreError, ImportError):
    """A plugin that was requested by name could not be imported or made."""

    page = "docs/configuration.md"


class CapabilityError(HookcoreError, TypeError):
    """A plugin needs a capability that the trainee lacks."""

    page = "docs/writing-a-trainee.md"


class MetricError(HookcoreError, LookupError):
    """A metric is missing, is not a number, or its direction is unknown."""


class CheckpointError(HookcoreError, OSError):
    """A checkpoint could not be written, or one on disk does not verify."""

    page = "docs/checkpoints.md"


class DiskFullError(CheckpointError):
    """The disk has no room for a checkpoint. Earlier checkpoints are untouched."""


class PluginError(HookcoreError, RuntimeError):
    """A plugin raised `StopIteration` or the like, which the training loop would take for the end of its data."""

    page = "docs/writing-a-plugin.md"


class Preempted(SystemExit):
    """The run ended because the process was asked to end. If the program does not catch it, the exit status is `code`.

    `remaining` returns the seconds until the process is killed, or None, the default, if that is unknown. If they are fewer than
    `reserve`, 0 by default, what the run waits for is cut.
    """

    def __init__(
        self, reason: str, code: int, remaining: Callable[[], float | None] = lambda: None, *, reserve: float = 0.0
    ) -> None:
        super().__init__(code)
        self.reason = reason
        self.remaining = remaining
        self.reserve = reserve

    def __str__(self) -> str:
        return self.reason


class HookcoreWarning(UserWarning):
    """Something was left out or disabled, and the run continues."""
