"""Record the steps that change the disk, and build each state in which a loss of power may leave it.

The model is what POSIX allows. A step that was not synced may be on the disk or not, independently of later steps; written data
may also be there in part, or as zeros. `disk.sync` makes the data of a file durable, or the names in a directory. A rename is
atomic until one of its two directories is synced. What a library writes into a temporary directory is one step, before the next
step of `disk`.
"""

from __future__ import annotations

import itertools
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import attrs
from hypothesis import settings
from hypothesis import strategies as st

from hookcore.store import disk
from hookcore.store.files import TEMPORARY

if TYPE_CHECKING:
    import io
    from collections.abc import Callable, Iterator

    import pytest

ROOT: Final = 0
"""The number of the directory that contains everything."""


@attrs.frozen
class Named:
    """Names that change in one step: for each the directory, the name, and the number of what has the name then, or None."""

    changes: tuple[tuple[int, str, int | None], ...]
    label: str


@attrs.frozen
class Written:
    """Data that is written into a file."""

    number: int
    offset: int
    content: bytes
    label: str


@attrs.frozen
class Cut:
    """A file that is made `length` bytes long."""

    number: int
    length: int
    label: str


@attrs.frozen
class Synced:
    """A file or a directory that is synced."""

    number: int
    label: str
    site: str
    """The function that syncs, and the line in it."""


@attrs.frozen
class Promised:
    """A promise that holds from here on, in the terms of a test."""

    promise: Any
    label: str = "a promise"


LONG: Final = settings.get_current_profile_name() == "long"
"""Whether there is time for all states with one more departure."""
Step: TypeAlias = Named | Written | Cut | Synced | Promised
Tree: TypeAlias = tuple[tuple[str, Any], ...]
"""A directory: sorted names, each with the content of the file as bytes, or with a tree."""


class PowerLossError(BaseException):
    """The process is killed: no step follows."""


