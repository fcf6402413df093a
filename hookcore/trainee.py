"""The trainee: what is trained, as an adapter presents it to portable plugins."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, TypeAlias

import attrs

from hookcore.errors import CapabilityError, ParameterError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

Mode: TypeAlias = Literal["min", "max"]
"""The direction in which a metric gets better."""

Snapshot: TypeAlias = Any
"""What `Trainee.snapshot` returned. Only the trainee that made it looks inside."""

Capability: TypeAlias = Literal[
    "learning_rate", "snapshot", "checkpoint", "weights", "activations", "gradients", "graph", "embeddings", "picture"
]
"""What a plugin may list in its `needs`.

`learning_rate` can be read and set. `snapshot` is `snapshot` and `restore`; `checkpoint` is `write` and `read` too. Each other
one is a method of `Views`.
"""

Arrays: TypeAlias = "Mapping[str, Any]"
"""NumPy arrays in host memory, by name."""


A_TRAINEE: Final = (
    "a `Trainee`, such as hookcore_adapters.keras.KerasTrainee(model) or one of your own (docs/writing-a-trainee.md)"
)
"""What a loop expects, for messages."""


class Trainee(Protocol):
    """What portable plugins may do with what is trained. An adapter implements it.

    A trainee defines what it can do, and leaves out the rest. The defaults below hold also for a class that does not inherit from
    this one, because plugins use `reason_lacking`, `direction_of` and `framework_of` of `hookcore.authoring`. A plugin that needs
    a missing capability is refused by name before the first batch.
    """

    if TYPE_CHECKING:

        @property
        def framework(self) -> str:
            """The framework's name, such as `"keras"`; `"custom"` by default."""
            return "custom"

        @property
        def learning_rate(self) -> float:
            """The learning rate in use now. By default there is no such attribute."""
            raise AttributeError("learning_rate")

        @learning_rate.setter
        def learning_rate(self, value: float) -> None:
            raise AttributeError("learning_rate", value)

    else:
        framework = "custom"  # not a property, so that an instance may have its own attribute

    def lacks(self, capability: Capability) -> str | None:
        """Return why `capability` is missing, as the end of a sentence, or None if the trainee has it.

        By default it has each capability whose members it defines itself.
        """
        return _reason_absent(self, capability)

    def snapshot(self, *, optimizer: bool = True) -> Snapshot:
        """Return the weights and, unless `optimizer` is False, the optimizer's state and the random state, as they are now.

        Further training does not change a snapshot: it is a copy, or refers to values that are never written to. It may have an
        attribute `nbytes`, the number of bytes that it takes on disk. By default this method and the next three raise
        `CapabilityError`.
        """
        del optimizer
        raise _missing(self, "snapshot")

    def restore(self, snapshot: Snapshot) -> None:
        """Put back what `snapshot` holds."""
        del snapshot
        raise _missing(self, "snapshot")

    def write(self, snapshot: Snapshot, directory: Path) -> object:
        """Write `snapshot` as files into `directory`, which exists and is empty.

        May be called on another thread during training, so it reads the snapshot and nothing that training changes. It may return
        the hashes of its final files, `hookcore.store.Hashed` by name, so that they are not read again to be hashed.
        """
        del snapshot, directory
        raise _missing(self, "checkpoint")

    def read(self, directory: Path) -> Snapshot:
        """Return the snapshot that `write` wrote into `directory`, for `restore`. Does not change the trainee."""
        del directory
        raise _missing(self, "checkpoint")

    def direction(self, metric: str) -> Mode | None:
        """Return the direction that the framework declares for `metric`, or None, the default, if it declares no direction."""
        del metric
        return None


_MEMBERS: Final[Mapping[str, tuple[str, ...]]] = {
    "snapshot": ("snapshot", "restore"),
    "checkpoint": ("snapshot", "restore", "write", "read"),
}
"""The members that a capability consists of; a capability that is not listed is a member of that name."""


def reason_lacking(trainee: object, capability: Capability) -> str | None:
    """Return why `trainee` lacks `capability`, as the end of a sentence, or None if it has it."""
    return _asked(trainee, "lacks", capability) or _reason_absent(trainee, capability)


def check_trainee(owner: str, given: object) -> None:
    """Raise `ParameterError` if `given` has no member of a trainee: it may be a model."""
    if isinstance(given, type):
        raise ParameterError(f"{owner}: trainee must be an instance, {given.__name__}(...), got {given!r}.")
    methods = [
        name for protocol in (Trainee, Views) for name in vars(protocol) if not name.startswith("_") and name != "framework"
    ]
    says = Trainee in type(given).__mro__ or isinstance(getattr(given, "framework", None), str) or hasattr(given, "learning_rate")
    if not says and not any(callable(getattr(given, name, None)) for name in methods):
        kind = f"{type(given).__module__}.{type(given).__qualname__}"
        raise ParameterError(
            f"{owner}: trainee must be {A_TRAINEE}, got an object of {kind}, which has neither a framework nor a "
            f"learning_rate, nor any of the methods {', '.join(methods)}."
        )


def framework_of(trainee: object) -> str:
    """Return the name of the framework of `trainee`, by default `"custom"`."""
    return str(getattr(trainee, "framework", "custom"))


