"""The layers of a Keras model: what each is called by, and what reads what.

Keras tells the latter only by names with an underscore, which its own `plot_model` uses too.
"""

from __future__ import annotations

import collections
import itertools
from typing import TYPE_CHECKING, Any

import attrs
import keras

from hookcore.trainee import Node

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Mapping


def functional_of(layer: Any) -> Any:
    """The model that has the graph of `layer`'s layers: itself, or a Sequential's inner one; None where there is none."""
    if isinstance(layer, keras.Sequential):
        return layer._functional  # noqa: SLF001
    return layer if isinstance(layer, keras.Function) and isinstance(layer, keras.Model) else None


def calls(functional: Any) -> list[tuple[str, Any]]:
    """Each use of a layer or an operation, in the order of the computation, by the name that it goes by."""
    depths = functional._nodes_by_depth  # noqa: SLF001
    nodes = [node for depth in sorted(depths, reverse=True) for node in depths[depth]]
    names = [node.operation.name for node in nodes]
    uses = collections.Counter(names)
    numbers: dict[str, Iterator[int]] = collections.defaultdict(itertools.count)
    return [(name if uses[name] == 1 else f"{name}/{next(numbers[name])}", node) for name, node in zip(names, nodes, strict=True)]


def _direct(layer: Any) -> list[Any]:
    """The layers directly within `layer`, a model or not."""
    return layer._flatten_layers(include_self=False, recursive=False)  # type: ignore[no-any-return]  # noqa: SLF001


def layers_of(layer: Any, prefix: str = "", seen: set[int] | None = None) -> Iterator[tuple[str, Any]]:
    """Every layer within `layer` by its path, those of nested ones too; one that is in several places is in the first."""
    seen = {id(layer)} if seen is None else seen
    for inner in _direct(layer):
        if id(inner) not in seen:
            seen.add(id(inner))
            yield f"{prefix}{inner.name}", inner
            yield from layers_of(inner, f"{prefix}{inner.name}/", seen)


def weights_of(model: Any) -> dict[str, Any]:
    """Every weight's variable by layer and name, each once."""
    found: dict[str, Any] = {}
    for path, layer in [("", model), *layers_of(model)]:
        within = {id(variable) for inner in _direct(layer) for variable in inner.weights}
        for variable in layer.weights:
            if id(variable) not in within:
                found[unique(f"{path}/{variable.name}" if path else variable.name, found)] = variable
    return found


def embeddings_of(model: Any) -> Iterator[tuple[str, Any]]:
    """Every embedding layer by its path."""
    found: set[str] = set()
    for path, layer in layers_of(model):
        if isinstance(layer, keras.layers.Embedding):
            name = unique(path, found)
            found.add(name)
            yield name, layer


def unique(name: str, taken: Container[str]) -> str:
    """`name`, or with the first number that makes it another: names of layers in subclassed models are no one's to check."""
    return next(one for one in itertools.chain([name], (f"{name}_{n}" for n in itertools.count(2))) if one not in taken)


@attrs.define
class Nodes:
    """The nodes of a graph, as they are found."""

    nodes: list[Node] = attrs.field(factory=list)
    _counted: set[int] = attrs.field(factory=set)
    """The layers whose parameters are counted: a shared one's once."""

    def add_graph(self, functional: Any, prefix: str, sources: Mapping[int, str]) -> dict[int, str]:
        """The nodes of a model, whose inputs are the outputs of `sources`; returns the node of each tensor, by its id."""
        origins: dict[int, str] = {}
        for name, node in calls(functional):
            read, given = (node.output_tensors, sources) if node.is_input else (node.input_tensors, origins)
            inputs = tuple(dict.fromkeys(given[id(tensor)] for tensor in read if id(tensor) in given))
            inner = functional_of(node.operation)
            if inner is not None:
                feeds = {id(one): origins[id(tensor)] for one, tensor in zip(inner.inputs, node.input_tensors, strict=False)}
                within = self.add_graph(inner, f"{prefix}{name}/", feeds)
                origins |= {id(tensor): within[id(one)] for tensor, one in zip(node.output_tensors, inner.outputs, strict=True)}
                continue
            self._add(node.operation, f"{prefix}{name}", inputs, node.output_tensors)
            origins |= {id(tensor): f"{prefix}{name}" for tensor in node.output_tensors}
        return origins

    def add_layers(self, model: Any) -> None:
        """The nodes of a model whose graph nobody knows. That of an unbuilt Sequential is a chain all the same."""
        taken: set[str] = set()
        before: tuple[str, ...] = ()
        for layer in model.layers:
            name = unique(layer.name, taken)
            taken.add(name)
            inner = functional_of(layer)
            if inner is not None and not isinstance(model, keras.Sequential):
                self.add_graph(inner, f"{name}/", {})
                continue
            self._add(layer, name, before, ())
            before = (name,) if isinstance(model, keras.Sequential) else ()

    def _add(self, operation: Any, name: str, inputs: tuple[str, ...], outputs: Any) -> None:
        parameters = 0
        if getattr(operation, "built", False) and id(operation) not in self._counted:
            self._counted.add(id(operation))
            parameters = operation.count_params()
        shape = tuple(outputs[0].shape) if outputs else ()
        self.nodes.append(Node(name, type(operation).__name__, inputs, shape, parameters))
