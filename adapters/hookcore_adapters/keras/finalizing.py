"""The end of a `fit` on JAX that an exception ends: Keras puts averages in place of the trained weights, and then tells of it."""

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
    """Within, call `failed` with an exception that ends Keras's `fit` before the optimizer overwrites the weights.

    Only Keras's trainer on JAX finalizes the weights after an exception too. A checkpoint of then would hold the averages of an
    optimizer with `use_ema=True` as the weights, and the run that is resumed from it would be another.
    """
    optimizer: Any = getattr(model, "optimizer", None)
    if keras.backend.backend() != "jax" or not hasattr(optimizer, _METHOD):
        yield
        return
    before = sys.exc_info()[1]  # `fit` may be called in an `except`
    found = vars(optimizer).get(_METHOD)  # of an outer `fit` of the same model, or of a user's
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
