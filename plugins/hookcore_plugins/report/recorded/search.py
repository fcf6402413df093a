"""Find the logs under a path, read each by its content, and join the logs of one run.

Logs belong to one run if they are of different kinds, if the directory of one is that of the other or lies above or below it, and
if all values of the metrics that they share are equal. A run.json that did not record the run's end may have fewer rows than a
log beside or below it. If a log agrees with several runs below it, it is a run by itself, because it may be a log of any of them.

The log with the most information is read, and the others become its `also`. Of the trainer_state.json files that Transformers
writes into each checkpoint, the longest counts.
"""

from __future__ import annotations

import math
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs

from hookcore import Outcome
from hookcore.authoring import did_you_mean, local_path
from hookcore_plugins.report.record import FILE
from hookcore_plugins.report.recorded import csv_files, json_files, json_lines, mlflow, tensorboard
from hookcore_plugins.report.recorded.rows import fail
from hookcore_plugins.report.recorded.run import RecordedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from hookcore_plugins.report.recorded.run import RecordedRun

_HEAD: Final = 2**16
"""The number of bytes at the beginning of a file by which its kind is found."""
_STATE: Final = "Transformers trainer_state.json"
_RICHEST: Final = ("run.json", "JSONLog", _STATE, "MLflow", "CSVLog", "Keras CSVLogger", "evals_result")
"""The kinds of logs, the one with the most information first; all other kinds come after them."""
_KNOWN: Final = (
    "one of CSVLog, JSONLog, Report, Keras's CSVLogger or History, Lightning's CSVLogger, TensorBoard, trainer_state.json, "
    "evals_result or mlflow.db"
)


def read_run(path: str | os.PathLike[str]) -> RecordedRun:
    """Return the one run that is recorded at `path`, a file or a directory. Raises `RecordedError`, also for several runs."""
    found = read_runs([path])
    if len(found) > 1:
        names = ", ".join(run.name for run in found[:5]) + (", ..." if len(found) > 5 else "")  # noqa: PLR2004 - enough to see
        fail(path, f"{len(found)} runs are recorded there, and one was expected: {names}.")
    return found[0]


def read_runs(
    paths: Iterable[str | os.PathLike[str]], *, on_error: Callable[[RecordedError], None] | None = None
) -> list[RecordedRun]:
    """Return the runs that are recorded at `paths`, files and directories, which are searched. Each run is returned once.

    A path, `#` and a label choose one run of a file with several, as in `mlflow.db#base`. A path to a file must be that of a log.
    The error of a damaged log in a searched directory is passed to `on_error`, and the other logs are read; by default it is
    raised. Raises `RecordedError`, also if no run is found.
    """
    found: list[RecordedRun] = []
    given = [_local(path) for path in paths]
    for path in given:
        found += _in_directory(path, on_error) if path.is_dir() else _in_file(path)
    # The same path may be given twice, or a file and its directory.
    unique = list({(run.path.resolve(), run.label): run for run in found}.values())
    if not unique:
        fail(", ".join(map(str, given)) or "nothing was given", f"there is no log of a run: {_KNOWN}.")
    return _once(unique)


def _local(path: str | os.PathLike[str]) -> Path:
    text = os.fspath(path)
    if text.startswith("sqlite:"):
        fail(text, f"it is a URL. Give the path of the database file: {text.removeprefix('sqlite:').removeprefix('///')}")
    return local_path(path, "run")


def _in_file(path: Path) -> list[RecordedRun]:
    """Return the runs in a file, or the one whose label follows its path and `#`."""
    text, label = str(path), ""
    if not path.exists():
        marks = [place for place, letter in enumerate(text) if letter == "#"]
        mark = next((place for place in marks if Path(text[:place]).is_file()), len(text))
        path, label = Path(text[:mark]), text[mark + 1 :]
    runs = _read_file(path, str(path))
    if runs is None:
        fail(path, csv_files.lack(_text(_head(path))) or f"it is not a log of a run that can be read: {_KNOWN}.")
    # Runs of one name have more after it in their labels.
    chosen = [run for run in runs if label in {"", run.label}] or [run for run in runs if run.label.startswith(f"{label}:")]
    if not chosen:
        labels = [run.label for run in runs if run.label]
        fail(path, f"it has no run {label!r}; there are: {', '.join(labels) or 'none with a name'}.{did_you_mean(label, labels)}")
    return chosen


def _in_directory(root: Path, on_error: Callable[[RecordedError], None] | None) -> Iterator[RecordedRun]:
    boards: dict[Path, dict[str, list[Path]]] = {}
    for path in _files(root):
        if path.name.startswith(tensorboard.STEM):  # as TensorBoard itself does: such a file has no beginning that identifies it
            at, part = (path.parent.parent, path.parent.name) if path.parent.name in tensorboard.PARTS else (path.parent, "")
            at, part = (path.parent, "") if path.parent == root else (at, part)
            boards.setdefault(at, {}).setdefault(part, []).append(path)
            continue
        try:
            yield from _read_file(path, _name(path)) or ()
        except RecordedError as error:
            if on_error is None:
                raise
            on_error(error)
    for at, files in sorted(boards.items()):
        try:
            yield from tensorboard.read(at, files, _name(at))
        except RecordedError as error:
            if "no metric" in str(error):  # a writer of pictures or texts
                continue
            if on_error is None:
                raise
            on_error(error)


