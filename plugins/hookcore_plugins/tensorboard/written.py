"""How far the files of a run are written, which a checkpoint holds so that a resumed run continues them."""

from __future__ import annotations

from collections import Counter
from typing import Final

import attrs

TRAIN: Final = "train"
VALIDATION: Final = "validation"


@attrs.define
class Written:
    """What is in the files of a log directory. Kept outside of the board: it exists before the first run and after the last."""

    events: Counter[str] = attrs.field(factory=Counter)
    """How many events the files of `TRAIN` and of `VALIDATION` have."""
    file: str | None = None
    """The name of the first event file of `TRAIN`, by which a resumed run recognizes its own files."""
    embeddings: list[tuple[str, str]] = attrs.field(factory=list)
    """What the projector lists: each embedding and when it was taken."""
