"""What the drop-in callbacks have in common: a Keras callback that runs one plugin."""

from __future__ import annotations

import logging
import math
import os
import sys
import warnings
import weakref
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, Literal

import attrs
import keras

from hookcore import CapabilityError, Engine, HookcoreError, MetricError
from hookcore_adapters.keras.adapter import KerasAdapter

if TYPE_CHECKING:
    from collections.abc import Callable

    from hookcore import Monitor, Run

    Logs = Mapping[str, Any] | None

_LISTED: Final[weakref.WeakKeyDictionary[Any, list[weakref.ref[Listed]]]] = weakref.WeakKeyDictionary()
"""The callbacks of each model, in the order in which Keras was given them: it does not tell them of one another."""


class Listed(keras.callbacks.Callback):  # type: ignore[misc]  # Keras ships no types
    """A callback that knows those of this package beside it, for `BackupAndRestore`, which saves their state."""

    afterwards: Callable[[], None] | None = None
    """What is to be done after this callback's next `on_epoch_end`."""

    def set_model(self, model: Any) -> None:
        """Keras's. It calls this for each callback before any training begins."""
        super().set_model(model)
        others = [one for one in _LISTED.get(model, []) if one() not in {None, self}]
        _LISTED[model] = [*others, weakref.ref(self)]
        self.afterwards = None

    def listed(self) -> list[Listed]:
        """The callbacks of the same `fit`, in order, this one included."""
        there = [one() for one in _LISTED.get(self.model, [])]
        # Keras gives all callbacks of a fit the same dict.
        return [one for one in there if one is not None and one.params is self.params]

    def stateful(self) -> dict[str, Listed]:
        """The callbacks of the same `fit` that keep state, by a name that is the same in the process that goes on."""
        numbers: Counter[str] = Counter()
        named = {}
        for one in self.listed():
            if one.state_dict() is not None:
                numbers[type(one).__name__] += 1
                named[f"{type(one).__name__}_{numbers[type(one).__name__]}"] = one
        return named

    def state_dict(self) -> Mapping[str, Any] | None:
        """The state to go on from after a restart, or None where there is none."""
        return None

    def carry(self, state: Mapping[str, Any]) -> None:
        """Go on from `state`, from a `state_dict` before the restart, in the fit that begins now."""

    def epoch_ended(self) -> None:
        """Do what waits for the end of this callback's epoch."""
        then, self.afterwards = self.afterwards, None
        if then is not None:
            then()


class Face(Listed, KerasAdapter):
    """A Keras callback that runs one plugin, and looks and speaks like Keras's own."""

    def __init__(self, plugin: Any, verbose: int = 0) -> None:
        super().__init__(Engine([plugin], autoload=False))
        self.plugin = plugin
        self.verbose = verbose
        self._begun = False
        self._carried: Mapping[str, Any] | None = None

    @property
    def latest(self) -> Run:
        """The run that Keras began last."""
        if self.run is None:
            raise HookcoreError(f"{type(self).__name__}: Keras called a hook before on_train_begin.")
        return self.run

    def set_model(self, model: Any) -> None:
        """Keras's."""
        super().set_model(model)
        self._begun, self._carried = False, None

    def on_train_begin(self, logs: Logs = None) -> None:
        """Begin a run with fresh state, or with the state that `BackupAndRestore` brought."""
        try:
            super().on_train_begin(logs)
        except CapabilityError as error:
            # Keras's own words, which scripts may look for.
            raise TypeError(
                f"This optimizer was created with a `LearningRateSchedule`, or cannot be set for another reason: {error}"
            ) from error
        except MetricError as error:
            raise ValueError(*error.args) from error
        self._begun = True
        if self._carried is not None:
            self.plugin.load_state_dict(self._carried)

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        """Pass the numbers on."""
        super().on_train_batch_end(batch, numbers(logs))

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """Pass the numbers on."""
        super().on_epoch_end(epoch, numbers(logs))
        self.epoch_ended()

    def state_dict(self) -> Mapping[str, Any] | None:
        """The plugin's."""
        return self.plugin.state_dict() if hasattr(self.plugin, "state_dict") else None

    def carry(self, state: Mapping[str, Any]) -> None:
        """Load `state`, now or when the run begins for this callback: `BackupAndRestore` may be listed before it or after."""
        if self._begun:
            self.plugin.load_state_dict(state)
        else:
            self._carried = state


def numbers(logs: Logs) -> dict[str, Any]:
    """The numbers and arrays in `logs`: other callbacks may add anything, which Keras lets be."""
    return {
        name: value for name, value in (logs or {}).items() if isinstance(value, int | float | Mapping) or hasattr(value, "shape")
    }


def whole(value: float) -> int:
    """A count as an int: NumPy's, or a float, of which Keras takes any. Infinity is a count that is never reached."""
    return sys.maxsize if value == math.inf else math.ceil(value)


def local(path: str | os.PathLike[str]) -> str:
    """`path` as a string; `ValueError` for an address such as `gs://…`, where nothing can be replaced as a whole."""
    plain = os.fspath(path)
    if "://" in plain:
        raise ValueError(f"{plain} is no path of this computer. Use keras.callbacks for it: here a file is whole or not there.")
    return plain


def parameter(name: str, convert: Callable[[Any], Any] = lambda value: value) -> Any:
    """An attribute of a face that is a parameter of its plugin."""
    return property(lambda face: getattr(face.plugin, name), lambda face, value: setattr(face.plugin, name, convert(value)))


def observed(field: str, *, absent: Any = None) -> Any:
    """An attribute of a face that is a field of its plugin's monitor; `absent` stands for None."""

    def read(face: Face) -> Any:
        value = getattr(face.plugin.observed, field)
        return absent if value is None else value

    def write(face: Face, value: Any) -> None:
        face.plugin.observed = attrs.evolve(face.plugin.observed, **{field: value})

    return property(read, write)


def comparison(watch: Monitor | None) -> Any:
    """Keras's `monitor_op` for a monitor."""
    return None if watch is None else keras.ops.less if watch.mode == "min" else keras.ops.greater


def known_mode(owner: object, mode: str) -> Literal["auto", "min", "max"]:
    """`mode`, or `"auto"` with Keras's warning where it is unknown."""
    if mode in {"auto", "min", "max"}:
        return mode  # type: ignore[return-value]  # one of the three
    warnings.warn(f"{type(owner).__name__} mode '{mode}' is unknown, fallback to auto mode.", stacklevel=3)
    return "auto"


def say(message: str) -> None:
    """Print a message where Keras would: to the terminal, or to the log where interactive logging is off."""
    if keras.config.is_interactive_logging_enabled():
        sys.stdout.write(f"{message}\n")
        sys.stdout.flush()
    else:
        logging.getLogger("absl").info(message)
