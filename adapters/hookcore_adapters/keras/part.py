"""One model, or one optimizer outside of models, with its file in a checkpoint."""

from __future__ import annotations

import contextlib
import functools
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import attrs
import keras
import numpy as np

from hookcore import CheckpointError
from hookcore_adapters.keras import internals
from hookcore_adapters.keras.assets import Assets, load_assets
from hookcore_adapters.keras.model_file import (
    configuration,
    dataset_name,
    open_weights,
    pack,
    path_and_shape,
    unpacked,
    write_weights,
)
from hookcore_adapters.keras.saveables import Saveables, stored_by
from hookcore_adapters.keras.snapshot import Saved

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from pathlib import Path

    from hookcore.store import Hashed
    from hookcore_adapters.keras.snapshot import KerasSnapshot


@attrs.define(eq=False)
class Part:
    """Takes, writes, reads and restores the state of `root`, in files named `stem` with a suffix.

    A model is written as a `.keras` file. An optimizer, or a model whose configuration Keras cannot make, is written as a file of
    weights, as by `save_weights`, and a `.zip` of assets.
    """

    root: Any
    stem: str
    is_model: bool = attrs.field(kw_only=True)
    owners: Saveables = attrs.field(init=False, repr=False)
    """The objects in `root` that have state, by their paths in the file."""
    _assets: Assets = attrs.field(init=False, factory=Assets, repr=False)

    @owners.default
    def _find_owners(self) -> Saveables:
        return Saveables(self.root)

    def record(self, known: Collection[int]) -> list[Saved]:
        """Return what each object stores in the file. For most objects, Keras's code computes it later from the variables.

        `known` has the identities of the variables whose values are in the snapshot.

        Raises `CheckpointError` if an object's own code fails, or stores values that Keras's files cannot hold.
        """
        recorded = []
        for path, owner in self.owners.found.items():
            with _names_owner(owner, "save"):
                own = None if internals.is_of_keras(owner, "save_own_variables") else _as_stored(stored_by(owner), known)
                recorded.append(Saved(path, owner, own, self._assets.of(owner)))
        return recorded

    def write(self, snapshot: KerasSnapshot, directory: Path) -> tuple[set[int], dict[str, Hashed]]:
        """Write its part of `snapshot`. May run on any thread, and does not change the model.

        Return the identities of the variables whose values are in the file unchanged, and the hashes of some files, by name.
        """
        hashes: dict[str, Hashed] = {}
        saved, values = snapshot.saved[self.stem], snapshot.by_variable
        write = functools.partial(write_weights, saved, values)
        files = {f"{PurePosixPath('assets', one.path, name)}": content for one in saved for name, content in one.assets.items()}
        described: dict[str, bytes] = {}
        # On the CPU, because another copy of the values may not fit on a GPU.
        with keras.device("cpu"), keras.StatelessScope([(one, values[id(one)]) for one in snapshot.variables]):
            if self.is_model:
                with contextlib.suppress(Exception):  # the trainee has warned of it
                    described = configuration(self.root)
            # Absolute, because the process may change its directory while Keras writes.
            path = directory.absolute()
            if described:
                return pack(described | files, path / f"{self.stem}.keras", write)
            if files:
                _, hashes = pack(files, path / f"{self.stem}.assets.zip")
            return write(path / f"{self.stem}.weights.h5"), hashes

    def reason_without_model_file(self) -> str | None:
        """Return in one line why Keras cannot write the model into a `.keras` file, or None if it can."""
        if not self.is_model:
            return None
        try:
            configuration(self.root)
        except Exception as error:  # noqa: BLE001 - the weights can be saved, whatever a layer raises
            return f"{type(error).__name__}: {' '.join(str(error).split('.')[0].split())}"
        return None

    def read(self, directory: Path) -> tuple[dict[int, Any], list[Saved]]:
        """Return the values of the variables in the file, and what objects that override Keras's saving have stored.

        Nothing is restored, and a configuration in the file is not read. Raises `CheckpointError` for a file of another model, or
        one that `write` could not have written.
        """
        with contextlib.ExitStack() as stack:
            path = directory / f"{self.stem}.keras"
            assets: dict[str, bytes] = {}
            if path.exists() and self.is_model:
                weights, assets = stack.enter_context(unpacked(path))
            else:
                packed, path = directory / f"{self.stem}.assets.zip", directory / f"{self.stem}.weights.h5"
                weights = path
                if packed.exists():
                    _, assets = stack.enter_context(unpacked(packed))
            stored = {path: _stored_or_none(owner) for path, owner in self.owners.found.items()}
            expected = {
                (name := dataset_name(place, key)): path_and_shape(name, value)
                for place, own in stored.items()
                for key, value in variables_in(own).items()
            }
            free = tuple(dataset_name(place, "") for place, own in stored.items() if self._is_free(place, own))
            file = stack.enter_context(open_weights(weights, expected, free, path))
            values: dict[int, Any] = {}
            saved = []
            for place, owner in self.owners.found.items():
                direct = variables_in(stored[place])
                values |= {id(direct[key]): value for key, value in file.read(place, direct).items()}
                own = file.read(place) if loads_itself(owner) else None
                start = f"{place}/".removeprefix("/")
                files = {name.removeprefix(start): content for name, content in assets.items() if name.startswith(start)}
                if own is not None or (files and hasattr(owner, "load_assets")):
                    saved.append(Saved(place, owner, own, files if hasattr(owner, "load_assets") else {}))
            return values, saved

    def _is_free(self, path: str, own: Mapping[str, Any] | None) -> bool:
        """Return whether the file may have entries that `own`, the object's present content, does not predict."""
        owner = self.owners.found[path]
        return own is None or not internals.is_of_keras(owner, "save_own_variables") or len(variables_in(own)) < len(own)

    def put_back(self, saved: Sequence[Saved], values: Mapping[int, Any]) -> None:
        """Restore in objects that override Keras's loading what they stored, with `values` for the variables in it.

        Raises `CheckpointError` if the code of an object fails.
        """
        owners = self.owners.found
        for one in saved:
            owner = owners.get(one.path)
            if owner is None:
                continue
            with _names_owner(owner, "load"):
                if loads_itself(owner):
                    own = stored_by(owner) if one.own is None else one.own
                    owner.load_own_variables({key: _as_array(values.get(id(value), value)) for key, value in own.items()})
                if one.assets and one.assets != _current(self._assets, owner):
                    load_assets(owner, one.assets)


