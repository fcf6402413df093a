"""Views of a Keras model: weights, activations, gradients, graph, embeddings and a picture."""

from __future__ import annotations

import contextlib
import importlib.util
import shutil
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs
import keras
import numpy as np

from hookcore import HookcoreError
from hookcore.text import unique_name
from hookcore_adapters.keras import internals
from hookcore_adapters.keras.data import generators_of
from hookcore_adapters.keras.keras_random import KerasRandom
from hookcore_adapters.keras.layers import GraphBuilder, embeddings_of, functional_of, named_nodes, weights_of
from hookcore_adapters.keras.samples import first_samples

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hookcore.trainee import Capability, Node

PICTURE_DPI: Final = 96
"""Dots per inch of a picture: a layer's box is about 300 pixels wide."""


@attrs.define(eq=False)
class KerasViews:
    """The `hookcore.trainee.Views` of a Keras model, on any backend. A view changes no weight, metric or random state.

    A layer has its name in the model, with slashes if it is nested in another. If it is called several times or has several
    outputs, the outputs are numbered: `lstm/0`, `lstm/1`.
    """

    model: Any
    _data: Any = attrs.field(init=False, default=None, repr=False)
    _samples: dict[int, tuple[Any, Any, Any]] = attrs.field(init=False, factory=dict, repr=False)
    """The first samples of `_data`, by how many there are. They are kept because shuffled data begin differently each time."""

    def lacks(self, capability: Capability) -> str | None:
        """Return why this model lacks a view, or None if it has the view, or will have it after its first batch."""
        model = self.model
        if capability == "activations" and not isinstance(model, keras.Sequential) and functional_of(model) is None:
            return (
                f"{model.name} is a subclassed model, so only its own call method knows what its layers return. A model that is "
                "built of layers, keras.Model(inputs, outputs) or keras.Sequential, has them"
            )
        if capability == "gradients" and keras.backend.backend() != "tensorflow":
            return f"the Keras adapter takes gradients on TensorFlow, and not on {keras.backend.backend()}"
        if capability == "gradients" and not model.compiled:
            return f"{model.name} is not compiled, so it has no loss"
        if capability == "embeddings":
            known = model.built or isinstance(model, keras.Sequential)  # a subclassed model may make layers at the first batch
            if known and not any(embeddings_of(model)):
                return f"{model.name} has no Embedding layer"
        return None

    def weights(self) -> dict[str, Any]:
        """Return a copy of every weight by layer and name; empty if the model is not built yet."""
        return {name: _host_copy(variable) for name, variable in weights_of(self.model).items()}

    def activations(self, data: Any, samples: int = 1) -> dict[str, Any]:
        """Return the output of each layer, also within nested models, for the first samples of `data`, as float32.

        Computed as in validation, with `training=False`. Input layers, and outputs that are not numbers, are left out. `data` is
        read once, so shuffled data give the same samples each time. Raises `HookcoreError` if `data` is None or cannot be read
        without using it up, or if the model has no graph.
        """
        inputs, _, _ = self._first_samples(data, samples)
        model = functional_of(self.model)
        if model is None:
            reason = self.lacks("activations") or f"{self.model.name} is not built yet, or the shapes of its layers are unknown"
            raise HookcoreError(f"There are no activations: {reason}.")
        with _random_numbers_kept(), _without_warnings(), keras.StatelessScope():
            outputs = _layer_outputs(model, inputs, "", training=False)
            arrays = {name: keras.ops.convert_to_numpy(value) for name, value in outputs.items()}
        return {name: np.array(array, "float32") for name, array in arrays.items() if array.dtype.kind in "biufV"}

    def gradients(self, data: Any, samples: int = 32) -> dict[str, Any]:
        """Return the gradient of the compiled loss on the first samples of `data` for each trained weight, named as in `weights`.

        Computed as in validation, with `training=False`; zeros for a weight that the loss does not depend on. TensorFlow only.
        Raises `HookcoreError` if `data` is None or cannot be read without using it up, or if the model is not built.
        """
        import tensorflow as tf

        model = self.model
        if not model.built:
            raise HookcoreError(f"There are no gradients of {model.name} before it is built: give it an Input, or train a batch.")
        x, y, sample_weight = self._first_samples(data, samples)
        trained = {id(variable) for variable in model.trainable_variables}
        variables = {name: variable for name, variable in weights_of(model).items() if id(variable) in trained}
        values = [tf.convert_to_tensor(variable.value) for variable in variables.values()]
        with _random_numbers_kept(), _without_warnings(), tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(values)
            with keras.StatelessScope(list(zip(variables.values(), values, strict=True)), collect_losses=True):
                loss = internals.compute_loss(model, x, y, model(x, training=False), sample_weight, training=False)
        gradients = tape.gradient(loss, values, unconnected_gradients="zero")
        return {name: _host_copy(gradient) for name, gradient in zip(variables, gradients, strict=True)}

    def graph(self) -> list[Node]:
        """Return the layers, each after its inputs. A nested model is replaced by its layers.

        A subclassed model has its direct layers without edges, which only its own call method knows.
        """
        builder = GraphBuilder()
        functional = functional_of(self.model)
        if functional is not None:
            builder.add_graph(functional, "", {})
        else:
            builder.add_layers(self.model)
        return builder.nodes

    def embeddings(self) -> dict[str, Any]:
        """Return the matrix of each built `keras.layers.Embedding` by the layer's name."""
        return {name: _host_copy(layer.embeddings) for name, layer in embeddings_of(self.model) if layer.built}

    def picture(self) -> bytes:
        """Return a PNG by `keras.utils.plot_model`, with shapes, names and, if Keras can draw them, the layers of nested models.

        A subclassed model is a single box.
        Raises `HookcoreError` if pydot or Graphviz is not installed, or if the model is not built.
        """
        if not self.model.built:
            raise HookcoreError(
                f"There is no picture of {self.model.name} before it is built: give it an Input, or train a batch."
            )
        missing = {
            "pydot (pip install pydot)": importlib.util.find_spec("pydot") is None,
            "Graphviz (apt install graphviz, brew install graphviz, or https://graphviz.org/download)": shutil.which("dot")
            is None,
        }
        if any(missing.values()):
            needed = " and ".join(program for program, is_missing in missing.items() if is_missing)
            raise HookcoreError(f"A picture of the model needs {needed}.")
        try:
            with contextlib.suppress(IndexError):  # Keras draws some nested models only as a box
                return self._draw(expand_nested=True)
            return self._draw(expand_nested=False)
        except Exception as error:  # pydot may raise anything
            raise HookcoreError(f"pydot and Graphviz could not draw {self.model.name}: {error}") from error

    def _draw(self, *, expand_nested: bool) -> bytes:
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory, "model.png")
            keras.utils.plot_model(
                self.model, path, show_shapes=True, show_layer_names=True, expand_nested=expand_nested, dpi=PICTURE_DPI
            )
            return path.read_bytes()

    def _first_samples(self, data: Any, samples: int) -> tuple[Any, Any, Any]:
        if data is not self._data:
            self._data = data
            self._samples.clear()
        if samples not in self._samples:
            with _random_numbers_kept(data):
                self._samples[samples] = first_samples(data, samples)
        return self._samples[samples]


