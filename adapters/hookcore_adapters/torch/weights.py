"""The weights of a model by their names: compare, restore, write and read them."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Final

import safetensors
import safetensors.torch
import torch
from torch.nn.parameter import is_lazy

from hookcore import CheckpointError
from hookcore.text import join_some
from hookcore_adapters.safetensors_file import Stored, dtype_of, parts_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


_COMPILED: Final = "_orig_mod."
"""The prefix of `torch.compile` for names in a model that it has wrapped."""


def plain_module(model: Any) -> Any:
    """Return the model inside of the wrappers of `torch.compile` and data parallelism."""
    while True:
        if hasattr(model, "_orig_mod"):
            model = model._orig_mod  # noqa: SLF001 - there is no public name
        elif isinstance(model, torch.nn.DataParallel | torch.nn.parallel.DistributedDataParallel):
            model = model.module
        else:
            return model


def plain_name(name: str) -> str:
    """Return a name in a model without the prefixes of `torch.compile`, also those within the name."""
    return name.replace(_COMPILED, "")


def tensors_and_extra(model: Any) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Return the tensors in the model's `state_dict`, and the rest of it, by plain names and not copied.

    Tensors are weights and buffers; tied ones appear under each of their names. The rest is what `get_extra_state` of layers
    returns.
    """
    state = {plain_name(name): value for name, value in plain_module(model).state_dict().items()}
    tensors = {name: value for name, value in state.items() if torch.is_tensor(value)}
    return tensors, {name: value for name, value in state.items() if name not in tensors}


def check_fits(found: Mapping[str, torch.Tensor], model: Any, source: object) -> None:
    """Raise `CheckpointError` that names the differences if the tensors `found` in `source` do not fit `model`."""
    expected, _ = tensors_and_extra(model)
    differences = []
    for name, tensor in expected.items():
        if name not in found:
            differences.append(f"{name} is not in it")
        elif not is_lazy(tensor) and (found[name].shape, found[name].dtype) != (tensor.shape, tensor.dtype):
            differences.append(f"{name} is {_kind(found[name])} in it and {_kind(tensor)} in the model")
    differences += [f"{name}, {_kind(found[name])}, is not in the model" for name in found if name not in expected]
    if differences:
        raise CheckpointError(f"{source} is of another model: {join_some(differences)}.")


def put_back(model: Any, tensors: Mapping[str, torch.Tensor], extra: Mapping[str, Any]) -> None:
    """Copy `tensors`, which fit, and `extra` into `model`, by its own `load_state_dict`.

    Not strict, because a model may omit constant tensors from its `state_dict`. Raises `KeyError` if `extra` lacks an entry.
    """
    module = plain_module(model)
    both = {**tensors, **extra}
    module.load_state_dict({name: both[plain_name(name)] for name in module.state_dict()}, strict=False)


def reason_not_written(tensors: Mapping[str, torch.Tensor]) -> str | None:
    """Return why safetensors cannot hold one of `tensors`, which it names, or None if it can hold all."""
    for name, tensor in tensors.items():
        if tensor.layout != torch.strided:
            return f"{name} is a tensor of layout {tensor.layout}, which safetensors cannot hold"
    first = dict(reversed([(tensor.dtype, name) for name, tensor in tensors.items()]))
    for dtype, name in first.items():
        try:
            _stored_type(dtype)
        except (LookupError, ValueError, TypeError, safetensors.SafetensorError):
            return f"{name} is a tensor of {dtype}, which safetensors cannot hold"
    return None


@functools.cache
def _stored_type(dtype: torch.dtype) -> str:
    """Return safetensors' name of `dtype`. Raises the library's error for a type that it cannot hold."""
    stored = dtype_of(safetensors.torch.save({"empty": torch.empty(0, dtype=dtype)}))
    if stored.startswith(("F4", "F6_")):  # an element takes less than a byte, and the library cannot read such a file
        raise TypeError(dtype)
    return stored


def file_of(tensors: Mapping[str, torch.Tensor]) -> list[memoryview]:
    """Return the parts of a safetensors file of `tensors` in host memory. A tied tensor is in it under each of its names."""
    stored = {
        name: Stored(
            _stored_type(tensor.dtype),
            tensor.shape,
            memoryview(tensor.contiguous().reshape(-1).view(torch.uint8).numpy()),
            tensor.element_size(),
        )
        for name, tensor in tensors.items()
    }
    # Transformers requires this metadata.
    return parts_of(stored, {"format": "pt"})


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Return the tensors in the safetensors file `path`. Raises `CheckpointError` if it is damaged or missing."""
    try:
        return dict(safetensors.torch.load_file(path))
    except (OSError, ValueError, LookupError, safetensors.SafetensorError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from error


def _kind(tensor: torch.Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')}{list(tensor.shape)}"
