"""Measure what it costs to replay a recorded run with many settings of early stopping, beside a plain loop over the metric.

A run of 10,000 observations is replayed with 100 settings, none of which stops before the end: this is the worst case, because
a replay ends at the stop. The plain loop compares each value with the best, and counts; it keeps no history, and calls no
plugin. `hookcore replay` is the whole command except its output: reading the log from a CSV, and computing what each setting
saves and loses.
"""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from hookcore import Engine
from hookcore_adapters.replay.adapter import Recording
from hookcore_adapters.replay.settings import Asked, settings_of
from hookcore_adapters.replay.sweep import sweep
from hookcore_plugins import EarlyStopping
from hookcore_plugins.report.recorded import read_run
from side_by_side import Gate, Table, benchmark, measure, seconds, spread

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

FLOOR, OURS, COMMAND = "plain loop", "replay", "hookcore replay"
SECONDS: Final = 20.0
"""The limit for 10,000 observations and 100 settings."""


def plain(values: Sequence[float], patience: int) -> int:
    """Return the epoch at which a loop by hand would stop."""
    best, waited = math.inf, 0
    for epoch, value in enumerate(values):
        if value < best:
            best, waited = value, 0
        else:
            waited += 1
            if waited >= patience:
                return epoch
    return len(values)


@benchmark
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(min=1))
@click.option("--observations", default=10_000, show_default=True, type=click.IntRange(min=100))
@click.option("--settings", "number", default=100, show_default=True, type=click.IntRange(min=1))
def main(rounds: int, observations: int, number: int) -> Iterator[Table | Gate | str]:
    """Print what a replay costs."""
    # The metric improves often enough that no patience below stops the run.
    values = [1 / (1 + epoch // 10) + 0.5 * (epoch % 10 > 0) for epoch in range(observations)]
    first = 10
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "log.csv")
        rows = [f"{epoch},{epoch + 1},{value!r},{value!r}\n" for epoch, value in enumerate(values)]
        path.write_text("".join(["epoch,step,loss,val_loss\n", *rows]), encoding="utf-8")
        recording = Recording(read_run(path))
        asked = settings_of([Asked(f"early_stopping:patience={first}..{first + number - 1}")])

        def replays() -> None:
            for patience in range(first, first + number):
                _, told = recording.replay(Engine([EarlyStopping(patience=patience)], autoload=False))
                assert told == observations, "it stopped"  # noqa: S101 - the check

        def loops() -> None:
            for patience in range(first, first + number):
                assert plain(values, patience) == observations, "it stopped"  # noqa: S101 - the check

        figures = measure(
            {
                FLOOR: lambda: seconds(loops),
                OURS: lambda: seconds(replays),
                COMMAND: lambda: seconds(lambda: sweep([read_run(path)], asked)),
            },
            rounds,
        )
    found = Table(f"{observations} observations, {number} settings", "s", figures, floor=FLOOR, ours=OURS)
    yield found
    share = observations * number / 1e6
    yield Gate(f"{COMMAND}, seconds for 10,000 observations and 100 settings", spread(figures[COMMAND])[1] / share, SECONDS)
    yield Gate(f"{COMMAND}, x {OURS}", found.ratio(COMMAND, OURS)[1], 1.5)


if __name__ == "__main__":
    main()