def loads_itself(owner: Any) -> bool:
    """Return whether loading `owner` does more than assign to its variables."""
    if not hasattr(owner, "load_own_variables"):
        return False
    # Keras's own layers only assign, except preprocessing layers, which compute from the content.
    return not internals.is_of_keras(owner, "load_own_variables") or internals.is_of_preprocessing(owner, "load_own_variables")


def variables_in(own: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the entries of `own` that are variables."""
    return {key: value for key, value in (own or {}).items() if isinstance(value, keras.Variable)}


def _stored_or_none(owner: Any) -> dict[str, Any] | None:
    try:
        return stored_by(owner)
    except Exception:  # noqa: BLE001 - a layer that was not adapted may fail to save, and still load
        return None


def _as_stored(own: Mapping[str, Any], known: Collection[int]) -> dict[str, Any]:
    """Return `own` with copies of the entries that are not `known` variables, as arrays for Keras's files."""
    return {key: value if id(value) in known else _plain(key, value) for key, value in own.items()}


def _plain(key: str, value: Any) -> Any:
    array = np.array(keras.ops.convert_to_numpy(value))
    try:
        keras.backend.standardize_dtype(array.dtype)
    except ValueError:
        raise TypeError(f"it stores {value!r} as {key!r}, which must be a number or an array of numbers") from None
    return array


def _as_array(value: Any) -> Any:
    return np.array(keras.ops.convert_to_numpy(value))


def _current(assets: Assets, owner: Any) -> Mapping[str, bytes] | None:
    try:
        return assets.of(owner)
    except Exception:  # noqa: BLE001 - a layer that was not adapted may raise anything
        return None


@contextlib.contextmanager
def _names_owner(owner: Any, what: str) -> Iterator[None]:
    """Raise `CheckpointError` that names an object instead of any error of the object's own code."""
    try:
        yield
    except Exception as error:
        name = f"{type(owner).__name__} {getattr(owner, 'name', '')!r}"
        raise CheckpointError(
            f"{name} cannot be {'saved' if what == 'save' else 'restored'}: its {what}_own_variables or {what}_assets raised "
            f"{error!r}. Correct these methods, or remove them: Keras saves all variables of a layer by itself."
        ) from error
