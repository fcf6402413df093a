"""The trainee of Lightning's `Trainer`: its module and optimizers, and the trainer's own state."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Self

import attrs
from lightning import __version__ as lightning_version

from hookcore import CheckpointError
from hookcore.observing import DIRECTIONS
from hookcore.raised import describe
from hookcore_adapters.lightning.metrics import NAMES, as_logged
from hookcore_adapters.lightning.validation import is_to_come, mend
from hookcore_adapters.random_state import RandomState
from hookcore_adapters.torch import TorchTrainee
from hookcore_adapters.torch.optimizers import OptimizerState

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hookcore.trainee import Mode
    from hookcore_adapters.torch.snapshot import TorchSnapshot

ADAPTER: Final = "hookcore"
"""The name of the adapter's state in Lightning's checkpoints."""


@attrs.define(eq=False)
class LightningTrainee(TorchTrainee):
    """`hookcore.Trainee` for a `Trainer`, made by `of`.

    A snapshot has what Lightning's checkpoints have, except hyperparameters: the state of the optimizers, the schedulers and the
    gradient scaler, of the loops, the data module and the other callbacks, and what hooks of the module add. It also has the
    random state.
    """

    trainer: Any = attrs.field(default=None, kw_only=True)
    _optimizers: dict[str, OptimizerState] = attrs.field(init=False, repr=False)
    _before_validation: RandomState | None = attrs.field(init=False, default=None, repr=False)

    @_optimizers.default
    def _find_any_optimizers(self) -> dict[str, OptimizerState]:
        return {} if self.optimizer is None else self._find_optimizers()

    @classmethod
    def of(cls, trainer: Any, module: Any) -> Self:
        """Return the trainee for `module` in `trainer`, whose optimizers must exist."""
        return cls(
            module,
            # If `configure_optimizers` returns None, Lightning makes a placeholder without parameters, which is left out.
            _one_or_named("optimizer", [optimizer for optimizer in trainer.optimizers if optimizer.param_groups]),
            _one_or_named("scheduler", [config.scheduler for config in trainer.lr_scheduler_configs]),
            getattr(trainer.precision_plugin, "scaler", None),
            framework="lightning",
            trainer=trainer,
        )

    def _reason_not_saved(self) -> str | None:
        try:
            return super()._reason_not_saved()
        except CheckpointError as error:  # raised by a hook
            return str(error).removesuffix(".")

    def _rest(self, extra: Mapping[str, Any]) -> dict[str, Any]:
        trainer, module, rest = self.trainer, self.model, super()._rest(extra)
        others = [callback for callback in trainer.callbacks if callback.state_key != ADAPTER]
        states = {callback.state_key: state for callback in others if (state := callback.state_dict())}
        loops, weights = trainer.fit_loop.state_dict(), module.state_dict()
        mend(loops, trainer)
        checkpoint = self._as_lightnings(rest, weights, loops, states)
        before = {**checkpoint, "state_dict": dict(weights)}
        for callback in others:
            _call(callback, "on_save_checkpoint", trainer, module, checkpoint)
        _call(module, "on_save_checkpoint", checkpoint)
        own = {
            "loops": loops,
            "callbacks": states,
            "datamodule": {} if trainer.datamodule is None else trainer.datamodule.state_dict(),
            "added": {name: value for name, value in checkpoint.items() if not _is_same(value, before.get(name))},
        }
        return {**rest, "lightning": own}

    def _as_lightnings(
        self, rest: Mapping[str, Any], weights: dict[str, Any], loops: dict[str, Any], callbacks: dict[str, Any]
    ) -> dict[str, Any]:
        """Return the checkpoint that Lightning would make at this position, for hooks to read and change."""
        trainer, module = self.trainer, self.model
        checkpoint = {
            "epoch": trainer.current_epoch,
            "global_step": trainer.global_step,
            "pytorch-lightning_version": lightning_version,
            "state_dict": weights,
            "loops": {"fit_loop": loops},
            "callbacks": callbacks,
            "optimizer_states": _in_order(rest["optimizer"]),
            "lr_schedulers": _in_order(rest["scheduler"]),
        }
        for owner in (module, trainer.datamodule):
            if owner is not None and owner.hparams:
                checkpoint[owner.CHECKPOINT_HYPER_PARAMS_KEY] = dict(owner.hparams)
        return checkpoint

    def awaits_validation(self) -> None:
        """Keep the random state before the validation at the end of an epoch, which is repeated if it is interrupted."""
        self._before_validation = RandomState.now()

    def snapshot(self, *, optimizer: bool = True) -> TorchSnapshot:
        """Return the snapshot of `TorchTrainee`; within a validation at the end of an epoch, with the random state before it."""
        taken = super().snapshot(optimizer=optimizer)
        if optimizer and is_to_come(self.trainer, self.trainer.fit_loop.state_dict()):
            return attrs.evolve(taken, random=self._before_validation)
        return taken

    def restore_trainer(self, snapshot: TorchSnapshot) -> None:
        """Restore the trainer's part of `snapshot`, before it makes the iterator of its data. `restore` follows later."""
        trainer, module = self.trainer, self.model
        rest = snapshot.rest.copy()
        own = rest["lightning"]
        trainer.fit_loop.load_state_dict(own["loops"])
        weights = {**snapshot.weights["model"], **rest["extra"]["model"]}
        checkpoint = self._as_lightnings(rest, weights, own["loops"], own["callbacks"]) | own["added"]
        _call(module, "on_load_checkpoint", checkpoint)
        for callback in trainer.callbacks:
            _call(callback, "on_load_checkpoint", trainer, module, checkpoint)
            if callback.state_key in own["callbacks"]:
                _call(callback, "load_state_dict", own["callbacks"][callback.state_key])
        if trainer.datamodule is not None and own["datamodule"]:
            _call(trainer.datamodule, "load_state_dict", own["datamodule"])

    def direction(self, metric: str) -> Mode | None:
        """Return the direction of a well-known metric, also if Lightning has added `_epoch` or the number of a data loader."""
        return DIRECTIONS.get(NAMES.plain(as_logged(metric)))


def _one_or_named(kind: str, found: list[Any]) -> Any:
    """Return a single object itself, several by name, and None for an empty list."""
    if len(found) > 1:
        return {f"{kind}_{number}": one for number, one in enumerate(found)}
    return found[0] if found else None


def _in_order(saved: Mapping[str, Mapping[str, Any]]) -> list[Any]:
    """Return the states of optimizers or schedulers in the order before `_one_or_named` named them."""
    return [saved[name]["state"] for name in sorted(saved, key=lambda name: (len(name), name))]


def _is_same(value: Any, before: Any) -> bool:
    """Return whether a hook left an entry unchanged. The keys and values of a dict are compared too."""
    if not isinstance(value, dict) or not isinstance(before, dict):
        return value is before
    return value.keys() == before.keys() and all(value[name] is before[name] for name in value)


def _call(owner: Any, hook: str, *arguments: Any) -> None:
    """Call a hook that saves or loads. Raises `CheckpointError` that names the hook for any exception."""
    try:
        getattr(owner, hook)(*arguments)
    except Exception as error:
        raise CheckpointError(f"{type(owner).__name__}.{hook} raised {describe(error)}.") from error
