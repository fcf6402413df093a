"""The place of a key in a configuration, as errors name it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import attrs

Path = tuple[str | int, ...]

_BARE: Final = re.compile(r"[A-Za-z_][\w-]*", re.ASCII)
"""What needs no quotes: a key in TOML, and any text in YAML."""


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

    def written(self, value: Mapping[str, Any] | str | int) -> str:
        """Return `value` in one line, in the notation of the file of this place: TOML, YAML, or JSON, which is also Python's."""
        import json

        suffix = self.source.rpartition(".")[2]
        is_yaml, is_toml = suffix in {"yaml", "yml"}, suffix == "toml"
        if isinstance(value, Mapping):
            equals = " = " if is_toml else ": "
            keys = {key: key if (is_yaml or is_toml) and _BARE.fullmatch(key) else json.dumps(key) for key in value}
            return "{" + ", ".join(f"{keys[key]}{equals}{self.written(inner)}" for key, inner in value.items()) + "}"
        return value if is_yaml and isinstance(value, str) and _BARE.fullmatch(value) else json.dumps(value)

    def __str__(self) -> str:
        line = next((self.lines[self.path[:n]] for n in range(len(self.path), -1, -1) if self.path[:n] in self.lines), None)
        path = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in self.path).removeprefix(".")
        return ": ".join(filter(None, (self.source if line is None else f"{self.source}, line {line}", path)))
