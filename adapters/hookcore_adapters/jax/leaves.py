"""The leaves of a pytree: their names, what is saved of each, and how it is restored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import attrs
import jax
import jax.numpy as jnp
import numpy as np

from hookcore import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Mapping

_HELD: Final = frozenset(
    {"bool", "float16", "bfloat16", "float32", "float64", "complex64"}
    | {f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)}
)
"""The types of arrays that safetensors can write and read."""
_FLOATS: Final = frozenset({"float16", "bfloat16", "float32"})
"""The floating types that may be restored as a wider one: not float64, which a process without 64 bits would cut."""
PUT_BACK: Final = "Assign what each step returns: trainee.state, loss = step(trainee.state, batch)"
"""What to do if the loop trains something else than the state, for messages."""
_NUMBERS: Final = (bool, int, float)
_CLASSES: Final = (jnp.bool_, jnp.integer, jnp.floating)


def named_leaves(state: Any) -> tuple[dict[str, Any], Any]:
    """Return the leaves of `state` by their paths, as in `params/Dense_0/kernel`, and the structure to rebuild it from."""
    pairs, tree = jax.tree_util.tree_flatten_with_path(state)
    named = {}
    for path, leaf in pairs:
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        if name in named:
            raise CheckpointError(
                f"JaxTrainee: two leaves of the state have the same path, {name!r}. Rename the key that has a slash in it."
            )
        named[name] = leaf
    return named, tree


def is_key(leaf: Any) -> bool:
    """Return whether `leaf` is an array of random keys, as `jax.random.key` makes them."""
    return isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def is_saved(leaf: Any) -> bool:
    """Return whether `leaf` is an array or a number, which are saved. Others, such as functions, are not."""
    return isinstance(leaf, (jax.Array, np.ndarray, np.generic, *_NUMBERS))


def reason_not_saved(leaf: Any) -> str | None:
    """Return why `leaf` cannot be saved, as the rest of a sentence that begins with its path, or None."""
    if not is_saved(leaf):
        known = callable(leaf) or isinstance(leaf, str | bytes | np.dtype)
        return None if known else f"is of type {type(leaf).__name__}, and only arrays and numbers can be saved"
    if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
        return "is spread over several processes, and JaxTrainee works in one"
    if is_key(leaf):
        return (
            None
            if isinstance(jax.random.key_impl(leaf), str)
            else "is a random key with an implementation that has no name, so it could not be restored"
        )
    held = isinstance(leaf, _NUMBERS) or leaf.dtype.name in _HELD
    return None if held else f"is an array of {leaf.dtype.name}, which safetensors cannot restore. Cast it to another type"


@attrs.frozen(eq=False)
class SavedLeaf:
    """Hold the value of a leaf at one moment."""

    value: Any = attrs.field(repr=False)
    """An array in host memory, JAX's own array if it is held by reference, or a number."""
    kind: str = "array"
    """`array`, `key` and `weak` are JAX's: `weak` is an array that was computed from Python's numbers, and takes the type of
    other operands. `numpy` and `number` are not JAX's."""
    impl: str | None = None
    """The name of the algorithm of a random key."""

    @classmethod
    def of(cls, leaf: Any, *, by_reference: bool) -> SavedLeaf:
        """Return `leaf` as it is now, copied, unless it is JAX's array and to be held `by_reference`."""
        if not hasattr(leaf, "dtype"):
            return cls(leaf, "number")
        if not isinstance(leaf, jax.Array):
            return cls(np.array(leaf, order="C"), "numpy")  # safetensors ignores strides
        impl = jax.random.key_impl(leaf) if is_key(leaf) else None
        kind = "key" if impl else "weak" if leaf.weak_type else "array"
        return cls(leaf if by_reference else in_host_memory(leaf), kind, impl)

    def host(self, name: str) -> Any:
        """Return the array in host memory. Raises `CheckpointError` if it was held by reference, and has been donated since."""
        if not isinstance(self.value, jax.Array):
            return self.value
        if self.value.is_deleted():
            raise CheckpointError(
                f"JaxTrainee: {name} was deleted before it was written, so a step donates it. Leave out donates=False."
            )
        return in_host_memory(self.value)

    def fits(self, like: Any, *, is_weight: bool) -> bool:
        """Return whether it can replace the leaf `like`.

        Type and shape must be equal, or differ only as the first update changes them. A number and an array without dimensions
        can replace each other: the step of Flax's TrainState is the number 0 at first. A leaf that is not a weight may have a
        wider floating type: for parameters in bfloat16, the moments of `optax.adam` are bfloat16 at first, and float32 after an
        update with a rate in float32.
        """
        own, other = self.described, described(like)
        if own == other or (not is_weight and _is_widened(own, other)):
            return True
        if (self.kind == "number") == (not hasattr(like, "dtype")) or "[]" not in own + other or "key" in own + other:
            return False
        own, other = own.removesuffix("[]"), other.removesuffix("[]")
        return any(jnp.issubdtype(own, one) and jnp.issubdtype(other, one) for one in _CLASSES)

    @property
    def described(self) -> str:
        """Its type and shape."""
        if self.kind in {"number", "numpy"} or isinstance(self.value, jax.Array):
            return described(self.value)
        if self.kind == "key":
            return f"key<{self.impl}>{list(self.value.shape[:-1])}"
        return f"{self.value.dtype.name}{list(self.value.shape)}"  # as it was saved, maybe by a process with 64 bits

    def put(self, like: Any) -> Any:
        """Return it as a leaf that replaces `like`: with its sharding if `like` is committed to devices, else uncommitted."""
        if self.kind == "number" or isinstance(self.value, jax.Array):
            return self.value
        value = self.value
        if self.kind == "numpy":
            return value.copy()[()] if isinstance(like, np.generic) else value.copy()
        if self.kind == "weak":
            value = jnp.broadcast_to(jnp.asarray(np.zeros((), value.dtype).item()), value.shape).at[...].set(value)
        elif self.kind == "key":
            value = jax.random.wrap_key_data(jnp.array(value), impl=self.impl)
        if isinstance(like, jax.Array) and like.committed:
            return jax.device_put(value, like.sharding)
        return jnp.array(value) if self.kind == "array" else value


