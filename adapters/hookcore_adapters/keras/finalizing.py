"""Report an exception that ends `fit` on JAX before Keras replaces the trained weights by averages."""

from __future__ import annotations

import contextlib
import functools
import sys
from typing import TYPE_CHECKING, Any, Final

import keras

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


_METHOD: Final = "finalize_variable_values"


@contextlib.contextmanager
def told_before(model: Any, failed: Callable[[BaseException], None]) -> Iterator[None]:
    """Call `failed` with an exception that ends `fit` in this `with` block, before the optimizer overwrites the weights.

    Only Keras's trainer on JAX finalizes the weights after an exception too. With `use_ema=True`, a checkpoint taken afterwards
    would contain the averages as weights, and a run that is resumed from it would differ.
    """
    optimizer: Any = getattr(model, "optimizer", None)
    if keras.backend.backend() != "jax" or not hasattr(optimizer, _METHOD):
        yield
        return
    before = sys.exc_info()[1]  # `fit` may be called in an `except`
    found = vars(optimizer).get(_METHOD)  # set by an outer `fit` of the same model, or by the user
    own = getattr(found, "own", found) or functools.partial(type(optimizer).finalize_variable_values, optimizer)

    def finalize(variables: Any) -> None:
        error = sys.exc_info()[1]
        if error is not None and error is not before:
            failed(error)
        own(variables)

    finalize.own = own  # type: ignore[attr-defined]  # for an inner `fit`
    setattr(optimizer, _METHOD, finalize)
    try:
        yield
    finally:
        vars(optimizer).pop(_METHOD, None)
        if found is not None:
            setattr(optimizer, _METHOD, found)
