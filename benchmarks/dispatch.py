"""What one `on_batch_end` costs, with errors isolated per plugin, beside a plain loop (the floor) and raw pluggy.

All candidates run in one process, in shuffled rounds, with the garbage collector off. A row shows the median time of one
event and the median, with quartiles, of its ratio to the floor of the same round. The floor stands twice in the table: how far
the second is from 1 is noise.
"""

from __future__ import annotations

import gc
import random
import statistics
import time
from typing import TYPE_CHECKING, Any, Final

import attrs
import pluggy
from rich.console import Console
from rich.table import Table

from hookcore import Engine, Run, hookimpl, specs

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Event = Callable[[int, Mapping[str, float]], object]

ROUNDS: Final = 41
EVENTS: Final = 5_000
METRICS: Final = {"loss": 0.5}


@attrs.define(eq=False)
class Counter:
    """The cheapest plugin that does something."""

    n: int = 0

    @hookimpl
    def on_batch_end(self, batch: int, metrics: Mapping[str, float]) -> None:  # noqa: ARG002 - what is measured is the passing
        """Count."""
        self.n += 1


def candidates(k: int) -> dict[str, Event]:
    """The ways to tell `k` listeners of one event."""
    listeners: dict[str, list[Counter]] = {
        name: [Counter() for _ in range(k)] for name in ("floor", "control", "pluggy", "hookcore")
    }

    def loop(own: list[Counter]) -> Event:
        def call(batch: int, metrics: Mapping[str, float]) -> None:
            for one in own:
                one.on_batch_end(batch, metrics)

        return call

    manager = pluggy.PluginManager("hookcore")
    manager.add_hookspecs(specs)
    for one in listeners["pluggy"]:
        manager.register(one)
    raw = manager.hook.on_batch_end
    engine = Engine([(f"plugin_{i}", one) for i, one in enumerate(listeners["hookcore"])], autoload=False)
    return {
        "plain loop": loop(listeners["floor"]),
        "plain loop again": loop(listeners["control"]),
        "raw pluggy": lambda batch, metrics: raw(run=None, batch=batch, metrics=metrics),
        "hookcore": engine.start(Run()).hooks.on_batch_end,
    }


def time_events(call: Event) -> float:
    """Nanoseconds for one event."""
    began = time.perf_counter_ns()
    for batch in range(EVENTS):
        call(batch, METRICS)
    return (time.perf_counter_ns() - began) / EVENTS


def measure(calls: Mapping[str, Event]) -> dict[str, list[float]]:
    """The time of one event of each candidate, in each round."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    gc.disable()
    for _ in range(ROUNDS):
        for name in random.sample(list(calls), len(calls)):
            times[name].append(time_events(calls[name]))
    gc.enable()
    return times


def main() -> None:
    """Print the table."""
    table = Table("plugins", "way", "ns an event", "x plain loop", "quartiles")
    for k in (0, 1, 4, 16):
        times = measure(candidates(k))
        for name, own in times.items():
            ratios = [mine / floor for mine, floor in zip(own, times["plain loop"], strict=True)]
            low, middle, high = statistics.quantiles(ratios, n=4)
            table.add_row(str(k), name, f"{statistics.median(own):.0f}", f"{middle:.2f}", f"{low:.2f} to {high:.2f}")
        table.add_section()
    printed: Any = Console()
    printed.print(table)


if __name__ == "__main__":
    main()
