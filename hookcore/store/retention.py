"""Decide which checkpoints to keep, and why."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Protocol, TypeVar

import attrs

from hookcore.validators import integer

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from hookcore.trainee import Mode


class Ranked(Protocol):
    """What a retention reads of a checkpoint."""

    @property
    def path(self) -> Path:
        """Its directory."""
        ...

    @property
    def epoch(self) -> int:
        """The epoch in which it was taken, counted from zero."""
        ...

    @property
    def step(self) -> int:
        """The number of optimizer updates before it."""
        ...

    @property
    def metric(self) -> str | None:
        """The metric that ranks it, or None."""
        ...

    @property
    def value(self) -> float | None:
        """The value of that metric, or None."""
        ...

    @property
    def mode(self) -> Mode | None:
        """The direction in which the metric gets better, or None."""
        ...


T = TypeVar("T", bound=Ranked)


@attrs.frozen
class Retention:
    """Which checkpoints of a directory to keep: those that at least one of its policies keeps.

    * `last`: the N newest; 3 by default, None for all.
    * `best`: the N best of each metric that checkpoints were ranked by; 1 by default, None for all that have a value.
    * `every`: the last checkpoint of every Nth epoch, counted from one; None, the default, for no such policy.

    The newest and the best always stay. Raises `ParameterError` for a value below one.
    """

    last: int | None = attrs.field(default=3, validator=integer(at_least=1, optional=True))
    best: int | None = attrs.field(default=1, validator=integer(at_least=1, optional=True))
    every: int | None = attrs.field(default=None, validator=integer(at_least=1, optional=True))

    def reasons(self, checkpoints: Iterable[Ranked]) -> dict[Path, tuple[str, ...]]:
        """Return the reasons to keep each of `checkpoints`, by path, oldest first; those that are not kept are left out."""
        by_step = sorted(checkpoints, key=lambda checkpoint: checkpoint.step)
        found: dict[Path, list[str]] = {checkpoint.path: [] for checkpoint in by_step}
        for checkpoint in by_step[-1:]:
            found[checkpoint.path].append("newest")
        rankings = _rankings(by_step)
        for ranking in rankings:
            found[ranking[0].path].append(f"best {ranking[0].metric}")
        for checkpoint in by_step[:-1] if self.last is None else by_step[-self.last : -1]:
            found[checkpoint.path].append("all are kept" if self.last is None else f"one of the last {self.last}")
        for ranking in rankings:
            for checkpoint in ranking[1 : self.best]:
                found[checkpoint.path].append(
                    f"has a {checkpoint.metric}" if self.best is None else f"one of the {self.best} best"
                )
        if self.every is not None:
            for checkpoint in {checkpoint.epoch: checkpoint for checkpoint in by_step}.values():  # the last of each epoch
                if (checkpoint.epoch + 1) % self.every == 0:
                    found[checkpoint.path].append("every epoch" if self.every == 1 else f"every {self.every} epochs")
        return {path: tuple(why) for path, why in found.items() if why}


def ranked(checkpoints: Iterable[T]) -> list[T]:
    """Return the `checkpoints` that have a value other than NaN, best first, and the earlier of equals first.

    If their metrics or directions differ, only those with the metric and direction of the newest are returned.
    """
    rankings = _rankings(checkpoints)
    return rankings[-1] if rankings else []


def _rankings(checkpoints: Iterable[T]) -> list[list[T]]:
    """Return one ranking for each metric and direction, that of the newest checkpoint last."""
    groups: dict[object, list[T]] = {}
    for checkpoint in sorted(checkpoints, key=lambda checkpoint: checkpoint.step):
        if checkpoint.mode is not None and checkpoint.value is not None and not math.isnan(checkpoint.value):
            kind = checkpoint.metric, checkpoint.mode
            group = groups.pop(kind, [])
            group.append(checkpoint)
            groups[kind] = group
    # Sorting is stable: the earlier of equals comes first.
    return [
        sorted(group, key=lambda checkpoint: (checkpoint.value or 0.0) * (-1 if checkpoint.mode == "max" else 1))
        for group in groups.values()
    ]
