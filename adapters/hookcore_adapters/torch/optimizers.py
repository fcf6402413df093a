"""Take, compare and restore the state of optimizers, schedulers and gradient scalers, by their own `state_dict`."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import attrs
import torch

from hookcore import CheckpointError
from hookcore.raised import describe
from hookcore_adapters.torch.gradients import Accumulated, parameters_of
from hookcore_adapters.torch.nested import alike
from hookcore_adapters.torch.rates import GroupRates

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


def innermost(wrapped: Any, inner: str) -> Any:
    """Return the object inside of Accelerate's wrappers, which hold the wrapped object in the attribute `inner`."""
    while hasattr(own := getattr(wrapped, inner, None), "state_dict"):
        wrapped = own
    return wrapped


@attrs.define(eq=False)
class OptimizerState:
    """The full state of one optimizer: its own, the ratios of its rates, and the gradients that wait for its next update."""

    optimizer: Any
    may_wait: bool = True
    """Whether gradients may wait for an update when a snapshot is taken. Tracking them costs time in each update."""
    rates: GroupRates = attrs.field(init=False)
    _gradients: Accumulated | None = attrs.field(init=False)

    @rates.default
    def _make_rates(self) -> GroupRates:
        return GroupRates(self.optimizer)

    @_gradients.default
    def _make_gradients(self) -> Accumulated | None:
        return Accumulated(self.optimizer) if self.may_wait else None

    def take(self) -> dict[str, Any]:
        """Return the state, nested and not copied."""
        self.rates.note()
        return {
            "class": type(self.optimizer).__name__,
            "state": self.optimizer.state_dict(),
            "ratios": self.rates.ratios.values,
            "gradients": {} if self._gradients is None else self._gradients.waiting(),
        }

    def check_fits(self, saved: Mapping[str, Any], name: str) -> None:
        """Raise `CheckpointError` if `saved` is the state of another class of optimizer, or of other groups of parameters."""
        if saved["class"] != type(self.optimizer).__name__:
            raise CheckpointError(
                f"{name} was {saved['class']} and is now {type(self.optimizer).__name__}. If this is the next phase of training, "
                "give its Checkpoint another directory, or leave out resume."
            )
        then = [len(group["params"]) for group in saved["state"].get("param_groups", ())]  # Lightning's placeholder has no groups
        now = [len(group["params"]) for group in self.optimizer.param_groups]
        if then != now:
            raise CheckpointError(
                f"{name} had groups of {', '.join(map(str, then))} parameters, and now has groups of {', '.join(map(str, now))}. "
                "Give it the same parameters in the same order, or leave out resume."
            )

    def put_back(self, saved: Mapping[str, Any]) -> None:
        """Restore `saved`. The optimizer keeps its tensors, which are not copied."""
        state, before = saved["state"], [dict(group) for group in self.optimizer.param_groups]
        self.optimizer.load_state_dict(state)
        for group, own in zip(self.optimizer.param_groups, before, strict=True):
            for key, value in group.items():
                if torch.is_tensor(value) and torch.is_tensor(own.get(key)):  # compiled code may read this tensor, such as a rate
                    group[key] = own[key].copy_(value)
        for number, parameter in enumerate(parameters_of(self.optimizer)):
            for key, value in state["state"].get(number, {}).items():
                loaded = self.optimizer.state[parameter][key]
                if torch.is_tensor(value) and loaded.dtype != value.dtype:  # converted to the type of the parameter
                    self.optimizer.state[parameter][key] = value.to(loaded.device)
        self.rates.ratios.values = list(saved["ratios"])
        if self._gradients is not None:
            self._gradients.put_back(saved["gradients"])


def put_back_like(owner: Any, saved: Any) -> None:
    """Restore `saved` in a scheduler or a scaler, with the container types of its own state."""
    owner.load_state_dict(alike(saved, owner.state_dict()))


@contextlib.contextmanager
def errors_of(name: str) -> Iterator[None]:
    """Raise `CheckpointError` that names the owner instead of PyTorch's error for a state that does not fit."""
    try:
        yield
    except CheckpointError:
        raise
    except (RuntimeError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{name} could not load its saved state: {describe(error)}") from error
