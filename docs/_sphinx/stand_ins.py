"""Modules in place of the frameworks, so that the site needs none of them: each attribute is a class that accepts any use.

Sphinx's own mocks are instances, which cannot be combined by `|` or be unwrapped.
"""

from __future__ import annotations

import importlib.machinery
import sys
from abc import ABCMeta
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence


class _AnyClass(ABCMeta):
    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _any_class(name, cls.__module__)

    def __getitem__(cls, item: object) -> Any:
        return cls


class _Any:
    __code__ = (lambda: None).__code__  # an adapter may ask which arguments a function has

    def __init__(self, *arguments: Any, **options: Any) -> None:
        """Take whatever is given."""

    def __call__(self, *arguments: Any) -> Any:
        """Return what is decorated."""
        return arguments[0] if arguments else self


def _any_class(name: str, module: str) -> Any:
    return _AnyClass(name, (_Any,), {"__module__": module})


class _StandIn(ModuleType):
    __version__ = "999"
    __path__ = []  # noqa: RUF012 - the name is Python's

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _any_class(name, self.__name__)


class _Finder:
    """Finds each of `packages`, and whatever is in them; it loads them too."""

    def __init__(self, packages: Collection[str]) -> None:
        self.packages = packages

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: object = None) -> Any:
        del path, target
        if name.partition(".")[0] in self.packages:
            return importlib.machinery.ModuleSpec(name, self, is_package=True)  # type: ignore[arg-type]
        return None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        return _StandIn(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Leave the module as it is."""


def stand_in_for(packages: Collection[str]) -> None:
    """Let each of `packages` be imported from here on, whether it is installed or not."""
    sys.meta_path.insert(0, _Finder(packages))
