"""The state of the global random generators, from which data and augmentations draw. Layers keep their own."""

from __future__ import annotations

import base64
import random
import re
import sys
from typing import TYPE_CHECKING, Any, Final

import attrs
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Self

_TWISTER_WORDS: Final = 624


@attrs.frozen(eq=False)
class RandomState:
    """The state of the global generators of Python, NumPy and, if they are loaded, PyTorch and TensorFlow.

    NumPy's global generator is left out if it is not the default one (MT19937), and TensorFlow's before its first use.
    """

    python: Any = attrs.field(repr=False)
    numpy: Any = attrs.field(repr=False)
    torch: Mapping[str, bytes] = attrs.field(factory=dict, repr=False)
    """The state of PyTorch's generator of each device, by the device's name."""
    tensorflow: Any = attrs.field(default=None, repr=False)
    """The algorithm of `tf.random.get_global_generator()`, and its state as a list of integers."""
    others: Sequence[bytes] = attrs.field(default=(), repr=False)
    """The states of PyTorch's generators that are not global, such as that of a DataLoader."""

    @classmethod
    def now(cls, others: Sequence[Any] = ()) -> Self:
        """Return the present state, with that of `others`, each a `torch.Generator`."""
        numpy = np.random.get_state(legacy=False)  # noqa: NPY002 - it is what other code draws from
        own = [generator.get_state().numpy().tobytes() for generator in others]
        return cls(random.getstate(), numpy, _torch_states(), _tensorflow_state(), own)

    def restore(self, others: Sequence[Any] = ()) -> None:
        """Set the generators, and `others`, to this state.

        Frameworks that are not loaded and devices that this machine lacks are skipped.
        """
        random.setstate(self.python)
        if self.numpy is not None:
            np.random.set_state(self.numpy)  # noqa: NPY002
        for device, state in self.torch.items():
            _set_torch_state(device, state)
        if self.tensorflow is not None:
            _set_tensorflow_state(*self.tensorflow)
        for generator, own in zip(others, self.others, strict=False):  # the data may have changed
            generator.set_state(_as_tensor(own))

    def state_dict(self) -> dict[str, Any]:
        """Return the state as values that JSON can hold."""
        version, numbers, spare = self.python
        state = self.numpy
        if state is not None and state["bit_generator"] == "MT19937":
            state = {**state, "state": {"key": state["state"]["key"].tolist(), "pos": state["state"]["pos"]}}
        else:
            state = None
        held: dict[str, Any] = {"python": [version, list(numbers), spare], "numpy": state}
        if self.torch:
            held["torch"] = {device: _as_text(own) for device, own in self.torch.items()}
        if self.tensorflow is not None:
            held["tensorflow"] = self.tensorflow
        if self.others:
            held["others"] = [_as_text(own) for own in self.others]
        return held

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Any]) -> Self:
        """Return the state in a result of `state_dict`. Raises `ValueError`, `TypeError` or `LookupError` for anything else."""
        version, numbers, spare = state["python"]
        mersenne = state["numpy"]
        torch, tensorflow, others = state.get("torch", {}), state.get("tensorflow"), state.get("others", [])
        if not isinstance(torch, dict) or not all(re.fullmatch(r"cpu|mps|cuda:\d+", device) for device in torch):
            raise TypeError(f"no states of PyTorch's generators: {torch!r}")
        try:
            if mersenne is not None:
                key, index = np.array(mersenne["state"]["key"], dtype="uint32"), mersenne["state"]["pos"]
                if mersenne["bit_generator"] != "MT19937" or not 0 <= index <= _TWISTER_WORDS:  # NumPy would read past the end
                    raise ValueError(f"no state of NumPy's generator: {mersenne['bit_generator']!r} at {index!r}")
                mersenne = {**mersenne, "state": {"key": key, "pos": index}}
                np.random.RandomState().set_state(mersenne)
            by_device = {device: base64.b64decode(own, validate=True) for device, own in torch.items()}
            if tensorflow is not None:
                algorithm, numbers_of_it = tensorflow
                tensorflow = [int(algorithm), np.array(numbers_of_it, dtype="int64").tolist()]
            own = [base64.b64decode(text, validate=True) for text in others]
            restored = cls((version, tuple(numbers), spare), mersenne, by_device, tensorflow, own)
            random.Random().setstate(restored.python)  # noqa: S311 - only checks that the state is valid
            for text in [*own, *(by_device[device] for device in by_device if device == "cpu")]:
                _check_torch_state(text)
        except OverflowError as error:
            raise ValueError(*error.args) from error
        return restored


def _torch_states() -> dict[str, bytes]:
    torch: Any = sys.modules.get("torch")
    if torch is None:
        return {}
    states = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_initialized():
        states |= {f"cuda:{number}": state for number, state in enumerate(torch.cuda.get_rng_state_all())}
    if torch.backends.mps.is_available():
        states["mps"] = torch.mps.get_rng_state()
    return {device: state.numpy().tobytes() for device, state in states.items()}


def _set_torch_state(device: str, state: bytes) -> None:
    torch: Any = sys.modules.get("torch")
    if torch is None:
        return
    values = _as_tensor(state)
    if device == "cpu":
        torch.set_rng_state(values)
    elif device == "mps" and torch.backends.mps.is_available():
        torch.mps.set_rng_state(values)
    elif device.startswith("cuda:") and int(device.removeprefix("cuda:")) < torch.cuda.device_count():
        torch.cuda.set_rng_state(values, device)


def _check_torch_state(state: bytes) -> None:
    """Raise `ValueError` if PyTorch is loaded and `state` is not a state of its CPU generator."""
    torch: Any = sys.modules.get("torch")
    if torch is None:
        return
    try:
        torch.Generator().set_state(_as_tensor(state))
    except (RuntimeError, TypeError, ValueError) as error:
        raise ValueError(f"no state of PyTorch's generator: {error}") from error


def _as_tensor(state: bytes) -> Any:
    torch: Any = sys.modules["torch"]
    return torch.frombuffer(bytearray(state), dtype=torch.uint8)


def _as_text(state: bytes) -> str:
    return base64.b64encode(state).decode()


def _tensorflow_state() -> list[Any] | None:
    generator = getattr(sys.modules.get("tensorflow.python.ops.stateful_random_ops"), "global_generator", None)
    return None if generator is None else [int(generator.algorithm), generator.state.numpy().tolist()]


def _set_tensorflow_state(algorithm: int, state: list[int]) -> None:
    tensorflow: Any = sys.modules.get("tensorflow")
    if tensorflow is None:
        return
    generator = tensorflow.random.get_global_generator()
    if generator.algorithm == algorithm and tuple(generator.state.shape) == (len(state),):
        generator.state.assign(state)  # functions that were traced hold this generator
    else:
        tensorflow.random.set_global_generator(tensorflow.random.Generator.from_state(state, algorithm))
