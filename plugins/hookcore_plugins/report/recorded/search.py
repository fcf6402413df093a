"""Find the logs under a path, read each by its content, and join the logs of one run.

Logs belong to one run if they are of different kinds, if one is in the other's directory or below it, and if they agree in every
value of the metrics that they share. The log with the most information is read, and the others become its `also`. Of the
trainer_state.json files that Transformers writes into each checkpoint, the longest counts.
"""

from __future__ import annotations

import math
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs

from hookcore.authoring import local_path
from hookcore_plugins.report.record import FILE
from hookcore_plugins.report.recorded import csv_files, json_files, json_lines, mlflow, tensorboard
from hookcore_plugins.report.recorded.rows import fail
from hookcore_plugins.report.recorded.run import RecordedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

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

    The error of a damaged log in a searched directory is passed to `on_error`, and the other logs are read; by default it is
    raised. A path to a file must be that of a log. Raises `RecordedError`, also if no run is found.
    """
    found: list[RecordedRun] = []
    given = [local_path(path, "run") for path in paths]
    for path in given:
        if path.is_dir():
            found += _in_directory(path, on_error)
        else:
            runs = _read_file(path, str(path))
            if runs is None:
                fail(path, f"it is not a log of a run that can be read: {_KNOWN}.")
            found += runs
    # The same path may be given twice, or a file and its directory.
    unique = list({(run.path.resolve(), run.name.partition("#")[2]): run for run in found}.values())
    if not unique:
        fail(", ".join(map(str, given)) or "nothing was given", f"there is no log of a run: {_KNOWN}.")
    return _once(unique)


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


def _read_file(path: Path, name: str) -> list[RecordedRun] | None:
    """Return the runs in a file, or None if it is no log of a run. Raises `RecordedError`."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # opening a device or a pipe can have effects
            fail(path, "it is not a plain file.")
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError as error:
        fail(path, f"it cannot be read: {error.strerror or error}.")
    if path.name.startswith(tensorboard.STEM):
        return tensorboard.read(path, {"": [path]}, name)
    if head.startswith(mlflow.HEAD):
        return mlflow.read(path, name)
    text = head.removeprefix(b"\xef\xbb\xbf").decode(errors="replace").lstrip()
    if text.startswith("{"):
        if json_lines.is_log(text):
            return json_lines.read(path, name)
        return json_files.read(path, name) if json_files.is_log(text) else None
    return csv_files.read(path, name) if csv_files.is_log(text) else None


def _once(runs: Sequence[RecordedRun]) -> list[RecordedRun]:
    """Join the logs of each run. The runs are in the order of their first logs."""
    order = {id(run): place for place, run in enumerate(runs)}
    groups: dict[object, list[list[RecordedRun]]] = {}
    found: list[list[RecordedRun]] = []
    for run in sorted(runs, key=_wealth):
        near = {id(group): group for place in _places_near(run) for group in groups.get(place, ())}
        group = next((group for group in near.values() if _is_one(group, run)), None)
        if group is None:
            group = [run]
            found.append(group)
            for place in _places_of(run):
                groups.setdefault(place, []).append(group)
        else:
            group.append(run)
    found.sort(key=lambda group: min(order[id(run)] for run in group))
    return [attrs.evolve(group[0], also=tuple(run.path for run in group[1:])) for group in found]


def _places_of(run: RecordedRun) -> list[tuple[str, Path]]:
    """Return the keys under which a run is found by `_places_near`: comparing each run with every other takes too long."""
    here = _directory(run)
    if (
        run.format == _STATE
    ):  # it is in a checkpoint, and the run's other logs may be in the directory of checkpoints, or above it
        above = here.parents[:2]
        return [*(("state", path) for path in (here.parent, here)), ("at", here), *(("holds", path) for path in above)]
    return [("at", here)]


def _places_near(run: RecordedRun) -> list[tuple[str, Path]]:
    """Return the keys of the runs of which `run` may be another log: of its directory, and of those above it."""
    here = _directory(run)
    states = [run.path.parent.parent] if run.format == _STATE else []
    return [*(("state", path) for path in states), *(("at", path) for path in (here, *here.parents)), ("holds", here)]


def _wealth(run: RecordedRun) -> tuple[int, int]:
    kind = _RICHEST.index(run.format) if run.format in _RICHEST else len(_RICHEST)
    return kind, -len(run.history)


def _is_one(group: Sequence[RecordedRun], run: RecordedRun) -> bool:
    first = group[0]
    if run.format == first.format == _STATE:
        return run.path.parent.parent in {first.path.parent.parent, first.path.parent} and _agree(first, run, prefix=True)
    return all(run.format != other.format for other in group) and _agree(first, run)


def _directory(run: RecordedRun) -> Path:
    return run.path if run.path.is_dir() else run.path.parent


def _values(run: RecordedRun) -> dict[str, list[float]]:
    """Return the values of each metric, without rows that lack it."""
    found: dict[str, list[float]] = {}
    for row in run.history.rows():
        for name, value in row.items():
            found.setdefault(name, []).append(value)
    return found


def _agree(first: RecordedRun, second: RecordedRun, *, prefix: bool = False) -> bool:
    """Return whether the metrics that both have agree in every value, as 32-bit floats, which TensorBoard keeps."""
    one, two = _values(first), _values(second)
    shared = one.keys() & two.keys()
    return bool(shared) and all(
        (prefix or len(one[name]) == len(two[name]))
        and all(
            a == b or math.isclose(a, b, rel_tol=1e-6) or (math.isnan(a) and math.isnan(b))
            for a, b in zip(one[name], two[name], strict=not prefix)
        )
        for name in shared
    )
