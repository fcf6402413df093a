"""The graph of a module, by `torch.fx`."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import torch
from torch.nn.parameter import is_lazy

from hookcore.text import unique_name
from hookcore.trainee import Node
from hookcore_adapters.torch.layers import layers_of, path_of


def graph_of(model: Any) -> list[Node]:
    """Return the layers and functions of `model`, each after its inputs, or only the layers if the model cannot be traced."""
    try:
        # A copy, because tracing calls `forward`, which may store results in the model. It shares the parameters, which may be
        # large.
        traced = torch.fx.Tracer()
        with warnings.catch_warnings(action="ignore"):
            graph = traced.trace(copy.deepcopy(model, {id(parameter): parameter for parameter in model.parameters()}))
    except Exception:  # noqa: BLE001 - the model's code may raise anything when it is given proxies
        return _layers_alone(model)
    nodes: list[Node] = []
    names: dict[Any, str] = {}
    counted: set[int] = set()
    for node in graph.nodes:
        if node.op == "output":
            continue
        name, kind, parameters = _described(node, model, counted)
        names[node] = unique_name(name, names.values())
        inputs = tuple(dict.fromkeys(names[read] for read in node.all_input_nodes if read in names))
        nodes.append(Node(names[node], kind, inputs, (), parameters))
    return nodes


def _described(node: Any, model: Any, counted: set[int]) -> tuple[str, str, int]:
    """Return the name and the kind of a node of the graph, and the number of its parameters that are not `counted` yet."""
    if node.op == "call_module":
        module = model.get_submodule(node.target)
        return path_of(node.target), type(module).__name__, _count(module, counted)
    if node.op == "placeholder":
        return node.name, "Input", 0
    if node.op == "get_attr":
        return path_of(node.target), "Parameter", 0
    within = next(reversed(node.meta.get("nn_module_stack", {"": None})))
    kind = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", str(node.target))
    return f"{path_of(within)}/{node.name}".removeprefix("/"), kind, 0


def _layers_alone(model: Any) -> list[Node]:
    counted: set[int] = set()
    found: list[Node] = []
    for path, layer in layers_of(model):
        found.append(Node(path, type(layer).__name__, (), (), _count(layer, counted)))
    return found


def _count(module: Any, counted: set[int]) -> int:
    """Return the number of parameters of `module` that are not `counted` yet, and add them to `counted`."""
    new = [parameter for parameter in module.parameters() if id(parameter) not in counted and not is_lazy(parameter)]
    counted |= {id(parameter) for parameter in new}
    return sum(parameter.numel() for parameter in new)
