"""Gradients that were accumulated and not applied yet: what a snapshot between two updates needs."""

from __future__ import annotations

import functools
import weakref
from typing import Any

import attrs
import torch


@attrs.define(eq=False)
class Accumulated:
    """Tells which gradients wait for an update: those that were made or added to since `optimizer` made its latest one.

    The others are left over: the loop sets them to zero before it uses them again, so a snapshot leaves them out.
    """

    optimizer: Any
    _applied: list[tuple[weakref.ref[torch.Tensor], int]] = attrs.field(init=False, factory=list, repr=False)
    """The gradients of the latest update, and how often each had been written to."""

    def __attrs_post_init__(self) -> None:
        hook = self.optimizer.register_step_post_hook(functools.partial(_note, weakref.ref(self)))
        weakref.finalize(self, hook.remove)

    def waiting(self) -> dict[int, Any]:
        """Return the gradients that wait, not copied, by the number of their parameter in the optimizer, for `put_back`."""
        applied = {id(gradient): version for reference, version in self._applied if (gradient := reference()) is not None}
        return {
            number: _parts(parameter.grad)
            for number, parameter in enumerate(parameters_of(self.optimizer))
            if parameter.grad is not None and applied.get(id(parameter.grad)) != parameter.grad._version  # noqa: SLF001
        }

    def put_back(self, gradients: dict[int, Any]) -> None:
        """Have `gradients` wait, and no others."""
        for number, parameter in enumerate(parameters_of(self.optimizer)):
            parameter.grad = _joined(gradients[number], parameter) if number in gradients else None
        self._applied = []

    def note(self) -> None:
        """Note the gradients that the optimizer has applied."""
        # In one go, and each gradient fetched once: this is all that a step costs.
        self._applied = [
            (weakref.ref(gradient), gradient._version)  # noqa: SLF001 - torch has no other
            for group in self.optimizer.param_groups
            for parameter in group["params"]
            if (gradient := parameter.grad) is not None
        ]


def parameters_of(optimizer: Any) -> list[torch.Tensor]:
    """Return the parameters of `optimizer` in the order of its state."""
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def _parts(gradient: torch.Tensor) -> Any:
    """Return `gradient`, or the tensors that a sparse one is made of."""
    if gradient.layout != torch.sparse_coo:
        return gradient
    gradient = gradient.coalesce()
    return gradient.indices(), gradient.values()


def _joined(parts: Any, parameter: torch.Tensor) -> torch.Tensor:
    if isinstance(parts, tuple):
        indices, values = (part.to(parameter.device) for part in parts)
        return torch.sparse_coo_tensor(indices, values, parameter.shape, is_coalesced=True, check_invariants=True)
    gradient = torch.empty_like(parameter, dtype=parts.dtype, requires_grad=False)  # in the parameter's own order of memory
    return gradient.copy_(parts)


def _note(accumulated: weakref.ref[Accumulated], *_: Any) -> None:
    living = accumulated()
    if living is not None:
        living.note()
