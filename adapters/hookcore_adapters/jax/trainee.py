"""The trainee of JAX: the state of a loop, with its learning rate, weights and snapshots."""

from __future__ import annotations

import re
from collections.abc import Sequence, Sized
from typing import TYPE_CHECKING, Any, Final

import attrs
import numpy as np

from hookcore import CheckpointError, HookcoreError
from hookcore.text import join_some
from hookcore.trainee import DataBegin
from hookcore.validators import reject
from hookcore_adapters.jax.flax_objects import put_into
from hookcore_adapters.jax.leaves import (
    SavedLeaf,
    described,
    in_host_memory,
    is_key,
    is_saved,
    named_leaves,
    reason_not_saved,
    take,
)
from hookcore_adapters.jax.snapshot import JaxSnapshot
from hookcore_adapters.jax.untrained import Untrained
from hookcore_adapters.random_state import RandomState
from hookcore_adapters.rate_ratios import RateRatios, reference
from hookcore_adapters.safetensors_file import reason_not_named

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from hookcore.store import Hashed
    from hookcore.trainee import Capability, Mode

WEIGHTS_IN: Final = ("params", "batch_stats", "model")
"""The default places of the weights: in Flax's variables and TrainState, and under the name of a module in Flax's guides."""
_RATE: Final = re.compile(r"(.*/)?hyperparams/learning_rate(/value)?")
"""The path of a rate in the state of `optax.inject_hyperparams`, anywhere in the state; Flax's variables add the last part."""
_SCHEDULE: Final = re.compile(r"(.*/)?hyperparams_states/learning_rate(/.*)?")
_INJECT: Final = "optax.inject_hyperparams(optax.adam)(learning_rate=0.001)"


