"""A training in several lives: each life is a process that is killed, and the next one resumes."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs
from hypothesis import settings

from hookcore import store
from tests.kill import tracing

if TYPE_CHECKING:
    from collections.abc import Callable

    # Waits for the moment and kills the process, or lets it end; returns what it has read from the standard output.
    Fate = Callable[[subprocess.Popen[str]], str]

LONG: Final = settings.get_current_profile_name() == "long"
kills: Final[Counter[str]] = Counter()
"""The number of processes killed, by the kind of moment."""


@attrs.define
class Life:
    """What one process printed before it ended."""

    announced: list[int] = attrs.field(factory=list)
    """The steps of the checkpoints that it announced."""
    result: str | None = None
    """Its result as JSON, or None if it was killed before it had a result."""


@attrs.define
class Training:
    """A training of `what` (see child.py) in `directory`. The files on disk are checked after each life."""

    what: str
    directory: Path
    announced: int = 0
    """The step of the newest checkpoint announced so far."""

    def live(self, fate: Fate, *arguments: str, moment: str = "none") -> Life:
        """Run one more life, which resumes from the newest checkpoint. Count a kill for this kind of moment."""
        self.directory.mkdir(exist_ok=True)
        newest, life = self.newest(), Life()
        command = [sys.executable, str(Path(__file__).with_name("child.py")), self.what, *arguments]
        with subprocess.Popen(command, cwd=self.directory, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            try:
                said = fate(process) + process.stdout.read()
            except BaseException:
                process.kill()
                raise
            errors = process.stderr.read()
        kills[moment] += process.returncode == -signal.SIGKILL
        assert process.returncode in {0, -signal.SIGKILL}, errors
        for line in said.splitlines():
            word, rest = line.split(" ", 1)
            if word == "begun":
                assert int(rest) == newest, f"it began at step {rest}, but the newest checkpoint was of step {newest}"
            elif word == "checkpoint":
                life.announced.append(int(rest))
            else:
                life.result = rest
        self.announced = max([self.announced, *life.announced])
        assert self.newest() >= self.announced, f"step {self.announced} was announced, but the newest is {self.newest()}"
        return life

    def newest(self) -> int:
        """Verify every directory with a checkpoint's name; return the newest one's step, or 0 without a checkpoint."""
        root = self.directory / "checkpoints"
        for path in root.glob("step-*"):
            store.verify(path)
        return store.newest(root).step if store.available(root) else 0


def to_the_end(process: subprocess.Popen[str]) -> str:
    """Let the process end by itself."""
    del process
    return ""


def seconds_after(lines: int, seconds: float) -> Fate:
    """Return a kill `seconds` after the process has printed `lines`: the first is its beginning, the others are checkpoints."""

    def fate(process: subprocess.Popen[str]) -> str:
        assert process.stdout is not None
        said = "".join(process.stdout.readline() for _ in range(lines))
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
        return said

    return fate


def before_call(number: int, directory: Path, wanted: str | None = None) -> Fate:
    """Return a kill before call `number`, counted from zero, of the calls in `directory`, or only of those of kind `wanted`.

    The child needs the option `--traced`.
    """
    left, kinds_here = number, Kinds(directory)

    def here(call: tracing.Call) -> bool:
        nonlocal left
        kind = kinds_here(call)
        left -= kind is not None and wanted in {kind, None}
        return left < 0

    def fate(process: subprocess.Popen[str]) -> str:
        tracing.follow(process, here)
        return ""

    return fate


@attrs.define
class Kinds:
    """Sorts calls into kinds by name and by path in `directory`, without digits and without the depth in a checkpoint.

    The kind of a rename includes the thread's previous call, because replacing a checkpoint differs from writing a new one.
    """

    directory: Path
    _before: dict[int, str] = attrs.field(factory=dict)

    def __call__(self, call: tracing.Call) -> str | None:
        """Return the kind of the thread's next call, or None if it is not in `directory`."""
        inside = call.path.removeprefix(str(self.directory))
        if inside == call.path:
            return None
        own = re.sub(r"(?<=#)/.*/", "/", re.sub(r"\d+", "#", f"{call.name} {inside}"))
        before, self._before[call.thread] = self._before.get(call.thread), own
        return f"{own} after {before}" if call.target else own