def _is_widened(own: str, other: str) -> bool:
    """Return whether `own`, a type and shape, differs from `other` only in a wider floating type."""
    (wide, _, shape), (narrow, _, expected) = own.partition("["), other.partition("[")
    return shape == expected and {wide, narrow} <= _FLOATS and jnp.promote_types(wide, narrow).name == wide


def take(named: Mapping[str, Any], *, by_reference: bool) -> dict[str, SavedLeaf]:
    """Return the leaves that are saved, as they are now. Raises `CheckpointError` for an array that was donated."""
    named = {name: leaf for name, leaf in named.items() if is_saved(leaf)}
    for name, leaf in named.items():
        if isinstance(leaf, jax.Array):
            if leaf.is_deleted():
                raise CheckpointError(
                    f"JaxTrainee: {name} has been deleted, because a step donates its arguments and the state was not replaced "
                    f"afterwards. {PUT_BACK}."
                )
            if not by_reference:
                leaf.copy_to_host_async()  # start all copies before waiting for the first
    return {name: SavedLeaf.of(leaf, by_reference=by_reference) for name, leaf in named.items()}


def in_host_memory(leaf: Any) -> Any:
    """Return a contiguous copy of an array of JAX's; for random keys, of their data."""
    # Not `ascontiguousarray`, which adds a dimension to a scalar, nor `asarray`, which on a CPU shares JAX's own memory.
    return np.array(jax.random.key_data(leaf) if is_key(leaf) else leaf, order="C")


def described(leaf: Any) -> str:
    """Return the type and shape of `leaf`, as in `float32[3, 1]`; a NumPy array has the type that JAX gives it."""
    if is_key(leaf):
        return f"key<{jax.random.key_impl(leaf)}>{list(leaf.shape)}"
    if hasattr(leaf, "dtype"):
        return f"{jax.dtypes.canonicalize_dtype(leaf.dtype).name}{list(leaf.shape)}"
    return f"{type(leaf).__name__}[]"
