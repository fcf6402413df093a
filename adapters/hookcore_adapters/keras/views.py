"""What plugins see inside a Keras model: weights, activations, gradients, the graph, embeddings, a picture."""

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
from hookcore_adapters.keras.layers import Nodes, calls, embeddings_of, functional_of, unique, weights_of
from hookcore_adapters.keras.samples import first
from hookcore_adapters.random_state import RandomState

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hookcore.trainee import Capability, Node

PICTURE_DPI: Final = 96
"""Dots per inch of a picture: a layer's box is about 300 pixels wide."""


@attrs.define(eq=False)
class KerasViews:
    """`hookcore.views.Views` of a Keras model, on any backend. Looking changes nothing: no weight, metric or random number.

    A layer is named as in the model, with slashes where it lies within another. Where a layer is called several times, or has
    several outputs, they are numbered: `lstm/0`, `lstm/1`.
    """

    model: Any
    _data: Any = attrs.field(init=False, default=None, repr=False)
    _samples: dict[int, tuple[Any, Any, Any]] = attrs.field(init=False, factory=dict, repr=False)
    """What was read of `_data`, by the number of samples: shuffled data begin with others each time."""

    def lacks(self, capability: Capability) -> str | None:
        """Why this model has no such view; None where it has, or will once its first batch has built it."""
        model = self.model
        if capability == "activations" and not isinstance(model, keras.Sequential) and functional_of(model) is None:
            return (
                f"{model.name} is a subclassed model: what its layers return is known to its own call method alone. A model that "
                "is built of layers, keras.Model(inputs, outputs) or keras.Sequential, has them"
            )
        if capability == "gradients" and keras.backend.backend() != "tensorflow":
            return f"the Keras adapter takes gradients on TensorFlow, and not on {keras.backend.backend()}"
        if capability == "gradients" and not model.compiled:
            return f"{model.name} is not compiled, so it has no loss"
        if capability == "embeddings":
            known = model.built or isinstance(model, keras.Sequential)  # a subclassed one may make layers at the first batch
            if known and not any(embeddings_of(model)):
                return f"{model.name} has no Embedding layer"
        return None

    def weights(self) -> dict[str, Any]:
        """A copy of every weight by layer and name. None where a model is not built yet."""
        return {name: _host(variable) for name, variable in weights_of(self.model).items()}

    def activations(self, data: Any, samples: int = 1) -> dict[str, Any]:
        """The output of each layer for the first samples of `data`, as float32; layers of nested models one by one.

        Computed as in validation, with `training=False`. Layers that only take the input, and outputs that are no numbers, are
        left out. `data` is read once, also where others would come first the next time. Raises `HookcoreError` where `data` is
        None or cannot be read without using it up, or where the model has no graph.
        """
        inputs, _, _ = self._first(data, samples)
        model = functional_of(self.model)
        if model is None:
            reason = self.lacks("activations") or f"{self.model.name} is not built yet, or its layers do not tell their shapes"
            raise HookcoreError(f"There are no activations: {reason}.")
        with _without_a_trace(), _quiet(), keras.StatelessScope():
            outputs = _outputs(model, inputs, "", training=False)
            arrays = {name: keras.ops.convert_to_numpy(value) for name, value in outputs.items()}
        return {name: np.array(array, "float32") for name, array in arrays.items() if array.dtype.kind in "biufV"}

    def gradients(self, data: Any, samples: int = 32) -> dict[str, Any]:
        """The gradient of the compiled loss on the first samples of `data` for each trained weight, by the names of `weights`.

        Computed as in validation, with `training=False`; zeros for a weight that the loss does not depend on. TensorFlow only.
        Raises `HookcoreError` where `data` is None or cannot be read without using it up, or the model is not built.
        """
        import tensorflow as tf

        model = self.model
        if not model.built:
            raise HookcoreError(f"There are no gradients of {model.name} before it is built: give it an Input, or train a batch.")
        x, y, sample_weight = self._first(data, samples)
        trained = {id(variable) for variable in model.trainable_variables}
        variables = {name: variable for name, variable in weights_of(model).items() if id(variable) in trained}
        values = [tf.convert_to_tensor(variable.value) for variable in variables.values()]
        with _without_a_trace(), _quiet(), tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(values)
            with keras.StatelessScope(list(zip(variables.values(), values, strict=True)), collect_losses=True):
                # Not compute_loss: an overridden one may lack the argument `training`.
                loss = model._compute_loss(x, y, model(x, training=False), sample_weight, training=False)  # noqa: SLF001
        gradients = tape.gradient(loss, values, unconnected_gradients="zero")
        return {name: _host(gradient) for name, gradient in zip(variables, gradients, strict=True)}

    def graph(self) -> list[Node]:
        """The layers, each after those that it reads; of nested models their layers.

        A subclassed model has its direct layers, and no edges between them: only its own call method knows those.
        """
        nodes = Nodes()
        functional = functional_of(self.model)
        if functional is not None:
            nodes.add_graph(functional, "", {})
        else:
            nodes.add_layers(self.model)
        return nodes.nodes

    def embeddings(self) -> dict[str, Any]:
        """The matrix of each built `keras.layers.Embedding` by the layer's name."""
        return {name: _host(layer.embeddings) for name, layer in embeddings_of(self.model) if layer.built}

    def picture(self) -> bytes:
        """A PNG by `keras.utils.plot_model`, with shapes, names and, where Keras can, what is within nested models.

        A subclassed model is a single box.

        Raises `HookcoreError` where pydot or Graphviz is not installed, and where the model is not built yet.
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
            needed = " and ".join(what for what, is_missing in missing.items() if is_missing)
            raise HookcoreError(f"A picture of the model needs {needed}.")
        try:
            with contextlib.suppress(IndexError):  # Keras draws some nested models only as a box
                return self._drawn(expand_nested=True)
            return self._drawn(expand_nested=False)
        except Exception as error:  # pydot raises what it likes
            raise HookcoreError(f"pydot and Graphviz could not draw {self.model.name}: {error}") from error

    def _drawn(self, *, expand_nested: bool) -> bytes:
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory, "model.png")
            keras.utils.plot_model(
                self.model, path, show_shapes=True, show_layer_names=True, expand_nested=expand_nested, dpi=PICTURE_DPI
            )
            return path.read_bytes()

    def _first(self, data: Any, samples: int) -> tuple[Any, Any, Any]:
        if data is not self._data:
            self._data = data
            self._samples.clear()
        if samples not in self._samples:
            with _without_a_trace():
                self._samples[samples] = first(data, samples)
        return self._samples[samples]


@contextlib.contextmanager
def _without_a_trace() -> Iterator[None]:
    """What is drawn of Python's and NumPy's random numbers within is drawn again after it."""
    random = RandomState.now()
    try:
        yield
    finally:
        random.restore()


def _quiet() -> contextlib.AbstractContextManager[Any]:
    """What Keras warns of when a model is called, it has said when that was trained."""
    return warnings.catch_warnings(action="ignore", category=UserWarning)


def _host(value: Any) -> Any:
    """A copy in host memory, in a type that NumPy itself has."""
    array = np.array(keras.ops.convert_to_numpy(value))
    return array.astype("float32") if array.dtype.kind == "V" else array  # bfloat16 and its like


def _outputs(functional: Any, inputs: Any, prefix: str, *, training: bool) -> dict[str, Any]:
    """The outputs of all layers of a model, by name."""
    uses = [(name, node) for name, node in calls(functional) if not node.is_input]
    tensors = [*functional.inputs, *(tensor for _, node in uses for tensor in node.output_tensors)]
    # With a name of its own, or it would take the number of a model that is made later.
    whole = keras.Model(functional.input, tensors, name="activations")
    values = dict(zip(map(id, tensors), keras.tree.flatten(whole(inputs, training=training)), strict=True))
    found: dict[str, Any] = {}
    for name, node in uses:
        inner = functional_of(node.operation)
        if inner is not None:
            args, kwargs = node.arguments.fill_in(values)
            given = args[0] if args else kwargs["inputs"]
            own = kwargs.get("training")
            found |= _outputs(inner, given, f"{prefix}{name}/", training=training if own is None else own)
            continue
        several = len(node.output_tensors) > 1
        for number, tensor in enumerate(node.output_tensors):
            found[unique(f"{prefix}{name}/{number}" if several else f"{prefix}{name}", found)] = values[id(tensor)]
    return found