@attrs.define(eq=False)
class JaxTrainee:
    """Hold the state of your own loop with JAX, as a `hookcore.Trainee`: the loop takes it from here and puts the next one back.

        trainee = JaxTrainee({"params": params, "opt_state": optimizer.init(params), "key": jax.random.key(0)})
        ...
        trainee.state, loss = step(trainee.state, batch)

    * `state`: a pytree of everything that training continues with, such as a dict or Flax's TrainState. Objects of `flax.nnx` in
      it, such as a module and its optimizer, are changed in place, so a loop that changes them in place does not put them back.
      Arrays, random keys and numbers are saved; other leaves, such as functions, are not.
    * `weights_in`: the keys, attributes or indices of the state that hold the weights; by default those of `"params"`,
      `"batch_stats"` and `"model"` that it has. Random keys are not weights.
    * `donates`: whether your step may overwrite its arguments, as with `jax.jit(donate_argnums=...)`; True by default. With
      False, a snapshot holds the arrays themselves instead of copies in host memory, and training does not wait for it.

    The learning rate is that of `optax.inject_hyperparams`. If the state has several, as with `optax.partition`, it is the first
    above 0, and the others keep their ratios to it.

    Raises `ParameterError` if the state has no weights in `weights_in`.
    """

    _state: Any = attrs.field(alias="state", repr=False)
    weights_in: Sequence[str | int] | None = attrs.field(default=None, kw_only=True)
    donates: bool = attrs.field(default=True, kw_only=True)
    framework: str = attrs.field(default="jax", init=False)
    _entries: frozenset[str] = attrs.field(init=False, repr=False)
    _ratios: RateRatios = attrs.field(init=False, factory=RateRatios, repr=False)
    _random: RandomState | None = attrs.field(init=False, default=None, repr=False)
    """The random states of Python and NumPy that were restored last."""
    _is_unread: bool = attrs.field(init=False, default=False, repr=False)
    """Whether resuming or a plugin has put a state here that the loop has not taken yet."""
    _untrained: Untrained = attrs.field(init=False, repr=False)

    @_entries.default
    def _find_entries(self) -> frozenset[str]:
        named, _ = named_leaves(self._state)
        there = list(dict.fromkeys(_entry(name) for name, leaf in named.items() if is_saved(leaf) and not is_key(leaf)))
        given = [one for one in WEIGHTS_IN if one in there] if self.weights_in is None else self.weights_in
        if not isinstance(given, list | tuple) or not given or not set(map(str, given)) <= set(there):
            has = ", ".join(map(repr, there[:20])) or "no arrays"
            expected = f"a list of the keys, attributes or indices of the state that hold the weights (it has {has})"
            default = (
                f" The default is those of {', '.join(map(repr, WEIGHTS_IN))} that it has." if self.weights_in is None else ""
            )
            reject(self, "weights_in", self.weights_in, expected, default)
        return frozenset(map(str, given))

    @_untrained.default
    def _note_untrained(self) -> Untrained:
        return Untrained.of(self._state)

    @property
    def state(self) -> Any:
        """The pytree. Take it from here for each step, as resuming and plugins replace it, and put back what the step returns.

        Setting it raises `HookcoreError` if resuming or a plugin has replaced it and the loop has not taken that state.
        """
        self._is_unread = False
        return self._state

    @state.setter
    def state(self, state: Any) -> None:
        if self._is_unread:
            raise HookcoreError(
                "JaxTrainee: resuming or a plugin has replaced the state, and the loop has set another one without taking it, so "
                "it trains something else. Take the state for each step: trainee.state, loss = step(trainee.state, batch)."
            )
        self._state = state
        self._untrained.put_back()

    # The learning rate

    @property
    def learning_rate(self) -> float:
        """The first rate above 0 in the optimizer's state. Setting it scales the others by the same factor.

        Raises `AttributeError` if the state has no rate and, when it is set, if it comes from a schedule.
        """
        rates = self._rates()
        if not rates:
            raise AttributeError(f"JaxTrainee: the learning rate is unknown: {self._reason_no_rate()}.")
        return reference(map(float, rates.values()))

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        reason = self._reason_no_rate()
        if reason is not None:
            raise AttributeError(f"JaxTrainee: the learning rate cannot be set to {value!r}: {reason}.")
        rates = self._rates()
        scaled = self._ratios.scaled(value, list(map(float, rates.values())))
        new = {name: _like(leaf, rate) for (name, leaf), rate in zip(rates.items(), scaled, strict=True)}
        self._replace(new)

    def _rates(self) -> dict[str, Any]:
        named, _ = named_leaves(self._state)
        return {name: leaf for name, leaf in named.items() if _RATE.fullmatch(name) and np.ndim(leaf) == 0}

    def _reason_no_rate(self) -> str | None:
        if not self._rates():
            return f"the state has no learning rate that can be set. Make the optimizer with {_INJECT}"
        if any(_SCHEDULE.fullmatch(name) for name in named_leaves(self._state)[0]):
            return (
                "the optimizer's learning rate comes from a schedule, which would overwrite what a plugin sets. Pass a number to "
                "optax.inject_hyperparams, or leave out this plugin"
            )
        return None

    # Snapshots and checkpoints

    def lacks(self, capability: Capability) -> str | None:
        """Return why `capability` is missing, as the end of a sentence with the path of the leaf, or None if it is not."""
        if capability == "learning_rate":
            return self._reason_no_rate()
        if capability in {"snapshot", "checkpoint"}:
            leaves = named_leaves(self._state)[0]
            if (reason := next(filter(None, map(reason_not_named, leaves)), None)) is not None:
                return reason
            reasons = ((name, reason_not_saved(leaf)) for name, leaf in leaves.items())
            return next((f"{name} {reason}" for name, reason in reasons if reason is not None), None)
        return None

    def _saved_leaves(self, *, weights_only: bool) -> dict[str, Any]:
        named, _ = named_leaves(self._state)
        return {
            name: leaf for name, leaf in named.items() if is_saved(leaf) and (not weights_only or self._is_weight(name, leaf))
        }

    def _is_weight(self, name: str, leaf: Any) -> bool:
        return _entry(name) in self._entries and not is_key(leaf)

    def snapshot(self, *, optimizer: bool = True) -> JaxSnapshot:
        """Return the whole state or, if not `optimizer`, the weights; as copies in host memory, unless `donates` is False.

        Raises `CheckpointError` for a state that has been donated, that lacks its weights, or that has not been trained although
        the loop trains batches.
        """
        named = self._saved_leaves(weights_only=not optimizer)
        self._untrained.check(self._state)
        weights = {name for name, leaf in named.items() if self._is_weight(name, leaf)}
        if not weights:
            there = ", ".join(map(repr, dict.fromkeys(map(_entry, named_leaves(self._state)[0]))))
            raise CheckpointError(
                f"JaxTrainee: the state must have {' or '.join(map(repr, sorted(self._entries)))}, and the one that was put back "
                f"has {there}. If the step returns more than the state, unpack it: trainee.state, loss = step(trainee.state, "
                "batch)."
            )
        leaves = take(named, by_reference=not self.donates)
        if not optimizer:
            return JaxSnapshot(leaves, weights)
        return JaxSnapshot(leaves, weights, list(self._ratios.values), RandomState.now())

    def begin_data(self, data: Any, epoch: int, batch: int) -> DataBegin:
        """Note that the loop begins to train batches: from now on, it must put back the state.

        In an epoch that was cut after `batch` batches, that is only known if `data` has a length, and so has more batches.
        """
        del epoch
        if not batch or (isinstance(data, Sized) and batch < len(data)):
            self._untrained.has_begun = True
        return DataBegin()

    def restore(self, snapshot: JaxSnapshot) -> None:
        """Restore the state from `snapshot`. Raises `CheckpointError`, and changes nothing, for a snapshot of another state."""
        self._check(snapshot, "the snapshot")
        named, _ = named_leaves(self._state)
        self._replace({name: leaf.put(named[name]) for name, leaf in snapshot.leaves.items()})
        if snapshot.random is not None:
            self._untrained = Untrained.of(self._state)
            self._ratios.values = list(snapshot.ratios)
            self._random = snapshot.random
            snapshot.random.restore()

    def _replace(self, leaves: Mapping[str, Any]) -> None:
        is_untrained = self._untrained.is_still(self._state)
        named, tree = named_leaves(self._state)
        self._state = put_into(self._state, tree.unflatten([leaves.get(name, leaf) for name, leaf in named.items()]))
        self._is_unread = True
        if is_untrained:
            self._untrained.replace(self._state)

    def write(self, snapshot: JaxSnapshot, directory: Path) -> dict[str, Hashed]:
        """Write `model.safetensors`, with the weights by their paths, `state.safetensors` and `state.json` into `directory`.

        Return the hashes of the first two, by their names.
        """
        return snapshot.write(directory)

    def read(self, directory: Path) -> JaxSnapshot:
        """Return the snapshot that `write` wrote. Raises `CheckpointError` for a damaged one, or one of another state."""
        snapshot = JaxSnapshot.read(directory)
        self._check(snapshot, f"the checkpoint {directory}")
        return snapshot

    def _check(self, snapshot: JaxSnapshot, source: object) -> None:
        """Raise `CheckpointError` if `snapshot` does not fit the state."""
        differences = list(self._differences(snapshot))
        if differences:
            raise CheckpointError(
                f"JaxTrainee: {source} is of another state: {join_some(differences)}. Make the state as it was made for that "
                "run, or save into another directory."
            )

    def _differences(self, snapshot: JaxSnapshot) -> Iterator[str]:
        named = self._saved_leaves(weights_only=snapshot.weights_only)
        for name, leaf in named.items():
            if name not in snapshot.leaves:
                yield f"it lacks {name}"
            elif not snapshot.leaves[name].fits(leaf, is_weight=self._is_weight(name, leaf)):
                yield f"{name} is {snapshot.leaves[name].described} in it and {described(leaf)} in the state"
        yield from (f"the state lacks {name}, {leaf.described}" for name, leaf in snapshot.leaves.items() if name not in named)

    def restore_random(self) -> None:
        """Restore the random states of the latest snapshot again, as skipping batches has drawn from them."""
        if self._random is not None:
            self._random.restore()

    def direction(self, metric: str) -> Mode | None:
        """Return None: JAX declares no directions."""
        del metric
        return None

    def weights(self) -> dict[str, Any]:
        """Return a copy of each weight by its path, in host memory; bfloat16 becomes float32."""
        found = {
            name: in_host_memory(leaf) for name, leaf in self._saved_leaves(weights_only=True).items() if hasattr(leaf, "dtype")
        }
        return {name: array.astype("float32") if array.dtype.kind == "V" else array for name, array in found.items()}


def _entry(name: str) -> str:
    return name.partition("/")[0]


def _like(leaf: Any, value: float) -> Any:
    """Return `value` with the type and the devices of `leaf`, so that the step need not be compiled again."""
    if not hasattr(leaf, "dtype"):
        return value
    return SavedLeaf(np.array(value, leaf.dtype), SavedLeaf.of(leaf, by_reference=True).kind).put(leaf)
