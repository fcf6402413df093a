"""The objects in a model that have state, found in the same way as by Keras for saving."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import attrs
import keras

from hookcore_adapters.keras import internals

if TYPE_CHECKING:
    from collections.abc import Iterator


@attrs.define(eq=False)
class Saveables:
    """Every layer, optimizer, metric and loss in `root`, a model or a dict of optimizers, with its path in Keras's file."""

    root: Any
    found: Mapping[str, Any] = attrs.field(init=False, factory=dict)
    """The objects by their paths, in the order in which Keras saves them, at the latest `find`."""
    _marks: list[int] = attrs.field(init=False, factory=list)
    """The result of `_marks_of` at the latest walk."""

    def find(self) -> None:
        """Find the present objects."""
        # Keras reads every name in `dir`, which takes a quarter of a millisecond per layer: too long for each snapshot.
        marks = list(_marks_of(self.root, set()))
        if not self.found or marks != self._marks:
            self.found, self._marks = dict(_walk(self.root, "", set())), marks


def _walk(value: Any, path: str, seen: set[int]) -> Iterator[tuple[str, Any]]:
    """Yield the objects within `value`, in the order in which Keras saves them."""
    if not isinstance(value, internals.saveable()):
        yield from _walk_container(value, path, seen, set())
    elif id(value) not in seen:
        seen.add(id(value))
        yield path, value
        for name, child in internals.walk_saveable(value):
            yield from _walk(child, str(PurePosixPath(path, name)), seen)


def _walk_container(value: Any, path: str, seen: set[int], containers: set[int]) -> Iterator[tuple[str, Any]]:
    if not isinstance(value, list | dict | tuple) or id(value) in containers:
        return
    containers.add(id(value))
    used: dict[str, int] = {}
    for item in value.values() if isinstance(value, dict) else value:
        if isinstance(item, internals.saveable()):
            yield from _walk(item, f"{path}/{_numbered(internals.name_in_list(item), used)}".lstrip("/"), seen)
        elif isinstance(item, list | dict | tuple):
            yield from _walk_container(item, f"{path}/{_numbered('container', used)}".lstrip("/"), seen, containers)


def _numbered(name: str, used: dict[str, int]) -> str:
    used[name] = used.get(name, -1) + 1
    return f"{name}_{used[name]}" if used[name] else name


def _marks_of(value: Any, seen: set[int]) -> Iterator[int]:
    """Yield the identity of each object found without properties. If they are unchanged, another walk would find the same."""
    if id(value) in seen:
        return
    seen.add(id(value))
    kinds = (internals.saveable(), list, dict, tuple)
    if isinstance(value, kinds[0]):
        yield id(value)
        children = vars(value).values()
    else:
        children = value.values() if isinstance(value, dict) else value
    for child in tuple(children):
        if isinstance(child, kinds):
            yield from _marks_of(child, seen)


def variables_of(owner: Any) -> list[Any]:
    """Return the variables of `owner` itself, including the states of its seed generators."""
    if isinstance(owner, keras.Layer):
        return internals.own_variables(owner)
    if isinstance(owner, keras.optimizers.Optimizer | keras.metrics.Metric):
        return list(owner.variables)
    values = [value.state if isinstance(value, keras.random.SeedGenerator) else value for value in vars(owner).values()]
    return [value for value in values if isinstance(value, keras.Variable)]


def stored_by(owner: Any) -> dict[str, Any]:
    """Return what `owner` stores in a file, by name: a variable if its value is stored unchanged, and otherwise a value."""
    if not hasattr(owner, "save_own_variables"):
        return {}
    if type(owner).save_own_variables is keras.optimizers.Optimizer.save_own_variables:
        return {str(number): variable for number, variable in enumerate(owner.variables)}  # Keras's own method copies every value
    store: dict[str, Any] = {}
    owner.save_own_variables(store)
    return store
