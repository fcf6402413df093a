"""Gradients that are accumulated and not yet applied, for a snapshot between two updates."""

from __future__ import annotations

import functools
import weakref
from typing import Any

import attrs
import torch


@attrs.define(eq=False)
class Accumulated:
    """Finds the gradients that wait for an update: those that were written since the latest update by `optimizer`.

    A snapshot leaves out the others, because the loop sets them to zero before it uses them again.
    """

    optimizer: Any
    _applied: list[tuple[weakref.ref[torch.Tensor], int]] = attrs.field(init=False, factory=list, repr=False)
    """The gradients of the latest update, each with the number of times it had been written."""

    def __attrs_post_init__(self) -> None:
        hook = self.optimizer.register_step_post_hook(functools.partial(_note, weakref.ref(self)))
        weakref.finalize(self, hook.remove)

    def waiting(self) -> dict[int, Any]:
        """Return the gradients that wait, by the number of their parameter in the optimizer, for `put_back`.

        They are not copied.
        """
        applied = {id(gradient): version for reference, version in self._applied if (gradient := reference()) is not None}
        return {
            number: _parts(parameter.grad)
            for number, parameter in enumerate(parameters_of(self.optimizer))
            if parameter.grad is not None and applied.get(id(parameter.grad)) != parameter.grad._version  # noqa: SLF001
        }

    def put_back(self, gradients: dict[int, Any]) -> None:
        """Make `gradients` the only ones that wait."""
        for number, parameter in enumerate(parameters_of(self.optimizer)):
            parameter.grad = _joined(gradients[number], parameter) if number in gradients else None
        self._applied = []

    def note(self) -> None:
        """Record that the optimizer has applied the gradients."""
        # One expression that fetches each gradient once, because it runs in every step.
        self._applied = [
            (weakref.ref(gradient), gradient._version)  # noqa: SLF001 - PyTorch has no public counter
            for group in self.optimizer.param_groups
            for parameter in group["params"]
            if (gradient := parameter.grad) is not None
        ]


def parameters_of(optimizer: Any) -> list[torch.Tensor]:
    """Return the parameters of `optimizer` in the order of its state."""
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def _parts(gradient: torch.Tensor) -> Any:
    """Return `gradient`, or the indices and values of a sparse one."""
    if gradient.layout != torch.sparse_coo:
        return gradient
    gradient = gradient.coalesce()
    return gradient.indices(), gradient.values()


def _joined(parts: Any, parameter: torch.Tensor) -> torch.Tensor:
    if isinstance(parts, tuple):
        indices, values = (part.to(parameter.device) for part in parts)
        return torch.sparse_coo_tensor(indices, values, parameter.shape, is_coalesced=True, check_invariants=True)
    gradient = torch.empty_like(parameter, dtype=parts.dtype, requires_grad=False)  # in the parameter's memory format
    return gradient.copy_(parts)


def _note(accumulated: weakref.ref[Accumulated], *_: Any) -> None:
    living = accumulated()
    if living is not None:
        living.note()
