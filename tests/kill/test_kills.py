"""A process that trains and saves often is killed, and another one resumes.

Whatever the moment, the newest checkpoint is whole and no older than the last one announced, no checkpoint is damaged, and the
training ends like one that was never killed, with the same weights, history, decisions and log.
"""

from __future__ import annotations

import itertools
import logging
import random
import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs
import pytest

from tests.kill.lives import LONG, Kinds, Training, before_call, kills, seconds_after, to_the_end
from tests.kill.tracing import Call, follow

if TYPE_CHECKING:
    import subprocess

logger = logging.getLogger(__name__)
logger.setLevel(logging.INFO)  # shown with a failure

KILLS: Final = 300 if LONG else 50
"""The test fails with fewer kills before calls that write, because then it does not find all calls."""
RANDOM_KILLS: Final = 100 if LONG else 15


@attrs.frozen
class Unharmed:
    """A training that was never killed: its directory, its calls in order, and its end."""

    directory: Path
    calls: list[Call]
    end: tuple[str | None, str]


@pytest.fixture(scope="module")
def unharmed(tmp_path_factory: pytest.TempPathFactory) -> Unharmed:
    training = Training("descent", tmp_path_factory.mktemp("unharmed"))
    calls: list[Call] = []

    def watch(process: subprocess.Popen[str]) -> str:
        follow(process, calls.append)
        return ""

    result = training.live(watch, "--traced").result
    return Unharmed(training.directory, calls, (result, log_of(training)))


def log_of(training: Training) -> str:
    return (training.directory / "log.csv").read_text()


def test_killed_before_each_system_call_that_writes(unharmed: Unharmed, tmp_path: Path) -> None:
    """A training ends the same if it is killed before any call that changes files, and killed again after it has resumed."""
    kinds = Counter(kind for kind in map(Kinds(unharmed.directory), unharmed.calls) if kind)
    chance, before = random.Random(0), kills.total()  # noqa: S311 - the same every time
    for case, (wanted, count) in enumerate(kinds.items()):
        for number in range(count) if LONG else [chance.randrange(count)]:
            training = Training("descent", tmp_path / f"{case}-{number}")
            again = chance.randrange(60)
            logger.info(
                "killed before %s, %d of %d, and at call %d, in %s", wanted, number + 1, count, again + 1, training.directory
            )
            training.live(before_call(number, training.directory, wanted), "--traced", moment="before a call that writes")
            training.live(before_call(again, training.directory), "--traced", moment="before one after resuming")
            assert (training.live(to_the_end).result, log_of(training)) == unharmed.end
    assert kills.total() - before >= KILLS


def test_killed_at_random_moments(unharmed: Unharmed, tmp_path: Path) -> None:
    """A training ends the same if it is killed several times at random moments."""
    chance, killed = random.Random(0), 0  # noqa: S311 - the same every time
    for case in itertools.count():
        training = Training("descent", tmp_path / str(case))
        for _ in range(3):
            lines, seconds = chance.randrange(1, 7), chance.uniform(0, 0.03)
            logger.info("killed %.4f s after its line %d, in %s", seconds, lines, training.directory)
            killed += training.live(seconds_after(lines, seconds), moment="at a random moment").result is None
        assert (training.live(to_the_end).result, log_of(training)) == unharmed.end
        if killed >= RANDOM_KILLS:
            return


def test_what_is_announced_is_durable(unharmed: Unharmed) -> None:
    """All of a checkpoint is synced before it gets its name, and the name before it is announced or an older one removed."""
    root = str(unharmed.directory / "checkpoints")
    saves = (unharmed.end[0] or "").count('"kind": "checkpoint"')
    changed: set[str] = set()  # and not synced since
    durable, lines, named = 0, 0, False
    for call in unharmed.calls:
        if call.name in {"fsync", "fdatasync"}:
            changed.discard(call.path)
            if call.path == root and named:
                durable, named = durable + 1, False
        elif is_checkpoint(root, call.target):
            assert not [path for path in changed if path.startswith(call.path)], f"{call} before these were synced"
            named = True
        elif is_checkpoint(root, call.path):
            assert not named, f"{call} before the newest checkpoint's name was synced"
        elif call.path.startswith("pipe:"):
            lines += 1
            checkpoints = min(lines - 1, saves)  # the first and the last line are not checkpoints
            assert checkpoints <= durable, f"{checkpoints} were announced, but only {durable} were durable"
        elif call.path.startswith(root):
            changed |= {call.path, str(Path(call.path).parent)}
    assert (durable, lines) == (saves, saves + 2)


def is_checkpoint(root: str, path: str) -> bool:
    return re.fullmatch(re.escape(root) + r"/step-\d+[^/]*", path) is not None
