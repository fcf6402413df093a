"""How a loop names its metrics: which of them are of validation, and what each is called without the name of its data."""

from __future__ import annotations

import attrs

from hookcore.validators import reject


def _prefixes(instance: object, attribute: attrs.Attribute[tuple[str, ...]], value: object) -> None:
    if not isinstance(value, tuple) or not all(isinstance(prefix, str) and prefix for prefix in value):
        reject(instance, attribute.name, value, "a tuple of texts that are not empty")


@attrs.frozen
class MetricNames:
    """How the names of a loop's metrics begin: `val_loss`, `eval_loss`, `valid/loss` or `test-loss`, and `loss` or `train-loss`.

    * `validation`: the prefixes of validation metrics; `"val_"` by default.
    * `training`: those of training metrics; empty by default.

    A name that is a prefix and nothing else has no prefix. Raises `ParameterError` for anything but tuples of texts.
    """

    validation: tuple[str, ...] = attrs.field(default=("val_",), validator=_prefixes)
    training: tuple[str, ...] = attrs.field(default=(), validator=_prefixes)

    def is_validation(self, name: str) -> bool:
        """Return whether `name` is that of a validation metric."""
        return self.validation_prefix(name) is not None

    def validation_prefix(self, name: str) -> str | None:
        """Return the prefix of a validation metric, by which those of one evaluation are known; None if it is not one."""
        return _prefix(name, self.validation)

    def plain(self, name: str) -> str:
        """Return `name` without its prefix, as in `"loss"` for `"val_loss"`."""
        return name.removeprefix(_prefix(name, (*self.validation, *self.training)) or "")

    def adding(self, prefix: str) -> MetricNames:
        """Return the same with another prefix of validation metrics; an empty one changes nothing."""
        return self if not prefix or prefix in self.validation else attrs.evolve(self, validation=(*self.validation, prefix))


def _prefix(name: str, prefixes: tuple[str, ...]) -> str | None:
    """Return the longest of `prefixes` that `name` begins with, or None."""
    found = [prefix for prefix in prefixes if name.startswith(prefix) and name != prefix]
    return max(found, key=len, default=None)
