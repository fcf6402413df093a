"""The trainee for PyTorch models: learning rate, snapshots, checkpoints and views."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

import attrs
import torch
from torch.optim.swa_utils import AveragedModel

from hookcore import CheckpointError, HookcoreError
from hookcore.trainee import Views
from hookcore.validators import reject
from hookcore_adapters.part_names import EXPECTED, are_part_names
from hookcore_adapters.random_state import RandomState
from hookcore_adapters.safetensors_file import reason_not_named
from hookcore_adapters.torch.data import begin
from hookcore_adapters.torch.gradients import parameters_of
from hookcore_adapters.torch.host_copies import HostMemory
from hookcore_adapters.torch.nested import Nested, split
from hookcore_adapters.torch.optimizers import OptimizerState, errors_of, innermost, put_back_like
from hookcore_adapters.torch.snapshot import STATE_TENSORS, TorchSnapshot, weights_file
from hookcore_adapters.torch.views import TorchViews
from hookcore_adapters.torch.weights import check_fits, plain_module, put_back, reason_not_written, tensors_and_extra

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from hookcore.store import Hashed
    from hookcore.trainee import Capability, DataBegin, Mode, Node

logger = logging.getLogger("hookcore")


@attrs.define(eq=False)
class TorchTrainee:
    """`hookcore.Trainee` and its `Views` for PyTorch models in a loop that you write.

    * `model`: a module, or a dict of modules by name, such as a generator and a discriminator, or a model and its
      `AveragedModel`. A module that `torch.compile` or data parallelism has wrapped is unwrapped.
    * `optimizer`: an optimizer, or a dict of several by name.
    * `scheduler`: a scheduler that your loop steps, or a dict of several. It owns the learning rate, so a plugin that sets the
      rate is refused. `scaler`: a `torch.amp.GradScaler`, or a dict of several.
    * `loss`: a function of the model's output and the targets. Only the view of gradients needs it.

    With several optimizers there is no learning rate that a plugin could set. With one optimizer it is the rate of the first
    group whose rate is above 0; the other groups keep their ratios to it, so a rate of 0 remains 0. The views show the one model
    that is not an `AveragedModel`; with several such models there are no views.
    """

    _gradients_may_wait: ClassVar[bool] = True
    """Whether a snapshot may be taken while gradients are accumulated."""

    model: Any
    optimizer: Any
    scheduler: Any = None
    scaler: Any = None
    loss: Callable[[Any, Any], Any] | None = attrs.field(default=None, kw_only=True)
    framework: str = attrs.field(default="torch", kw_only=True)
    _models: dict[str, Any] = attrs.field(init=False, repr=False)
    _optimizers: dict[str, OptimizerState] = attrs.field(init=False, repr=False)
    _stateful: dict[str, dict[str, Any]] = attrs.field(init=False, repr=False)
    """The schedulers and the scalers, by their kind and name."""
    _views: TorchViews | None = attrs.field(init=False, repr=False)
    _memory: HostMemory = attrs.field(init=False, factory=HostMemory, repr=False)
    _random: RandomState | None = attrs.field(init=False, default=None, repr=False)
    """The random state that was last restored."""
    _scheduled: list[str] | None = attrs.field(init=False, default=None, repr=False)
    """The optimizers with a scheduler that was not given; None until this is first asked."""
    _is_checked: bool = attrs.field(init=False, default=False, repr=False)

    @_models.default
    def _find_models(self) -> dict[str, Any]:
        named = self._named("model", lambda given: isinstance(given, torch.nn.Module), "a torch.nn.Module")
        taken = [name for name in named if weights_file(name) == STATE_TENSORS]
        if taken:
            reject(
                self, "model", self.model, f"a dict of modules by other names than {taken[0]!r}, whose file is the optimizers'"
            )
        return {name: plain_module(model) for name, model in named.items()}

    @_optimizers.default
    def _find_optimizers(self) -> dict[str, OptimizerState]:
        def fits(given: Any) -> bool:
            return isinstance(given, torch.optim.Optimizer)

        given = self._named("optimizer", fits, "a torch.optim.Optimizer")
        return {
            name: OptimizerState(innermost(optimizer, "optimizer"), may_wait=self._gradients_may_wait)
            for name, optimizer in given.items()
        }

    @_stateful.default
    def _find_stateful(self) -> dict[str, dict[str, Any]]:
        def fits(given: Any) -> bool:
            return hasattr(given, "state_dict") and hasattr(given, "load_state_dict")

        schedulers = {} if self.scheduler is None else self._named("scheduler", fits, "a scheduler of torch.optim.lr_scheduler")
        scalers = {} if self.scaler is None else self._named("scaler", fits, "a torch.amp.GradScaler")
        return {
            "scheduler": {name: innermost(scheduler, "scheduler") for name, scheduler in schedulers.items()},
            "scaler": scalers,
        }

    @_views.default
    def _make_views(self) -> TorchViews | None:
        trained = [model for model in self._models.values() if not isinstance(model, AveragedModel)]
        return TorchViews(trained[0], self.loss) if len(trained) == 1 else None

    def _named(self, parameter: str, fits: Callable[[Any], bool], kind: str) -> dict[str, Any]:
        """Return the objects that were given, by name. A single object has the name of the parameter."""
        given = getattr(self, parameter)
        # Sorted, because the script that resumes may list them in another order.
        named = dict(sorted(given.items())) if isinstance(given, dict) and given else {parameter: given}
        if not (are_part_names(named) and all(map(fits, named.values()))):
            reject(self, parameter, given, f"{kind}, or a dict of them by {EXPECTED}")
        return named

    # The learning rate

    @property
    def learning_rate(self) -> float:
        """The rate of the first group whose rate is above 0. Setting it keeps the ratios of the other groups' rates to it.

        Raises `AttributeError` if there are several optimizers or no parameters, and when it is set if a scheduler owns it.
        """
        if len(self._optimizers) != 1 or not self._one_optimizer().optimizer.param_groups:
            raise AttributeError(f"The learning rate is not known: {self._reason_no_rate()}.")
        return self._one_optimizer().rates.value

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        reason = self._reason_no_rate()
        if reason is not None:
            raise AttributeError(f"The learning rate cannot be set to {value!r}: {reason}.")
        self._set_rate(value)

    def _set_rate(self, value: float) -> None:
        self._one_optimizer().rates.value = value

    def _one_optimizer(self) -> OptimizerState:
        (optimizer,) = self._optimizers.values()
        return optimizer

    def _reason_no_rate(self) -> str | None:
        if len(self._optimizers) != 1:
            return f"there are {len(self._optimizers)} optimizers, and a plugin sets the rate of one"
        if not self._one_optimizer().optimizer.param_groups:
            return "the optimizer has no parameters"
        schedulers = self._stateful["scheduler"]
        if schedulers:
            names = ", ".join(sorted({type(scheduler).__name__ for scheduler in schedulers.values()}))
            return (
                f"the optimizer's learning rate comes from a scheduler, {names}, which would overwrite what a plugin sets. Leave "
                "out the scheduler, or this plugin"
            )
        if self._scheduled_by_others():
            return (
                "the optimizer's learning rate comes from a scheduler that TorchTrainee was not given, which would overwrite "
                "what a plugin sets. Leave out the scheduler, or this plugin. If the scheduler is gone, delete what it has left: "
                "'initial_lr' in the optimizer's param_groups"
            )
        return None

    # Snapshots and checkpoints

    def lacks(self, capability: Capability) -> str | None:
        """Return why the learning rate, saving or a view is not available, or None if it is."""
        if capability == "learning_rate":
            return self._reason_no_rate()
        if capability == "checkpoint":
            return self._reason_not_saved()
        if hasattr(Views, capability) and hasattr(self, capability):
            return self._reason_no_views() if self._views is None else self._views.lacks(capability)
        return None

    def _reason_not_saved(self) -> str | None:
        """Return why the state cannot be saved, or None as far as is known.

        Warn once about a scheduler that checkpoints would lack.
        """
        if not self._is_checked:
            scheduled = self._scheduled_by_others()
            if scheduled:
                logger.warning(
                    "checkpoints hold no scheduler: %s has one that TorchTrainee was not given, so it starts again when the run "
                    "is resumed. Give it: TorchTrainee(model, optimizer, scheduler)",
                    " and ".join(scheduled),
                )
        self._is_checked = True
        if (reason := self._reason_not_in_models()) is not None:
            return reason
        weights, extra = self._weights_and_extra()
        try:
            _, tensors = split(self._rest(extra))
        except TypeError as error:
            return str(error).removesuffix(".")
        names = (reason_not_named(name) for own in weights.values() for name in own)
        if (reason := next(filter(None, names), None)) is not None:
            return reason
        named = {f"{name} of {model}": tensor for model, own in weights.items() for name, tensor in own.items()}
        named |= {f"state tensor {number}": tensor for number, tensor in enumerate(tensors)}
        return reason_not_written(named)

    def _reason_not_in_models(self) -> str | None:
        known = {id(parameter) for model in self._models.values() for parameter in model.parameters()}
        trained = (parameter for state in self._optimizers.values() for parameter in parameters_of(state.optimizer))
        others = sum(id(parameter) not in known for parameter in trained)
        if not others:
            return None
        return f"the optimizer trains {others} parameters that are in no model given: give TorchTrainee all models, by name"

    def _scheduled_by_others(self) -> list[str]:
        """Return the names of the optimizers whose groups have the mark of a scheduler that was not given."""
        if self._scheduled is None:  # once, because a restored state may have the mark of a scheduler that is gone
            schedulers = self._stateful["scheduler"].values()
            known = {id(innermost(getattr(scheduler, "optimizer", None), "optimizer")) for scheduler in schedulers}
            self._scheduled = [
                name
                for name, state in self._optimizers.items()
                # Every scheduler adds this to the groups.
                if id(state.optimizer) not in known and any("initial_lr" in group for group in state.optimizer.param_groups)
            ]
        return self._scheduled

    def _weights_and_extra(self) -> tuple[dict[str, dict[str, torch.Tensor]], dict[str, dict[str, Any]]]:
        """Return the tensors in each model's `state_dict`, and the rest of it, not copied."""
        parts = {name: tensors_and_extra(model) for name, model in self._models.items()}
        return {name: tensors for name, (tensors, _) in parts.items()}, {name: extra for name, (_, extra) in parts.items()}

    def _rest(self, extra: Mapping[str, Any]) -> dict[str, Any]:
        """Return all state that training needs to continue, except weights and random numbers. It is not copied."""
        stateful = {
            kind: {name: {"class": type(owner).__name__, "state": owner.state_dict()} for name, owner in owners.items()}
            for kind, owners in self._stateful.items()
        }
        optimizers = {name: optimizer.take() for name, optimizer in self._optimizers.items()}
        return {"extra": extra, "optimizer": optimizers, **stateful}

    def snapshot(self, *, optimizer: bool = True) -> TorchSnapshot:
        """Return copies, in host memory, of weights and buffers and, if `optimizer`, of all else that training needs."""
        weights, extra = self._weights_and_extra()
        skeleton, tensors = split(self._rest(extra) if optimizer else {"extra": extra})
        # One call, so that all copies are in one piece of memory.
        copies = iter(self._memory.copies([*(tensor for named in weights.values() for tensor in named.values()), *tensors]))
        copied = {name: dict(zip(named, copies, strict=False)) for name, named in weights.items()}
        return TorchSnapshot(copied, Nested(skeleton, list(copies)), RandomState.now() if optimizer else None)

    def restore(self, snapshot: TorchSnapshot) -> None:
        """Restore `snapshot`.

        Raises `CheckpointError`, and changes nothing, if it is a snapshot of other models or optimizers.
        """
        self._check(snapshot, "The snapshot")
        rest = snapshot.rest.copy()
        for name, model in self._models.items():
            with errors_of(name):
                put_back(model, snapshot.weights[name], rest["extra"][name])
        if snapshot.random is None:
            return
        for name, optimizer in self._optimizers.items():
            with errors_of(name):
                optimizer.put_back(rest["optimizer"][name])
        for kind, owners in self._stateful.items():
            for name, owner in owners.items():
                with errors_of(name):
                    put_back_like(owner, rest[kind][name]["state"])
        self._random = snapshot.random
        snapshot.random.restore()

    def write(self, snapshot: TorchSnapshot, directory: Path) -> dict[str, Hashed]:
        """Write `snapshot`: `model.safetensors`, or a file for each model named after it, and the rest beside."""
        return snapshot.write(directory)

    def read(self, directory: Path) -> TorchSnapshot:
        """Return the snapshot that `write` wrote. Raises `CheckpointError` that names the differences if it does not fit."""
        snapshot = TorchSnapshot.read(directory, self._models)
        self._check(snapshot, directory)
        return snapshot

    def _check(self, snapshot: TorchSnapshot, source: object) -> None:
        """Raise `CheckpointError` if `snapshot` does not fit the models, optimizers and schedulers."""
        for name, model in self._models.items():
            if name not in snapshot.weights:
                raise CheckpointError(f"{source} has no model {name!r}: it has {', '.join(map(repr, snapshot.weights))}.")
            check_fits(snapshot.weights[name], model, source)
        if snapshot.random is None:
            return
        with errors_of(str(source)):
            rest = snapshot.rest.joined()
            now: dict[str, Mapping[str, Any]] = {"optimizer": self._optimizers, **self._stateful}
            for kind, owners in now.items():
                if rest[kind].keys() != owners.keys():
                    then = ", ".join(rest[kind]) or "none"
                    raise CheckpointError(
                        f"{source} was saved with {kind} {then}, and TorchTrainee was given {', '.join(owners) or 'none'}. Give "
                        "it the same, or leave out resume."
                    )
            for name, optimizer in self._optimizers.items():
                optimizer.check_fits(rest["optimizer"][name], name)

    # Data

    def begin_data(self, data: Any, epoch: int, batch: int) -> DataBegin:
        """Make a DataLoader with a `ResumableSampler` start at `batch` of `epoch`.

        The result warns if the order is, or may be, lost.
        """
        return begin(data, epoch, batch)

    def restore_random(self) -> None:
        """Restore the last restored random state again, because skipping trained batches has drawn random numbers."""
        if self._random is not None:
            self._random.restore()

    def direction(self, metric: str) -> Mode | None:
        """Return None: PyTorch declares no directions."""
        del metric
        return None

    # Views

    def weights(self) -> dict[str, Any]:
        """See `TorchViews.weights`."""
        return self._view().weights()

    def activations(self, data: Any, samples: int = 1) -> dict[str, Any]:
        """See `TorchViews.activations`."""
        return self._view().activations(data, samples)

    def gradients(self, data: Any, samples: int = 32) -> dict[str, Any]:
        """See `TorchViews.gradients`."""
        return self._view().gradients(data, samples)

    def graph(self) -> list[Node]:
        """See `TorchViews.graph`."""
        return self._view().graph()

    def embeddings(self) -> dict[str, Any]:
        """See `TorchViews.embeddings`."""
        return self._view().embeddings()

    def _view(self) -> TorchViews:
        if self._views is None:
            raise HookcoreError(f"TorchTrainee has no views: {self._reason_no_views()}.")
        return self._views

    def _reason_no_views(self) -> str:
        return f"there are {len(self._models)} models, and a view is of one"
