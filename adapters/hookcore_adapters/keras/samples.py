"""The first samples of validation data of `fit`."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from hookcore import HookcoreError

if TYPE_CHECKING:
    from collections.abc import Iterable


def first_samples(data: Any, samples: int) -> tuple[Any, Any, Any]:
    """Return the first samples of validation data in NumPy arrays: inputs, targets and sample weights.

    `data` is anything that `fit` accepts. Raises `HookcoreError` for None, and for an iterator, which reading would use up.
    """
    if data is None:
        raise HookcoreError(
            "There is no validation data to take samples from. Give fit validation_data, or a validation_split of arrays; "
            "KerasAdapter must be told too: KerasAdapter(plugins, validation_data=...)."
        )
    x, *others = keras.utils.unpack_x_y_sample_weight(data)
    if isinstance(x, Iterator):
        raise HookcoreError(
            f"The validation data are a {type(x).__name__}, and reading samples would use them up. Give arrays, a "
            "tf.data.Dataset or a keras.utils.PyDataset."
        )
    if all(hasattr(part, "shape") for part in keras.tree.flatten(x)):
        return _first_rows((x, *others), samples)
    batches: list[tuple[Any, Any, Any]] = []
    count = 0
    for batch in _batches(x):
        batches.append(_first_rows(keras.utils.unpack_x_y_sample_weight(batch), samples - count))
        count += len(keras.tree.flatten(batches[-1][0])[0])
        if count >= samples:
            break
    if not batches:
        raise HookcoreError("The validation data have no batch to take samples from.")
    try:
        return keras.tree.map_structure(  # type: ignore[no-any-return]
            lambda *parts: None if parts[0] is None else np.concatenate(parts), *batches
        )
    except ValueError as error:
        raise HookcoreError(
            f"The batches of the validation data differ in shape, so {samples} samples from {len(batches)} of them cannot be "
            f"joined: {error}. Ask for fewer samples."
        ) from error


def _batches(data: Any) -> Iterator[Any]:
    if isinstance(data, keras.utils.PyDataset):
        numbers: Iterable[int] = itertools.count() if data.num_batches is None else range(data.num_batches)
        return (data[number] for number in numbers)
    return iter(data)


def _first_rows(parts: Any, samples: int) -> tuple[Any, Any, Any]:
    """Return the first samples of each array, in the types in which Keras passes them to a model."""

    def head(part: Any) -> Any:
        if part is None:
            return None
        try:
            rows = getattr(part, "iloc", part)[:samples]  # iloc, because pandas would read numbers as labels
        except TypeError as error:
            raise HookcoreError(
                f"No samples can be taken from validation data of type {type(part).__name__}, which has no slices."
            ) from error
        if hasattr(rows, "iloc"):
            array = rows.to_numpy()
            array = array[:, None] if array.ndim == 1 else array
        else:
            array = keras.ops.convert_to_numpy(rows)
        return array.astype(keras.config.floatx()) if array.dtype.kind == "f" else array

    return keras.tree.map_structure(head, parts)  # type: ignore[no-any-return]
