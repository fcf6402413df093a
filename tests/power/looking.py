"""Compare what the readers find in a directory of checkpoints after a loss of power with what was promised."""

from __future__ import annotations

import contextlib
import itertools
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from hookcore import CheckpointError, store
from tests.power.crashes import Crash, put

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.power.crashes import Tree


@attrs.frozen
class Promise:
    """The checkpoints that must be there, by the values that rank them: each save has a higher value, and lower is better."""

    newest: float = 0.0
    """The newest one that was announced; one that was not announced may be newer."""
    best: float = 0.0
    """The best one; 0 for no promise."""
    whole: frozenset[float] = frozenset()
    """All that were announced and not removed or replaced since, in the directory or set aside."""
    gone: frozenset[float] = frozenset()
    """Those that were removed from the directory, or set aside, and must not be back."""


@attrs.frozen
class Found:
    """What the readers find once the directory is opened."""

    newest: float
    best: float
    whole: frozenset[float]
    here: frozenset[float]
    """Those of `whole` that are in the directory itself."""
    faults: tuple[str, ...]


def look(root: Path) -> Found:
    """Open the directory of checkpoints as a run does, read it, and collect the faults."""
    faults: list[str] = []
    before = _verified(root, faults)
    resumable = _value(store.newest, root)
    lock = store.lock(root)
    store.open_directory(root)
    lock.release()
    if left := [path.name for path in root.iterdir() if path.name.startswith(".")]:
        faults.append(f"{left} were left behind")
    whole = _verified(root, faults)
    newest, best = _value(store.newest, root), _value(store.best, root)
    if before - whole:
        faults.append(f"{before - whole} were whole, and are gone once the directory was opened")
    if resumable != newest:
        faults.append(f"the newest was {resumable}, and is {newest} once the directory was opened")
    aside: set[float] = set()
    for directory in root.glob("earlier-*"):
        aside |= _verified(directory, faults)
    store.prune(root, store.Retention(last=1, best=1))
    pruned = _verified(root, faults)
    if {newest, best} - {0.0} != pruned:
        faults.append(f"pruning left {pruned} of {whole}, whose newest is {newest} and whose best is {best}")
    return Found(newest, best, frozenset(whole | aside), frozenset(whole), tuple(faults))


def _verified(root: Path, faults: list[str]) -> set[float]:
    values = set()
    for path in store.named(root):
        try:
            values.add(store.verify(path).value or 0.0)
        except CheckpointError as error:
            faults.append(str(error))
    return values


def _value(find: object, root: Path) -> float:
    with contextlib.suppress(CheckpointError):
        return find(root).value or 0.0  # type: ignore[operator]
    return 0.0


@attrs.define
class Looking:
    """Check states, each once, in a directory below `scratch`."""

    scratch: Path
    _found: dict[Any, Found] = attrs.field(factory=dict)
    _numbers: Any = attrs.field(factory=itertools.count)

    def broken(self, crash: Crash) -> str | None:
        """Return the part of the promise that does not hold after `crash`, or None."""
        found = self._look(crash.tree)
        promise: Promise = crash.promise or Promise()
        if found.faults:
            return f"{crash}: {found.faults}"
        has_best = not promise.best or 0 < found.best <= promise.best
        holds = has_best and found.newest >= promise.newest and promise.whole <= found.whole and not promise.gone & found.here
        return None if holds else f"{crash}: {found}"

    def first_broken(self, crashes: Iterable[Crash]) -> str | None:
        """Return the broken part of the promise in the first of `crashes` that breaks it, or None."""
        return next((broken for crash in crashes if (broken := self.broken(crash)) is not None), None)

    def _look(self, tree: Tree) -> Found:
        if tree not in self._found:
            place = self.scratch / str(next(self._numbers))
            put(tree, place)
            root = place / "made" / "runs"
            self._found[tree] = look(root) if root.exists() else Found(0.0, 0.0, frozenset(), frozenset(), ())
            shutil.rmtree(place)
        return self._found[tree]
