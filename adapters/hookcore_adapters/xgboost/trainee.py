"""The trainee of XGBoost: a `Booster`, to which each round adds trees."""

from __future__ import annotations

import json
import re
import weakref
from typing import TYPE_CHECKING, Any, Final

import attrs
import numpy as np
import xgboost
from xgboost.core import XGBoostError

from hookcore import CheckpointError, ParameterError
from hookcore.raised import describe
from hookcore_adapters.random_state import RandomState
from hookcore_adapters.xgboost import metrics
from hookcore_adapters.xgboost.call import is_schedule, sets_rate

if TYPE_CHECKING:
    from pathlib import Path

    from hookcore import Capability
    from hookcore.trainee import Mode

MODEL: Final = "model.ubj"
"""The model in a checkpoint, which `xgboost.Booster(model_file=...)` opens."""
_REST: Final = "trainee.json"
_RATE: Final = re.compile(r'"learning_rate":"([^"]+)"')
_DRAWING: Final = re.compile(r'"(subsample|colsample_by\w+|lambdarank_pair_method|lambdarank_unbiased)":"([^"]+)"')
_DRAWS_NOTHING: Final = {"lambdarank_pair_method": "topk", "lambdarank_unbiased": "0"}
"""The values with which these parameters draw nothing and keep no state; for any other parameter, it is 1."""
_NOT_CUT: Final = {
    "gblinear": "its rounds change the same weights, and a saved model does not count them",
    "dart": "its rounds change the weights of earlier trees",
}


@attrs.define(eq=False)
class Forest:
    """A snapshot: the trees of the first `rounds` rounds, and if it is a full one, the learning rate and the random state."""

    rounds: int
    raw: bytearray | None = attrs.field(default=None, repr=False)
    """The model as XGBoost saves it; None while the trainee's model still begins with the same trees."""
    rate: float | None = None
    random: RandomState | None = attrs.field(default=None, repr=False)

    @property
    def nbytes(self) -> int:
        """About the number of bytes that it takes on disk."""
        return len(self.raw or ())


