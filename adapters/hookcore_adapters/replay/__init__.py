"""Find what plugins would have done in a recorded run, without training again.

    run = replay("runs/first/metrics.csv", [EarlyStopping(patience=3)])
    print(run.outcome, run.stop_reasons)

`hookcore replay` does this for many settings and many runs at once.
"""

from __future__ import annotations

from hookcore_adapters.replay.adapter import replay

__all__ = ["replay"]
