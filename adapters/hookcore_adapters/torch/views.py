"""Views of a PyTorch model: weights, activations, gradients, graph and embeddings."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import attrs
import torch
from torch import nn
from torch.utils._pytree import tree_leaves, tree_map

from hookcore import HookcoreError
from hookcore.text import unique_name
from hookcore_adapters.random_state import RandomState
from hookcore_adapters.torch.graph import graph_of
from hookcore_adapters.torch.layers import layers_of, path_of
from hookcore_adapters.torch.samples import first_samples

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from hookcore.trainee import Capability, Node


@attrs.define(eq=False)
class TorchViews:
    """The `hookcore.trainee.Views` of a module. A view changes no weight, buffer, gradient or random state.

    A layer is named by its path in the model, with slashes, as in `encoder/dense`. If it is called several times or has several
    outputs, the outputs are numbered: `lstm/0`, `lstm/1`. `loss` is a function of the model's output and the targets.
    """

    model: Any
    loss: Callable[[Any, Any], Any] | None = None
    _data: Any = attrs.field(init=False, default=None, repr=False)
    _samples: dict[int, tuple[Any, Any]] = attrs.field(init=False, factory=dict, repr=False)
    """The first samples of `_data`, by how many there are.

    They are kept because each iteration over data may begin differently.
    """

    def lacks(self, capability: Capability) -> str | None:
        """Return why this model lacks a view, or None if it has it."""
        if capability == "gradients" and self.loss is None:
            return "TorchTrainee was given no loss to take gradients of: TorchTrainee(..., loss=nn.functional.cross_entropy)"
        if capability == "embeddings" and not any(_is_embedding(layer) for _, layer in layers_of(self.model)):
            return f"{type(self.model).__name__} has no Embedding layer"
        return None

    def weights(self) -> dict[str, Any]:
        """Return a copy of every parameter and of every floating-point buffer, by layer and name. Tied ones appear once."""
        buffers = {name: buffer for name, buffer in self.model.named_buffers() if buffer.is_floating_point()}
        named = {**dict(self.model.named_parameters()), **buffers}
        return {path_of(name): _host_copy(tensor) for name, tensor in named.items() if not nn.parameter.is_lazy(tensor)}

    def activations(self, data: Any, samples: int = 1) -> dict[str, Any]:
        """Return the output of each layer for the first samples of `data`, as float32, computed as in evaluation.

        A layer contains no other layers, or holds weights directly. Outputs that are not real tensors are left out. Raises
        `HookcoreError` if `data` is None or cannot be read without using it up, or if the model cannot be called on it.
        """
        outputs: dict[str, list[Any]] = {}

        def keep(path: str) -> Callable[[Any, Any, Any], None]:
            def hook(_layer: Any, _inputs: Any, output: Any) -> None:
                # Copied now, because the next layer may write into it.
                outputs.setdefault(path, []).extend(_host_copy(part, "float32") for part in tree_leaves(output) if _is_real(part))

            return hook

        with contextlib.ExitStack() as stack:
            for path, layer in layers_of(self.model):
                stack.callback(layer.register_forward_hook(keep(path)).remove)
            stack.enter_context(torch.no_grad())
            inputs, _ = self._first_samples(data, samples)
            self._call(inputs)
        found: dict[str, Any] = {}
        for path, arrays in outputs.items():
            for number, array in enumerate(arrays):
                found[unique_name(f"{path}/{number}" if len(arrays) > 1 else path, found)] = array
        return found

    def gradients(self, data: Any, samples: int = 32) -> dict[str, Any]:
        """Return the gradient of `loss` on the first samples of `data` for each trained parameter, named as in `weights`.

        Computed as in evaluation; zeros for a parameter that the loss does not depend on. Accumulated gradients in `.grad` are
        kept. Raises `HookcoreError` as `activations` does, and if there is no loss.
        """
        if self.loss is None:
            raise HookcoreError(f"There are no gradients: {self.lacks('gradients')}.")
        inputs, targets = self._first_samples(data, samples)
        trained = {name: parameter for name, parameter in self.model.named_parameters() if parameter.requires_grad}
        with torch.enable_grad():
            loss = self._call(inputs, lambda output: self.loss(output, targets))  # type: ignore[misc]  # checked above
            gradients = torch.autograd.grad(loss, list(trained.values()), allow_unused=True)
        return {
            path_of(name): _host_copy(torch.zeros_like(parameter) if gradient is None else gradient)
            for (name, parameter), gradient in zip(trained.items(), gradients, strict=True)
        }

    def graph(self) -> list[Node]:
        """Return the layers and functions, each after its inputs, as `torch.fx` traces them.

        For a model that cannot be traced, such as one whose control flow depends on its data, these are the layers without edges.
        """
        return graph_of(self.model)

    def embeddings(self) -> dict[str, Any]:
        """Return the matrix of each `nn.Embedding` and `nn.EmbeddingBag` by the layer's name."""
        return {path: _host_copy(layer.weight) for path, layer in layers_of(self.model) if _is_embedding(layer)}

    def _first_samples(self, data: Any, samples: int) -> tuple[Any, Any]:
        if data is not self._data:
            self._data = data
            self._samples.clear()
        if samples not in self._samples:
            random = RandomState.now()
            try:
                self._samples[samples] = first_samples(data, samples)
            finally:
                random.restore()
        device = next((parameter.device for parameter in self.model.parameters()), torch.device("cpu"))
        inputs, targets = tree_map(lambda part: part.to(device) if torch.is_tensor(part) else part, self._samples[samples])
        return inputs, targets

    def _call(self, inputs: Any, then: Callable[[Any], Any] = lambda output: output) -> Any:
        with _evaluating(self.model):
            try:
                return then(self.model(**inputs) if isinstance(inputs, dict) else self.model(inputs))
            except Exception as error:
                raise HookcoreError(
                    f"{type(self.model).__name__} could not be called on the first samples of the validation data: {error}"
                ) from error


@contextlib.contextmanager
def _evaluating(model: Any) -> Iterator[None]:
    """Switch the model to evaluation, and restore the mode of each layer and the random state afterwards."""
    modes: Mapping[Any, bool] = {module: module.training for module in model.modules()}
    random = RandomState.now()
    model.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training  # not train(), which also sets the modules within
        random.restore()


def _is_embedding(layer: Any) -> bool:
    return isinstance(layer, nn.Embedding | nn.EmbeddingBag)


def _is_real(value: Any) -> bool:
    return torch.is_tensor(value) and not value.is_complex() and value.layout == torch.strided


def _host_copy(tensor: torch.Tensor, dtype: str | None = None) -> Any:
    """Return a copy in host memory, as a type that NumPy supports."""
    tensor = tensor.detach()
    if tensor.is_sparse:
        tensor = tensor.to_dense()
    if dtype == "float32" or tensor.dtype == torch.bfloat16 or "float8" in str(tensor.dtype):
        tensor = tensor.float()
    return tensor.cpu().numpy().copy()
