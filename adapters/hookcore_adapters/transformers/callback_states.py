"""The state of `Trainer`'s own callbacks, such as the patience of `EarlyStoppingCallback`, for checkpoints of ours."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback, TrainerState
from transformers.trainer_callback import CallbackHandler, ExportableState

from hookcore.stacks import callers

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def all_callbacks() -> Sequence[TrainerCallback]:
    """Return the list that `Trainer` calls, in one of our own callback's methods; an empty one if something else calls us.

    A callback is not told of the others. The list is the one that is kept up to date.
    """
    calling = (frame.f_locals.get("self") for frame in callers(sys._getframe()))  # noqa: SLF001 - the only way to who called
    return next((found.callbacks for found in calling if isinstance(found, CallbackHandler)), ())


def states_of(callbacks: Iterable[TrainerCallback]) -> dict[str, Any]:
    """Return `TrainerState.stateful_callbacks` as it is now: `Trainer` brings it up to date only for checkpoints of its own."""
    state = TrainerState(stateful_callbacks=[callback for callback in callbacks if isinstance(callback, ExportableState)])
    return dict(state.stateful_callbacks)
