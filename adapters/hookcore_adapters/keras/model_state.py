"""The full state that training of Keras models needs to continue: find, take, write, read and restore it."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any, Final

import attrs
import keras

from hookcore import CheckpointError, HookcoreError
from hookcore.store import files
from hookcore_adapters.keras import internals
from hookcore_adapters.keras.keras_random import KerasRandom, valid_number
from hookcore_adapters.keras.model_file import read_arrays, write_arrays
from hookcore_adapters.keras.part import Part, loads_itself
from hookcore_adapters.keras.saveables import variables_of
from hookcore_adapters.keras.snapshot import KerasSnapshot, nbytes_of, value_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from hookcore.store import Hashed

ARRAYS_FILE: Final = "arrays.h5"
RANDOM_FILE: Final = "random.json"
_OPTIMIZERS_FILE: Final = "optimizers.json"
_MAX_RANDOM_FILE_SIZE: Final = 1_000_000
"""In bytes; the states of the generators take a few per cent of it."""
_MAX_OPTIMIZERS_FILE_SIZE: Final = 100_000_000
_OTHERS: Final = "others"


@attrs.define(eq=False)
class ModelState:
    """The state of models, and of optimizers outside of models: each is a `Part` with a file in a checkpoint."""

    parts: list[Part]

    @property
    def models(self) -> list[Any]:
        """The models."""
        return [part.root for part in self.parts if part.is_model]

    @property
    def has_optimizer(self) -> bool:
        """Whether it contains an optimizer."""
        return bool(self._optimizers())

    def find(self) -> None:
        """Find the objects that have state now. The other methods use only these."""
        for part in self.parts:
            part.owners.find()

    def take(self) -> KerasSnapshot:
        """Return a snapshot of the present state."""
        self.find()
        self._build_optimizers({})
        variables = self.variables()
        known = {id(variable) for variable in variables}
        saved = {part.stem: part.record(known) for part in self.parts}
        return KerasSnapshot(
            [value_of(variable) for variable in variables],
            KerasRandom.now(),
            nbytes_of(variables),
            variables,
            saved,
            self._built_for(),
        )

    def put_back(self, snapshot: KerasSnapshot) -> None:
        """Restore `snapshot`. Raises `CheckpointError` if a layer's own code refuses what it has stored.

        Raises `HookcoreError` if it is a snapshot of another model. After an error, the state before is restored.
        """
        before = self.take()
        check_fits(self.variables(), snapshot)
        try:
            self._put(snapshot)
        except BaseException:
            with contextlib.suppress(CheckpointError):
                self._put(before)
            raise

    def _put(self, snapshot: KerasSnapshot) -> None:
        variables = self.variables()
        now = {id(variable): value for variable, value in zip(variables, snapshot.values, strict=False) if value is not None}
        for part in self.parts:
            part.put_back(snapshot.saved.get(part.stem, ()), snapshot.by_variable | now)
        for variable, value in zip(variables, snapshot.values, strict=False):
            if value is not None:  # the exact value, even if a layer's own code has changed it
                variable.assign(value)
        if snapshot.random is not None:
            snapshot.random.restore()

    def write(self, snapshot: KerasSnapshot, directory: Path) -> dict[str, Hashed]:
        """Write `snapshot`. May run on any thread, because it reads only the configuration of the live model.

        Return the hashes of some files, by name.
        """
        hashes: dict[str, Hashed] = {}
        values = snapshot.by_variable
        adapted = self._adapted()
        written = {id(variable) for variable in adapted}
        for part in self.parts:
            unchanged, hashed = part.write(snapshot, directory)
            written |= unchanged
            hashes |= hashed
        others = [variable for variable in snapshot.variables if id(variable) not in written]
        groups = {"arrays": [variable for variable in adapted if id(variable) in values], _OTHERS: others}
        write_arrays({name: [values[id(one)] for one in group] for name, group in groups.items()}, directory / ARRAYS_FILE)
        if snapshot.built_for:
            (directory / _OPTIMIZERS_FILE).write_text(json.dumps(snapshot.built_for))
        assert snapshot.random is not None  # noqa: S101 - set by `take`
        (directory / RANDOM_FILE).write_text(json.dumps(snapshot.random.state_dict()))
        return hashes

    def read(self, directory: Path) -> KerasSnapshot:
        """Return the snapshot that `write` wrote. Builds missing variables of optimizers, and changes nothing else."""
        try:
            state = json.loads(files.read(directory / RANDOM_FILE, _MAX_RANDOM_FILE_SIZE))
            random = KerasRandom.from_state_dict(state)
        except (OSError, ValueError, TypeError, LookupError, RecursionError) as error:
            raise CheckpointError(f"{directory / RANDOM_FILE} cannot be read: {error!r}") from error
        self.find()
        self._build_optimizers(self._read_built_for(directory / _OPTIMIZERS_FILE))
        variables = self.variables()
        adapted = self._adapted()
        values: dict[int, Any] = {}
        saved = {}
        for part in self.parts:
            found, saved[part.stem] = part.read(directory)
            values |= found
        known = {*values, *(id(variable) for variable in adapted)}
        others = [variable for variable in variables if id(variable) not in known]
        arrays = read_arrays({"arrays": adapted, _OTHERS: others}, directory / ARRAYS_FILE, optional=_OTHERS)
        values |= {id(variable): value for variable, value in zip(adapted, arrays["arrays"], strict=True)}
        if _OTHERS in arrays:
            values |= {id(variable): value for variable, value in zip(others, arrays[_OTHERS], strict=True)}
        else:  # a checkpoint of an earlier version, whose layers restore these by their own code
            self._refuse_lost([variable for variable in others if id(variable) not in values], directory)
        return KerasSnapshot([values.get(id(variable)) for variable in variables], random, 0, variables, saved)

    def variables(self) -> list[Any]:
        """Return all variables that training needs to continue: weights, seeds, optimizer state, and those of other objects.

        Variables of metrics are left out, because each epoch resets them.
        """
        found: dict[int, Any] = {}
        for model in self.models:
            optimizer = getattr(model, "optimizer", None)
            for variable in [*model.variables, *(() if optimizer is None else optimizer.variables)]:
                found.setdefault(id(variable), variable)
        owners = list(self._owners())
        running = {id(variable) for owner in owners if isinstance(owner, keras.Model) for variable in _of_metrics(owner)}
        for owner in owners:
            for variable in variables_of(owner):
                if id(variable) not in running:
                    found.setdefault(id(variable), variable)
        return list(found.values())

    def _owners(self) -> Iterator[Any]:
        for part in self.parts:
            yield from part.owners.found.values()

    def _optimizers(self) -> dict[str, Any]:
        """Return the optimizers by their names in a checkpoint."""
        return {
            f"{part.stem}:{path}": owner
            for part in self.parts
            for path, owner in part.owners.found.items()
            if isinstance(owner, keras.optimizers.Optimizer)
        }

    def _trained(self) -> list[Any]:
        """Return the variables for which an optimizer may be built, in order."""
        own = {id(variable) for optimizer in self._optimizers().values() for variable in optimizer.variables}
        return [variable for variable in self.variables() if id(variable) not in own]

    def _compiled(self) -> dict[int, Any]:
        """Return the models that were compiled with an optimizer, by the optimizer's identity."""
        return {id(model.optimizer): model for model in self.models if getattr(model, "optimizer", None) is not None}

    def _built_for(self) -> dict[str, list[int]]:
        compiled = self._compiled()
        compiled |= {id(getattr(model.optimizer, "inner_optimizer", None)): model for model in compiled.values()}
        numbers: dict[int, int] = {}
        found = {}
        for name, optimizer in self._optimizers().items():
            variables = [id(variable) for variable in internals.trainable_variables_of(optimizer)]
            model = compiled.get(id(optimizer))
            if not optimizer.built or (model and variables == [id(variable) for variable in model.trainable_variables]):
                continue  # a new optimizer would be built in the same way
            numbers = numbers or {id(variable): number for number, variable in enumerate(self._trained())}
            if all(variable in numbers for variable in variables):
                found[name] = [numbers[variable] for variable in variables]
        return found

    def _read_built_for(self, path: Path) -> dict[str, list[Any]]:
        if not path.exists():
            return {}
        trained = self._trained()
        try:
            recorded = json.loads(files.read(path, _MAX_OPTIMIZERS_FILE_SIZE))
            return {str(name): [trained[valid_number(number)] for number in numbers] for name, numbers in recorded.items()}
        except (OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
            raise CheckpointError(
                f"{path} cannot be read: {error!r}. It is damaged, or of another model: resume with the model that was saved."
            ) from error

    def _build_optimizers(self, built_for: Mapping[str, Sequence[Any]]) -> None:
        """Build the optimizers in `built_for` for their variables, and those with which models were compiled."""
        # An optimizer makes most variables at the first update. If they are missing, Keras only warns, and loads no state.
        compiled = self._compiled()
        for name, optimizer in self._optimizers().items():
            if optimizer.built:
                continue
            model = compiled.get(id(optimizer))
            if name in built_for:
                optimizer.build(built_for[name])
            elif model is not None and model.built:
                optimizer.build(model.trainable_variables)

    def _adapted(self) -> list[Any]:
        """Return the seeds, and the variables of layers with low-rank updates, which Keras merges into the saved weights."""
        found: dict[int, Any] = {}
        for model in self.models:
            weights = {id(variable) for variable in model.weights}
            found |= {id(variable): variable for variable in model.variables if id(variable) not in weights}
            layers = internals.flatten_layers(model, include_self=False)
            with_lora = [layer for layer in layers if getattr(layer, "lora_enabled", False)]
            found |= {id(one): one for layer in with_lora for one in layer.variables if id(one) in weights}
        return list(found.values())

    def _refuse_lost(self, variables: Sequence[Any], directory: Path) -> None:
        loading = {id(one) for owner in self._owners() if loads_itself(owner) for one in variables_of(owner)}
        lost = [variable.path for variable in variables if id(variable) not in loading]
        if lost:
            raise CheckpointError(
                f"{directory} has no value for {', '.join(lost)}. It is a checkpoint of another model, or of an earlier version "
                "of it."
            )


def check_fits(variables: Sequence[Any], snapshot: KerasSnapshot) -> None:
    """Raise `HookcoreError` if `snapshot` holds values of other variables."""
    fits = len(variables) == len(snapshot.values) and all(
        value is None or tuple(variable.shape) == tuple(value.shape)
        for variable, value in zip(variables, snapshot.values, strict=True)
    )
    if not fits:
        raise HookcoreError(
            f"The snapshot holds {len(snapshot.values)} values and the model has {len(variables)}, or their shapes differ: "
            "it was taken of another model, or before this one was built, or one of its optimizers."
        )


def _of_metrics(model: Any) -> list[Any]:
    """Return the variables of the metrics that each epoch resets, also of those that `model.metrics` hides."""
    return [variable for metric in [*model.metrics, *internals.hidden_metrics(model)] for variable in metric.variables]
