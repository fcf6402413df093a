"""Drive Keras's callback protocol by hand: the same fit for Keras's callback and the drop-in, with the effects of each."""

from __future__ import annotations

import contextlib
import functools
import io
import warnings
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import attrs
import keras
from hypothesis import settings

from hookcore_adapters.keras import callbacks
from tests.adapters.keras.backends import BACKEND

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

EXAMPLES: Final = 20_000 if settings.get_current_profile_name() == "long" else 2_000 if BACKEND == "tensorflow" else 500

built: Final[Counter[str]] = Counter()
"""The number of instances of each drop-in."""
ran: Final[Counter[str]] = Counter()
"""The number of examples that were compared completely."""


def counted(name: str) -> Callable[[Callable[[Any], None]], Callable[[Any], None]]:
    """Return a decorator for the comparison of one example, which counts it for the callback of that name."""

    def decorate(check: Callable[[Any], None]) -> Callable[[Any], None]:
        @functools.wraps(check)
        def counting(example: Any) -> None:
            check(example)
            ran[name] += 1

        return counting

    return decorate


def stock(name: str, *args: Any, **kwargs: Any) -> Any:
    """Return Keras's callback of that name."""
    return getattr(keras.callbacks, name)(*args, **kwargs)


def drop_in(name: str, *args: Any, **kwargs: Any) -> Any:
    """Return the drop-in of that name."""
    built[name] += 1
    return getattr(callbacks, name)(*args, **kwargs)


class StandIn:
    """The parts of a model that callbacks use. Its only weight is the number of trained batches."""

    metrics: Final[list[Any]] = []

    def __init__(self, optimizer: Any = None, save: Callable[[Any], None] | None = None) -> None:
        self.optimizer = optimizer
        self.stop_training = False
        self.batches = 0
        self._save = save

    def save(self, path: Any, *, overwrite: bool = True) -> None:
        assert overwrite
        if self._save is not None:
            self._save(path)

    save_weights = save

    def get_weights(self) -> list[int]:
        return [self.batches]

    def set_weights(self, weights: list[int]) -> None:
        [self.batches] = weights


@attrs.frozen
class Epoch:
    """The logs of an epoch and of its batches."""

    logs: dict[str, Any]
    batches: Sequence[dict[str, Any]] = ({},)


def fit(
    callback: Any,
    model: Any,
    epochs: Sequence[Epoch],
    look: Callable[[Any], Any] = lambda _: None,
    *,
    first: int = 0,
    steps: int | None = None,
) -> list[str]:
    """Call a callback like Keras's trainer in one fit, and return its effects after every epoch and at the end.

    These are the stop, the weights, the logs, the result of `look` for the callback, and the messages.
    """
    seen = []
    logs: dict[str, Any] = {}
    model.stop_training = False
    callback.set_model(model)
    callback.set_params({"verbose": 0, "epochs": first + len(epochs), "steps": steps})
    with said() as messages:
        callback.on_train_begin({})
        for number, epoch in enumerate(epochs, first):
            callback.on_epoch_begin(number, {})
            for batch, of_batch in enumerate(epoch.batches):
                callback.on_train_batch_begin(batch, logs={})
                model.batches += 1
                callback.on_train_batch_end(batch, logs=dict(of_batch))
                if model.stop_training:
                    break
            logs = dict(sorted(epoch.logs.items()))
            callback.on_epoch_end(number, logs)
            seen.append(repr((number, batch, model.stop_training, logs, look(callback))))
            if model.stop_training:
                break
        callback.on_train_end(logs)
    return [*seen, repr((model.get_weights(), look(callback))), *messages]


@contextlib.contextmanager
def said() -> Iterator[list[str]]:
    """Collect the printed text and the warnings in this `with` block."""
    messages: list[str] = []
    with warnings.catch_warnings(record=True) as caught, contextlib.redirect_stdout(io.StringIO()) as printed:
        warnings.simplefilter("always")
        yield messages
    # NumPy 2 deprecates the conversion of tensors in Keras's TensorFlow backend.
    messages += [str(warning.message) for warning in caught if warning.category is not DeprecationWarning]
    messages += printed.getvalue().splitlines()


def epochs_of(monitor: str, values: Iterable[float | None]) -> list[Epoch]:
    """Return epochs of one batch with one metric."""
    return [Epoch({"lonely": 1.0} | ({} if value is None else {monitor: value})) for value in values]
