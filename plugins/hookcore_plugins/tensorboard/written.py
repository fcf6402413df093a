"""How far the files of a run are written. Checkpoints hold it, so that a resumed run continues the files."""

from __future__ import annotations

from collections import Counter
from typing import Final

import attrs

TRAIN: Final = "train"
VALIDATION: Final = "validation"


@attrs.define
class Written:
    """What the files of a log directory contain. Not a part of the board, which exists only during a run."""

    events: Counter[str] = attrs.field(factory=Counter)
    """How many events the files of `TRAIN` and of `VALIDATION` have."""
    file: str | None = None
    """The name of the first event file of `TRAIN`, by which a resumed run recognizes its own files."""
    embeddings: list[tuple[str, str]] = attrs.field(factory=list)
    """The projector's list: each embedding, and when its vectors were taken."""
