"""The state of other callbacks of `Trainer`, such as `EarlyStoppingCallback`, for checkpoints that plugins write."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback, TrainerState
from transformers.trainer_callback import CallbackHandler, ExportableState

from hookcore.stacks import callers

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def all_callbacks() -> Sequence[TrainerCallback]:
    """Return the callbacks of the `Trainer` that is calling us; empty if none is.

    Callbacks do not get this list, so it is read from the caller's frame. It is `Trainer`'s own list and not a copy.
    """
    calling = (frame.f_locals.get("self") for frame in callers(sys._getframe()))  # noqa: SLF001 - the only way to find the caller
    return next((found.callbacks for found in calling if isinstance(found, CallbackHandler)), ())


def states_of(callbacks: Iterable[TrainerCallback]) -> dict[str, Any]:
    """Return the present `TrainerState.stateful_callbacks`, which `Trainer` updates only when it saves a checkpoint itself."""
    state = TrainerState(stateful_callbacks=[callback for callback in callbacks if isinstance(callback, ExportableState)])
    return dict(state.stateful_callbacks)