class Recorder:
    """Record the steps below `root`, which exists and is empty. `install` puts the recorder into `disk`.

    After `dies_after` more steps every step raises `PowerLossError`, and once it `is_dead` steps do nothing.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.trace: list[Step] = []
        self.dies_after: int | None = None
        self.is_dead = False
        self._names: dict[int, dict[str, int]] = {ROOT: {}}
        self._sizes: dict[int, int] = {}
        self._open: dict[int, int] = {}
        self._temporary: set[Path] = set()
        self._lock = threading.RLock()

    def install(self, patch: pytest.MonkeyPatch) -> None:
        """Record every change through `disk` until `patch` is undone."""
        recorders: dict[str, Callable[..., Callable[[Any], None] | None]] = {
            name.removeprefix("_of_"): getattr(self, name) for name in dir(self) if name.startswith("_of_")
        }
        for name, recorder in recorders.items():
            patch.setattr(disk, name, self._recording(getattr(disk, name), recorder))

    def promise(self, promise: Any) -> None:
        """Record that `promise` holds from now on."""
        self.trace.append(Promised(promise, f"the promise {promise}"))

    def _recording(self, real: Callable[..., Any], recorder: Callable[..., Callable[[Any], None] | None]) -> Callable[..., Any]:
        def record(target: Any, *arguments: Any, **options: Any) -> Any:
            with self._lock:
                if isinstance(target, Path) and not target.is_absolute():
                    target = target.absolute()
                if isinstance(target, Path) and self.root not in (target, *target.parents):
                    return real(target, *arguments, **options)
                if self.is_dead:
                    return None
                if self.dies_after is not None:
                    if self.dies_after == 0:
                        raise PowerLossError
                    self.dies_after -= 1
                self._adopt()
                then = recorder(target, *arguments, **options)
                result = None if real.__name__ == "sync" else real(target, *arguments, **options)
                if then is not None:
                    then(result)
                return result

        record.__name__ = real.__name__
        return record

    # Places.

    def _at(self, path: Path) -> tuple[int, str, int | None]:
        number: int | None = ROOT
        directory, name = ROOT, ""
        for name in path.absolute().relative_to(self.root).parts:
            assert number is not None, path
            directory, number = number, self._names[number].get(name)
        return directory, name, number

    def _label(self, what: str, path: Path) -> str:
        return f"{what} {path.absolute().relative_to(self.root).as_posix()}"

    def _new(self, path: Path, *, is_directory: bool, by: str) -> int:
        directory, name, number = self._at(path)
        assert number is None, path
        new = 1 + len(self._names) + len(self._sizes)
        if is_directory:
            self._names[new] = {}
        else:
            self._sizes[new] = 0
        self._name(self._label(by, path), (directory, name, new))
        return new

    def _name(self, label: str, *changes: tuple[int, str, int | None]) -> None:
        for directory, name, number in changes:
            if number is None:
                del self._names[directory][name]
            else:
                self._names[directory][name] = number
        self.trace.append(Named(changes, label))

    def _write(self, number: int, content: bytes, label: str) -> None:
        if content:
            self.trace.append(Written(number, self._sizes[number], content, label))
            self._sizes[number] += len(content)

    def _cut(self, number: int, length: int, label: str) -> None:
        if self._sizes[number] != length:
            self.trace.append(Cut(number, length, label))
            self._sizes[number] = length

    def _adopt(self) -> None:
        """Record what was written without `disk`, which may only be in temporary directories."""
        for path in sorted(path for directory in self._temporary if directory.exists() for path in directory.rglob("*")):
            if self._at(path)[2] is None:
                is_directory = path.is_dir()
                number = self._new(path, is_directory=is_directory, by="library mkdir" if is_directory else "library create")
                if not is_directory:
                    self._write(number, path.read_bytes(), self._label("library writes", path))

    # The operations. Each recorder is called before its operation, and what it returns after it, with the result.

    def _of_mkdir(self, path: Path, *, exist_ok: bool = False) -> None:
        del exist_ok
        if not path.exists():
            self._new(path, is_directory=True, by="mkdir")
            if path.name.startswith(TEMPORARY):
                self._temporary.add(path)

    def _of_rmdir(self, path: Path) -> None:
        directory, name, _ = self._at(path)
        self._name(self._label("rmdir", path), (directory, name, None))

    def _of_unlink(self, path: Path) -> None:
        if path.exists():
            directory, name, _ = self._at(path)
            self._name(self._label("unlink", path), (directory, name, None))

    def _of_rmtree(self, path: Path) -> None:
        for below in sorted(path.iterdir()):
            (self._of_rmtree if below.is_dir() else self._of_unlink)(below)
        self._of_rmdir(path)

    def _of_rename(self, path: Path, target: Path) -> None:
        directory, name, number = self._at(path)
        to_directory, to_name, _ = self._at(target)
        self._name(f"{self._label('rename', path)} {target.name}", (directory, name, None), (to_directory, to_name, number))

    _of_replace = _of_rename

    def _of_write(self, path: Path, content: bytes) -> None:
        number = self._at(path)[2]
        if number is None:
            number = self._new(path, is_directory=False, by="create")
        self._cut(number, 0, self._label("cut", path))
        self._write(number, content, self._label("write", path))

    def _of_truncate(self, path: Path, length: int) -> None:
        number = self._at(path)[2]
        assert number is not None
        self._cut(number, length, self._label("cut", path))

    def _of_create(self, path: Path) -> Callable[[int], None]:
        number = self._at(path)[2]
        if number is None:
            number = self._new(path, is_directory=False, by="create")
        return lambda descriptor: self._open.update({descriptor: number})

    _of_open_end = _of_create

    def _of_append(self, descriptor: int, path: Path, content: bytes) -> None:
        self._write(self._open[descriptor], content, self._label("append", path))

    def _of_open_lock(self, path: Path, *, follows_links: bool) -> Callable[[io.FileIO], None]:
        del follows_links
        then = self._of_create(path)
        return lambda file: then(file.fileno())

    def _of_overwrite(self, file: io.FileIO, content: bytes) -> None:
        self._cut(self._open[file.fileno()], 0, "cut the lock")
        self._write(self._open[file.fileno()], content, "write the lock")

    def _of_sync(self, path: Path) -> None:
        number = self._at(path)[2]
        assert number is not None
        self.trace.append(Synced(number, self._label("sync", path), _site()))


def _site() -> str:
    """Return the place in hookcore's code that syncs."""
    frame: Any = sys._getframe()
    while Path(frame.f_code.co_filename).name in {"crashes.py", "disk.py"}:
        frame = frame.f_back
    return f"{Path(frame.f_code.co_filename).stem}.{frame.f_code.co_name}:{frame.f_lineno - frame.f_code.co_firstlineno}"


