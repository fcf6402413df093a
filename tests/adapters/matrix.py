"""Generate the tables of docs/adapters.md from the record of each adapter: `python -m tests.adapters.matrix` writes them.

To add an adapter, add a line to `NETWORKS` or `OTHERS`, record the results of its tests, and write the tables.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs

from hookcore.testing import Check, Feature, Votes
from tests.adapters.recorded import Record
from tests.generated import with_blocks

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

PAGE: Final = Path(__file__).parents[2] / "docs/adapters.md"
WORKS: Final = "works"
REFUSED: Final = "refused"
LACKING: Final = "not applicable"
MARKS: Final = {WORKS: "✓", REFUSED: "✗", LACKING: "–"}  # noqa: RUF001 - the dash is meant
PARTLY: Final = "(✓)"


@attrs.frozen
class Column:
    """A column of the tables: its title, and the records of its adapter, each with what distinguishes it from the others."""

    title: str
    records: Mapping[str, str]

    def read(self) -> list[tuple[str, Record]]:
        return [(apart, Record.read(name)) for name, apart in self.records.items()]


NETWORKS: Final = (
    Column(
        "Keras",
        {
            "keras.fit-tensorflow": "on TensorFlow",
            "keras.fit-jax": "on JAX",
            "keras.fit-torch": "on PyTorch",
            "keras.KerasAdapter-torch": "`KerasAdapter`",
        },
    ),
    Column("Lightning", {"lightning": ""}),
    Column("Transformers", {"transformers": ""}),
    Column("Loop", {"loop": ""}),
    Column("PyTorch", {"loop-torch": ""}),
    Column("JAX", {"loop-jax": ""}),
)
"""The adapters of frameworks for neural networks, in one table."""
OTHERS: Final = (
    Column("scikit-learn", {"sklearn": ""}),
    Column("XGBoost", {"xgboost": ""}),
    Column("LightGBM", {"lightgbm": "`train`", "lightgbm-callback": "`LightGBMAdapter`"}),
)
"""The others, in a second table, so that each table fits into 80 columns."""
COLUMNS: Final = (*NETWORKS, *OTHERS)


def words(name: str) -> str:
    return name.replace("_", " ")


def table(rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Yield the lines of a Markdown table without outer bars; the first row is its head, and all other columns are centred."""
    head, *body = rows
    widths = [max(map(len, cells)) for cells in zip(head, *body, strict=True)]
    rule = [f":{'-' * (width - 2)}:" if number else "-" * width for number, width in enumerate(widths)]
    for row in (head, rule, *body):
        cells = [
            cell.center(width) if number else cell.ljust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield " | ".join(cells).rstrip()


def verdicts(record: Record, check: Check, case: str | None = None) -> set[str]:
    """Return the results of all cases of a check, or of one of them, without the reasons."""
    known = {name: told.partition(":")[0] for name, told in record.results.items()}
    if case is not None:
        return {known[f"{check.name.lower()}-{case}"]}
    return {verdict for name, verdict in known.items() if name.startswith(f"{check.name.lower()}-")}


def mark(found: set[str]) -> str:
    if WORKS in found:
        return MARKS[WORKS] if len(found) == 1 else PARTLY
    return MARKS[REFUSED if REFUSED in found else LACKING]


def what_works(columns: Sequence[Column]) -> Iterator[str]:
    """Yield the lines of one table: a row for each clause of the contract, and one for each plugin."""
    rows = [["what is checked", *(column.title for column in columns)]]
    _, some = columns[0].read()[0]
    plugins = [name.partition("-")[2] for name in some.results if name.startswith("plugins-")]
    asked: list[tuple[Check, str | None]] = [(check, None) for check in Check if check is not Check.PLUGINS]
    asked += [(Check.PLUGINS, plugin) for plugin in plugins if plugin != "together"]
    for check, case in asked:
        found = (set().union(*(verdicts(record, check, case) for _, record in column.read())) for column in columns)
        rows.append([case or words(check.name.lower()), *map(mark, found)])
    yield from table(rows)


def reasons(column: Column) -> Iterator[str]:
    """Yield the list of what does not work in one adapter, each reason once, and then what else its harness declares."""
    records = column.read()
    told: dict[tuple[str, str], dict[str, None]] = {}
    for apart, record in records:
        features = _by_reason(record)
        for name, result in record.results.items():
            if result != WORKS:
                verdict, _, reason = result.partition(": ")
                lacking = verdict == LACKING and features.get(reason)
                plugin = name.removeprefix("plugins-")
                what = lacking or (words(name.replace("-", " ")) if plugin == name else f"`{plugin}`")
                told.setdefault((verdict, f"{MARKS[verdict]} {what}: {reason}"), {})[apart] = None
        for line in _besides(record):
            told.setdefault(("", line), {})[apart] = None
    for (_, line), where in sorted(told.items(), key=lambda item: [REFUSED, LACKING, ""].index(item[0][0])):
        yield f"  - {line}" + (f" ({', '.join(where)})" if len(where) < len(records) else "")


def _by_reason(record: Record) -> dict[str, str]:
    found: dict[str, list[str]] = {}
    for feature, reason in record.declares["lacks"].items():
        found.setdefault(reason, []).append(feature)
    return {reason: ", ".join(features) for reason, features in found.items()}


def _besides(record: Record) -> Iterator[str]:
    if record.declares["resumes"] == "epoch":
        yield "a run can be resumed only from the end of an epoch"
    if not record.declares["tells_errors"]:
        yield "after an error in the loop's own code, the run ends only when the next run begins"
    if record.declares["interrupts"] != ["KeyboardInterrupt"]:
        yield f"Ctrl-C reaches the caller as {' or '.join(record.declares['interrupts'])}"


def votes(columns: Sequence[Column]) -> Iterator[str]:
    """Yield the table of how many batches are trained after a vote to stop, by the hook of the vote, as the harnesses declare."""
    events = [field.name for field in attrs.fields(Votes)]
    rows = [["a vote in", *map(words, events)]]
    for column in columns:
        found: dict[tuple[str, ...], list[str]] = {}
        for apart, record in column.read():
            found.setdefault(tuple(_counts(record, events)), []).append(apart)
        for counts, where in found.items():
            rows.append([column.title if len(found) == 1 else f"{column.title}, {', '.join(where)}", *counts])
    yield from table(rows)


def _counts(record: Record, events: Iterable[str]) -> list[str]:
    missing = {"batch_end": Feature.BATCHES, "evaluate_end": Feature.EVALUATION_BY_STEPS}
    declares = record.declares
    return [MARKS[LACKING] if missing.get(event) in declares["lacks"] else str(declares["votes"][event]) for event in events]


def blocks() -> dict[str, str]:
    """Return the generated parts of the page, by the names of their marks."""
    listed = ["\n".join([f"- **{column.title}**", *reasons(column)]) for column in COLUMNS]
    return {
        "what works": "\n\n".join(["\n".join(what_works(group)) for group in (NETWORKS, OTHERS)]),
        "what does not": "\n".join(listed),
        "votes": "\n".join(votes(COLUMNS)),
    }


def written(page: str) -> str:
    """Return `page` with its generated parts replaced by new ones."""
    return with_blocks(page, blocks(), "tests.adapters.matrix")


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text()))
