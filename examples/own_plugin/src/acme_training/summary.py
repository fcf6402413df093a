"""One line in the log for every run."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, ClassVar

import attrs

from hookcore import hookimpl

if TYPE_CHECKING:
    from hookcore import Run

logger = logging.getLogger("acme_training")


@attrs.define(eq=False)
class RunSummary:
    """Log how and why a run ended, in one line at level INFO of the logger `acme_training`."""

    role: ClassVar[str] = "observer"

    @hookimpl(trylast=True)
    def on_train_end(self, run: Run) -> None:
        """Log the line, after the hooks of all other plugins."""
        reasons = "; ".join(f"{reason.plugin}: {reason.message}" for reason in run.stop_reasons)
        because = f" ({reasons})" if reasons else ""
        logger.info("run %s after %d epochs, %d steps%s", run.outcome, len(run.history), run.progress.step, because)