def _name(path: Path) -> str:
    """Return the name of the run in a log that was found: for a run.json its directory."""
    return str(path.parent if path.name == FILE else path)


def _files(root: Path) -> Iterator[Path]:
    """Yield the files under `root` in order, without hidden ones. Links to directories are not followed."""
    for directory, directories, files in os.walk(root):
        directories[:] = sorted(name for name in directories if not name.startswith("."))
        # No pipe, no device, and no link to nowhere.
        yield from (path for name in sorted(files) if not name.startswith(".") and (path := Path(directory, name)).is_file())


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_HEAD)


def _text(head: bytes) -> str:
    return head.removeprefix(b"\xef\xbb\xbf").decode(errors="replace").lstrip()


def _read_file(path: Path, name: str) -> list[RecordedRun] | None:
    """Return the runs in a file, or None if it is no log of a run. Raises `RecordedError`."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # opening a device or a pipe can have effects
            fail(path, "it is not a plain file.")
        head = _head(path)
    except OSError as error:
        fail(path, f"it cannot be read: {error.strerror or error}.")
    if path.name.startswith(tensorboard.STEM):
        return tensorboard.read(path, {"": [path]}, name)
    if head.startswith(mlflow.HEAD):
        return mlflow.read(path, name)
    text = _text(head)
    if text.startswith("{"):
        if json_lines.is_log(text):
            return json_lines.read(path, name)
        return json_files.read(path, name) if json_files.is_log(text) else None
    return csv_files.read(path, name) if csv_files.is_log(text) else None


@attrs.frozen(eq=False)
class _Log:
    """A run as one of its logs has it, with what decides whether another log is of the same run."""

    run: RecordedRun
    order: int
    directory: Path
    values: dict[str, list[float]]

    @property
    def is_state(self) -> bool:
        return self.run.format == _STATE


def _once(runs: Sequence[RecordedRun]) -> list[RecordedRun]:
    """Join the logs of each run. The runs are in the order of their first logs."""
    logs = [_Log(run, order, _directory(run), _values(run)) for order, run in enumerate(runs)]
    groups: dict[object, list[list[_Log]]] = {}
    found: list[list[_Log]] = []
    for log in sorted(logs, key=_wealth):
        group = _group_of(log, groups)
        if group is None:
            group = [log]
            found.append(group)
            for place in _places_of(log):
                groups.setdefault(place, []).append(group)
        else:
            group.append(log)
    found.sort(key=lambda group: min(log.order for log in group))
    return [attrs.evolve(group[0].run, also=tuple(log.run.path for log in group[1:])) for group in found]


def _group_of(log: _Log, groups: Mapping[object, Sequence[list[_Log]]]) -> list[_Log] | None:
    """Return the group of the run that `log` is of: of its directory or one above, else the only one that fits below it."""
    for group in (group for place in _places_near(log) for group in groups.get(place, ())):
        if _is_one(group, log):
            return group
    below = [group for group in groups.get(("holds", log.directory), ()) if _is_one(group, log)]
    return below[0] if len(below) == 1 else None


def _places_of(log: _Log) -> list[tuple[str, Path]]:
    """Return the keys under which a run is found by `_group_of`: comparing each run with every other takes too long."""
    here = log.directory
    states = [("state", path) for path in (here.parent, here)] if log.is_state else []
    return [*states, ("at", here), *(("holds", path) for path in here.parents)]


def _places_near(log: _Log) -> list[tuple[str, Path]]:
    """Return the keys of the runs of which `log` may be another log: of its directory, and of those above it."""
    here = log.directory
    states = [("state", here.parent)] if log.is_state else []
    return [*states, *(("at", path) for path in (here, *here.parents))]


def _wealth(log: _Log) -> tuple[int, int]:
    kind = _RICHEST.index(log.run.format) if log.run.format in _RICHEST else len(_RICHEST)
    return kind, -len(log.run.history)


def _is_one(group: Sequence[_Log], log: _Log) -> bool:
    first = group[0]
    if log.is_state and first.is_state:
        return log.directory.parent in {first.directory.parent, first.directory} and _agree(log.values, first.values, prefix=True)
    if any(log.run.format == other.run.format for other in group):
        return False
    # A run.json is written every few seconds: that of a killed run may lack the last rows.
    is_prefix = first.run.outcome == Outcome.RUNNING and log.directory.is_relative_to(first.directory)
    return _agree(first.values, log.values, prefix=is_prefix)


def _directory(run: RecordedRun) -> Path:
    return (run.path if run.path.is_dir() else run.path.parent).resolve()


def _values(run: RecordedRun) -> dict[str, list[float]]:
    """Return the values of each metric, without rows that lack it."""
    found: dict[str, list[float]] = {}
    for row in run.history.rows():
        for name, value in row.items():
            found.setdefault(name, []).append(value)
    return found


def _agree(one: Mapping[str, Sequence[float]], two: Mapping[str, Sequence[float]], *, prefix: bool = False) -> bool:
    """Return whether the metrics that both have agree in every value, as 32-bit floats, which TensorBoard keeps.

    With `prefix`, `one` may have fewer values.
    """
    shared = one.keys() & two.keys()
    return (
        bool(shared)
        and all(len(one[name]) <= len(two[name]) if prefix else len(one[name]) == len(two[name]) for name in shared)
        and all(
            a == b or math.isclose(a, b, rel_tol=1e-6) or (math.isnan(a) and math.isnan(b))
            for name in shared
            for a, b in zip(one[name], two[name], strict=False)
        )
    )
