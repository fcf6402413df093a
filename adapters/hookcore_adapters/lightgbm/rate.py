"""The learning rate of a booster in training, which has several names, and which other callbacks may set too."""

from __future__ import annotations

from typing import Any, Final

import attrs

from hookcore import CapabilityError
from hookcore_adapters.lightgbm.model_text import settings_of

NAMES: Final = ("learning_rate", "shrinkage_rate", "eta")
"""LightGBM's names for the learning rate."""


@attrs.define(eq=False)
class Rate:
    """Read and set the learning rate of `booster`, and notice if something else has overwritten it."""

    booster: Any
    _value: float = attrs.field(default=0.0, init=False)
    _read_from: tuple[Any, ...] | None = attrs.field(default=None, init=False)
    """The values under all names when the rate was read or set last."""
    _of_plugin: float | None = attrs.field(default=None, init=False)
    """The rate that a plugin set last."""

    def get(self) -> float:
        """Return the rate of the next iteration."""
        given = tuple(map(self.booster.params.get, NAMES))
        if given != self._read_from:
            known = [rate for rate in given if rate is not None]
            # The text of the model has the rate in use, but only with six digits.
            self._value = float(known[0] if len(known) == 1 else settings_of(self.booster)["learning_rate"])
            self._read_from = given
        return self._value

    def put(self, value: float, *, by_plugin: bool) -> None:
        """Set the rate of the next iteration. `by_plugin` is whether `check` shall protect it."""
        self.booster.reset_parameter({"learning_rate": value})
        self._value, self._read_from = value, tuple(map(self.booster.params.get, NAMES))
        if by_plugin:
            self._of_plugin = value

    def check(self) -> None:
        """Raise `CapabilityError` if another callback has overwritten the rate that a plugin set."""
        if self._of_plugin is not None and self._of_plugin != self.get():
            raise CapabilityError(
                f"lightgbm: a plugin set the learning rate to {self._of_plugin!r}, and another callback has overwritten it with "
                f"{self.get()!r}. Leave out the plugin or the callback."
            )
