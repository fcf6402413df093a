"""The page of docs/ with the latest tables: `python benchmarks/page.py .tox/benchmarks/tmp > docs/benchmarks.md`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import click

from side_by_side import ROOM, SCRIPTS, Gate

INTRODUCTION: Final = f"""\
# Benchmarks

What the hooks cost, beside what else there is. A hook engine sits in the innermost loop of a training, so what is shown here is
not how fast it is on some machine but how far it is from the least that the same work can cost, and from its peers.

```console
$ tox -e benchmarks
```

runs every script of [benchmarks/](../benchmarks/README.md) and leaves the figures in `.tox/benchmarks/tmp/`. A script by itself
is `python benchmarks/dispatch.py`. CI runs them beside fewer peers, in fewer rounds and with `--check`, which fails if a
gate is missed by more than {ROOM} times, or by more than it is missed here, in two runs of its script.

## How to read the tables

- All candidates of a table are measured in one process, in shuffled rounds. A time is the median of all rounds, with the
  quartiles; it is worth little on a shared machine.
- `x plain loop`, or whatever the floor is, is the median of the ratios within a round, with the quartiles: this is what holds
  from machine to machine. The floor is the plainest way to do that work: a loop over the listeners, a copy in memory, a formatted
  line.
- `hookcore is x of it` is the other direction: 0.1 is a tenth of what that candidate costs.
- A row called `again` is the floor a second time. How far it is from 1 is noise, and nothing closer than that means anything.
- A gate is what must hold: met, or missed and said so.
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
            summary, _, rest = one["about"].partition("\n\n")
            click.echo(f"## `{one['script']}.py`\n\n{summary}\n\n{rest.strip()}\n")
        versions = ", ".join(f"{name} {version}" for name, version in one["versions"].items() if name != "hookcore")
        click.echo(f"Python {one['python']}, {one['system']}; {versions}.\n")
        for shown in filter(None, map(_markdown, one["results"])):
            click.echo(shown)
        if not first:
            click.echo(_gates([("", one)]))


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
