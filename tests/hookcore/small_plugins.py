"""Small plugins, good and bad ones, and an engine of them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import attrs

from hookcore import Engine, hookimpl

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@attrs.define(eq=False)
class Plain:
    """The smallest plugin."""

    @hookimpl
    def on_train_begin(self) -> None:
        pass


def engine(*plugins: object, **options: Any) -> Engine:
    return Engine(plugins, autoload=False, **options)


def bad(name: str, function: Callable[..., object], **options: Any) -> object:
    """Return a plugin called bad, whose one method is `function`, marked."""
    return SimpleNamespace(name="bad", **{name: hookimpl(**options)(function)})


def generator() -> Callable[[], Iterator[None]]:
    """Return a new generator function each time, because `hookimpl` marks the function itself."""

    def function() -> Iterator[None]:
        yield

    return function
