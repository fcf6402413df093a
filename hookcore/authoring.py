"""What plugin authors need besides the names in `hookcore` itself.

* `observe`, `observed`, `direction_of`, `due`, `learning_rate_of`: read a metric, pass it to a `Monitor`, find which direction is
  better, act every N steps, and read the learning rate.
* `local_path`: read a path that a person gave, in which `~` is the home directory; a URL is an error.
* `validators`: check parameters, with errors that name the plugin, the parameter, the value and what was expected.
* `Plugin`: everything that a plugin may have besides hooks.
* `Capability`, `Views` and their parts: what a plugin may need of a trainee; `reason_lacking` returns why it is missing.
* `format_count`, `format_duration` and the like: format numbers as the shipped plugins do.
* `describe`, `traceback_of`, `note`, `chain` and `drop_frames`: describe an error whose class may not cooperate.
* `is_secret`, `without_secrets`, `command_without_secrets`, `HIDDEN`: keep secrets out of what is recorded and shown.
* `schema`: check state that was read from a checkpoint, with errors that name the field.
* `state`: write and read JSON with NaN and the infinities.

`hookcore.store` has the rest, for plugins that save files. The shipped plugins import nothing else of hookcore.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Protocol

from hookcore import schema, state, validators
from hookcore.observing import DIRECTIONS, Missing, direction_of, due, learning_rate_of, observe, observed
from hookcore.paths import local_path
from hookcore.raised import chain, describe, drop_frames, note, traceback_of
from hookcore.secrecy import HIDDEN, command_without_secrets, is_secret, without_secrets
from hookcore.text import (
    did_you_mean,
    format_count,
    format_duration,
    format_size,
    format_value,
    place_in_words,
    printable,
)
from hookcore.trainee import Arrays, Capability, Mode, Node, Snapshot, Views, framework_of, reason_lacking

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hookcore.store import SavedCheckpoint

__all__ = [
    "DIRECTIONS",
    "HIDDEN",
    "Arrays",
    "Capability",
    "Missing",
    "Mode",
    "Node",
    "Plugin",
    "Snapshot",
    "Views",
    "chain",
    "command_without_secrets",
    "describe",
    "did_you_mean",
    "direction_of",
    "drop_frames",
    "due",
    "format_count",
    "format_duration",
    "format_size",
    "format_value",
    "framework_of",
    "is_secret",
    "learning_rate_of",
    "local_path",
    "note",
    "observe",
    "observed",
    "place_in_words",
    "printable",
    "reason_lacking",
    "schema",
    "state",
    "traceback_of",
    "validators",
    "without_secrets",
]


class Plugin(Protocol):
    """Everything that a plugin may have besides hooks.

    Each member is optional, and no plugin inherits from this: an object has the members that it needs.
    `hookcore.testing.check_plugin` checks `role`, `needs` and the four methods of state.
    """

    name: str
    """The name under which the plugin is registered; by default that of its class in snake case, or of its module."""

    role: Literal["actor", "observer"]
    """`"actor"`, the default, for a plugin that steers: its errors stop the run. `"observer"` for one that only watches: if it
    raises, it is disabled and reported, and the run continues."""

    needs: tuple[Capability, ...]
    """What the trainee must be able to do. If it cannot, an error names the plugin before the first batch."""

    shows_progress: bool
    """Whether the plugin shows progress, so that an adapter turns off the framework's progress bar."""

    replaces: tuple[str, ...]
    """The autoloaded plugins that it replaces, besides one that has its name. They are not even imported."""

    type_name: str
    """The name under which checkpoints know the class, as `"package.module.Class"`; by default its module and qualified name.

    If a class was moved, give its old name here, so that a renamed plugin finds its state in earlier checkpoints. A subclass does
    not inherit it.
    """

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs, as numbers, strings, booleans, None, lists and dicts with string keys.

        Called for each capture. A plugin that has this method must have `load_state_dict` too.
        """
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over `state`, which `state_dict` returned.

        Called at the start of every run with the plugin's first state, and of a resumed run also with the checkpoint's. The
        checkpoint may be damaged or of another version: raise an error for a state that does not fit, before any of it is taken
        over. `schema` has the checks.
        """
        ...

    def snapshots(self) -> Mapping[str, Snapshot]:
        """Return the snapshots of the trainee that the plugin holds, by keys of its choice. Each checkpoint stores them."""
        ...

    def load_snapshots(self, snapshots: Mapping[str, Snapshot]) -> None:
        """Take over what `snapshots` returned. Called after `load_state_dict`, if the mapping is not empty."""
        ...

    def resumable(self) -> SavedCheckpoint | None:
        """Return the newest checkpoint that `resume="auto"` can resume from, or None before the first checkpoint.

        Raises `CheckpointError` if checkpoints exist and all of them are damaged.
        """
        ...
