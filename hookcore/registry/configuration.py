"""Read a configuration from a file or a mapping: the plugins that it asks for, and the place of each key."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import attrs

from hookcore.errors import LoadError, SpecError
from hookcore.paths import local_path
from hookcore.raised import describe
from hookcore.registry.place import Place
from hookcore.registry.request import Request, requested
from hookcore.text import did_you_mean

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator
    from pathlib import Path

TABLE: Final = "hookcore"
KEYS: Final = ("plugins", "on_error", "autoload")
_DEPTH: Final = 8
"""The depth to which lines of keys are recorded: below all keys of ours, and finite for a file that refers to itself."""


@attrs.frozen
class Configuration:
    """The content of a configuration, checked as far as possible without importing plugins."""

    requests: list[Request]
    on_error: Mapping[str, Any]
    autoload: bool
    place: Place
    """The place of the table."""


def _raise(error: SpecError) -> None:
    raise error


def read(config: str | os.PathLike[str] | Mapping[str, Any], report: Callable[[SpecError], None] = _raise) -> Configuration:
    """Return the configuration in a file or mapping. Raises `SpecError` and `LoadError` as `Engine.from_config` does.

    `report` is called with each mistake in the table, and raises it by default. If it returns, the mistaken part is left out.
    """
    if isinstance(config, Mapping):
        table, place = (config, Place()) if TABLE not in config else (config[TABLE], Place(path=(TABLE,)))
    else:
        table, place = _table_of(local_path(config, "config"))
    if not isinstance(table, Mapping):
        raise SpecError(f"{place}: expected a table with {' or '.join(KEYS)}, got {table!r}.")
    for key in table:
        if key not in KEYS:
            hint = did_you_mean(str(key), KEYS)
            report(SpecError(f"{place / str(key)}: there is no key {key!r}; there are: {', '.join(KEYS)}.{hint}"))
    on_error, autoload = table.get("on_error", {}), table.get("autoload", True)
    if not isinstance(on_error, Mapping):
        report(SpecError(f"{place / 'on_error'}: expected a table of plugins with 'raise' or 'disable', got {on_error!r}."))
        on_error = {}
    if not isinstance(autoload, bool):
        report(SpecError(f"{place / 'autoload'}: autoload must be true or false, got {autoload!r}."))
        autoload = True
    requests = []
    for item, where in _items(table.get("plugins", []), place / "plugins", report):
        try:
            requests.append(requested(item, where, "configuration"))
        except SpecError as error:
            report(error)
    return Configuration(requests, on_error, autoload, place)


def _items(plugins: Any, place: Place, report: Callable[[SpecError], None]) -> Iterator[tuple[Any, Place]]:
    """Yield each plugin that the table asks for, with its place."""
    if isinstance(plugins, Mapping):  # easier to merge and to override than a list
        yield from (({name: parameters}, place) for name, parameters in plugins.items())
    elif isinstance(plugins, Sequence) and not isinstance(plugins, str):
        for index, item in enumerate(plugins):
            if item is None or isinstance(item, bool | int | float):
                report(SpecError(f"{place / index}: expected a spec string or a mapping, got {item!r}."))
            else:
                yield item, place / index
    else:
        report(
            SpecError(
                f"{place}: expected a list of spec strings and mappings, or a mapping of names, got {type(plugins).__name__}."
            )
        )


def _table_of(path: Path) -> tuple[Any, Place]:
    """Return the table in the file `path`, and its place."""
    if path.suffix not in _READERS:
        raise SpecError(f"config must be a file that ends in {', '.join(_READERS)}, got {str(path)!r}.")
    try:
        text = path.read_text("utf-8")
        content, lines = _READERS[path.suffix](text, str(path))
    except (OSError, ValueError, RecursionError) as error:
        if isinstance(error, SpecError):
            raise
        raise SpecError(f"{path} cannot be read as a configuration: {describe(error).partition(': ')[2]}.") from error
    keys = ("tool", TABLE) if path.name == "pyproject.toml" else (TABLE,)
    place = Place(str(path), lines=lines)
    for key in keys:
        if not isinstance(content, Mapping) or key not in content:
            there = list(map(str, content)) if isinstance(content, Mapping) else []
            what = f"table [{'.'.join(keys)}]" if path.suffix == ".toml" else f"key {key!r}"
            raise SpecError(f"{path} has no {what}; there are: {', '.join(there) or 'none'}.{did_you_mean(key, there)}")
        content, place = content[key], place / key
    return content, place


_Read = tuple[Any, Mapping[tuple[str | int, ...], int]]


def _toml(text: str, _: str) -> _Read:
    return tomllib.loads(text), {}


def _json(text: str, source: str) -> _Read:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        seen = dict(pairs)
        if len(seen) < len(pairs):
            keys = [key for key, _ in pairs]
            raise SpecError(f"{source}: the key {next(key for key in keys if keys.count(key) > 1)!r} is given twice.")
        return seen

    return json.loads(text, object_pairs_hook=unique), {}


def _yaml(text: str, source: str) -> _Read:
    try:
        import yaml
    except ImportError as error:
        raise LoadError(f"{source} needs PyYAML: pip install 'hookcore[yaml]'. Or write it as TOML or JSON.") from error
    loader = yaml.SafeLoader(text)
    lines: dict[tuple[str | int, ...], int] = {}

    def walk(node: Any, path: tuple[str | int, ...]) -> None:
        children: list[tuple[str | int, Any]] = []
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                inner, line = (*path, str(key.value)), key.start_mark.line + 1
                if inner in lines and key.value != "<<":
                    raise SpecError(
                        f"{Place(source, inner, {inner: line})}: the key is given twice, first in line {lines[inner]}."
                    )
                lines[inner] = line
                children.append((inner[-1], value))
        elif isinstance(node, yaml.SequenceNode):
            for index, value in enumerate(node.value):
                lines[*path, index] = value.start_mark.line + 1
                children.append((index, value))
        for step, value in children if len(path) < _DEPTH else ():
            walk(value, (*path, step))

    try:
        root = loader.get_single_node()
        walk(root, ())
        return loader.construct_document(root) if root is not None else None, lines
    except yaml.YAMLError as error:
        mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None) or type(error).__name__
        where = "" if mark is None else f", line {mark.line + 1}"  # without the text of the line, which may have a secret
        raise SpecError(f"{source}{where} cannot be read as a configuration: {problem}.") from None
    finally:
        loader.dispose()


_READERS: Final[Mapping[str, Callable[[str, str], _Read]]] = {".toml": _toml, ".yaml": _yaml, ".yml": _yaml, ".json": _json}