def learning_rate_in(holder: object) -> float | None:
    """Return the learning rate of `holder`, a trainee or a run; None if it lacks one or it cannot be read."""
    # `lacks` is no help: a trainee may have a learning rate that plugins can read but not set.
    try:
        return float(getattr(holder, "learning_rate"))  # noqa: B009 - it may lack one
    except Exception:  # noqa: BLE001 - a framework may raise anything, which must cost no more than this value
        return None


def declared_direction(trainee: object, metric: str) -> Mode | None:
    """Return the direction that `trainee` declares for `metric`, or None, also if it has no method `direction`."""
    direction: Mode | None = _asked(trainee, "direction", metric)
    return direction


def sync(trainee: object) -> None:
    """Call the method `sync` of `trainee`, if it has one, before a plugin gets the framework's own object.

    It updates that object from the loop: on JAX, Keras's trainer holds all values elsewhere within an epoch.
    """
    method = getattr(trainee, "sync", None)
    if method is not None:
        method()


@attrs.frozen
class DataBegin:
    """Where data begin when a loop iterates over them next."""

    batch: int = 0
    """The first batch that the data yield, at most the one that was asked for: the loop need not read and drop earlier ones."""
    warning: str | None = None
    """Why an epoch that was cut does not continue with the same data, as a sentence without a full stop; None if it does."""


def begin_data(trainee: object, data: Any, epoch: int, batch: int) -> DataBegin:
    """Prepare `data` for the loop, which is about to iterate over them in `epoch`, from `batch` on; return where they begin.

    The trainee knows its framework's data: its method `begin_data` shuffles them for that epoch and skips the batches that were
    trained before the run was cut. Without that method they begin at their first batch.
    """
    method = getattr(trainee, "begin_data", None)
    begun: DataBegin = DataBegin() if method is None else method(data, epoch, batch)
    return begun


def restore_random(trainee: object) -> None:
    """Call the method `restore_random` of `trainee`, if it has one, once the data of a resumed epoch are at its next batch.

    It puts back the random state of the snapshot that was restored last, because reading batches again has drawn from it.
    """
    method = getattr(trainee, "restore_random", None)
    if method is not None:
        method()


def _asked(trainee: object, method: str, about: str) -> Any:
    return getattr(trainee, method)(about) if hasattr(trainee, method) else None


def _reason_absent(trainee: object, capability: Capability) -> str | None:
    defaults = vars(Trainee)
    absent = [
        name
        for name in _MEMBERS.get(capability, (capability,))
        if (member := getattr(trainee, name, None)) is None or getattr(member, "__func__", member) is defaults.get(name)
    ]
    return f"a {framework_of(trainee)} trainee does not provide {', '.join(absent)}" if absent else None


def _missing(trainee: object, capability: Capability) -> CapabilityError:
    return CapabilityError(f"{type(trainee).__name__}: {reason_lacking(trainee, capability)}.")


@attrs.define(eq=False)
class NoTrainee:
    """The trainee of a loop that was given no trainee: every capability is missing."""

    framework: str = "none"

    def lacks(self, capability: Capability) -> str | None:
        """Return the reason, which is the same for every capability."""
        return f"this loop was given no trainee, so it has no {capability.replace('_', ' ')}: pass trainee={A_TRAINEE}"

    @property
    def learning_rate(self) -> float:
        """The missing learning rate: raises `AttributeError`."""
        raise AttributeError("this loop was given no trainee, so it has no learning rate")

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        raise AttributeError(f"this loop was given no trainee, so its learning rate cannot be set to {value!r}")

    def snapshot(self, *, optimizer: bool = True) -> Snapshot:
        """Return None: there is nothing to copy."""
        del optimizer

    def restore(self, snapshot: Snapshot) -> None:
        """Do nothing: there is nothing to put back."""

    def write(self, snapshot: Snapshot, directory: Path) -> None:
        """Do nothing: there is nothing to write."""

    def read(self, directory: Path) -> Snapshot:
        """Return None: there is nothing to read."""

    def direction(self, metric: str) -> Mode | None:
        """Return None: nothing is declared."""
        del metric
        return None


@attrs.frozen
class Node:
    """One layer or operation of a graph."""

    name: str
    """The name, after the names of the layers that contain it, with slashes: `encoder/dense`."""
    kind: str
    """The layer's class, such as `"Dense"`."""
    inputs: tuple[str, ...] = ()
    """The names of the nodes that it reads."""
    shape: tuple[int | None, ...] = ()
    """The shape of its output, None for the batch."""
    parameters: int = 0


class Views(Protocol):
    """Optional methods of a trainee, for plugins that look inside. A trainee has any of them."""

    @abstractmethod
    def weights(self) -> Arrays:
        """Return every weight by layer and name, such as `dense/kernel`."""
        ...

    @abstractmethod
    def activations(self, data: Any, samples: int = 1) -> Arrays:
        """Return the output of each layer for the first `samples` samples of `data`, such as `run.validation_data`."""
        ...

    @abstractmethod
    def gradients(self, data: Any, samples: int = 32) -> Arrays:
        """Return the gradient of the loss on the first `samples` samples of `data`, for each trainable weight by its name."""
        ...

    @abstractmethod
    def graph(self) -> Sequence[Node]:
        """Return the layers or operations, each after those that it reads."""
        ...

    @abstractmethod
    def embeddings(self) -> Arrays:
        """Return the matrix of each embedding layer by the layer's name: one row per word, one column per dimension."""
        ...

    @abstractmethod
    def picture(self) -> bytes:
        """Return a PNG of the model. Raises `HookcoreError`, with a hint, if a program that draws it is not installed."""
        ...