@attrs.define(eq=False)
class XGBoostTrainee:
    """Present a `Booster` to plugins, as a `hookcore.Trainee`. For your own loop, make it of `Booster(params, [data])`.

    * `booster`: what is trained. Raises `ParameterError` for one that was made without data.
    * `callbacks`: the other callbacks of this training; None, the default, for your own loop, which may set the learning rate
      itself.

    A snapshot without the optimizer's state is only a number of rounds, so the best model takes no memory. Restoring a snapshot
    sets the learning rate, if the snapshot has it, and no other parameter.
    """

    booster: Any
    callbacks: list[Any] | None = None
    framework: str = attrs.field(default="xgboost", kw_only=True)
    restored: int | None = attrs.field(default=None, init=False)
    """The number of rounds that a snapshot without the optimizer's state has restored; None if the latest was a full one."""
    _config: str = attrs.field(init=False, repr=False)
    """The parameters at the beginning."""
    _may_change: bool = attrs.field(init=False, repr=False)
    """Whether something other than a plugin may set the learning rate."""
    _rate: float | None = attrs.field(init=False, default=None, repr=False)
    """The learning rate, if it is known."""
    _lent: weakref.WeakSet[Forest] = attrs.field(init=False, factory=weakref.WeakSet, repr=False)
    """The snapshots that hold no trees themselves, and rely on those of the booster."""

    @_config.default
    def _read_config(self) -> str:
        try:
            return str(self.booster.save_config())
        except XGBoostError as error:
            raise ParameterError(
                f"XGBoostTrainee: the booster cannot be configured: {describe(error)} Make it with Booster(params, [data]), and "
                "keep a reference to the data."
            ) from error

    @_may_change.default
    def _may_others_set_the_rate(self) -> bool:
        return self.callbacks is None or any(map(sets_rate, self.callbacks))

    def lacks(self, capability: Capability) -> str | None:
        """Return why the learning rate cannot be set, or the model cannot be cut; None for anything else."""
        if capability == "learning_rate":
            if any(map(is_schedule, self.callbacks or ())):
                return (
                    "xgboost.callback.LearningRateScheduler would overwrite what a plugin sets. Leave it out, and use "
                    "LearningRateSchedule of hookcore_plugins"
                )
            return None if _RATE.search(self._config) else "this booster has no learning rate"
        return self._reason_not_cut() if capability in {"snapshot", "checkpoint"} else None

    def _reason_not_cut(self) -> str | None:
        name = json.loads(self._config)["learner"]["gradient_booster"]["name"]
        why = _NOT_CUT.get(name)
        return (
            None if why is None else f"booster={name!r} cannot be cut to some of its rounds: {why}. Train with booster='gbtree'"
        )

    @property
    def drawing(self) -> list[str]:
        """The parameters with which a round draws at random, or depends on a state that a saved model lacks."""
        return [f"{name}={value}" for name, value in _DRAWING.findall(self._config) if value != _DRAWS_NOTHING.get(name, "1")]

    @property
    def learning_rate(self) -> float:
        """The learning rate in use, in XGBoost's precision, float32. Raises `AttributeError` if it lacks one."""
        if self._rate is None or self._may_change:  # reading it takes 50 us
            found = _RATE.search(self.booster.save_config())
            if found is None:
                raise AttributeError("XGBoostTrainee: this booster has no learning rate.")
            self._rate = _in_float32(found[1])
        return self._rate

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        self.booster.set_param("learning_rate", value)
        self._rate = _in_float32(value)

    def snapshot(self, *, optimizer: bool = True) -> Forest:
        """Return the trees, and unless `optimizer` is False, the learning rate and the random states of Python and NumPy."""
        rounds = self.booster.num_boosted_rounds()
        if optimizer:
            return Forest(rounds, self.booster.save_raw(), self.learning_rate, RandomState.now())
        taken = Forest(rounds)
        if rounds:
            self._lent.add(taken)
        else:  # XGBoost takes a slice of no rounds for all of them
            taken.raw = self.booster.save_raw()
        return taken

    def restore(self, snapshot: Forest) -> None:
        """Restore the trees, and whatever else `snapshot` has. Raises `CheckpointError` for a snapshot of another model."""
        if snapshot.rate is not None and snapshot.raw is not None:
            self._check(snapshot.raw)
        is_here = snapshot.raw is None and snapshot.rounds == self.booster.num_boosted_rounds()
        if not is_here:
            raw = self._raw_of(snapshot)
            for other in list(self._lent):
                if other.rounds > snapshot.rounds or snapshot.raw is not None:  # the trees that it relies on will be gone
                    other.raw = self._raw_of(other)
                    self._lent.discard(other)
            parameters = self.booster.save_config()  # loading a model resets them to their defaults
            self.booster.load_model(raw)
            self.booster.load_config(parameters)
        self.restored = snapshot.rounds if snapshot.rate is None else None
        if snapshot.rate is not None:
            self.learning_rate = snapshot.rate
        if snapshot.random is not None:
            snapshot.random.restore()

    def _check(self, raw: bytearray) -> None:
        """Raise `CheckpointError` if a saved model differs in a parameter that XGBoost would silently take from it."""
        saved, now = (_of_model(config) for config in (xgboost.Booster(model_file=raw).save_config(), self._config))
        if now["boost_from_average"] != "0":  # then the base score follows from the data
            now["base_score"] = saved["base_score"]
        del now["boost_from_average"]
        differences = [
            f"{name} is {saved[name]} in the checkpoint and {value} now" for name, value in now.items() if saved[name] != value
        ]
        if differences:
            raise CheckpointError(
                f"XGBoostTrainee: the checkpoint is of another model: {'; '.join(differences)}. Pass the same parameters and "
                "features, or save a run with other ones into another directory."
            )

    def move_to(self, booster: Any) -> None:
        """Continue with another `booster`, to which nothing was restored: a callback has replaced the model after training."""
        self.restored = None
        if booster is not self.booster:
            for other in self._lent:
                other.raw = self._raw_of(other)
            self._lent.clear()
            self.booster = booster

    def _raw_of(self, snapshot: Forest) -> bytearray:
        """Return the trees of `snapshot` as XGBoost saves them."""
        return _cut(self.booster, snapshot.rounds) if snapshot.raw is None else snapshot.raw

    def write(self, snapshot: Forest, directory: Path) -> None:
        """Write `model.ubj` and `trainee.json` into `directory`.

        A snapshot that a plugin holds in a checkpoint needs no trees: it relies on the model of the checkpoint. Raises
        `CheckpointError` for a snapshot without trees that has no such model.
        """
        if snapshot.raw is not None:
            (directory / MODEL).write_bytes(snapshot.raw)
        elif not _whole(directory).exists():
            raise CheckpointError(
                f"XGBoostTrainee: {snapshot!r} holds no trees, so it cannot be written by itself. Write a "
                "snapshot(optimizer=True)."
            )
        random = None if snapshot.random is None else snapshot.random.state_dict()
        rest = {"rounds": snapshot.rounds, "learning_rate": snapshot.rate, "random": random}
        (directory / _REST).write_text(json.dumps(rest), encoding="utf-8")

    def read(self, directory: Path) -> Forest:
        """Return the snapshot that `write` wrote."""
        rest, own = json.loads((directory / _REST).read_text(encoding="utf-8")), directory / MODEL
        rounds, random = rest["rounds"], None if rest["random"] is None else RandomState.from_state_dict(rest["random"])
        raw = bytearray(own.read_bytes()) if own.exists() else _cut(xgboost.Booster(model_file=_whole(directory)), rounds)
        return Forest(rounds, raw, rest["learning_rate"], random)

    def direction(self, metric: str) -> Mode | None:
        """Return the direction of XGBoost's own metrics."""
        return metrics.direction(metric)


def _cut(booster: Any, rounds: int) -> bytearray:
    """Return the first `rounds` rounds, at least one, as XGBoost saves them."""
    raw: bytearray = booster[:rounds].save_raw()
    return raw


def _of_model(config: str) -> dict[str, str | None]:
    """Return the parameters of a model that its trees depend on, by name."""
    learner = json.loads(config)["learner"]
    own = learner["learner_model_param"] | learner["gradient_booster"].get("gbtree_model_param", {})
    names = ("num_class", "num_target", "num_feature", "num_parallel_tree", "base_score", "boost_from_average")
    return {"objective": learner["objective"]["name"], **{name: own.get(name) for name in names}}


def _whole(directory: Path) -> Path:
    """Return the path of the checkpoint's model, given the `directory` of a snapshot that a plugin holds in it."""
    return directory.parent.parent / MODEL


def _in_float32(value: float | str) -> float:
    return float(np.float32(value))