# States.

ABSENT, HALF, ZEROS, HALF_ZEROS = "absent", "half of", "zeros for", "half of, and zeros for,"
_TORN: Final = (ABSENT, HALF, ZEROS, HALF_ZEROS)


@attrs.define
class _Disk:
    """What is on the disk: the names in each directory, and the content of each file."""

    names: dict[int, dict[str, int]] = attrs.field(factory=lambda: {ROOT: {}})
    contents: dict[int, bytes] = attrs.field(factory=dict)

    def copy(self) -> _Disk:
        return _Disk({number: dict(names) for number, names in self.names.items()}, dict(self.contents))

    def apply(self, step: Step, how: str = "") -> None:
        if isinstance(step, Named) and how != ABSENT:
            for directory, name, number in step.changes:
                if number is None:
                    self.names.setdefault(directory, {}).pop(name, None)
                else:
                    self.names.setdefault(directory, {})[name] = number
        elif isinstance(step, Cut) and how != ABSENT:
            self.contents[step.number] = self.contents.get(step.number, b"")[: step.length].ljust(step.length, b"\0")
        elif isinstance(step, Written) and how != ABSENT:
            content, half = step.content, len(step.content) // 2
            if how:
                content = content[:half] if how in {HALF, HALF_ZEROS} else b""
                content = content if how == HALF else content.ljust(len(step.content), b"\0")
            before = self.contents.get(step.number, b"").ljust(step.offset, b"\0")
            self.contents[step.number] = before[: step.offset] + content + before[step.offset + len(content) :]

    def tree(self, directories: frozenset[int], number: int = ROOT) -> Tree:
        """Return what is in the directory `number`. Of a temporary one, which is never read, only whether it is empty counts."""
        found: list[tuple[str, Any]] = []
        for name, below in sorted(self.names.get(number, {}).items()):
            if below not in directories:
                found.append((name, self.contents.get(below, b"")))
            elif name.startswith(TEMPORARY) and not name.startswith(f"{TEMPORARY}replaced-"):
                found.append((name, (("left", b"behind"),) if self.names.get(below) else ()))
            else:
                found.append((name, self.tree(directories, below)))
        return tuple(found)


@attrs.frozen
class Crash:
    """A state after a loss of power: the last step, the departures from the full state, the disk, and the promise."""

    after: str
    departures: tuple[str, ...]
    tree: Tree
    promise: Any

    def __str__(self) -> str:
        return f"power lost after {self.after}; without: {', '.join(self.departures) or 'nothing'}; promised: {self.promise}"


def directories_of(trace: list[Step]) -> frozenset[int]:
    """Return the numbers of the directories that were made."""
    made = {step.changes[0][2] for step in trace if isinstance(step, Named) and step.label.startswith(("mkdir", "library mkdir"))}
    return frozenset(number for number in made if number is not None)


Moment: TypeAlias = tuple[Step, Any, _Disk, list[Step]]


def moments(trace: list[Step]) -> Iterator[Moment]:
    """Yield each moment at which new states become possible: the step, the promise, the certain state and the pending steps."""
    certain, pending, promise = _Disk(), list[Step](), None
    for step in trace:
        if isinstance(step, Synced):
            still = list[Step]()
            for other in pending:
                done, rest = _split(other, step.number)
                if done is not None:
                    certain.apply(done)
                if rest is not None:
                    still.append(rest)
            pending = still
            continue
        if isinstance(step, Promised):
            promise = step.promise
        else:
            pending = [*pending, step]
        yield step, promise, certain.copy(), pending


def _split(step: Step, number: int) -> tuple[Step | None, Step | None]:
    """Return the part of a step that a sync of `number` makes certain, and the rest: a rename changes two directories."""
    if isinstance(step, Named):
        done = tuple(change for change in step.changes if change[0] == number)
        rest = tuple(change for change in step.changes if change[0] != number)
        return (Named(done, step.label) if done else None), (Named(rest, step.label) if rest else None)
    assert isinstance(step, Written | Cut)
    return (step, None) if step.number == number else (None, step)