@contextlib.contextmanager
def _random_numbers_kept(*data: Any) -> Iterator[None]:
    """Restore the random state at the end, including that of `data`."""
    generators = generators_of(*data)
    random = KerasRandom.now(generators)
    try:
        yield
    finally:
        random.restore(generators)


def _without_warnings() -> contextlib.AbstractContextManager[Any]:
    """Hide Keras's warnings about calling the model, which it has given in training."""
    return warnings.catch_warnings(action="ignore", category=UserWarning)


def _host_copy(value: Any) -> Any:
    """Return a copy in host memory, as a type that NumPy supports."""
    array = np.array(keras.ops.convert_to_numpy(value))
    return array.astype("float32") if array.dtype.kind == "V" else array  # such as bfloat16


def _layer_outputs(functional: Any, inputs: Any, prefix: str, *, training: bool) -> dict[str, Any]:
    """Return the outputs of all layers of a model, by name."""
    uses = [(name, node) for name, node in named_nodes(functional) if not node.is_input]
    tensors = [*functional.inputs, *(tensor for _, node in uses for tensor in node.output_tensors)]
    # Named, because an automatic name would change the names of models that are made later.
    all_outputs = keras.Model(functional.input, tensors, name="activations")
    values = dict(zip(map(id, tensors), keras.tree.flatten(all_outputs(inputs, training=training)), strict=True))
    found: dict[str, Any] = {}
    for name, node in uses:
        inner = functional_of(node.operation)
        if inner is not None:
            args, kwargs = node.arguments.fill_in(values)
            given = args[0] if args else kwargs["inputs"]
            fixed = kwargs.get("training")
            found |= _layer_outputs(inner, given, f"{prefix}{name}/", training=training if fixed is None else fixed)
            continue
        several = len(node.output_tensors) > 1
        for number, tensor in enumerate(node.output_tensors):
            found[unique_name(f"{prefix}{name}/{number}" if several else f"{prefix}{name}", found)] = values[id(tensor)]
    return found
