"""The monitor: decides whether a metric improved, and counts the observations since it last did. A pure value, no I/O."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final, final

import attrs

from hookcore import schema
from hookcore.numeric import number_of
from hookcore.text import format_count, place_in_words
from hookcore.trainee import Mode  # noqa: TC001 - tools such as OmegaConf read the types of the fields
from hookcore.validators import boolean, integer, number, one_of, reject

if TYPE_CHECKING:
    from collections.abc import Mapping

_COUNT: Final = schema.optional(schema.integer)
_STATE: Final = schema.fields(
    {"best": schema.optional(schema.number), "best_epoch": _COUNT, "waited": schema.integer},
    {"best_step": (_COUNT, None), "by_steps": (schema.truth, False)},  # earlier versions did not write these
)


@final  # `_after` lists the fields, and would drop those of a subclass
@attrs.frozen
class Monitor:
    """The best value of a metric so far, and the number of observations since.

    Better is strict: `value < best - min_delta` for `"min"`, `value > best + min_delta` for `"max"`. The first number always
    improves. NaN is never better and never becomes the best.

    * `mode`: the direction that is better, `"min"` or `"max"`.
    * `min_delta`: the largest change that does not count as an improvement; 0 by default.
    """

    mode: Mode = attrs.field(validator=one_of("min", "max"))
    min_delta: float = attrs.field(default=0.0, validator=number(at_least=0))
    best: float | None = attrs.field(default=None, validator=number(optional=True, finite=False))
    best_epoch: int | None = attrs.field(default=None, validator=integer(at_least=0, optional=True))
    best_step: int | None = attrs.field(default=None, validator=integer(at_least=0, optional=True))
    by_steps: bool = attrs.field(default=False, validator=boolean())
    """Whether the best was observed by steps, within its epoch, and not at the epoch's end."""
    waited: int = attrs.field(default=0, validator=integer(at_least=0))
    """The number of observations since the best, or since `rest`."""

    @best.validator
    def _check_best(self, attribute: attrs.Attribute[Any], value: object) -> None:
        if value is not None and value != value:  # noqa: PLR0124 - NaN
            reject(self, attribute.name, value, "a number or None")

    def improves(self, value: float) -> bool:
        """Return whether `value` is better than `best`."""
        if math.isnan(value):
            return False
        if self.best is None:
            return True
        if self.mode == "min":
            return value < self.best - self.min_delta
        return value > self.best + self.min_delta

    def observe(self, value: float, epoch: int, step: int | None = None, *, by_steps: bool = False) -> Monitor:
        """Return the monitor after one more observation, at `epoch` and `step`. Its `waited` is 0 if and only if it improved.

        `epoch` counts from zero. `by_steps` is whether the observation was made by steps, within the epoch.
        """
        if self.improves(value):
            plain = value if type(value) is float else number_of(value)
            return self._after(plain, (epoch, step, by_steps), 0)
        return self._after(self.best, (self.best_epoch, self.best_step, self.by_steps), self.waited + 1)

    def rest(self) -> Monitor:
        """Return the same monitor with `waited` set to 0."""
        return self._after(self.best, (self.best_epoch, self.best_step, self.by_steps), 0)

    @property
    def best_place(self) -> str:
        """The place of the best value, in words: `epoch 3`, counted from one, or `step 200` if it was observed by steps."""
        return place_in_words(self.best_epoch, self.best_step, by_steps=self.by_steps)

    def _after(self, best: float | None, where: tuple[int | None, int | None, bool], waited: int) -> Monitor:
        # Without `__init__`, whose validators have checked these parameters before, and take longer than the rest of this method.
        after = object.__new__(Monitor)
        put = object.__setattr__
        put(after, "mode", self.mode)
        put(after, "min_delta", self.min_delta)
        put(after, "best", best)
        put(after, "best_epoch", where[0])
        put(after, "best_step", where[1])
        put(after, "by_steps", where[2])
        put(after, "waited", waited)
        return after

    def state_dict(self) -> dict[str, Any]:
        """Return what was observed, as JSON-able values, without the parameters."""
        return {
            "best": self.best,
            "best_epoch": self.best_epoch,
            "best_step": self.best_step,
            "by_steps": self.by_steps,
            "waited": self.waited,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> Monitor:
        """Return a monitor with these parameters and the observations of `state`. Raises `ParameterError` if they do not fit."""
        return attrs.evolve(self, **_STATE(state))

    def __str__(self) -> str:
        """Return how long it has waited, as part of a reason: `has not improved by more than 0.1 for 2 observations`."""
        by = f" by more than {self.min_delta:g}" if self.min_delta else ""
        return f"has not improved{by} for {format_count(self.waited, 'observation')}"
