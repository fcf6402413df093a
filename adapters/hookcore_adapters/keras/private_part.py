"""How a private part of Keras is declared, read and set, and the error if it is missing."""

from __future__ import annotations

import functools
import pkgutil
from typing import Any, Final

import attrs
import keras

from hookcore import HookcoreError

_REQUIRED: Final = object()


@attrs.frozen
class PrivatePart:
    """A private part of Keras: its path, and what it is used for."""

    path: str
    """The path of an object in a module, or of an attribute of a class's instances."""
    purpose: str

    @property
    def owner(self) -> str:
        """The path of the module or the class that contains it."""
        return self.path.rpartition(".")[0]

    @functools.cached_property
    def name(self) -> str:
        """Its name in the module or the class."""
        return self.path.rpartition(".")[2]

    @functools.cached_property
    def value(self) -> Any:
        """The object in the module. Raises `HookcoreError` if it does not exist."""
        try:
            return pkgutil.resolve_name(self.path)
        except (ImportError, AttributeError) as error:
            raise self._gone() from error

    def of(self, owner: Any, default: Any = _REQUIRED) -> Any:
        """Return the attribute of `owner`, or `default` if it is missing. Raises `HookcoreError` if there is no default."""
        try:
            return getattr(owner, self.name)
        except AttributeError as error:
            if default is _REQUIRED:
                raise self._gone() from error
            return default

    def set(self, owner: Any, value: Any) -> None:
        """Set the attribute of `owner`."""
        setattr(owner, self.name, value)

    def _gone(self) -> HookcoreError:
        return HookcoreError(
            f"{self.path}, by which hookcore finds {self.purpose}, is missing in Keras {keras.__version__} or its backend. Use "
            "an earlier version of it, or a newer hookcore."
        )
