"""What the drop-in callbacks have in common: a Keras callback that runs one plugin."""

from __future__ import annotations

import logging
import sys
import warnings
import weakref
from typing import TYPE_CHECKING, Any, Final, Literal

import attrs
import keras

from hookcore import CapabilityError, Engine, HookcoreError, MetricError
from hookcore_adapters.keras.adapter import KerasAdapter

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from hookcore import Monitor, Run

    Logs = dict[str, Any] | None

_FACES: Final[weakref.WeakKeyDictionary[Any, list[Face]]] = weakref.WeakKeyDictionary()
"""The faces that serve a model: a Keras callback does not know its neighbours, and `BackupAndRestore` saves their state."""


class Face(KerasAdapter):
    """A Keras callback that runs one plugin, and looks and speaks like Keras's own."""

    def __init__(self, plugin: Any, verbose: int = 0) -> None:
        super().__init__(Engine([plugin], autoload=False))
        self.plugin = plugin
        self.verbose = verbose
        self._carried: Mapping[str, Any] | None = None

    @property
    def latest(self) -> Run:
        """The run that Keras began last."""
        if self.run is None:
            msg = f"{type(self).__name__}: Keras called a hook before on_train_begin."
            raise HookcoreError(msg)
        return self.run

    def set_model(self, model: Any) -> None:
        """Keras's; the face is known as one of the model's from here on."""
        super().set_model(model)
        faces = _FACES.setdefault(model, [])
        if self not in faces:
            faces.append(self)

    def on_train_begin(self, logs: Logs = None) -> None:
        """Begin a run with fresh state, or with the state that `BackupAndRestore` brought."""
        try:
            super().on_train_begin(logs)
        except CapabilityError as error:
            # Keras's own words, which scripts may look for.
            msg = f"This optimizer was created with a `LearningRateSchedule`, or cannot be set for another reason: {error}"
            raise TypeError(msg) from error
        except MetricError as error:
            msg = f"{type(self).__name__}: {error}"
            raise ValueError(msg) from error
        if self._carried is not None:
            self.plugin.load_state_dict(self._carried)
            self._carried = None

    def carry(self, state: Mapping[str, Any]) -> None:
        """Go on from `state`, whether the run has begun for this callback or is about to."""
        self.plugin.load_state_dict(state)
        self._carried = state


def faces_of(model: Any) -> dict[str, Face]:
    """The faces of `model` whose plugins keep state, by class and number."""
    stateful = [face for face in _FACES.get(model, []) if hasattr(face.plugin, "state_dict")]
    return {f"{type(face).__name__}_{i}": face for i, face in enumerate(stateful)}


def parameter(name: str, convert: Callable[[Any], Any] = lambda value: value) -> Any:
    """An attribute of a face that is a parameter of its plugin."""
    return property(lambda face: getattr(face.plugin, name), lambda face, value: setattr(face.plugin, name, convert(value)))


def observed(field: str, *, absent: Any = None) -> Any:
    """An attribute of a face that is a field of its plugin's monitor; `absent` stands for None."""

    def read(face: Face) -> Any:
        value = getattr(face.plugin.watch, field)
        return absent if value is None else value

    def write(face: Face, value: Any) -> None:
        face.plugin.watch = attrs.evolve(face.plugin.watch, **{field: value})

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
