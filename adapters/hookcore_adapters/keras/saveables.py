"""The objects in a model that have state, found by the walk by which Keras saves them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import attrs
import keras
from keras.src.backend.common import global_state
from keras.src.optimizers.base_optimizer import BaseOptimizer
from keras.src.saving import saving_lib
from keras.src.saving.keras_saveable import KerasSaveable
from keras.src.utils.naming import to_snake_case

if TYPE_CHECKING:
    from collections.abc import Iterator


@attrs.define(eq=False)
class Saveables:
    """Every layer, optimizer, metric and loss in `root`, a model or a dict of optimizers, with its path in a file of Keras's."""

    root: Any
    found: Mapping[str, Any] = attrs.field(init=False, factory=dict)
    """The objects by their paths, in the order in which Keras saves them, as of the latest `find`."""
    _marks: list[int] = attrs.field(init=False, factory=list)
    """What `_marks_of` found at the latest walk."""

    def find(self) -> None:
        """Find the objects that are there now."""
        # Keras looks at every name in `dir`, which takes a quarter of a millisecond for each layer: too long for each snapshot.
        marks = list(_marks_of(self.root, set()))
        if not self.found or marks != self._marks:
            self.found, self._marks = dict(_walk(self.root, "", set())), marks


def _walk(value: Any, path: str, seen: set[int]) -> Iterator[tuple[str, Any]]:
    """Yield the objects within `value`, as `saving_lib._save_state` visits them."""
    if not isinstance(value, KerasSaveable):
        yield from _walk_container(value, path, seen, set())
    elif id(value) not in seen:
        seen.add(id(value))
        yield path, value
        _cache_attributes(value._obj_type())  # noqa: SLF001 - as Keras's own walk asks
        for name, child in saving_lib._walk_saveable(value):  # noqa: SLF001 - nothing public tells what Keras saves
            yield from _walk(child, str(PurePosixPath(path, name)), seen)


def _walk_container(value: Any, path: str, seen: set[int], containers: set[int]) -> Iterator[tuple[str, Any]]:
    if not isinstance(value, list | dict | tuple) or id(value) in containers:
        return
    containers.add(id(value))
    used: dict[str, int] = {}
    for item in value.values() if isinstance(value, dict) else value:
        if isinstance(item, KerasSaveable):
            yield from _walk(item, f"{path}/{_numbered(to_snake_case(type(item).__name__), used)}".lstrip("/"), seen)
        elif isinstance(item, list | dict | tuple):
            yield from _walk_container(item, f"{path}/{_numbered('container', used)}".lstrip("/"), seen, containers)


def _numbered(name: str, used: dict[str, int]) -> str:
    used[name] = used.get(name, -1) + 1
    return f"{name}_{used[name]}" if used[name] else name


def _cache_attributes(kind: str) -> None:
    # Keras makes an object of each kind to see what attributes it has, and again at each call: it keeps what it found under
    # another key than it looks under. Each thread has its own keys.
    key = f"saving_attr_skiplist_{kind}"
    if global_state.get_global_attribute(key) is None:
        global_state.set_global_attribute(key, saving_lib.get_attr_skipset(kind))


def _marks_of(value: Any, seen: set[int]) -> Iterator[int]:
    """Yield the identity of each object that is found without properties: another walk finds the same if these are the same."""
    if id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, KerasSaveable):
        yield id(value)
        children = vars(value).values()
    else:
        children = value.values() if isinstance(value, dict) else value
    for child in tuple(children):
        if isinstance(child, KerasSaveable | list | dict | tuple):
            yield from _marks_of(child, seen)


def variables_of(owner: Any) -> list[Any]:
    """Return the variables of `owner` itself, the states of its seed generators included."""
    if isinstance(owner, keras.Layer):
        seeds = [generator.state for generator in owner._seed_generators]  # noqa: SLF001 - a layer's own list, without those within
        return [*owner._trainable_variables, *owner._non_trainable_variables, *seeds]  # noqa: SLF001
    if isinstance(owner, BaseOptimizer | keras.metrics.Metric):
        return list(owner.variables)
    values = [value.state if isinstance(value, keras.random.SeedGenerator) else value for value in vars(owner).values()]
    return [value for value in values if isinstance(value, keras.Variable)]


def is_of_keras(owner: Any, method: str) -> bool:
    """Return whether the class of `owner` has a `method` of Keras's own."""
    return str(getattr(getattr(type(owner), method, None), "__module__", "")).startswith("keras.src.")


def stored_by(owner: Any) -> dict[str, Any]:
    """Return what `owner` puts into a file, by name: a variable if its value is stored as it is, and else a value."""
    if not hasattr(owner, "save_own_variables"):
        return {}
    if type(owner).save_own_variables is BaseOptimizer.save_own_variables:
        return {str(number): variable for number, variable in enumerate(owner.variables)}  # Keras's own copies every value
    store: dict[str, Any] = {}
    owner.save_own_variables(store)
    return store
