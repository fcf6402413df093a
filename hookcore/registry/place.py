"""The place of a key in a configuration, as errors name it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Mapping

Path = tuple[str | int, ...]


@attrs.frozen
class Place:
    """A key's path, such as `plugins[0].early_stopping.patience`, the file or variable that has it, and the line, if known.

    * `source`: the file or the environment variable; empty, the default, for code.
    * `path`: the keys, and the indices of lists, from the outermost.
    * `lines`: the line, counted from one, of each path for which it is known.
    """

    source: str = ""
    path: Path = ()
    lines: Mapping[Path, int] = attrs.field(factory=dict, repr=False)

    def __truediv__(self, key: str | int) -> Place:
        """Return the place of `key` within this one."""
        return attrs.evolve(self, path=(*self.path, key))

    def __str__(self) -> str:
        line = next((self.lines[self.path[:n]] for n in range(len(self.path), -1, -1) if self.path[:n] in self.lines), None)
        path = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in self.path).removeprefix(".")
        return ": ".join(filter(None, (self.source if line is None else f"{self.source}, line {line}", path)))
