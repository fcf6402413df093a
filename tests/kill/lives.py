"""One training in several lives: each is a process that is killed, and the next one resumes."""

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

    # Waits for the moment and kills the process, or lets it end; returns what it read of the standard output meanwhile.
    Fate = Callable[[subprocess.Popen[str]], str]

LONG: Final = settings.get_current_profile_name() == "long"
kills: Final[Counter[str]] = Counter()
"""How many processes were killed, by the kind of moment."""


@attrs.define
class Life:
    """What one process said before it ended."""

    announced: list[int] = attrs.field(factory=list)
    """The steps of the checkpoints that it announced."""
    result: str | None = None
    """Its result as JSON; None where it was killed before it had one."""


@attrs.define
class Training:
    """A training of `what` (see child.py) in `directory`, from one life to the next. What each leaves on disk is checked."""

    what: str
    directory: Path
    announced: int = 0
    """The step of the newest checkpoint announced so far."""

    def live(self, fate: Fate, *arguments: str, moment: str = "none") -> Life:
        """One more life, which resumes from the newest checkpoint. A kill counts for that kind of moment."""
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
                assert int(rest) == newest, f"it began at step {rest}, and the newest checkpoint was of step {newest}"
            elif word == "checkpoint":
                life.announced.append(int(rest))
            else:
                life.result = rest
        self.announced = max([self.announced, *life.announced])
        assert self.newest() >= self.announced, f"step {self.announced} was announced, and the newest is of {self.newest()}"
        return life

    def newest(self) -> int:
        """The step of the newest checkpoint, 0 where there is none. Whatever has a checkpoint's name must verify."""
        root = self.directory / "checkpoints"
        for path in root.glob("step-*"):
            store.verify(path)
        return store.newest(root).step if store.available(root) else 0


def to_the_end(process: subprocess.Popen[str]) -> str:
    """No kill."""
    del process
    return ""


def seconds_after(lines: int, seconds: float) -> Fate:
    """Killed so long after it said so many lines; the first one says that it has begun, the others are checkpoints."""

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
    """Killed before the `number`th call, counted from zero, in `directory`, or of those of the kind `wanted`.

    The child must be told `--traced`.
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
    """Sorts calls into kinds by name and by path in `directory`, but for digits and for how deep in a checkpoint it is.

    Renames are told apart by the thread's call before, too: replacing a checkpoint is another moment than writing a new one.
    """

    directory: Path
    _before: dict[int, str] = attrs.field(factory=dict)

    def __call__(self, call: tracing.Call) -> str | None:
        """The kind of the thread's next call; None for one that is not in `directory`."""
        inside = call.path.removeprefix(str(self.directory))
        if inside == call.path:
            return None
        own = re.sub(r"(?<=#)/.*/", "/", re.sub(r"\d+", "#", f"{call.name} {inside}"))
        before, self._before[call.thread] = self._before.get(call.thread), own
        return f"{own} after {before}" if call.target else own
