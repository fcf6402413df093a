"""How a loop names its metrics: which ones are of validation, and what each is called without its prefix."""

from __future__ import annotations

import attrs

from hookcore.validators import reject


def _prefixes(instance: object, attribute: attrs.Attribute[tuple[str, ...]], value: object) -> None:
    if not isinstance(value, tuple) or not all(isinstance(prefix, str) and prefix for prefix in value):
        reject(instance, attribute.name, value, "a tuple of non-empty strings")


@attrs.frozen
class MetricNames:
    """How the names of a loop's metrics begin: `val_loss`, `eval_loss`, `valid/loss` or `test-loss`, and `loss` or `train-loss`.

    * `validation`: the prefixes of validation metrics; `"val_"` by default.
    * `training`: those of training metrics; empty by default.

    A name that equals a prefix counts as a name without one. Raises `ParameterError` unless both are tuples of non-empty strings.
    """

    validation: tuple[str, ...] = attrs.field(default=("val_",), validator=_prefixes)
    training: tuple[str, ...] = attrs.field(default=(), validator=_prefixes)

    def is_validation(self, name: str) -> bool:
        """Return whether `name` is that of a validation metric."""
        return self.validation_prefix(name) is not None

    def validation_prefix(self, name: str) -> str | None:
        """Return the prefix of a validation metric, which all metrics of one evaluation share; None for any other metric."""
        return _prefix(name, self.validation)

    def plain(self, name: str) -> str:
        """Return `name` without its prefix: `"loss"` for `"val_loss"`."""
        return name.removeprefix(_prefix(name, (*self.validation, *self.training)) or "")

    def adding(self, prefix: str) -> MetricNames:
        """Return these names with one more prefix of validation metrics. An empty prefix adds nothing."""
        return self if not prefix or prefix in self.validation else attrs.evolve(self, validation=(*self.validation, prefix))


def _prefix(name: str, prefixes: tuple[str, ...]) -> str | None:
    """Return the longest of `prefixes` that `name` begins with, or None."""
    found = [prefix for prefix in prefixes if name.startswith(prefix) and name != prefix]
    return max(found, key=len, default=None)
