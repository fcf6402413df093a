"""Print docs/benchmarks.md with the latest tables: `python benchmarks/page.py .tox/benchmarks/tmp > docs/benchmarks.md`."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Final

import click

from side_by_side import ROOM, SCRIPTS, Gate

INTRODUCTION: Final = f"""\
# Benchmarks

These tables show what the hooks cost, beside the alternatives.
A hook engine runs in the innermost loop of training.
So the tables compare it with the least that the same work can cost, and with its peers; absolute times matter less.

```console
$ tox -e benchmarks
```

runs every script of [benchmarks/](../benchmarks/README.md) and writes the figures to `.tox/benchmarks/tmp/`.
`python benchmarks/dispatch.py` runs a single script.
CI runs them with fewer peers, in fewer rounds and with `--check`.
Then a script fails if a figure is more than {ROOM} times its gate in two runs; some gates allow a larger factor.

## How to read the tables

- All candidates of a table are measured in one process, in shuffled rounds.
  A time is the median of all rounds, with the quartiles.
  Times on a shared machine mean little.
- `x plain loop`, or `x` and another floor, is the ratio to the floor within a round: the median of all rounds, with quartiles.
  Ratios, unlike times, hold from one machine to another.
  The floor is the plainest way to do the work: a loop over the listeners, a copy in memory, a formatted line.
- `hookcore is x of it` is hookcore's cost divided by that candidate's: 0.1 means that hookcore costs a tenth of it.
- A row called `again` is the floor a second time.
  Its distance from 1 is noise, and smaller differences between candidates mean nothing.
- A gate is a limit that a figure must not exceed.
"""

_YES_OR_NO: Final = {True: "yes", False: "**no**"}


@click.command()
@click.argument("directory", type=click.Path(exists=True, file_okay=False, path_type=Path))
def main(directory: Path) -> None:
    """Print the page from the JSON files in DIRECTORY."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(directory.glob("*.json"))]
    # The run with the most peers first, then other Pythons.
    found.sort(key=lambda one: ([*SCRIPTS].index(one["script"]), -len(one["versions"]), one["python"]))
    latest: dict[str, dict[str, Any]] = {}
    for one in found:
        latest.setdefault(one["script"], one)
    click.echo(f"{INTRODUCTION}\n## The gates\n")
    click.echo(_gates([(f"`{script}.py`: ", one) for script, one in latest.items()]))
    for one in found:
        first = latest[one["script"]] is one
        if first:
            about = one["about"].removeprefix("Measure ")
            click.echo(f"## `{one['script']}.py`\n\n{_by_sentence(about[0].upper() + about[1:])}\n")
        versions = ", ".join(f"{name} {version}" for name, version in one["versions"].items() if name != "hookcore")
        click.echo(f"Python {one['python']}, {one['system']}; {versions}.\n")
        for shown in filter(None, map(_markdown, one["results"])):
            click.echo(shown)
        if not first:
            click.echo(_gates([("", one)]))


def _by_sentence(text: str) -> str:
    """Return paragraphs with one sentence per line."""
    return "\n\n".join(re.sub(r"(?<=[.?!]) ", "\n", " ".join(paragraph.split())) for paragraph in text.strip().split("\n\n"))


def _gates(runs: list[tuple[str, dict[str, Any]]]) -> str:
    gates = [(prefix, Gate(**result)) for prefix, one in runs for result in one["results"] if "at_most" in result]
    rows = [[prefix + gate.what, f"{gate.found:.3g}", f"{gate.at_most:.3g}", _YES_OR_NO[gate.met]] for prefix, gate in gates]
    limits = {gate.limit: f"- {prefix}{gate.limit}\n" for prefix, gate in gates if gate.limit and not gate.met}
    return _table([["gate", "found", "at most", "met"], *rows]) + "".join(["\n", *limits.values()] if limits else [])


def _markdown(result: dict[str, Any]) -> str:
    if "note" in result:
        return f"{result['note']}\n"
    return "" if "at_most" in result else f"**{result['title']}**\n\n{_table([result['header'], *result['rows']])}"


def _table(rows: list[list[str]]) -> str:
    header, *body = rows
    ruler = ["---", *("---:" for _ in header[1:])]
    return "".join(f"| {' | '.join(row)} |\n" for row in [header, ruler, *body])


if __name__ == "__main__":
    main()
