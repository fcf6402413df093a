"""The layers of a Keras model: their names, and the graph between them."""

from __future__ import annotations

import collections
import itertools
from typing import TYPE_CHECKING, Any

import attrs
import keras

from hookcore.text import unique_name
from hookcore.trainee import Node
from hookcore_adapters.keras import internals

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


def functional_of(layer: Any) -> Any:
    """Return the model with the graph of `layer`: itself, or the inner model of a Sequential. None if it has no graph."""
    if isinstance(layer, keras.Sequential):
        return internals.functional_of_sequential(layer)
    return layer if isinstance(layer, keras.Function) and isinstance(layer, keras.Model) else None


def named_nodes(functional: Any) -> list[tuple[str, Any]]:
    """Return each use of a layer or an operation with its name, in the order of computation."""
    depths = internals.nodes_by_depth(functional)
    nodes = [node for depth in sorted(depths, reverse=True) for node in depths[depth]]
    names = [node.operation.name for node in nodes]
    uses = collections.Counter(names)
    numbers: dict[str, Iterator[int]] = collections.defaultdict(itertools.count)
    return [(name if uses[name] == 1 else f"{name}/{next(numbers[name])}", node) for name, node in zip(names, nodes, strict=True)]


def _direct_layers(layer: Any) -> list[Any]:
    """Return the layers directly within `layer`, which need not be a model."""
    return internals.flatten_layers(layer, include_self=False, recursive=False)


def layers_of(layer: Any, prefix: str = "", seen: set[int] | None = None) -> Iterator[tuple[str, Any]]:
    """Yield every layer within `layer`, including nested ones, with its path. A layer in several places has the first path."""
    seen = {id(layer)} if seen is None else seen
    for inner in _direct_layers(layer):
        if id(inner) not in seen:
            seen.add(id(inner))
            yield f"{prefix}{inner.name}", inner
            yield from layers_of(inner, f"{prefix}{inner.name}/", seen)


def weights_of(model: Any) -> dict[str, Any]:
    """Return the variable of every weight by layer and name, each variable once."""
    found: dict[str, Any] = {}
    for path, layer in [("", model), *layers_of(model)]:
        within = {id(variable) for inner in _direct_layers(layer) for variable in inner.weights}
        for variable in layer.weights:
            if id(variable) not in within:
                found[unique_name(f"{path}/{variable.name}" if path else variable.name, found)] = variable
    return found


def embeddings_of(model: Any) -> Iterator[tuple[str, Any]]:
    """Yield every embedding layer with its path."""
    found: set[str] = set()
    for path, layer in layers_of(model):
        if isinstance(layer, keras.layers.Embedding):
            name = unique_name(path, found)
            found.add(name)
            yield name, layer


@attrs.define
class GraphBuilder:
    """Collects the nodes of a model's graph."""

    nodes: list[Node] = attrs.field(factory=list)
    _counted: set[int] = attrs.field(factory=set)
    """The layers whose parameters are counted already, because those of a shared layer count once."""

    def add_graph(self, functional: Any, prefix: str, sources: Mapping[int, str]) -> dict[int, str]:
        """Add a model's nodes, and return the node's name for each tensor's id. `sources` has the names for the inputs."""
        origins: dict[int, str] = {}
        for name, node in named_nodes(functional):
            read, origins_of_read = (node.output_tensors, sources) if node.is_input else (node.input_tensors, origins)
            inputs = tuple(dict.fromkeys(origins_of_read[id(tensor)] for tensor in read if id(tensor) in origins_of_read))
            inner = functional_of(node.operation)
            if inner is not None:
                inputs_of_inner = zip(inner.inputs, node.input_tensors, strict=False)
                feeds = {id(inside): origins[id(outside)] for inside, outside in inputs_of_inner}
                within = self.add_graph(inner, f"{prefix}{name}/", feeds)
                outputs_of_inner = zip(inner.outputs, node.output_tensors, strict=True)
                origins |= {id(outside): within[id(inside)] for inside, outside in outputs_of_inner}
                continue
            self._add(node.operation, f"{prefix}{name}", inputs, node.output_tensors)
            origins |= {id(tensor): f"{prefix}{name}" for tensor in node.output_tensors}
        return origins

    def add_layers(self, model: Any) -> None:
        """Add the nodes of a model without a known graph. An unbuilt Sequential is a chain; other models have no edges."""
        taken: set[str] = set()
        previous: tuple[str, ...] = ()
        for layer in model.layers:
            name = unique_name(layer.name, taken)
            taken.add(name)
            inner = functional_of(layer)
            if inner is not None and not isinstance(model, keras.Sequential):
                self.add_graph(inner, f"{name}/", {})
                continue
            self._add(layer, name, previous, ())
            previous = (name,) if isinstance(model, keras.Sequential) else ()

    def _add(self, operation: Any, name: str, inputs: tuple[str, ...], outputs: Any) -> None:
        parameters = 0
        if getattr(operation, "built", False) and id(operation) not in self._counted:
            self._counted.add(id(operation))
            parameters = operation.count_params()
        shape = tuple(outputs[0].shape) if outputs else ()
        self.nodes.append(Node(name, type(operation).__name__, inputs, shape, parameters))
