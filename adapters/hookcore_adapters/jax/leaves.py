"""The leaves of a pytree: by which names, what is saved of each, and how it is put back."""

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
"""The types of arrays that safetensors writes, and reads again."""
_FLOATS: Final = frozenset({"float16", "bfloat16", "float32"})
"""Not float64, which a process without 64 bits would cut."""
_NUMBERS: Final = (bool, int, float)
_CLASSES: Final = (jnp.bool_, jnp.integer, jnp.floating)


def named_leaves(state: Any) -> tuple[dict[str, Any], Any]:
    """Return the leaves of `state` by their paths, as in `params/Dense_0/kernel`, and what makes a pytree of them again."""
    pairs, tree = jax.tree_util.tree_flatten_with_path(state)
    named = {}
    for path, leaf in pairs:
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        if name in named:
            raise CheckpointError(f"JaxTrainee: two leaves of the state have the path {name!r}. Rename a key that has a slash.")
        named[name] = leaf
    return named, tree


def is_key(leaf: Any) -> bool:
    """Return whether `leaf` is an array of keys of random numbers, as `jax.random.key` makes them."""
    return isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def is_saved(leaf: Any) -> bool:
    """Return whether `leaf` is saved: an array or a number. Others, such as functions, stay as they are."""
    return isinstance(leaf, (jax.Array, np.ndarray, np.generic, *_NUMBERS))


def reason_not_saved(leaf: Any) -> str | None:
    """Return what keeps `leaf` from being saved, as the end of a sentence that begins with its name, or None."""
    if not is_saved(leaf):
        known = callable(leaf) or isinstance(leaf, str | bytes | np.dtype)
        return None if known else f"is of type {type(leaf).__name__}, which is neither an array nor a number"
    if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
        return "is spread over several processes, and JaxTrainee is for one"
    if is_key(leaf):
        return None if isinstance(jax.random.key_impl(leaf), str) else "is a key of an implementation without a name"
    held = isinstance(leaf, _NUMBERS) or leaf.dtype.name in _HELD
    return None if held else f"is an array of {leaf.dtype.name}, which safetensors does not read again"


@attrs.frozen(eq=False)
class SavedLeaf:
    """A leaf at one moment."""

    value: Any = attrs.field(repr=False)
    """An array in host memory, JAX's own if it is held by reference, or a number."""
    kind: str = "array"
    """`array` and `key` are JAX's, and so is `weak`, an array that was computed from Python's numbers and has no type of its own
    beside others; `numpy` and `number` are not."""
    impl: str | None = None
    """How a key makes random numbers."""

    @classmethod
    def of(cls, leaf: Any, *, by_reference: bool) -> SavedLeaf:
        """Return `leaf` as it is now. What is JAX's is not copied if it is held by reference."""
        if not hasattr(leaf, "dtype"):
            return cls(leaf, "number")
        if not isinstance(leaf, jax.Array):
            return cls(np.array(leaf, order="C"), "numpy")  # safetensors writes the memory as it is
        impl = jax.random.key_impl(leaf) if is_key(leaf) else None
        kind = "key" if impl else "weak" if leaf.weak_type else "array"
        return cls(leaf if by_reference else in_host_memory(leaf), kind, impl)

    def host(self, name: str) -> Any:
        """Return the array in host memory, for files. Raises `CheckpointError` if it was held by reference, and donated."""
        if not isinstance(self.value, jax.Array):
            return self.value
        if self.value.is_deleted():
            raise CheckpointError(f"JaxTrainee: {name} was deleted before it was written: leave out donates=False.")
        return in_host_memory(self.value)

    def fits(self, like: Any, *, is_weight: bool) -> bool:
        """Return whether it can take the place of the leaf `like`.

        Type and shape are equal, or differ as the first update changes them. A number and an array without dimensions take each
        other's place: the step of Flax's TrainState is the number 0 at first. What is no weight may be of a wider floating type:
        for parameters in bfloat16, `optax.adam` makes its moments in bfloat16, and with a rate in float32 of the type of that.
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
        return f"{self.value.dtype.name}{list(self.value.shape)}"  # exactly: another process may have other types, of 64 bits

    def put(self, like: Any) -> Any:
        """Return it as a leaf in the place of `like`: on its devices, if that was put there, and as freely movable as that."""
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
    """Return whether `own`, a type and shape, is `other` with a floating type that holds all of its values."""
    (wide, _, shape), (narrow, _, expected) = own.partition("["), other.partition("[")
    return shape == expected and {wide, narrow} <= _FLOATS and jnp.promote_types(wide, narrow).name == wide


def take(named: Mapping[str, Any], *, by_reference: bool) -> dict[str, SavedLeaf]:
    """Return the leaves that are saved, as they are now. Raises `CheckpointError` for an array that was donated."""
    named = {name: leaf for name, leaf in named.items() if is_saved(leaf)}
    for name, leaf in named.items():
        if isinstance(leaf, jax.Array):
            if leaf.is_deleted():
                raise CheckpointError(
                    f"JaxTrainee: {name} has been deleted, as a step was given it to write to. Assign what the step returns: "
                    "trainee.state = step(trainee.state, batch)."
                )
            if not by_reference:
                leaf.copy_to_host_async()  # all at once, before the first is waited for
    return {name: SavedLeaf.of(leaf, by_reference=by_reference) for name, leaf in named.items()}


def in_host_memory(leaf: Any) -> Any:
    """Return a contiguous copy of an array of JAX's, or of the data of its keys."""
    # Not `ascontiguousarray`, which gives what is without dimensions one. On a CPU `asarray` is JAX's own memory.
    return np.array(jax.random.key_data(leaf) if is_key(leaf) else leaf, order="C")


def described(leaf: Any) -> str:
    """Return the type and shape of `leaf`, as in `float32[3, 1]`; for an array of NumPy's, those that JAX makes of it."""
    if is_key(leaf):
        return f"key<{jax.random.key_impl(leaf)}>{list(leaf.shape)}"
    if hasattr(leaf, "dtype"):
        return f"{jax.dtypes.canonicalize_dtype(leaf.dtype).name}{list(leaf.shape)}"
    return f"{type(leaf).__name__}[]"
