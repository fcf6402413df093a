"""Measure candidates side by side; show ratios and gates; provide the command line that all benchmarks share.

All candidates of one table run in one process. Each round measures each candidate once, in shuffled order, with the garbage
collector off; the first round warms up and does not count. A ratio compares two figures of the same round, and the tables show
the median of all rounds, with the quartiles: if the machine is slow for a while, both figures are slow.
"""

from __future__ import annotations

import functools
import gc
import importlib.metadata
import importlib.util
import json
import platform
import random
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import attrs
import click
from rich.console import Console
from rich.table import Table as Printed

from hookcore import Engine, hookimpl

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

ROOM: Final = 1.5
"""The factor by which a figure may exceed its gate under `--check`, because a shared machine is noisy."""
SCALES: Final = {"ns": 1e9, "us": 1e6, "ms": 1e3, "s": 1.0, "MB": 1e-6, "KiB": 1 / 1024, "copies": 1.0}
VERSIONS_OF: Final = (
    "attrs", "hookcore", "jax", "keras", "lightgbm", "lightning", "optax", "pluggy", "pytorch-ignite", "safetensors", "skorch",
    "tensorboard", "tensorboardX", "tensorflow", "torch", "transformers", "xgboost", "xgboost-cpu",
)  # fmt: skip

SCRIPTS: Final = {
    "dispatch": "--rounds 9",
    "keras_step": "--rounds 9",
    "torch_loop": "--rounds 3 --sizes 50",
    "jax_loop": "--rounds 5",
    "lightning_batch": "--rounds 2",
    "transformers_step": "--rounds 5",
    "xgboost_iteration": "--rounds 5",
    "lightgbm_iteration": "--rounds 3",
    "epoch_end": "--rounds 9",
    "checkpoint": "--rounds 3",
    "save_time": "--rounds 2 --sizes 20 --optimizers sgd",
    "scalars": "--rounds 9",
    "imports": "--rounds 9",
    "memory": "--events 200000",
    "growth": "--rounds 9",
    "replay": "--rounds 2 --settings 20",
}
"""The scripts, in the order of the page in docs/, and the options that make each quick under `--check`."""

Spread: TypeAlias = tuple[float, float, float]
"""The low quartile, the median and the high quartile."""


