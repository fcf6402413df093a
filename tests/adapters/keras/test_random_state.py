"""The state of the global generators, with each loaded framework."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import pytest

from hookcore_adapters.keras import fit
from hookcore_adapters.random_state import RandomState
from hookcore_plugins import Activations
from tests.adapters.keras.backends import BACKEND, only_on, tf

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TORCH = only_on("torch", what="PyTorch's generators")


def framework_draws() -> list[float]:
    """Return numbers from the framework's global generator, if it has one."""
    if BACKEND == "tensorflow":
        return [float(number) for number in tf.random.get_global_generator().normal([2]).numpy()]
    if BACKEND == "torch":
        import torch

        return [float(number) for number in torch.rand(2)]
    return []


def draws() -> list[float]:
    return [random.random(), float(np.random.random()), *framework_draws()]  # noqa: NPY002, S311 - the global ones


def test_what_is_drawn_after_a_restore_is_what_was_drawn_then() -> None:
    """The generators of Python, NumPy and the framework repeat their numbers after a restore, also through JSON."""
    draws()
    state = RandomState.now()
    drawn = draws()
    again = RandomState.from_state_dict(json.loads(json.dumps(state.state_dict())))
    for one in (state, again):
        draws()
        one.restore()
        assert draws() == drawn


@only_on("tensorflow", what="TensorFlow's generator")
def test_a_generator_that_is_not_there_yet_is_made() -> None:
    """If TensorFlow has another or no generator, it gets the restored one; traced functions keep theirs."""
    tf.random.set_global_generator(tf.random.Generator.from_seed(3, alg="philox"))
    state = RandomState.now()
    drawn = framework_draws()
    tf.random.set_global_generator(tf.random.Generator.from_seed(5, alg="threefry"))
    state.restore()
    assert framework_draws() == drawn
    kept = tf.random.get_global_generator()
    state.restore()
    assert tf.random.get_global_generator() is kept
    assert framework_draws() == drawn


@TORCH
def test_generators_of_the_data_are_restored_too() -> None:
    """`now(others)` and `restore(others)` also cover a DataLoader's generators."""
    import torch

    generator = torch.Generator().manual_seed(4)
    state = RandomState.from_state_dict(RandomState.now([generator]).state_dict())
    drawn = torch.rand(2, generator=generator).tolist()
    state.restore([generator])
    assert torch.rand(2, generator=generator).tolist() == drawn
    state.restore()


def damaged(change: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
    state: dict[str, Any] = json.loads(json.dumps(RandomState.now().state_dict()))
    change(state)
    return state


@pytest.mark.parametrize(
    "change",
    [
        lambda state: state.pop("python"),
        lambda state: state["numpy"].update(bit_generator="PCG64"),
        lambda state: state["numpy"]["state"].update(pos=625),
        lambda state: state["numpy"]["state"].update(key=[-1]),
        lambda state: state.update(torch=3),
        lambda state: state.update(torch={"cuda:x": "AAAA"}),
        lambda state: state.update(torch={"cpu": "not base64"}),
        lambda state: state.update(torch={"cpu": 5}),
        lambda state: state.update(others=["ü"]),
        lambda state: state.update(tensorflow=[1]),
        lambda state: state.update(tensorflow=[1, ["a"]]),
        lambda state: state.update(tensorflow=[1, [2**70]]),
        pytest.param(lambda state: state.update(torch={"cpu": "AAAA"}), marks=TORCH),
        pytest.param(lambda state: state.update(others=["AAAA"]), marks=TORCH),
    ],
)
def test_what_is_no_state_is_refused(change: Callable[[dict[str, Any]], Any]) -> None:
    """A damaged state is an error of a documented type, and changes no generator."""
    before = RandomState.now().state_dict()
    with pytest.raises((ValueError, TypeError, LookupError)):
        RandomState.from_state_dict(damaged(change))
    assert RandomState.now().state_dict() == before


def test_looking_at_activations_changes_nothing(tmp_path: Path) -> None:
    """With `Activations`, a model with dropout and shuffled data ends with the same weights as without."""
    x, y = np.ones((24, 3), "float32"), np.zeros((24, 1), "float32")

    def weights(*plugins: object) -> list[Any]:
        keras.utils.set_random_seed(3)
        model = keras.Sequential([keras.layers.Input((3,)), keras.layers.Dropout(0.5), keras.layers.Dense(1)])
        model.compile("sgd", "mse")
        fit(model, x, y, validation_data=(x, y), batch_size=6, epochs=2, verbose=0, plugins=plugins)
        return [weight.tolist() for weight in model.get_weights()]

    assert weights(Activations(tmp_path)) == weights()
