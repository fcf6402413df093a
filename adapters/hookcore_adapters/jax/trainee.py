"""The state of a loop with JAX as plugins see it: learning rate, snapshots, saving, and the weights."""

from __future__ import annotations

import logging
import re
import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import attrs
import jax
import numpy as np

from hookcore import CheckpointError, HookcoreError
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
from hookcore_adapters.random_state import RandomState
from hookcore_adapters.rate_ratios import RateRatios, reference

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from hookcore.store import Hashed
    from hookcore.trainee import Capability, Mode

logger = logging.getLogger("hookcore")

WEIGHTS_IN: Final = ("params", "batch_stats", "model")
"""Where the weights are unless told: in Flax's variables, in its TrainState, and by the name that its guides give a module."""
_RATE: Final = re.compile(r"(.*/)?hyperparams/learning_rate(/value)?")
"""The path of a rate in the state of `optax.inject_hyperparams`, wherever that is; Flax's variables add the last part."""
_SCHEDULE: Final = re.compile(r"(.*/)?hyperparams_states/learning_rate(/.*)?")
_MAX_DIFFERENCES: Final = 5
"""How many differences an error message names."""
_INJECT: Final = "optax.inject_hyperparams(optax.adam)(learning_rate=0.001)"


@attrs.define(eq=False)
class JaxTrainee:
    """`hookcore.Trainee` for the state of a loop of your own with JAX, which the loop takes from here and puts back in each step.

        trainee = JaxTrainee({"params": params, "opt_state": optimizer.init(params), "key": jax.random.key(0)})
        ...
        trainee.state, loss = step(trainee.state, batch)

    * `state`: a pytree of all that training continues with, such as a dict or Flax's TrainState. Objects of `flax.nnx` in it,
      such as a module and its optimizer, are changed in place, so a loop that does so too need not put them back. Arrays, keys
      of random numbers and numbers are saved; other leaves, such as functions, stay as they are.
    * `weights_in`: the keys, attributes or indices of the state under which the weights are; by default those of `"params"`,
      `"batch_stats"` and `"model"` that it has. Keys of random numbers are no weights.
    * `donates`: whether your step may write to what it is given, as with `jax.jit(donate_argnums=...)`. If you say that it does
      not, a snapshot holds the arrays themselves instead of copies in host memory, and training does not wait for it.

    The learning rate is that of `optax.inject_hyperparams`. If the state has several, as with `optax.partition`, it is the first
    above 0, and the others keep their ratios to it.
    """

    _state: Any = attrs.field(alias="state", repr=False)
    weights_in: Sequence[str | int] | None = attrs.field(default=None, kw_only=True)
    donates: bool = attrs.field(default=True, kw_only=True)
    framework: str = attrs.field(default="jax", init=False)
    _entries: frozenset[str] = attrs.field(init=False, repr=False)
    _ratios: RateRatios = attrs.field(init=False, factory=RateRatios, repr=False)
    _random: RandomState | None = attrs.field(init=False, default=None, repr=False)
    """The random state that was restored last."""
    _is_unread: bool = attrs.field(init=False, default=False, repr=False)
    """Whether the loop has yet to take the state that was put here by others."""
    _first: list[weakref.ref[Any]] = attrs.field(init=False, repr=False)
    """The arrays of the first state, or of the one that was restored, until the next snapshot."""

    @_entries.default
    def _find_entries(self) -> frozenset[str]:
        named, _ = named_leaves(self._state)
        there = list(dict.fromkeys(_entry(name) for name, leaf in named.items() if is_saved(leaf) and not is_key(leaf)))
        given = [one for one in WEIGHTS_IN if one in there] if self.weights_in is None else self.weights_in
        if not isinstance(given, list | tuple) or not given or not set(map(str, given)) <= set(there):
            has = ", ".join(map(repr, there[:20])) or "no arrays"
            expected = f"a list of keys, attributes or indices under which the state has its weights: it has {has}"
            reject(self, "weights_in", self.weights_in, expected)
        return frozenset(map(str, given))

    @_first.default
    def _refer_to_arrays(self) -> list[weakref.ref[Any]]:
        return [weakref.ref(leaf) for leaf in jax.tree.leaves(self._state) if isinstance(leaf, jax.Array)]

    @property
    def state(self) -> Any:
        """The pytree. Take it from here for each step, as resuming and plugins put another in its place, and put back the next.

        Setting it raises `HookcoreError` if resuming or a plugin has put one there that was not taken since.
        """
        self._is_unread = False
        return self._state

    @state.setter
    def state(self, state: Any) -> None:
        if self._is_unread:
            raise HookcoreError(
                "JaxTrainee: the state was set, but the one that resuming or a plugin has put there was not taken before, so the "
                "loop trains something else. Take it for each step: trainee.state = step(trainee.state, batch)."
            )
        self._state = state

    # The learning rate

    @property
    def learning_rate(self) -> float:
        """The first rate above 0 in the optimizer's state. Setting it keeps the ratios of the others to it.

        Raises `AttributeError` if the state has no rate, and on setting it if a schedule owns it.
        """
        rates = self._rates()
        if not rates:
            raise AttributeError(f"The learning rate is not known: {self._reason_no_rate()}.")
        return reference(map(float, rates.values()))

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        reason = self._reason_no_rate()
        if reason is not None:
            raise AttributeError(f"The learning rate cannot be set to {value!r}: {reason}.")
        rates = self._rates()
        scaled = self._ratios.scaled(value, list(map(float, rates.values())))
        new = {name: _like(leaf, rate) for (name, leaf), rate in zip(rates.items(), scaled, strict=True)}
        self._replace(new)

    def _rates(self) -> dict[str, Any]:
        named, _ = named_leaves(self._state)
        return {name: leaf for name, leaf in named.items() if _RATE.fullmatch(name) and np.ndim(leaf) == 0}

    def _reason_no_rate(self) -> str | None:
        if not self._rates():
            return f"the optimizer's state holds no learning rate: make the optimizer with {_INJECT}"
        if any(_SCHEDULE.fullmatch(name) for name in named_leaves(self._state)[0]):
            return (
                "the optimizer's learning rate comes from a schedule, which would overwrite what a plugin sets. Give "
                "optax.inject_hyperparams a number instead, or leave out this plugin"
            )
        return None

    # Snapshots and checkpoints

    def lacks(self, capability: Capability) -> str | None:
        """Return why a learning rate cannot be set, or the state not be saved, with the path of the leaf; None if it can."""
        if capability == "learning_rate":
            return self._reason_no_rate()
        if capability in {"snapshot", "checkpoint"}:
            reasons = ((name, reason_not_saved(leaf)) for name, leaf in named_leaves(self._state)[0].items())
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
        """Return the weights or, if `optimizer`, the whole state: copies in host memory, if the loop may donate its arrays."""
        named = self._saved_leaves(weights_only=not optimizer)
        self._warn_if_never_set()
        weights = {name for name, leaf in named.items() if self._is_weight(name, leaf)}
        if not weights:
            there = ", ".join(map(repr, dict.fromkeys(map(_entry, named_leaves(self._state)[0]))))
            raise CheckpointError(
                f"JaxTrainee: the state has no {' or '.join(map(repr, sorted(self._entries)))} any longer, it has {there}. If "
                "the step returns more than the next state, put back that alone: trainee.state, loss = step(...)."
            )
        leaves = take(named, by_reference=not self.donates)
        if not optimizer:
            return JaxSnapshot(leaves, weights)
        return JaxSnapshot(leaves, weights, list(self._ratios.values), RandomState.now())

    def _warn_if_never_set(self) -> None:
        first, self._first = self._first, []
        if first:
            now = {id(leaf) for leaf in jax.tree.leaves(self._state)}
            if all(id(ref()) in now for ref in first):
                logger.warning(
                    "the state of JaxTrainee is saved as it was before training. If it was trained, assign what the step "
                    "returns: trainee.state = step(trainee.state, batch)"
                )

    def restore(self, snapshot: JaxSnapshot) -> None:
        """Put back what `snapshot` holds. Raises `CheckpointError`, and changes nothing, if it is of another state."""
        self._check(snapshot, "The snapshot")
        named, _ = named_leaves(self._state)
        self._replace({name: leaf.put(named[name]) for name, leaf in snapshot.leaves.items()})
        if snapshot.random is not None:
            self._first = self._refer_to_arrays()
            self._ratios.values = list(snapshot.ratios)
            self._random = snapshot.random
            snapshot.random.restore()

    def _replace(self, leaves: Mapping[str, Any]) -> None:
        named, tree = named_leaves(self._state)
        self._state = put_into(self._state, tree.unflatten([leaves.get(name, leaf) for name, leaf in named.items()]))
        self._is_unread = True

    def write(self, snapshot: JaxSnapshot, directory: Path) -> dict[str, Hashed]:
        """Write `snapshot`: `model.safetensors`, with the weights by their paths in the state, and the rest beside it."""
        return snapshot.write(directory)

    def read(self, directory: Path) -> JaxSnapshot:
        """Return the snapshot that `write` wrote. Raises `CheckpointError`, which names the differences, if it is of others."""
        snapshot = JaxSnapshot.read(directory)
        self._check(snapshot, directory)
        return snapshot

    def _check(self, snapshot: JaxSnapshot, source: object) -> None:
        """Raise `CheckpointError` if `snapshot` does not fit the state."""
        differences = list(self._differences(snapshot))
        if differences:
            more = f"; and {len(differences) - _MAX_DIFFERENCES} more" if len(differences) > _MAX_DIFFERENCES else ""
            raise CheckpointError(f"{source} is of another state: {'; '.join(differences[:_MAX_DIFFERENCES])}{more}.")

    def _differences(self, snapshot: JaxSnapshot) -> Iterator[str]:
        named = self._saved_leaves(weights_only=snapshot.weights_only)
        for name, leaf in named.items():
            if name not in snapshot.leaves:
                yield f"{name} is not in it"
            elif not snapshot.leaves[name].fits(leaf, is_weight=self._is_weight(name, leaf)):
                yield f"{name} is {snapshot.leaves[name].described} in it and {described(leaf)} in the state"
        yield from (
            f"{name}, {leaf.described}, is not in the state" for name, leaf in snapshot.leaves.items() if name not in named
        )

    def restore_random(self) -> None:
        """Put back the random numbers that were restored last: reading batches that were trained before has drawn others."""
        if self._random is not None:
            self._random.restore()

    def direction(self, metric: str) -> Mode | None:
        """Return None: JAX declares no directions."""
        del metric
        return None

    def weights(self) -> dict[str, Any]:
        """Return a copy of each weight by its path, in host memory; those in bfloat16 as float32."""
        found = {
            name: in_host_memory(leaf) for name, leaf in self._saved_leaves(weights_only=True).items() if hasattr(leaf, "dtype")
        }
        return {name: array.astype("float32") if array.dtype.kind == "V" else array for name, array in found.items()}


def _entry(name: str) -> str:
    return name.partition("/")[0]


def _like(leaf: Any, value: float) -> Any:
    """Return `value` with the type of `leaf`, and in its place: the step that was compiled takes it."""
    if not hasattr(leaf, "dtype"):
        return value
    return SavedLeaf(np.array(value, leaf.dtype), SavedLeaf.of(leaf, by_reference=True).kind).put(leaf)
