"""Measure what `import hookcore` costs, as a whole process, beside its two dependencies (the floor) and other frameworks.

Each sample starts an interpreter, and the modules are compiled to bytecode, as they are in an installation. The floor is in the
table twice: how far the second is from 1 is noise. `with an engine` also creates an engine with a plugin given by name, which
reads the entry points of all installed packages.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Final

import click

from side_by_side import Gate, Table, benchmark, is_there, measure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FLOOR, OURS = "attrs and pluggy", "hookcore"
STATEMENTS: Final = {
    "nothing": "pass",
    "pluggy": "import pluggy",
    FLOOR: "import attrs, pluggy",
    "attrs and pluggy again": "import attrs, pluggy",
    OURS: "import hookcore",
    "hookcore, with an engine": "import hookcore; hookcore.Engine(['early_stopping:patience=3'])",
}
PEERS: Final = ("ignite.engine", "skorch", "transformers", "keras", "lightning.pytorch")
UNSCANNED: Final = (
    "import importlib.metadata as m\n"
    "def scanned(*_, **__): raise AssertionError\n"
    "m.entry_points = m.Distribution.discover = scanned\n"
    "import hookcore\n"
)


def process(statement: str) -> Callable[[], float]:
    """Return a function that returns the seconds of an interpreter that runs `statement`."""
    command = [sys.executable, "-P", "-c", statement]  # -P: import nothing from the working directory
    # Let the first round write the bytecode, as an installation does.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}

    def sample() -> float:
        began = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True, env=environment)  # noqa: S603 - the statements above
        return time.perf_counter() - began

    return sample


@benchmark
@click.option("--rounds", default=21, show_default=True, type=click.IntRange(min=2))
@click.option("--peer-rounds", default=2, show_default=True, type=click.IntRange(min=2), help="Rounds for whole frameworks.")
def main(rounds: int, peer_rounds: int) -> Iterator[Table | Gate | str]:
    """Print what an import costs."""
    figures = measure({way: process(code) for way, code in STATEMENTS.items()}, rounds)
    found = Table("a process that imports", "ms", figures, floor=FLOOR, ours=OURS)
    yield found
    yield Gate("import hookcore: x attrs and pluggy", found.ratio(OURS, FLOOR)[1], 1.5)
    subprocess.run([sys.executable, "-P", "-c", UNSCANNED], check=True)  # noqa: S603 - the code above
    yield "`import hookcore` reads no entry points: it was also run with a scan that raises."
    frameworks = {peer: process(f"import {peer}") for peer in PEERS if is_there(peer.partition(".")[0])}
    ways = {OURS: process(STATEMENTS[OURS]), **frameworks}
    yield Table("a process that imports a framework", "ms", measure(ways, peer_rounds), ours=OURS)


if __name__ == "__main__":
    main()
