"""The layers of a module and their names for plugins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hookcore_adapters.torch.weights import plain_name

if TYPE_CHECKING:
    from collections.abc import Iterator


def layers_of(model: Any) -> Iterator[tuple[str, Any]]:
    """Yield each layer of `model` with its path: modules that contain no others, and modules that hold parameters directly."""
    for name, module in model.named_modules():
        if not any(True for _ in module.children()) or any(True for _ in module.parameters(recurse=False)):
            yield path_of(name) or type(module).__name__, module


def path_of(name: str) -> str:
    """Return the path, with slashes, for PyTorch's name of a module or parameter."""
    return plain_name(name).replace(".", "/")