def crashes(trace: list[Step], at_most: int = 2) -> Iterator[Crash]:
    """Yield every state that may be left after each step, with `at_most` departures from what the steps did, each once."""
    directories, seen = directories_of(trace), set[tuple[Tree, Any]]()
    for moment in moments(trace):
        _, promise, _, pending = moment
        for count in range(at_most + 1):
            for chosen in itertools.combinations(range(len(pending)), count):
                for hows in itertools.product(*(hows_of(pending[place]) for place in chosen)):
                    crash = left(moment, dict(zip(chosen, hows, strict=True)), directories)
                    if (crash.tree, promise) not in seen:
                        seen.add((crash.tree, promise))
                        yield crash


def hows_of(step: Step) -> tuple[str, ...]:
    """Return the ways in which a step that was not synced may be missing."""
    return _TORN if isinstance(step, Written) else (ABSENT,)


def left(moment: Moment, departures: dict[int, str], directories: frozenset[int]) -> Crash:
    """Return the state in which the pending steps at the places in `departures` are missing, in the way given there."""
    step, promise, certain, pending = moment
    found = certain.copy()
    for place, other in enumerate(pending):
        found.apply(other, departures.get(place, ""))
    missing = tuple(f"({how}) {pending[place].label}" for place, how in departures.items())
    return Crash(step.label, missing, found.tree(directories), promise)


@st.composite
def any_crash(draw: st.DrawFn, trace: list[Step]) -> Crash:
    """Draw a state in which any number of steps is missing or torn."""
    moment = draw(st.sampled_from(list(moments(trace))))
    missing = {place: how for place, other in enumerate(moment[3]) if (how := draw(st.sampled_from(("", *hows_of(other)))))}
    return left(moment, missing, directories_of(trace))


# Mutations.


def syncs(trace: list[Step]) -> set[str]:
    """Return the places in the code from which `trace` has syncs."""
    return {step.site for step in trace if isinstance(step, Synced)}


def without(trace: list[Step], site: str) -> list[Step]:
    """Return what would be recorded if the code at `site` did not sync."""
    return [step for step in trace if not (isinstance(step, Synced) and step.site == site)]


def swaps(trace: list[Step]) -> Iterator[tuple[str, list[Step]]]:
    """Yield what would be recorded with two neighbouring steps swapped, unless `_NO_FAULT` has an excuse."""
    for place, (first, second) in enumerate(itertools.pairwise(trace)):
        if not any(excuses(first, second) for excuses in _NO_FAULT.values()):
            yield f"{second.label} before {first.label}", [*trace[:place], second, first, *trace[place + 2 :]]


def _is_temporary(step: Step) -> bool:
    return isinstance(step, Named) and TEMPORARY in step.label and not step.label.startswith("rename")


_NO_FAULT: Final[dict[str, Callable[[Step, Step], bool]]] = {
    "a promise that is given later is a smaller one": lambda first, _: isinstance(first, Promised),
    "a new file, with nothing in it, may be there earlier": (
        lambda first, second: isinstance(first, Synced) and isinstance(second, Named) and second.label.startswith("create")
    ),
    "a replaced checkpoint has no use while the one in its place exists, and that is removed after another sync only": (
        lambda _, second: "removed-.writing-replaced-" in second.label
    ),
    "a resumed run cuts all event files again, until a later checkpoint counts their events": (
        lambda first, second: isinstance(first, Synced) and second.label.startswith("unlink") and "tfevents" in second.label
    ),
    "a temporary directory may be made earlier or later than unrelated files": lambda first, second: any(
        _is_temporary(step) and step.label.startswith(("mkdir", "create", "library")) for step in (first, second)
    ),
    "what keeps a temporary name may be removed later, and in any order": lambda first, second: any(
        _is_temporary(step) and isinstance(other, Promised | Named) for step, other in ((first, second), (second, first))
    ),
    "a lock does not outlive its process": lambda first, second: any(
        isinstance(step, Named) and step.label.endswith("/.lock") for step in (first, second)
    ),
}
"""Why two steps may be swapped without a fault: the states that are new then have no consequence."""


def states(trace: list[Step]) -> set[tuple[Tree, Any]]:
    """Return every state with up to two departures, with its promise."""
    return {(crash.tree, crash.promise) for crash in crashes(trace)}


def put(tree: Tree, directory: Path) -> None:
    """Make `directory` with the content `tree`."""
    directory.mkdir(parents=True)
    for name, content in tree:
        if isinstance(content, bytes):
            (directory / name).write_bytes(content)
        else:
            put(content, directory / name)