def measure(candidates: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Return the figure of each candidate in each round."""
    figures: dict[str, list[float]] = {name: [] for name in candidates}
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        for number in range(1 + rounds):
            for name in random.sample(list(candidates), len(candidates)):
                figure = candidates[name]()
                if number:
                    figures[name].append(figure)
            gc.collect()
    finally:
        gc.enable()
        gc.unfreeze()
    return figures


def seconds(call: Callable[[], object]) -> float:
    """Return how long `call` takes."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


@attrs.define(eq=False)
class Counter:
    """Counts the ends of batches: the cheapest plugin that implements this hook."""

    n: int = 0

    @hookimpl
    def on_batch_end(self) -> None:
        """Count."""
        self.n += 1


def engine_of(plugins: Iterable[object]) -> Engine:
    """Return an engine with only these plugins, which may be of one kind."""
    return Engine([(f"plugin_{number}", plugin) for number, plugin in enumerate(plugins)], autoload=False)


def is_there(package: str) -> bool:
    """Return whether `package` can be imported. A peer that is not installed is left out of the table."""
    return importlib.util.find_spec(package) is not None


def spread(values: Sequence[float]) -> Spread:
    """Return the quartiles of `values`."""
    if len(values) == 1:
        return values[0], values[0], values[0]
    low, middle, high = statistics.quantiles(values, n=4)
    return low, middle, high


@attrs.frozen
class Table:
    """The figures of some candidates, in seconds or bytes, by candidate and round.

    All are compared with the candidate `floor`, and the candidate `ours` is compared with all.
    """

    title: str
    unit: str
    """The unit in which the figures are shown."""
    figures: Mapping[str, Sequence[float]]
    floor: str | None = None
    ours: str | None = None

    def ratio(self, way: str, to: str) -> Spread:
        """Return the ratio of the candidate `way` to the candidate `to`."""
        return spread([mine / other for mine, other in zip(self.figures[way], self.figures[to], strict=True)])

    def rows(self) -> list[list[str]]:
        """Return the rows to show, the header first."""
        header = ["candidate", self.unit, "quartiles"]
        header += [f"x {self.floor}"] if self.floor else []
        header += [f"{self.ours} is x of it"] if self.ours else []
        rows = [header]
        for way, own in self.figures.items():
            low, middle, high = (figure * SCALES[self.unit] for figure in spread(own))
            row = [way, _number(middle), f"{_number(low)} to {_number(high)}"]
            row += [_shown(self.ratio(way, self.floor))] if self.floor else []
            row += [_shown(self.ratio(self.ours, way))] if self.ours else []
            rows.append(row)
        return rows


def _shown(ratio: Spread) -> str:
    low, middle, high = map(_number, ratio)
    return f"{middle} ({low} to {high})"


def _number(value: float) -> str:
    """Format with three significant digits."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"  # noqa: PLR2004 - from there on, all three are before the point


@attrs.frozen
class Gate:
    """A limit that a figure must not exceed."""

    what: str
    found: float
    at_most: float
    limit: str = ""
    """Why the gate is missed, to show if it is."""
    room: float = ROOM
    """The factor by which `found` may exceed `at_most` under `--check`."""

    @property
    def met(self) -> bool:
        """Whether the figure is within the limit."""
        return self.found <= self.at_most

    def __str__(self) -> str:
        told = f"{'met' if self.met else 'MISSED'}: {self.what}: {self.found:.3g}, at most {self.at_most:.3g}"
        return told if self.met or not self.limit else f"{told}. {self.limit}"


def gates_of_added(
    figures: Mapping[str, Sequence[float]], floor: str, at_most: Mapping[tuple[str, str], float]
) -> Iterator[Gate | str]:
    """Yield a gate for what the first of each pair adds to `floor`, as a multiple of what the second adds, and the quartiles."""
    for (ours, theirs), limit in at_most.items():
        rounds = zip(figures[ours], figures[theirs], figures[floor], strict=True)
        low, middle, high = spread([(mine - least) / (other - least) for mine, other, least in rounds])
        yield Gate(f"{ours}: what it adds, x what {theirs} add", middle, limit)
        yield f"Quartiles of that: {low:.3g} to {high:.3g}."


def benchmark(function: Callable[..., Iterable[Table | Gate | str]]) -> click.Command:
    """Return a command that prints the tables, gates and notes of `function`, whose own options are `click.option`s on it."""

    def command(ctx: click.Context, /, path: Path | None, *, check: bool, **options: Any) -> None:
        printed: Any = Console()
        if not printed.is_terminal:
            printed.width = 150
        results: list[dict[str, Any]] = []
        missed = False
        for result in function(**options):
            if isinstance(result, Table):
                header, *rows = result.rows()
                table = Printed(*header, title=result.title)
                for row in rows:
                    table.add_row(*row)
                printed.print(table)
                results.append({"title": result.title, "unit": result.unit, "header": header, "rows": rows})
                results[-1]["figures"] = {way: list(own) for way, own in result.figures.items()}
            else:
                printed.print(str(result), markup=False, highlight=False)
                if isinstance(result, Gate):
                    results.append(attrs.asdict(result))
                    missed |= result.found > result.at_most * result.room
                else:
                    results.append({"note": result})
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            script = function.__globals__
            about = {"script": Path(script["__file__"]).stem, "about": script["__doc__"]}
            path.write_text(json.dumps({**about, **machine(), "results": results}, indent=1), encoding="utf-8")
        ctx.exit(int(check and missed))

    functools.update_wrapper(command, function)  # its name, its docstring, and the options on it
    file = click.Path(dir_okay=False, path_type=Path)
    json_option = click.option("--json", "path", type=file, help="Also write the results to this file, as JSON.")
    check_option = click.option(
        "--check", is_flag=True, help=f"Fail if a figure is more than {ROOM} times its gate, or more than the gate itself allows."
    )
    return click.command(json_option(check_option(click.pass_context(command))))


def machine() -> dict[str, Any]:
    """Return the versions and the system that the figures were measured with."""
    there = {name: importlib.metadata.version(name) for name in VERSIONS_OF if _is_installed(name)}
    return {"python": platform.python_version(), "system": f"{platform.system()} {platform.machine()}", "versions": there}


def _is_installed(distribution: str) -> bool:
    try:
        importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True
