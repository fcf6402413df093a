"""Find the plugins of an engine: those asked for in code, a configuration or the environment, then the autoload group."""

from __future__ import annotations

import logging
import os
import re
import warnings
from typing import TYPE_CHECKING, Final

from hookcore.errors import HookcoreWarning
from hookcore.raised import interrupts
from hookcore.registry import discovery
from hookcore.registry.discovery import AUTOLOAD, CATALOGUE, DISABLE, Found
from hookcore.registry.place import Place
from hookcore.registry.request import Request, requested

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from importlib import metadata

logger = logging.getLogger("hookcore")

PLUGINS: Final = "HOOKCORE_PLUGINS"
"""The environment variable with the spec strings, separated by semicolons, of plugins for every run."""


def find(asked: Iterable[object], *, autoload: bool = True, environ: Mapping[str, str] = os.environ) -> Iterator[Found]:
    """Yield the plugins that are `asked` for, in that order, without those that the environment blocks.

    An item is what `requested` takes. With `autoload`, the plugins that the environment asks for follow, then the autoload group.
    If several sources have a plugin of one name, code counts, then a configuration, the environment, and the autoload group, in
    this order; two of one name from one source are left for the engine to refuse. An autoloaded plugin that cannot be loaded is
    left out with a warning. With `autoload`, a blocked name that no plugin has is logged.
    """
    blocked = discovery.blocked_names(environ)
    requests = [requested(item, Place(path=("plugins", index))) for index, item in enumerate(asked)]
    requests += from_environment(environ) if autoload else ()
    replaced: set[str] = set()
    for request in counting(requests):
        if discovery.is_blocked(request.called, blocked) or discovery.is_blocked(request.target, blocked):
            logger.warning("plugin %r was asked for and is blocked by %s", request.called, DISABLE)
            continue
        found = request.make()
        replaced |= {found.name, *found.replaces}
        yield found
    if blocked and autoload:
        installed = {entry.name for group in (CATALOGUE, AUTOLOAD) for entry in discovery.entry_points(group)}
        asked_for = {name for request in requests for name in (request.called, request.target) if name}
        for sentence in discovery.unknown_names(blocked, installed | asked_for):
            logger.warning("%s", sentence)
    if autoload and discovery.autoload_allowed(environ):
        entries, unreadable = discovery.read_entry_points(AUTOLOAD)
        for broken in unreadable:
            warnings.warn(
                f"The entry points of {broken.origin} cannot be read, and runs continue without its plugins, if it has any: "
                f"{broken.reason}. Reinstall it, or remove it.",
                HookcoreWarning,
                stacklevel=3,
            )
        for entry in entries:
            if entry.name not in replaced and not discovery.is_blocked(entry.name, blocked):
                replaced.add(entry.name)
                yield from _autoloaded(entry)


def from_environment(environ: Mapping[str, str] = os.environ) -> list[Request]:
    """Return the plugins that `PLUGINS` asks for. A semicolon within double quotes is part of a value."""
    specs = re.findall(r'(?:[^;"]|"[^"]*"?)+', environ.get(PLUGINS, ""))
    return [requested(spec.strip(), Place(PLUGINS), "environment") for spec in specs if spec.strip()]


def counting(requests: Iterable[Request]) -> Iterator[Request]:
    """Yield the `requests` that count: for each name, those of the first source that asks for it."""
    requests = list(requests)
    for request in requests:
        sources = [other.source for other in requests if other.called == request.called]
        first = next(source for source in ("code", "configuration", "environment") if source in sources)
        if request.source == first:
            yield request
        elif request.source == "environment":
            logger.warning("%s names %r, which this engine has by %s: that counts", PLUGINS, request.called, first)


def _autoloaded(entry: metadata.EntryPoint) -> Iterator[Found]:
    try:
        target = discovery.load(entry)
        made = target() if callable(target) else target
        found = Found(entry.name, made, discovery.distribution(entry), autoloaded=True, source="autoload")
    except BaseException as error:  # a third party's import may raise anything, and must not stop the run
        if interrupts(error):
            raise
        discovery.warn_left_out(entry.name, discovery.distribution(entry), error)
    else:
        yield found
