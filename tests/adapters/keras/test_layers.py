"""The names of a model's layers and weights, and its graph."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import pytest

from hookcore.trainee import Node
from hookcore_adapters.keras.views import KerasViews
from tests.adapters.keras.backends import BACKEND
from tests.adapters.keras.viewed import Subclassed, X, Y, large, layers, small

if TYPE_CHECKING:
    from collections.abc import Callable


def test_weights_are_named_by_their_layers() -> None:
    """Each weight appears once, with slashes for nested layers, and has its value in the model."""
    model = large()
    weights = KerasViews(model).weights()
    assert sorted(weights) == [
        "encoder/dense/bias",
        "encoder/dense/kernel",
        "first/bias",
        "first/kernel",
        "reader/lstm/lstm_cell/bias",
        "reader/lstm/lstm_cell/kernel",
        "reader/lstm/lstm_cell/recurrent_kernel",
        "second/bias",
        "second/kernel",
        "shared/bias",
        "shared/kernel",
        "words/embeddings",
    ]
    assert len(weights) == len(model.weights)
    np.testing.assert_array_equal(weights["shared/kernel"], model.get_layer("shared").kernel.numpy())
    np.testing.assert_array_equal(weights["encoder/dense/kernel"], model.get_layer("encoder").layers[0].kernel.numpy())


def test_weights_are_copies() -> None:
    """Weights are copies: training does not change them, and changing them does not change the model."""
    model = small()
    weights = KerasViews(model).weights()
    before = weights["out/kernel"].copy()
    model.fit(X, Y, verbose=0)
    np.testing.assert_array_equal(weights["out/kernel"], before)
    trained = model.get_layer("out").kernel.numpy()
    KerasViews(model).weights()["out/kernel"][:] = 7
    np.testing.assert_array_equal(model.get_layer("out").kernel.numpy(), trained)


def test_weights_of_composed_layers_are_named_by_the_innermost() -> None:
    """A weight of a layer that is also within another appears once."""
    inner = layers.Dense(3, name="inner")
    timed = layers.TimeDistributed(inner, name="timed")
    both = layers.Bidirectional(layers.GRU(2, name="gru"), name="both")
    model = keras.Sequential([layers.Input((4, 3)), timed, inner, both, layers.Dense(2, name="last")])
    names = list(KerasViews(model).weights())
    assert names[:2] == ["timed/inner/kernel", "timed/inner/bias"]
    assert {"both/forward_gru/gru_cell/kernel", "both/backward_gru/gru_cell/kernel", "last/bias"} <= set(names)
    assert len(names) == len(model.weights)


def test_weights_of_a_subclassed_model_have_names_of_their_own() -> None:
    """Two layers of one name are numbered, and the model's own weight has no layer in its name."""
    model = Subclassed()
    model(X[:1])
    assert set(KerasViews(model).weights()) == {
        "scale",
        "encoder/dense/kernel",
        "encoder/dense/bias",
        "head/kernel",
        "head/bias",
        "head/kernel_2",
        "head/bias_2",
    }


def test_an_unbuilt_model_has_no_weights_yet() -> None:
    """An unbuilt model has an empty dict of weights."""
    assert KerasViews(keras.Sequential([layers.Dense(1)])).weights() == {}


def test_weights_of_low_precision_are_in_a_type_that_numpy_has() -> None:
    """Weights in bfloat16 are returned as float32, which holds them exactly."""
    model = keras.Sequential([layers.Input((3,)), layers.Dense(1, dtype="bfloat16", name="low")])
    kernel = KerasViews(model).weights()["low/kernel"]
    assert kernel.dtype == "float32"
    np.testing.assert_array_equal(kernel, keras.ops.convert_to_numpy(model.get_layer("low").kernel).astype("float32"))


def test_the_graph_of_a_model_with_all_there_is() -> None:
    """The graph has inputs, calls of a shared layer, nested layers, operations, shapes, and parameters counted once."""
    model = large()
    nodes = {node.name: node for node in KerasViews(model).graph()}
    assert nodes["shared/0"] == Node("shared/0", "Dense", ("numbers",), (None, 3), 12)
    assert nodes["shared/1"] == Node("shared/1", "Dense", ("shared/0",), (None, 3), 0)
    assert nodes["encoder/dense"].inputs == (next(name for name in nodes if name.startswith("encoder/input")),)
    assert nodes[nodes["encoder/dense"].inputs[0]].inputs == ("shared/1",)
    assert nodes["reader/sequence"] == Node("reader/sequence", "InputLayer", ("words",), (None, None, 4), 0)
    assert nodes["reader/lstm"].inputs == ("reader/sequence",)
    assert nodes["merged"] == Node("merged", "Concatenate", ("encoder/drop", "reader/lstm"), (None, 6), 0)
    assert nodes["words"] == Node("words", "Embedding", ("tokens",), (None, 6, 4), 40)
    assert nodes["not_equal"].kind == "NotEqual"
    assert sum(node.parameters for node in nodes.values()) == model.count_params()


@pytest.mark.parametrize("make_model", [small, large])
def test_what_a_node_reads_comes_before_it(make_model: Callable[[], Any]) -> None:
    """Every input of a node is an earlier node, and names do not repeat."""
    nodes = KerasViews(make_model()).graph()
    for number, node in enumerate(nodes):
        assert set(node.inputs) <= {earlier.name for earlier in nodes[:number]}
        assert node.inputs or node.kind == "InputLayer"
    assert len({node.name for node in nodes}) == len(nodes)


def test_a_model_called_twice_is_there_twice() -> None:
    """A nested model that is called twice is numbered, with the inputs of each call, and its parameters counted once."""
    inputs = keras.Input((3,), name="in")
    twice = keras.Sequential([layers.Input((3,)), layers.Dense(3, name="dense")], name="twice")
    model = keras.Model(inputs, twice(twice(inputs)))
    nodes = {node.name: node for node in KerasViews(model).graph()}
    second = nodes[nodes["twice/1/dense"].inputs[0]]
    assert second.inputs == ("twice/0/dense",)
    assert sum(node.parameters for node in nodes.values()) == model.count_params()


def test_the_graph_of_an_unbuilt_sequential_is_a_chain() -> None:
    """The graph of an unbuilt Sequential is a chain, without shapes and parameters."""
    size = None if BACKEND == "tensorflow" else len(X)  # other trainers build a model for the size of the first batch
    model = keras.Sequential([layers.Dense(2, name="one"), layers.Dense(1, name="two")])
    views = KerasViews(model)
    assert views.graph() == [Node("one", "Dense"), Node("two", "Dense", ("one",))]
    model.compile("sgd", "mse")
    model.fit(X, Y, verbose=0)
    assert views.graph()[1:] == [
        Node("one", "Dense", (views.graph()[0].name,), (size, 2), 8),
        Node("two", "Dense", ("one",), (size, 1), 3),
    ]


def test_the_graph_of_a_subclassed_model_has_no_edges_of_its_own() -> None:
    """A subclassed model's graph has its direct layers without edges, and a nested model with known edges."""
    model = Subclassed()
    model(X)
    nodes = KerasViews(model).graph()
    assert [(node.name, node.kind, node.parameters) for node in nodes[1:]] == [
        ("encoder/dense", "Dense", 8),
        ("head", "Dense", 3),
        ("head_2", "Dense", 3),
    ]
    assert nodes[0].kind == "InputLayer"
    assert [node.inputs for node in nodes] == [(), (nodes[0].name,), (), ()]
