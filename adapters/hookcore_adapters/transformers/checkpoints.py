"""The checkpoint that `Trainer` resumes, and the record of the run in a checkpoint that `Trainer` wrote."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from transformers import Trainer
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from hookcore.stacks import callers
from hookcore.store import files

if TYPE_CHECKING:
    from transformers import TrainerState, TrainingArguments

RECORD: Final = "hookcore_record.json"
"""The file with the record in a checkpoint that `Trainer` wrote."""


def announced(args: TrainingArguments, state: TrainerState) -> Path:
    """Return the directory of the checkpoint that `Trainer` has written when it calls `on_save`."""
    return Path(args.output_dir, f"{PREFIX_CHECKPOINT_DIR}-{state.global_step}")


def resumed(args: TrainingArguments, state: TrainerState) -> Path | None:
    """Return the checkpoint that `Trainer` resumes, or None. Call it within `on_train_begin`.

    Callbacks do not get the path, so it is read from the frame of `Trainer.train`, which has resolved its argument. If a subclass
    replaces `train`, it is the path of the checkpoint at the same step in `args.output_dir`.
    """
    for frame in callers(sys._getframe()):  # noqa: SLF001 - the only way to find the caller
        if frame.f_code is Trainer.train.__code__:
            given = frame.f_locals["resume_from_checkpoint"]
            return None if given is None else Path(given)
    return announced(args, state) if state.global_step else None


def continues_at(args: TrainingArguments, state: TrainerState, batches: int | None) -> tuple[int, int]:
    """Return the epoch, and the batch in it, at which `Trainer` continues, as it computes them from the number of updates.

    `batches` is the number of batches in an epoch, or None if it is unknown. Then `Trainer` assumes a single epoch.
    """
    each = args.gradient_accumulation_steps
    updates = state.max_steps if batches is None else max(math.ceil(batches / each), 1)
    epoch, update = divmod(state.global_step, updates)
    return epoch, 0 if args.ignore_data_skip else update * each


def add_record(directory: Path, record: str) -> None:
    """Write `record` into a checkpoint of `Trainer`, completely or not at all."""
    files.write_bytes(directory / RECORD, record.encode())


def record_in(directory: Path) -> str | None:
    """Return the record in a checkpoint of `Trainer`, or None if it was saved without this adapter."""
    try:
        return files.read_file(directory / RECORD).decode()
    except FileNotFoundError:
        return None
